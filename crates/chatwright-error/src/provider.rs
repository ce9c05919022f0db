//! The providers that are known by name.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};

/// Canonical id, name for people, and other names that hosts configure.
const PROVIDERS: &[(&str, &str, &[&str])] = &[
    ("anthropic", "Anthropic", &["claude"]),
    ("azure", "Azure OpenAI", &["azure openai", "azure-openai", "azure_openai"]),
    ("bedrock", "AWS Bedrock", &["aws bedrock", "aws-bedrock", "amazon bedrock"]),
    ("google", "Google", &["gemini", "vertex"]),
    ("openai", "OpenAI", &[]),
    (
        "openai-compat",
        "OpenAI Compatible",
        &["openai compat", "openai compatible", "openai_compat", "openai-compatible"],
    ),
    ("openrouter", "OpenRouter", &[]),
    ("vercel", "Vercel AI Gateway", &["vercel ai gateway"]),
];

/// The canonical id of a provider by one of its names: a known one's id, or the name itself, trimmed and in lower case.
/// `None` for an empty name.
pub fn canonical(name: &str) -> Option<Box<str>> {
    let name = name.trim();
    let known = PROVIDERS.iter().find(|(id, _, names)| {
        id.eq_ignore_ascii_case(name) || names.iter().any(|other| other.eq_ignore_ascii_case(name))
    });
    match known {
        _ if name.is_empty() => None,
        Some((id, ..)) => Some((*id).into()),
        None => Some(name.to_lowercase().into()),
    }
}

/// The name for people of a provider by its canonical id.
pub fn display_name(id: &str) -> Option<&'static str> {
    PROVIDERS.iter().find(|(known, ..)| *known == id).map(|(_, name, _)| *name)
}

/// Words in a text that name a provider, in the order in which they are believed.
const NAMES: &[(&str, &[&str])] = &[
    ("openai-compat", &["openai-compat", "openai compatible"]),
    (
        "azure",
        &[
            "azure openai",
            "azure-openai",
            ".openai.azure.com",
            ".cognitiveservices.azure.com",
            ".services.ai.azure.com",
        ],
    ),
    ("openrouter", &["openrouter"]),
    ("bedrock", &["bedrock"]),
    ("vercel", &["vercel"]),
    ("anthropic", &["anthropic", "claude"]),
    ("google", &["google", "gemini", "vertex"]),
    ("openai", &["openai"]),
];

/// The provider that a text names.
pub(crate) fn named_in(text: &str) -> Option<Box<str>> {
    static FINDER: LazyLock<(AhoCorasick, Vec<usize>)> = LazyLock::new(|| {
        let words =
            NAMES.iter().enumerate().flat_map(|(at, (_, words))| words.iter().map(move |word| (*word, at)));
        let (words, owners): (Vec<&str>, Vec<usize>) = words.unzip();
        let mut builder = AhoCorasickBuilder::new();
        builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard);
        (builder.build(words).expect("few and short names"), owners)
    });
    let (finder, owners) = &*FINDER;
    let first = finder.find_overlapping_iter(text).map(|found| owners[found.pattern().as_usize()]).min();
    first.map(|at| NAMES[at].0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_providers_have_one_id_and_others_keep_their_name() {
        for (name, id) in [
            ("Azure OpenAI", Some("azure")),
            ("openai_compat", Some("openai-compat")),
            (" OpenAI ", Some("openai")),
            ("My-Gateway", Some("my-gateway")),
            ("  ", None),
        ] {
            assert_eq!(canonical(name).as_deref(), id, "{name}");
        }
        assert_eq!(display_name("bedrock"), Some("AWS Bedrock"));
        assert_eq!(display_name("my-gateway"), None);
    }

    #[test]
    fn of_several_names_in_a_text_the_first_of_the_list_counts() {
        assert_eq!(named_in("https://x.openai.azure.com/openai").as_deref(), Some("azure"));
        assert_eq!(named_in("openrouter: claude is gone").as_deref(), Some("openrouter"));
        assert_eq!(named_in("nobody"), None);
    }
}

//! What a model is sent of a history.
//!
//! A provider reads a prompt from its cache as far as it begins like one before. So everything here is a function of what is stored, and
//! instructions stand in one order: those of the host, the user's own, then what else there is to say.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chatwright_core::content::{FileData, Output, Part};
use chatwright_core::head::OpenGen;
use chatwright_core::history::ValidHistory;
use chatwright_core::model::{Message, Role};
use chatwright_engine::{History, Mark, Work};

use super::Held;
use super::attempt::Streamed;
use crate::advisor::guidance;
use crate::blobs::{Shown, resolve};
use crate::tokens;

/// Types under `application/` that are text.
const TEXT_TYPES: [&str; 21] = [
    "ecmascript",
    "graphql",
    "javascript",
    "json",
    "json5",
    "jsonl",
    "ndjson",
    "sql",
    "toml",
    "typescript",
    "x-httpd-php",
    "x-javascript",
    "x-ndjson",
    "x-perl",
    "x-python",
    "x-ruby",
    "x-sh",
    "x-toml",
    "x-yaml",
    "xml",
    "yaml",
];

/// What a model was sent last. The next prompt mostly is the same with something behind it, and then only that has to be built
/// and checked.
#[derive(Default)]
pub(super) struct Prompt {
    sent: ValidHistory,
    /// How much text it has.
    bytes: usize,
    own: Option<Box<str>>,
    /// Whether it tells of the advisor.
    guided: bool,
    /// How far it goes. Nothing was sent yet without.
    mark: Option<Mark>,
    /// What the model was shown of the chat's blobs.
    shown: Shown,
}

impl Prompt {
    /// What is to be said behind it, if nothing else has changed.
    fn more(&self, history: &History, own: Option<&str>, guided: bool) -> Option<Vec<Message>> {
        let mark = self.mark.as_ref().filter(|_| self.own.as_deref() == own && self.guided == guided)?;
        history.added(mark)
    }
}

impl Held {
    /// The history as every provider takes it, with the bytes of its blobs, its files that are text as text, and behind the
    /// host's instructions what the user wants every model to know.
    ///
    /// # Errors
    /// What ended the attempt before it could be asked.
    pub(super) async fn prompt(
        &mut self,
        open: &OpenGen,
        own: Option<&str>,
    ) -> Result<ValidHistory, Streamed> {
        let guided = self.tools().shows_advisor(&self.history);
        if let Some(more) = self.prompt.more(&self.history, own, guided) {
            let mut prompt = std::mem::take(&mut self.prompt);
            let more = self.read(open, more, &mut prompt.shown).await?;
            let bytes = tokens::bytes_of(&more);
            if prompt.sent.extend(more).is_ok() {
                prompt.bytes += bytes;
                prompt.mark = Some(self.history.mark());
                self.prompt = prompt;
                return Ok(self.prompt.sent.clone());
            }
            self.prompt.shown = prompt.shown;
        }
        let mut messages = self.valid_history(open).await?.into_messages();
        if let Some(own) = own {
            instruct(&mut messages, Message::new(Role::System, vec![Part::text(own)]));
        }
        if guided {
            instruct(&mut messages, guidance());
        }
        let mut shown = std::mem::take(&mut self.prompt).shown.anew();
        let messages = self.read(open, messages, &mut shown).await?;
        shown.settle();
        let mark = Some(self.history.mark());
        let bytes = tokens::bytes_of(&messages);
        self.prompt = Prompt { sent: messages.into(), bytes, own: own.map(Into::into), guided, mark, shown };
        Ok(self.prompt.sent.clone())
    }

    /// How much text the prompt that was built last has.
    pub(super) fn prompt_bytes(&self) -> usize {
        self.prompt.bytes
    }

    /// What the model was sent last, if it was sent something here.
    pub(super) fn sent(&self) -> Option<ValidHistory> {
        self.prompt.mark.as_ref().map(|_| self.prompt.sent.clone())
    }

    /// The history with its files that are text as text, without what is kept elsewhere.
    pub(super) fn legible(&self) -> Vec<Message> {
        let mut messages = self.history.valid().0.into_messages();
        messages.iter_mut().for_each(read_message);
        messages
    }

    /// About how many tokens the prompt that was built last has: what the provider counted of it, and the rest by its length.
    pub(super) fn prompt_tokens(&self) -> u64 {
        let sent = self.prompt.sent.messages();
        let counted = self.history.measured().and_then(|usage| tokens::of_prompt(&usage));
        let known = counted.and_then(|tokens| {
            let answer = sent.iter().rposition(|message| message.role == Role::Assistant)?;
            Some((self.prompt.bytes.saturating_sub(tokens::bytes_of(&sent[answer..])), tokens))
        });
        tokens::of_grown(self.prompt.bytes, known)
    }

    /// The history as every provider takes it. What had to be repaired is stored before it is sent, and stays as it is sent: a provider
    /// would not find a prompt in its cache that other rules had repaired in another way.
    async fn valid_history(&mut self, open: &OpenGen) -> Result<ValidHistory, Streamed> {
        let (history, repaired) = self.history.valid();
        if let Some(repaired) = repaired {
            let records: Vec<u64> = repaired.repairs.keys().copied().collect();
            tracing::warn!(chat = %self.id, ?records, rules = repaired.rules, "a prompt was repaired");
            if !self.feed(open.r#gen, Work::Repaired(repaired)).await {
                return Err(Streamed::Lost);
            }
        }
        Ok(history)
    }

    /// Puts the bytes of blobs and the words of files in their places.
    async fn read(
        &mut self,
        open: &OpenGen,
        mut messages: Vec<Message>,
        shown: &mut Shown,
    ) -> Result<Vec<Message>, Streamed> {
        let deps = Arc::clone(&self.deps);
        self.meanwhile(open, resolve(&deps, self.id, &mut messages, shown)).await?;
        messages.iter_mut().for_each(read_message);
        Ok(messages)
    }
}

/// Puts an instruction behind those that are there: what the user wants every model to know behind the host's, and what there is to be
/// said of the advisor behind both.
fn instruct(messages: &mut Vec<Message>, instruction: Message) {
    // A valid history begins with the host's.
    let at = messages.iter().take_while(|message| message.role == Role::System).count();
    messages.insert(at, instruction);
}

fn read_message(message: &mut Message) {
    let has_file = |part: &Part| {
        matches!(part, Part::File { .. } | Part::ToolResult { output: Output::Media { .. }, .. })
    };
    if !message.content.iter().any(has_file) {
        return;
    }
    for part in Arc::make_mut(&mut message.content) {
        match (message.role, part) {
            (Role::User, part @ Part::File { .. }) => read_file(part),
            (Role::Tool, Part::ToolResult { output, .. }) => {
                if let Output::Media { media_type, data, text } = output
                    && let Some(words) = text_of(media_type, data)
                {
                    let before = text.take().filter(|text| !text.trim().is_empty());
                    *output = Output::Text {
                        text: before.into_iter().chain([words]).collect::<Vec<_>>().join("\n\n"),
                    };
                }
            }
            _ => {}
        }
    }
}

fn read_file(part: &mut Part) {
    let Part::File { media_type, name, data, metadata } = part else { return };
    let Some(words) = text_of(media_type, data) else { return };
    // A name is a line, whatever its owner wrote.
    let name = name.as_deref().unwrap_or("without a name").split_whitespace().collect::<Vec<_>>().join(" ");
    let (text, metadata) = (format!("File {name} ({media_type}):\n{words}"), std::mem::take(metadata));
    *part = Part::Text { text, metadata };
}

fn text_of(media_type: &str, data: &FileData) -> Option<String> {
    let FileData::Base64(data) = data else { return None };
    let bytes = is_text(media_type).then(|| STANDARD.decode(&**data))?.ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    // UTF-16 may be read as UTF-8, and is full of them.
    (!text.contains('\0')).then_some(text)
}

fn is_text(media_type: &str) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.split_once('/') {
        Some(("text", _)) => true,
        Some(("application", kind)) => {
            TEXT_TYPES.contains(&kind) || ["+json", "+xml", "+yaml"].iter().any(|end| kind.ends_with(end))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use chatwright_core::content::Metadata;

    use super::*;

    fn file(media_type: &str, name: Option<&str>, bytes: &[u8]) -> Part {
        let data = FileData::Base64(STANDARD.encode(bytes).into());
        Part::File {
            media_type: media_type.into(),
            name: name.map(Into::into),
            data,
            metadata: Metadata::new(),
        }
    }

    fn sent(role: Role, part: Part) -> Part {
        let mut message = Message::new(role, vec![part]);
        read_message(&mut message);
        message.content[0].clone()
    }

    #[test]
    fn instructions_stand_in_one_order_before_everything_else() {
        let says = |role, text: &str| Message::new(role, vec![Part::text(text)]);
        let history =
            vec![says(Role::System, "host"), says(Role::User, "Hi"), says(Role::System, "host, later")];
        let mut sent = ValidHistory::from(history).into_messages();
        instruct(&mut sent, says(Role::System, "own"));
        instruct(&mut sent, guidance());
        let expected = [
            says(Role::System, "host"),
            says(Role::System, "host, later"),
            says(Role::System, "own"),
            guidance(),
            says(Role::User, "Hi"),
        ];
        assert_eq!(sent, expected);
    }

    #[test]
    fn a_file_that_is_text_is_sent_as_text_under_its_name() {
        for (media_type, name, words, expected) in [
            ("text/csv", Some("a.csv"), "a,b", "File a.csv (text/csv):\na,b"),
            (
                "Application/JSON; charset=utf-8",
                Some("a\nb.json"),
                "{}",
                "File a b.json (Application/JSON; charset=utf-8):\n{}",
            ),
            ("application/ld+json", None, "é", "File without a name (application/ld+json):\né"),
            ("application/toml", Some("a"), "\u{feff}x = 1", "File a (application/toml):\nx = 1"),
            ("text/x-rust", Some("a.rs"), "", "File a.rs (text/x-rust):\n"),
        ] {
            assert_eq!(sent(Role::User, file(media_type, name, words.as_bytes())), Part::text(expected));
        }
        let given = |output| Part::ToolResult {
            call_id: "a".into(),
            name: "read".into(),
            output,
            provider_executed: false,
            metadata: Metadata::new(),
        };
        let media = |text: Option<&str>| Output::Media {
            media_type: "text/plain".into(),
            data: FileData::Base64(STANDARD.encode("words").into()),
            text: text.map(str::to_owned),
        };
        assert_eq!(sent(Role::Tool, given(media(Some("Read:")))), given(Output::text("Read:\n\nwords")));
        assert_eq!(sent(Role::Tool, given(media(None))), given(Output::text("words")));
    }

    #[test]
    fn a_file_that_is_no_text_stays_a_file() {
        let address = Part::File {
            media_type: "text/plain".into(),
            name: None,
            data: FileData::Url("https://example.org/a.txt".into()),
            metadata: Metadata::new(),
        };
        let torn = Part::File {
            media_type: "text/plain".into(),
            name: None,
            data: FileData::Base64("no base64!".into()),
            metadata: Metadata::new(),
        };
        for part in [
            file("image/svg+xml", None, b"<svg/>"),
            file("application/pdf", None, b"%PDF"),
            file("application/octet-stream", None, b"words"),
            file("text/plain", None, b"\xff\xfe"),
            file("text/plain", None, b"h\0i\0"),
            address,
            torn,
        ] {
            assert_eq!(sent(Role::User, part.clone()), part);
            assert_eq!(sent(Role::Assistant, part.clone()), part);
        }
    }
}

//! How many tokens something has, before a provider says so.

use chatwright_core::content::{Output, Part};
use chatwright_core::model::{Message, Usage};

/// Bytes of text that count as a token where nothing better is known. English has about four; it is better to expect too many.
const BYTES_PER_TOKEN: usize = 3;
/// Bytes of text that a picture or another file counts as: what it takes says little of what it costs.
const FILE_BYTES: usize = 1_500 * BYTES_PER_TOKEN;

/// How many tokens so many bytes of text have.
pub(crate) fn of_bytes(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

/// How many bytes of text have so many tokens.
pub(crate) fn in_bytes(tokens: u64) -> usize {
    usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_TOKEN)
}

/// The tokens of a prompt, as a provider counted them.
pub(crate) fn of_prompt(usage: &Usage) -> Option<u64> {
    let counts = [usage.input, usage.cache_read, usage.cache_write];
    let sum = counts.into_iter().flatten().fold(0, u64::saturating_add);
    (sum > 0).then_some(sum)
}

/// About how many tokens a prompt has of which some bytes are known to have so many.
pub(crate) fn of_grown(bytes: usize, known: Option<(usize, u64)>) -> u64 {
    let Some((before, tokens)) = known.filter(|(before, _)| *before > 0) else { return of_bytes(bytes) };
    let grown = bytes.saturating_sub(before) as u64;
    let scaled = (u128::from(grown) * u128::from(tokens)).div_ceil(before as u128);
    // Tools are counted in the one and not in the other: behind a short prompt all text would seem dear.
    let scaled = scaled.clamp(u128::from(grown.div_ceil(8)), u128::from(grown));
    tokens.saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX))
}

pub(crate) fn bytes_of(messages: &[Message]) -> usize {
    messages.iter().flat_map(|message| message.content.iter()).map(bytes).sum()
}

/// How much a part says.
pub(crate) fn bytes(part: &Part) -> usize {
    match part {
        Part::Text { text, .. } | Part::Reasoning { text, .. } => text.len(),
        Part::ToolCall { name, input, .. } => name.len() + input.len(),
        Part::ToolResult { output, .. } => of_output(output),
        Part::Unknown(value) => value.to_string().len(),
        Part::File { .. } => FILE_BYTES,
        _ => 0,
    }
}

/// How much a result says.
pub(crate) fn of_output(output: &Output) -> usize {
    match output {
        Output::Text { text } | Output::Error { text } => text.len(),
        Output::Media { text, .. } => FILE_BYTES + text.as_deref().map_or(0, str::len),
        _ => FILE_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_the_beginning_tells_what_the_rest_has() {
        assert_eq!(of_grown(3_000, None), 1_000);
        assert_eq!(of_grown(3_000, Some((2_000, 500))), 750, "four bytes a token");
        assert_eq!(of_grown(3_000, Some((0, 500))), 1_000);
        assert_eq!(of_grown(2_000, Some((2_000, 500))), 500);
        assert_eq!(of_grown(3_000, Some((100, 5_000))), 7_900, "most of it is tools");
        assert_eq!(of_grown(3_000, Some((2_000, 1))), 126, "nothing has so few");
    }
}

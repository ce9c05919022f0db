//! Strings of JSON and what they mean.

use std::borrow::Cow;

/// What a string of JSON means. A backslash that escapes nothing stands for itself, half a surrogate pair for U+FFFD.
pub(super) fn unescaped(raw: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', raw.as_bytes()) else { return Cow::Borrowed(raw) };
    let mut plain = String::with_capacity(raw.len());
    let (mut rest, mut at) = (raw, first);
    loop {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let c = match rest.as_bytes().get(1) {
            Some(b'u') => {
                let (c, size) = unicode(rest);
                plain.push(c);
                rest = &rest[size..];
                let Some(next) = memchr::memchr(b'\\', rest.as_bytes()) else { break };
                at = next;
                continue;
            }
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte.into(),
            _ => {
                plain.push('\\');
                rest = &rest[1..];
                let Some(next) = memchr::memchr(b'\\', rest.as_bytes()) else { break };
                at = next;
                continue;
            }
        };
        plain.push(c);
        rest = &rest[2..];
        let Some(next) = memchr::memchr(b'\\', rest.as_bytes()) else { break };
        at = next;
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The character at `\uXXXX` and how long its escape is.
fn unicode(text: &str) -> (char, usize) {
    let unit = |text: &str| {
        text.strip_prefix("\\u")
            .and_then(|digits| digits.get(..4))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    let Some(high) = unit(text) else {
        // Cut: the digits that are there mean nothing.
        let digits = text.as_bytes()[2..].iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
        return (char::REPLACEMENT_CHARACTER, 2 + digits);
    };
    if (0xd800..0xdc00).contains(&high)
        && let Some(low @ 0xdc00..0xe000) = text.get(6..).and_then(unit)
    {
        let c = char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
        return (c.unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

/// A text as the inside of a string of JSON.
pub(super) fn escaped(plain: &str) -> String {
    let quoted = serde_json::Value::from(plain).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_they_are_meant_also_where_they_are_cut() {
        for (raw, plain) in [
            ("plain", "plain"),
            (r#"\"\\ \/ \b\f\n\r\t"#, "\"\\ / \u{8}\u{c}\n\r\t"),
            (r"\u0041\u00e9x", "Aéx"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83d!\udc00", "\u{fffd}!\u{fffd}"),
            (r"a\u00", "a\u{fffd}"),
            (r"a\", r"a\"),
            (r"\xé", r"\xé"),
        ] {
            assert_eq!(unescaped(raw), plain, "{raw}");
        }
        assert_eq!(escaped("\"\\\n\u{1}é"), r#"\"\\\n\u0001é"#);
    }
}

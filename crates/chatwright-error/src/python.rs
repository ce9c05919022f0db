//! Objects as Python prints them: `{'type': 'error', 'code': None}`.

/// The object at the beginning of `text` as JSON. Time linear in its length; what is no such object gives what is no JSON.
pub(crate) fn to_json(text: &str) -> String {
    let mut json = String::with_capacity(text.len().min(4096));
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            '\'' | '"' => rest = string(&rest[1..], first, &mut json),
            'a'..='z' | 'A'..='Z' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                json.push_str(match &rest[..end] {
                    "None" => "null",
                    "True" => "true",
                    "False" => "false",
                    // The prefix of bytes, or something that is no JSON anyway.
                    "b" => "",
                    other => other,
                });
                rest = &rest[end..];
            }
            _ => {
                match first {
                    '{' | '[' => depth += 1,
                    '}' | ']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                json.push(first);
                rest = &rest[first.len_utf8()..];
                if depth == 0 {
                    break;
                }
            }
        }
    }
    json
}

/// Copies the string that `text` begins with, up to its closing quote, and gives what follows.
fn string<'a>(text: &'a str, quote: char, json: &mut String) -> &'a str {
    json.push('"');
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            _ if c == quote => break,
            '"' => json.push_str("\\\""),
            '\\' => match chars.next() {
                Some('\'') => json.push('\''),
                Some('x') => json.push_str("\\u00"),
                Some(c @ ('"' | '\\' | 'n' | 't' | 'r' | 'u')) => json.extend(['\\', c]),
                Some(c) => json.extend(['\\', '\\', c]),
                None => break,
            },
            // JSON has no bare control characters in its strings.
            c if c.is_control() => json.push(' '),
            c => json.push(c),
        }
    }
    json.push('"');
    chars.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_prints_becomes_json() {
        for (text, json) in [
            ("{'a': None, 'b': [True, False, 1.5]} and more", r#"{"a": null, "b": [true, false, 1.5]}"#),
            (
                r#"{'a': "it's", 'b': 'say "no"', 'c': 'it\'s'}"#,
                r#"{"a": "it's", "b": "say \"no\"", "c": "it's"}"#,
            ),
            (r"{'a': 'x\ny \x41 \\ \d', 'b': b'z'}", r#"{"a": "x\ny \u0041 \\ \\d", "b": "z"}"#),
            ("{'a': 'é", "{\"a\": \"é\""),
        ] {
            assert_eq!(to_json(text), json);
        }
    }
}

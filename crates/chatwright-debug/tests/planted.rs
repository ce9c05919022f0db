//! Secrets planted everywhere, in every spelling, cut anywhere: none comes out.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chatwright_core::port::HttpHeader;
use chatwright_debug::redact::{Captured, Redactor, Rules};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A longer piece of a secret may not come out.
const PIECE_BYTES: usize = 8;

fn typed(content_type: &str) -> [HttpHeader; 1] {
    [HttpHeader { name: "content-type".into(), value: content_type.into(), sensitive: false }]
}

/// One that knows a secret.
fn knowing(secret: &str) -> Redactor {
    static BY_NAME: LazyLock<Redactor> = LazyLock::new(|| Redactor::new(&Rules::default()).expect("valid"));
    BY_NAME.with_secrets([secret])
}

/// A secret as a host registers it: no shape, any character.
fn registered() -> impl Strategy<Value = String> {
    "[ZQXJ][a-z0-9 \"\\\\/&<>'=+%é@:.]{6,30}[ZQXJ]"
}

/// A key that is known by its looks.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "sk-[A-Za-z0-9]{20,48}77",
        "sk-ant-api03-[A-Za-z0-9_-]{60}[0-9]{2}x",
        "AKIA[A-Z0-9]{15}7",
        "ghp_[A-Za-z0-9]{34}77",
        "AIza[A-Za-z0-9_-]{33}77",
        "eyJ[A-Za-z0-9]{20}\\.eyJ[A-Za-z0-9]{20}\\.[A-Za-z0-9]{20}",
    ]
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// The inside of a JSON string in which some characters are escaped that need not be.
fn spelled(text: &str, mask: u64) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        let code = u32::from(c);
        match c {
            _ if mask >> (at % 64) & 1 == 1 && code < 0x10000 => out.push_str(&format!("\\u{code:04x}")),
            '/' if mask & 1 == 1 => out.push_str("\\/"),
            '"' | '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A text in which the secret stands in one of its encodings.
fn placed(secret: &str, how: usize) -> String {
    match how {
        0 => format!("it is {secret}, really"),
        1 => format!("see https://host.example/p?n=1&m={}&o=2", percent(secret)),
        2 => format!("see https://host.example/{}/x", percent(secret)),
        3 => format!("sent {}!", STANDARD.encode(format!("user:{secret}"))),
        4 => format!("sent {}!", URL_SAFE_NO_PAD.encode(format!("me:{secret}\n"))),
        5 => json!({"a": [{"b": secret}]}).to_string(),
        6 => json!({"a": json!({"b": secret}).to_string()}).to_string(),
        7 => format!(
            "<p>{}</p>",
            secret
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;")
                .replace('\'', "&#39;")
        ),
        _ => secret.to_owned(),
    }
}
const PLACES: usize = 9;

/// Bodies of all media types that hold a text, some of them in pieces.
fn bodies(text: &str, mask: u64, cuts: &[usize]) -> Vec<(&'static str, String)> {
    let inside = spelled(text, mask);
    let leaf = format!("{{\"id\":\"1\",\"m\":[{{\"role\":\"user\",\"content\":\"{inside}\"}}],\"n\":1.50}}");
    let name = format!("{{\"a\":{{\"{inside}\":[1,2]}}}}");
    let mut pieces = Vec::new();
    let mut from = 0;
    let mut places: Vec<usize> =
        cuts.iter().map(|cut| cut % (text.len() + 1)).filter(|&at| text.is_char_boundary(at)).collect();
    places.sort_unstable();
    for to in places.into_iter().chain([text.len()]) {
        pieces.push(&text[from..to]);
        from = to;
    }
    let chat: String = pieces
        .iter()
        .enumerate()
        .map(|(n, piece)| {
            let other =
                format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"w{n}\"}},\"index\":1}}]}}\n\n");
            let this = format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}},\"index\":0}}]}}\r\n\r\n",
                spelled(piece, mask)
            );
            other + &this
        })
        .collect();
    let blocks: String = pieces.iter().map(|piece| {
        format!("event: d\ndata: {{\"type\":\"d\",\ndata: \"index\":3,\"delta\":{{\"partial_json\":\"{}\"}}}}\n\n", spelled(piece, mask))
    }).collect();
    vec![
        ("application/json", leaf.clone()),
        ("application/json", name),
        ("", leaf.clone()),
        ("application/x-ndjson", format!("{{\"n\":1}}\n{leaf}\n{{\"n\":2}}\n")),
        ("text/event-stream", format!(": c\n\ndata: {leaf}\n\ndata: [DONE]\n\n")),
        ("text/event-stream", chat),
        ("text/event-stream", blocks),
        ("text/plain", text.replace('\n', " ")),
        ("text/html", format!("<b>{text}</b>")),
    ]
}

/// What a reader of the output could make of it: as it is, unescaped, with the pieces of a stream put together.
fn readings(text: &str) -> Vec<String> {
    let mut all = vec![text.to_owned()];
    let mut spelled = String::new();
    for line in text.lines() {
        let data = line.trim_start_matches("data: ");
        for part in data.split("\"content\":\"").skip(1).chain(data.split("\"partial_json\":\"").skip(1)) {
            let part = part.rsplit_once("\"}").map_or(part, |(part, _)| part);
            if !part.starts_with('w') {
                spelled.push_str(part);
            }
        }
    }
    all.push(spelled);
    for at in 0..all.len() {
        let mut plain = String::new();
        let mut rest = &*all[at];
        while let Some(found) = rest.find("\\u") {
            plain.push_str(&rest[..found]);
            let code = rest.get(found + 2..found + 6).and_then(|digits| u32::from_str_radix(digits, 16).ok());
            plain.extend(code.and_then(char::from_u32));
            rest = &rest[found + if code.is_some() { 6 } else { 2 }..];
        }
        plain.push_str(rest);
        all.push(plain.replace("\\/", "/").replace("\\\"", "\"").replace("\\\\", "\\"));
        all.push(plain);
    }
    all
}

/// The pieces of a secret and of its encodings that may not come out.
fn pieces(secret: &str) -> Vec<Vec<u8>> {
    let encoded = |shift: usize| {
        let text = STANDARD.encode([&[0; 3][..shift], secret.as_bytes()].concat());
        text[shift * 2..(shift + secret.len()) * 8 / 6].to_owned()
    };
    let texts = [secret.to_owned(), percent(secret), encoded(0), encoded(1), encoded(2)];
    texts.iter().flat_map(|text| text.as_bytes().windows(PIECE_BYTES).map(<[u8]>::to_vec)).collect()
}

fn leak(out: &str, secret: &str, without: &str) -> Option<String> {
    let all = readings(out);
    pieces(secret)
        .into_iter()
        .find(|piece| {
            let is_in = |text: &str| text.as_bytes().windows(piece.len()).any(|part| part == &piece[..]);
            !is_in(without) && all.iter().any(|text| is_in(text))
        })
        .map(|piece| String::from_utf8_lossy(&piece).into_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_planted_secret_comes_out_of_any_body_in_any_spelling_cut_anywhere(
        secret in prop_oneof![registered(), key()],
        how in 0..PLACES,
        mask in prop_oneof![Just(0), any::<u64>()],
        cuts in vec(0..200_usize, 0..6),
        head in 0.0..1.0,
        tail in 0.0..1.0,
    ) {
        let redactor = knowing(&secret);
        let filler = "s".repeat(secret.len());
        let frame = placed(&filler, how);
        for ((media, bytes), (_, without)) in
            bodies(&placed(&secret, how), mask, &cuts).into_iter().zip(bodies(&frame, 0, &cuts))
        {
            let whole = redactor.body(&typed(media), &Captured::whole(bytes.as_str()));
            prop_assert_eq!(leak(&whole.text, &secret, &without), None, "{}: {} gives {}", media, bytes, whole.text);
            let (head, tail) = ((bytes.len() as f64 * head) as usize, (bytes.len() as f64 * tail) as usize);
            let (head, tail) = (head.min(tail), head.max(tail));
            let captured = Captured {
                head: bytes.as_bytes()[..head].to_vec(),
                tail: bytes.as_bytes()[tail..].to_vec(),
                dropped: (tail - head).max(1) as u64,
            };
            let cut = redactor.body(&typed(media), &captured).text;
            prop_assert_eq!(leak(&cut, &secret, &without), None, "{}: {} cut at {} and {} gives {}", media, bytes, head, tail, cut);
        }
    }

    #[test]
    fn no_planted_secret_comes_out_of_a_header_an_address_a_prompt_or_an_error(
        secret in prop_oneof![registered(), key()],
        how in 0..PLACES,
    ) {
        let redactor = knowing(&secret);
        let text = placed(&secret, how);
        let mut prompt = json!({"a": [text, {text.clone(): 1}]});
        redactor.value(&mut prompt);
        let header = HttpHeader { name: "x".into(), value: text.as_str().into(), sensitive: false };
        let url = format!("https://h/{0}?a={0}#{0}", percent(&text));
        for out in [
            redactor.text(&text).into_owned(),
            redactor.error(&text),
            redactor.url(&url),
            redactor.headers(&[header])[0].1.to_string(),
            prompt.to_string(),
        ] {
            prop_assert_eq!(leak(&out, &secret, ""), None, "{} gives {}", text, out);
        }
    }

    #[test]
    fn what_a_secret_name_holds_never_comes_out(
        secret in "hush[a-z]{8,20}",
        name in prop::sample::select(vec!["password", "accessToken", "x-api-key", "client_secret", "jwt", "COOKIE"]),
        shape in 0..5_usize,
        head in 0.0..1.0,
        tail in 0.0..1.0,
    ) {
        let redactor = knowing("");
        let value = match shape {
            0 => json!([1, {"x": secret}]),
            1 => json!({"x": {"y": secret}, "z": 1}),
            _ => json!(secret),
        };
        let deep = json!({"a": [{"n": 1.5, name: value, "m": "words and words"}], "end": "of all"}).to_string();
        let nested = json!({"arguments": deep, "n": 1}).to_string();
        let query = format!("a=1&{name}={secret}&b=2");
        for (media, bytes) in [
            ("application/json", deep.clone()),
            ("application/json", nested.clone()),
            ("application/x-ndjson", format!("{{}}\n{deep}\n{nested}")),
            ("text/event-stream", format!("data: {deep}\n\ndata: {nested}\n\n")),
            ("application/x-www-form-urlencoded", query),
        ] {
            let whole = redactor.body(&typed(media), &Captured::whole(bytes.as_str())).text;
            prop_assert!(!whole.contains(&secret), "{bytes} gives {whole}");
            if media.ends_with("json") && !media.contains("nd") {
                prop_assert!(serde_json::from_str::<Value>(&whole).is_ok(), "{bytes} gives {whole}");
            }
            let (head, tail) = ((bytes.len() as f64 * head) as usize, (bytes.len() as f64 * tail) as usize);
            let (head, tail) = (head.min(tail), head.max(tail));
            let captured = Captured {
                head: bytes.as_bytes()[..head].to_vec(),
                tail: bytes.as_bytes()[tail..].to_vec(),
                dropped: (tail - head).max(1) as u64,
            };
            if shape > 1 {
                let cut = redactor.body(&typed(media), &captured).text;
                prop_assert_eq!(leak(&cut, &secret, ""), None, "{} cut at {} and {} gives {}", bytes, head, tail, cut);
            }
        }
        let url = redactor.url(&format!("https://h/p?n=1&{name}={secret}"));
        prop_assert_eq!(url, format!("https://h/p?n=1&{}=%5BREDACTED%5D", name));
        let header = HttpHeader { name: name.into(), value: secret.as_str().into(), sensitive: false };
        prop_assert_eq!(&*redactor.headers(&[header])[0].1, "[REDACTED]");
    }

    #[test]
    fn without_a_secret_no_byte_changes(tree in tree(), blanks in vec(prop::sample::select(vec!["", " ", "\n", "\t", "\r\n "]), 8)) {
        let redactor = knowing("not in any of them");
        let mut text = String::new();
        print(&tree, &blanks, &mut text);
        prop_assert_eq!(&*redactor.json(&text), &text);
        let line = tree.to_string();
        for (media, bytes) in [
            ("application/json", text.clone()),
            ("application/x-ndjson", format!("{line}\n\r\n{line}")),
            ("text/event-stream", format!("event: e\r\ndata: {line}\r\n\r\n: c\ndata:{line}\ndata: \n\nid: 1\n\ndata: {line}")),
            ("text/plain", text.clone()),
        ] {
            let out = redactor.body(&typed(media), &Captured::whole(bytes.as_str()));
            prop_assert!(out.is_exact, "{} gives {}", bytes, out.text);
        }
        let mut value = tree.clone();
        redactor.value(&mut value);
        prop_assert_eq!(value, tree);
    }

    #[test]
    fn nothing_panics_and_json_stays_json(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..200),
            vec(prop::sample::select(TOKENS.to_vec()), 0..40).prop_map(|tokens| tokens.concat().into_bytes()),
        ],
        media in prop::sample::select(vec!["", "text/plain", "text/event-stream", "application/x-ndjson", "application/x-www-form-urlencoded"]),
        cut in 0..200_usize,
    ) {
        let redactor = knowing("secret").with_secrets(["\"a\":1", "é\u{1f600}é"]);
        let text = String::from_utf8_lossy(&bytes);
        let out = redactor.json(&text);
        if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
            prop_assert!(!out.contains("redacted for safety"), "{} gives {}", text, out);
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&out).is_ok(), "{} gives {}", text, out);
        }
        let at = cut.min(bytes.len());
        let captured = Captured { head: bytes[..at].to_vec(), tail: bytes[at..].to_vec(), dropped: (cut % 2) as u64 };
        redactor.body(&typed(media), &captured);
        let _ = (redactor.text(&text), redactor.error(&text), redactor.url(&text));
        redactor.for_exchange(&typed(&text), &text);
        let once = redactor.text(&text).into_owned();
        prop_assert!(!once.contains("secret"), "{} gives {}", text, once);
    }
}

const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u00",
    "\\ud83d",
    "\"a\"",
    "\"a\":1",
    "\"token\":",
    "\"password\":",
    "1",
    "-1.5e9",
    "true",
    "nul",
    " ",
    "\n",
    "\r\n",
    "data: ",
    "data:",
    "event: x",
    "https://",
    "u:p@",
    "h/",
    "?key=",
    "&",
    "%",
    "%41",
    "sk-",
    "sk-abcdef1234567890",
    "secret",
    "sec",
    "ret",
    "é",
    "\u{1f600}",
    "Bearer ",
    "-----BEGIN ",
    "PRIVATE KEY-----",
    "-----END ",
    "eyJ",
    ".",
    "\"index\":1,",
    "=",
    "{}",
];

fn tree() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "content",
        "max_tokens",
        "total_tokens",
        "index",
        "signature",
        "text",
        "key",
        "id",
        "délta",
        "prompt_cache_key",
        "code",
    ]);
    let leaf = prop_oneof![
        "[a-zA-Z ,.!?\"\\\\/\n\té😀]{0,40}".prop_map(Value::from),
        "[A-Za-z0-9+/]{300}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!(true)),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((name.clone(), inner), 0..4).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

/// JSON with blanks where they may stand.
fn print(value: &Value, blanks: &[&str], out: &mut String) {
    let blank = |out: &mut String| out.push_str(blanks[out.len() % blanks.len()]);
    blank(out);
    match value {
        Value::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                print(value, blanks, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                blank(out);
                out.push_str(&Value::from(name.as_str()).to_string());
                blank(out);
                out.push(':');
                print(value, blanks, out);
            }
            out.push('}');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
    blank(out);
}

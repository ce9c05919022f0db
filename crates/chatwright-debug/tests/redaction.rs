//! What is written down holds no secret, and everything else as it was.

use std::borrow::Cow;

use chatwright_core::port::HttpHeader;
use chatwright_debug::redact::{
    COMPRESSED, Captured, EXTRA_JSON, InvalidRules, InvalidSecret, NOT_JSON, Redacted, Redactor, Rules,
};
use secrecy::SecretString;
use serde_json::json;

fn redactor() -> Redactor {
    Redactor::new(&Rules::default()).expect("the default rules are valid")
}

fn header(name: &str, value: &str) -> HttpHeader {
    HttpHeader { name: name.into(), value: value.into(), sensitive: false }
}

fn headers(list: &[(&str, &str)]) -> Vec<HttpHeader> {
    list.iter().map(|(name, value)| header(name, value)).collect()
}

fn redacted(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = redactor().headers(&headers(list));
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn body(content_type: &str, bytes: &str) -> Redacted {
    redactor().body(&headers(&[("content-type", content_type)]), &Captured::whole(bytes))
}

fn knowing(secret: &str) -> Redactor {
    let redactor = redactor();
    redactor.register(&SecretString::from(secret)).expect("a valid secret");
    redactor
}

#[test]
fn headers_of_secrets_go_and_all_others_stay_in_their_order() {
    assert_eq!(redacted(&[]), []);
    for name in [
        "authorization",
        "Authorization",
        "x-api-key",
        "X-API-Key",
        "api-key",
        "proxy-authorization",
        "cookie",
        "Set-Cookie",
        "token",
        "X-Token",
        "x-auth-token",
        "my-secret",
        "x-bearer-thing",
        "session-token",
        "custom-api-key",
        "apikey",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
        "x-amz-security-token",
        "x-hub-signature",
        "client-secret",
    ] {
        let (kept, gone) = (("accept", "a/b"), (name, "hunter"));
        let expected = [("accept", "a/b"), (&*name.to_ascii_lowercase(), "[REDACTED]")];
        assert_eq!(
            redacted(&[kept, gone]),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}

#[test]
fn rate_limits_request_ids_and_what_describes_a_body_stay() {
    let mut names: Vec<String> = [
        "retry-after",
        "retry-after-ms",
        "x-request-id",
        "request-id",
        "content-type",
        "content-length",
        "date",
        "openai-organization",
        "openai-processing-ms",
        "idempotency-key",
        "cf-ray",
        "anthropic-version",
        "x-ratelimit-limit-project-tokens",
        "x-ms-region",
        "x-total-tokens",
    ]
    .map(str::to_owned)
    .to_vec();
    for what in ["limit", "remaining", "reset"] {
        for of in ["requests", "tokens", "input-tokens", "output-tokens"] {
            names.push(format!("anthropic-ratelimit-{of}-{what}"));
            names.push(format!("x-ratelimit-{what}-{of}"));
        }
        for of in ["priority", "fast", "whatever-comes"] {
            names.push(format!("anthropic-{of}-input-tokens-{what}"));
            names.push(format!("anthropic-{of}-output-tokens-{what}"));
        }
    }
    for name in names {
        assert_eq!(redacted(&[(&name, "1000")]), [(name.clone(), "1000".to_owned())]);
    }
}

#[test]
fn the_values_of_one_header_are_joined_and_the_input_is_not_touched() {
    let input = headers(&[("Via", "a"), ("x", "1"), ("via", "b")]);
    let before = input.clone();
    let pairs = redactor().headers(&input);
    assert_eq!(pairs, [("via".into(), "a, b".into()), ("x".into(), "1".into())]);
    assert_eq!(input, before);
}

#[test]
fn a_header_that_was_set_as_a_secret_goes_whatever_it_is_called_and_whatever_the_rules_keep() {
    let mut one = header("x-request-id", "r");
    one.sensitive = true;
    assert_eq!(redactor().headers(&[one]), [("x-request-id".into(), "[REDACTED]".into())]);
    let rules: Rules =
        serde_json::from_value(json!({"headers_kept": ["authorization", "x-token"]})).expect("settings");
    let pairs =
        Redactor::new(&rules).expect("valid").headers(&headers(&[("authorization", "a"), ("x-token", "b")]));
    assert_eq!(pairs, [("authorization".into(), "[REDACTED]".into()), ("x-token".into(), "b".into())]);
}

#[test]
fn values_of_headers_that_stay_hold_no_secret() {
    assert_eq!(
        redacted(&[
            ("location", "/cb?code=abc&n=1"),
            ("link", "<https://u:p@h/x?sig=1>"),
            ("x", "sk-abcdef1234567890")
        ]),
        [
            ("location", "/cb?code=%5BREDACTED%5D&n=1"),
            ("link", "<https://h/x?sig=%5BREDACTED%5D>"),
            ("x", "[REDACTED]")
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
}

#[test]
fn what_a_request_sent_as_a_secret_is_one_wherever_the_server_sends_it_back() {
    let mut own = header("x-team", "violet-badger");
    own.sensitive = true;
    let sent = [header("authorization", "Bearer plainwordskey"), own, header("cookie", "a=crumbly; b=2")];
    let redactor = redactor();
    let exchange = redactor.for_exchange(&sent, "https://me:hushhush@h/x?key=querykey&n=visible");
    let echo = "plainwordskey violet-badger crumbly hushhush querykey visible";
    assert_eq!(exchange.text(echo), "[REDACTED] [REDACTED] [REDACTED] [REDACTED] [REDACTED] visible");
    assert_eq!(redactor.text(echo), echo, "another exchange knows nothing of it");
    let basic = redactor.for_exchange(&[header("authorization", "Basic bWU6b3BlbnNlc2FtZQ==")], "");
    assert_eq!(basic.text("is opensesame yours?"), "is [REDACTED] yours?");
}

#[test]
fn addresses_lose_their_user_and_their_secret_parameters_and_keep_the_rest() {
    for (url, clean) in [
        ("https://h/p?api_key=1&n=2", "https://h/p?api_key=%5BREDACTED%5D&n=2"),
        ("https://me:pw@h:8080/p", "https://h:8080/p"),
        ("https://me:p/w@h/p", "https://h/p"),
        (
            "https://h/p?n=1&key=x&m=a%20b&sig=y#top",
            "https://h/p?n=1&key=%5BREDACTED%5D&m=a%20b&sig=%5BREDACTED%5D#top",
        ),
        (
            "https://h/p?X-Amz-Signature=a&X-Amz-Date=b",
            "https://h/p?X-Amz-Signature=%5BREDACTED%5D&X-Amz-Date=b",
        ),
        (
            "https://h/p?code=a&state=b;signature=c",
            "https://h/p?code=%5BREDACTED%5D&state=b;signature=%5BREDACTED%5D",
        ),
        (
            "https://h/p?%6bey=x&access%5Ftoken=y",
            "https://h/p?%6bey=%5BREDACTED%5D&access%5Ftoken=%5BREDACTED%5D",
        ),
        ("https://h/cb#access_token=a&expires=1", "https://h/cb#access_token=%5BREDACTED%5D&expires=1"),
        ("https://h/p?to=https%3A%2F%2Fme%3Apw%40i%2F&n=1", "https://h/p?to=%5BREDACTED%5D&n=1"),
        ("https://h/bot/sk-abcdef1234567890/x", "https://h/bot/%5BREDACTED%5D/x"),
        ("https://h/bot/%73k-abcdef1234567890/x", "https://h/bot/%5BREDACTED%5D/x"),
        ("/v1/models?key=x", "/v1/models?key=%5BREDACTED%5D"),
        ("https://h/p?max_tokens=5&key=", "https://h/p?max_tokens=5&key="),
        ("https://[::1]:80/p?n=1", "https://[::1]:80/p?n=1"),
        ("", ""),
    ] {
        assert_eq!(redactor().url(url), clean, "{url}");
    }
}

#[test]
fn addresses_in_what_an_error_says_are_cleaned_and_unreadable_ones_go() {
    for (text, clean) in [
        (
            "GET https://me:pw@h/p?api_key=1&n=2: refused",
            "GET https://h/p?api_key=%5BREDACTED%5D&n=2: refused",
        ),
        ("bad \"http://me:pw@ho%zz/x\" there", "bad \"[REDACTED_URL]\" there"),
        ("bad http://{host}:x/p?key=1 there", "bad [REDACTED_URL] there"),
        ("proxy me:hunter2@h.example/x failed", "proxy [REDACTED]@h.example/x failed"),
        ("Incorrect API key provided: abcd1234efgh.", "Incorrect API key provided: [REDACTED]"),
        ("connection refused (os error 111)", "connection refused (os error 111)"),
    ] {
        assert_eq!(redactor().error(text), clean);
    }
    assert_eq!(redactor().text("open http://{host}/p"), "open http://{host}/p", "it hides nothing");
}

#[test]
fn values_of_secret_names_go_whatever_they_are_and_every_other_byte_stays() {
    for (text, clean) in [
        (r#"{"api_key":"x"}"#, r#"{"api_key":"[REDACTED]"}"#),
        (
            r#"{"security_token":"x","securityToken":"y"}"#,
            r#"{"security_token":"[REDACTED]","securityToken":"[REDACTED]"}"#,
        ),
        (r#"{"a":{"b":[{"Password":1.50}]}}"#, r#"{"a":{"b":[{"Password":"[REDACTED]"}]}}"#),
        (
            r#"{"credentials":{"u":[1,"]}"],"p":null}, "n":1e400}"#,
            r#"{"credentials":"[REDACTED]", "n":1e400}"#,
        ),
        (
            r#"[{"jwt":true},{"passphrase":null},{"cookie":[]}]"#,
            r#"[{"jwt":"[REDACTED]"},{"passphrase":"[REDACTED]"},{"cookie":"[REDACTED]"}]"#,
        ),
        (
            "{ \"k\" : 1.0 ,\n\t\"k\":-0, \"client\\u005fsecret\" : 7 }",
            "{ \"k\" : 1.0 ,\n\t\"k\":-0, \"client\\u005fsecret\" : \"[REDACTED]\" }",
        ),
        (
            r#"{"accessToken":"a","access_key":"b","TOKEN":"c"}"#,
            r#"{"accessToken":"[REDACTED]","access_key":"[REDACTED]","TOKEN":"[REDACTED]"}"#,
        ),
        (
            r#"{"tools":[{"type":"mcp","authorization":"a","headers":{"X-Key":"b","Api-Key":"c"}}]}"#,
            r#"{"tools":[{"type":"mcp","authorization":"[REDACTED]","headers":{"X-Key":"b","Api-Key":"[REDACTED]"}}]}"#,
        ),
        (
            r#"{"properties":{"password":{"type":"string","description":"yours","default":"hunter"}}}"#,
            r#"{"properties":{"password":{"type":"string","description":"yours","default":"[REDACTED]"}}}"#,
        ),
    ] {
        assert_eq!(redactor().json(text), clean);
    }
}

#[test]
fn json_without_a_secret_stays_byte_for_byte() {
    for text in [
        "",
        " \n",
        r#"{"max_tokens":1e2,"usage":{"total_tokens":10000000000000000000001,"prompt_tokens_details":{"cached_tokens":0}},"token_count":1}"#,
        r#"{"thinking":"…","signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"}"#,
        r#"{"thoughtSignature":"Cs4BVKhc7","encrypted_content":"gAAAAABn","tool_call_id":"call_1a2b3c4d5e6f7g8h"}"#,
        r#"{"prompt_cache_key":"user-1","safety_identifier":"a1b2c3d4e5f6","key":"k","code":"rate_limit"}"#,
        r#"{"logprobs":{"content":[{"token":"Hello","logprob":-0.1,"top_logprobs":[{"token":"Hi"}]}]}}"#,
        r#"{"a":"\ud800 \/ \u00e9","b":[[],{},[{}]],"c":"password: string, token = getToken()"}"#,
        "\u{feff}[1, 2]",
    ] {
        assert!(matches!(redactor().json(text), Cow::Borrowed(same) if same == text), "{text}");
    }
}

#[test]
fn what_claims_to_be_json_and_is_none_is_not_kept() {
    for text in [
        "<html>",
        "{\"a\":",
        "{\"a\" 1}",
        "[1,]",
        "{,}",
        "nul",
        "\"a",
        "{\"a\":\"\\x\"}",
        "]",
        "{]",
        "01a",
        "{\"password\":}",
    ] {
        assert_eq!(redactor().json(text), NOT_JSON, "{text}");
    }
    for text in ["{}{}", "1 2", "{\"a\":1}\n{\"a\":2}", "{},{}", "[] x"] {
        assert_eq!(redactor().json(text), EXTRA_JSON, "{text}");
    }
    assert_eq!(body("", "<html>").text, NOT_JSON, "no type");
    assert_eq!(body("application/problem+json; charset=utf-8", "oops").text, NOT_JSON);
}

#[test]
fn no_escape_hides_a_secret() {
    let redactor = knowing("correct/horse");
    for text in [
        r#"{"a":"x correct/horse y"}"#,
        r#"{"a":"x correct\/horse y"}"#,
        r#"{"a":"x \u0063orrect\u002fhorse y"}"#,
    ] {
        assert_eq!(redactor.json(text), r#"{"a":"x [REDACTED] y"}"#);
    }
    assert_eq!(redactor.json(r#"{"a":"x \u0073k-abcdef1234567890"}"#), r#"{"a":"x [REDACTED]"}"#);
    assert_eq!(redactor.json(r#"{"correct/horse":1}"#), r#"{"[REDACTED]":1}"#);
    assert_eq!(
        knowing("123456789").json(r#"{"a":123456789,"b":12345678}"#),
        r#"{"a":"[REDACTED]","b":12345678}"#
    );
}

#[test]
fn json_within_strings_of_json_is_cleaned_and_stays_json() {
    let inner =
        json!({"password": "p\"q", "n": 1, "deep": json!({"api_key": 5, "m": 2}).to_string()}).to_string();
    let text = json!({"arguments": inner}).to_string();
    let clean = json!({"arguments": inner.replace(r#""p\"q""#, "\"[REDACTED]\"").replace(":5", ":\\\"[REDACTED]\\\"")});
    assert_eq!(redactor().json(&text), clean.to_string());
}

#[test]
fn prompts_lose_their_secrets_as_values_too() {
    let mut prompt = json!({
        "messages": [{"role": "user", "content": "my key is sk-abcdef1234567890, see https://u:p@h/?token=x&n=1"}],
        "input": "{\"password\": \"hunter\", \"n\": 1.0}",
        "metadata": {"anthropic": {"signature": "abc"}, "api_key": {"a": 1}},
        "number": 12345678,
    });
    knowing("12345678").value(&mut prompt);
    assert_eq!(
        prompt,
        json!({
            "messages": [{"role": "user", "content": "my key is [REDACTED], see https://h/?token=%5BREDACTED%5D&n=1"}],
            "input": "{\"password\": \"[REDACTED]\", \"n\": 1.0}",
            "metadata": {"anthropic": {"signature": "abc"}, "api_key": "[REDACTED]"},
            "number": "[REDACTED]",
        })
    );
}

#[test]
fn ndjson_is_cleaned_line_by_line() {
    let ndjson = |text: &str| body("application/x-ndjson", text);
    assert_eq!(ndjson("").text, "");
    assert_eq!(
        ndjson("{\"token\":1}\r\n\n{\"n\":1.0}\n").text,
        "{\"token\":\"[REDACTED]\"}\r\n\n{\"n\":1.0}\n"
    );
    assert_eq!(ndjson("{\"n\":1}\n<bad>\n{\"n\":2}").text, format!("{{\"n\":1}}\n{NOT_JSON}\n{{\"n\":2}}"));
    let same = "{\"n\":1}\n{\"n\":2}";
    assert_eq!(ndjson(same), Redacted { text: same.to_owned(), is_exact: true });
}

#[test]
fn text_and_pages_lose_what_looks_like_a_secret_and_nothing_else() {
    assert_eq!(
        redactor().text("at https://h/sk-abcdef1234567890/x?m=ghp_0123456789abcdefghij then"),
        "at https://h/%5BREDACTED%5D/x?m=%5BREDACTED%5D then",
    );
    assert_eq!(redactor().text("a%20%73k%2Dabcdef1234567890%21"), "a%20[REDACTED]%21");
    assert_eq!(knowing("correct horse").text("n%63orrect%20%68ors%65!"), "n[REDACTED]!");
    let page = "<p>Key <b>sk-abcdef1234567890</b> of <a href=\"https://u:p@h/?sig=1\">me</a>, password=hunter22&amp;";
    let clean = "<p>Key <b>[REDACTED]</b> of <a href=\"https://h/?sig=%5BREDACTED%5D\">me</a>, password=[REDACTED]&amp;";
    assert_eq!(body("text/html; charset=utf-8", page).text, clean);
    let plain =
        "let token = next_token(); // password: string, api_key: Option<String>\nkey: value, Bearer auth";
    assert_eq!(body("text/plain", plain), Redacted { text: plain.to_owned(), is_exact: true });
    assert_eq!(
        body("application/x-www-form-urlencoded", "a=1&client_secret=b+c&key=d").text,
        "a=1&client_secret=%5BREDACTED%5D&key=%5BREDACTED%5D"
    );
}

#[test]
fn compressed_bodies_are_not_kept_and_broken_text_is_mended() {
    let compressed = headers(&[("content-type", "application/json"), ("content-encoding", "gzip")]);
    assert_eq!(redactor().body(&compressed, &Captured::whole(*b"\x1f\x8b")).text, COMPRESSED);
    let broken = redactor().body(&headers(&[("content-type", "text/plain")]), &Captured::whole(*b"a\xffb"));
    assert_eq!(broken, Redacted { text: "a\u{fffd}b".to_owned(), is_exact: false });
}

#[test]
fn events_without_a_secret_stay_byte_for_byte_and_the_others_lose_only_it() {
    let events = |text: &str| body("text/event-stream", text).text;
    let same = ": hi\r\nevent: x\r\ndata: {\"a\": 1.0,\r\ndata:  \"b\": []}\r\n\r\ndata:[DONE]\n\nid: 7\nretry: 5\n\ndata: plain\n\n";
    assert_eq!(body("text/event-stream", same), Redacted { text: same.to_owned(), is_exact: true });
    assert_eq!(
        events("data: {\"token\":\"x\",\"n\":1.0}\n\ndata: {\"n\":1.0}\n\n"),
        "data: {\"token\":\"[REDACTED]\",\"n\":1.0}\n\ndata: {\"n\":1.0}\n\n"
    );
    assert_eq!(
        events("event: e\ndata: {\"token\":\ndata: \"x\",\ndata: \"n\":1}\n\nid: 1\n\n"),
        "event: e\ndata: {\"token\":\ndata: \"[REDACTED]\",\ndata: \"n\":1}\n\nid: 1\n\n"
    );
    assert_eq!(
        events(": sk-abcdef1234567890\n\ndata: {\"a\": oops\n\n"),
        format!(": [REDACTED]\n\ndata: {NOT_JSON}\n\n")
    );
}

#[test]
fn a_secret_that_a_model_spells_over_many_events_is_taken_from_each() {
    let redactor = knowing("correct horse battery");
    let chunk = |index: u32, text: &str| {
        format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let said = [
        chunk(0, "It is corr"),
        chunk(1, "correct "),
        chunk(0, "ect hor"),
        chunk(1, "course"),
        chunk(0, "se batt"),
        chunk(0, "ery!"),
    ]
    .concat();
    let clean = [
        chunk(0, "It is [REDACTED]"),
        chunk(1, "correct "),
        chunk(0, ""),
        chunk(1, "course"),
        chunk(0, ""),
        chunk(0, "!"),
    ]
    .concat();
    let stream = headers(&[("content-type", "text/event-stream")]);
    assert_eq!(redactor.body(&stream, &Captured::whole(said)).text, clean);
    let delta = |text: &str| format!("data: {}\n\n", json!({"index": 1, "delta": {"partial_json": text}}));
    let said = ["{\"pass", "word\": \"hun", "ter\", \"n\":", " 1}"].map(delta).concat();
    let clean = ["{\"pass", "word\": \"[REDACTED]\"", ", \"n\":", " 1}"].map(delta).concat();
    assert_eq!(redactor.body(&stream, &Captured::whole(said)).text, clean, "by its name");
    let said = ["key s", "k-abcdef", "1234567890."].map(delta).concat();
    assert_eq!(
        redactor.body(&stream, &Captured::whole(said)).text,
        ["key [REDACTED]", "", "."].map(delta).concat(),
        "by its looks"
    );
}

fn cut(bytes: &str, head: usize, tail: usize) -> Captured {
    Captured {
        head: bytes.as_bytes()[..head].to_vec(),
        tail: bytes.as_bytes()[tail..].to_vec(),
        dropped: (tail - head) as u64,
    }
}

#[test]
fn a_gap_is_told_and_no_half_of_a_secret_stays_beside_it() {
    let redactor = knowing("correct horse battery");
    let text = "say correct horse battery or sk-abcdef1234567890 now";
    let plain = headers(&[("content-type", "text/plain")]);
    let clean = |head, tail| redactor.body(&plain, &cut(text, head, tail)).text;
    assert_eq!(clean(12, 18), "say \n[... 21 bytes not kept ...]\n or [REDACTED] now");
    assert_eq!(clean(35, 40), "say [REDACTED] or \n[... 19 bytes not kept ...]\n now");
}

#[test]
fn the_end_of_cut_json_is_kept_only_where_it_can_be_read() {
    let json = headers(&[]);
    let text = r#"{"a":[{"n":1,"text":"one two three"},{"text":"four five","token":"hunter"}],"api_key":"x","end":true}"#;
    let clean = |head: &str, tail: &str| {
        let (head, tail) = (text.find(head).expect("there"), text.rfind(tail).expect("there"));
        redactor().body(&json, &cut(text, head, tail)).text
    };
    assert_eq!(
        clean("\"text", ",{\"text"),
        "{\"a\":[{\"n\":1,\n[... 23 bytes not kept ...]\n,{\"text\":\"four five\",\"token\":\"[REDACTED]\"}],\"api_key\":\"[REDACTED]\",\"end\":true}"
    );
    assert_eq!(
        clean(" two", " five"),
        "{\"a\":[{\"n\":1,\"text\":\"\n[... 29 bytes not kept ...]\n[REDACTED]\",\"token\":\"[REDACTED]\"}],\"api_key\":\"[REDACTED]\",\"end\":true}"
    );
    assert_eq!(
        clean(" two", "ter\""),
        "{\"a\":[{\"n\":1,\"text\":\"\n[... 51 bytes not kept ...]\n\"}],\"api_key\":\"[REDACTED]\",\"end\":true}"
    );
    assert!(clean("nter", "}],").ends_with("bytes not kept ...]\n"), "the gap begins in a secret");
}

#[test]
fn secrets_can_be_forgotten_and_short_ones_are_refused() {
    let redactor = knowing("violet-badger");
    let clone = redactor.clone();
    assert_eq!(clone.text("a violet-badger"), "a [REDACTED]");
    assert!(clone.forget(&SecretString::from("violet-badger")));
    assert!(!clone.forget(&SecretString::from("violet-badger")));
    assert_eq!(redactor.text("a violet-badger"), "a violet-badger");
    assert_eq!(redactor.register(&SecretString::from("short")), Err(InvalidSecret::TooShort));
    assert!(!format!("{:?}", knowing("violet-badger")).contains("violet-badger"));
}

#[test]
fn rules_are_settings() {
    let rules: Rules = serde_json::from_value(json!({"names_removed": ["badge*"], "detect_values": false}))
        .expect("settings");
    let redactor = Redactor::new(&rules).expect("valid");
    assert_eq!(
        redactor.json(r#"{"badgeNumber":1,"api_key":"sk-abcdef1234567890"}"#),
        r#"{"badgeNumber":"[REDACTED]","api_key":"sk-abcdef1234567890"}"#
    );
    let all: Rules = serde_json::from_value(json!({"names_removed": ["*"]})).expect("settings");
    assert_eq!(Redactor::new(&all).err(), Some(InvalidRules::Pattern { pattern: "*".to_owned() }));
    assert_eq!(serde_json::from_value::<Rules>(json!({})).ok(), Some(Rules::default()));
}

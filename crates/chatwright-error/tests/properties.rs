//! Whatever a provider sends: no panic, no secret in the verdict, and the same verdict again.

use std::time::{Duration, SystemTime};

use chatwright_error::{
    Cause, DETAIL_SCALARS_MAX, ErrorInfo, Failure, Layer, Party, RETRY_AFTER_MAX, TimeoutPhase, Verdict,
    classify, redact,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Anything, and things made of what classification looks for.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("status".to_owned()),
        Just("rate limit".to_owned()),
        Just("overloaded_error".to_owned()),
        Just("try again in 1".to_owned()),
        Just("POST \"https://u:p@h/x?k=v\": 400 ".to_owned()),
        Just("{\"error\":{\"message\":\"".to_owned()),
        Just("\"}}".to_owned()),
        Just("(code: ".to_owned()),
        Just("99999999999999999999s".to_owned()),
        Just("é".to_owned()),
        "[0-9]{1,5}",
        "[:={}\\[\\]\"',;./?@ -]{1,3}",
    ];
    prop_oneof![any::<String>(), vec(word, 0..20).prop_map(|words| words.join(" "))]
}

fn body() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just("code"),
        Just("type"),
        Just("status"),
        Just("message"),
        Just("retryDelay"),
        Just("details"),
        Just("error")
    ];
    let leaf = prop_oneof![
        text().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    let tree = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            vec((field.clone(), inner), 0..4).prop_map(|fields| {
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    });
    prop_oneof![tree.prop_map(|tree| tree.to_string()), text()]
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        Just("retry-after".to_owned()),
        Just("retry-after-ms".to_owned()),
        Just("x-should-retry".to_owned()),
        Just("date".to_owned()),
        Just("x-ratelimit-reset-tokens".to_owned()),
        Just("x-ratelimit-remaining-tokens".to_owned()),
        Just("anthropic-ratelimit-tokens-reset".to_owned()),
        Just("x-amzn-errortype".to_owned()),
        any::<String>(),
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("Fri, 15 Jan 2027 08:00:30 GMT".to_owned()),
        Just("2027-01-15T08:00:30Z".to_owned()),
        Just("9999-12-31T23:59:59Z".to_owned()),
        Just("6m0s".to_owned()),
        text(),
    ];
    vec((name, value), 0..6)
}

fn cause() -> impl Strategy<Value = Cause> {
    prop::sample::select(vec![
        Cause::Status,
        Cause::InStream,
        Cause::Truncated,
        Cause::Protocol,
        Cause::Dns,
        Cause::Connect,
        Cause::Tls,
        Cause::Reset,
        Cause::Http2 { reason: 7, remote: true },
        Cause::Http2 { reason: 1, remote: false },
        Cause::Timeout(TimeoutPhase::StartUp),
        Cause::Timeout(TimeoutPhase::Total),
        Cause::Deadline(Party::Unknown),
        Cause::Canceled(Party::Caller),
        Cause::Canceled(Party::Unknown),
        Cause::Request,
        Cause::Other,
    ])
}

prop_compose! {
    fn failure()(
        provider in prop_oneof![Just("openai".to_owned()), Just("Azure OpenAI".to_owned()), any::<String>()],
        cause in cause(),
        layer in prop::sample::select(vec![Layer::Provider, Layer::Provider, Layer::Provider, Layer::Store, Layer::Tool, Layer::Host]),
        status in option::of(0u16..1000),
        headers in headers(),
        body in option::of(body()),
        kind in option::of(text()),
        code in option::of(text()),
        message in option::of(text()),
    ) -> Failure {
        let mut failure = Failure::new(provider, cause).with_layer(layer).with_error(kind.as_deref(), code.as_deref());
        failure.status = status;
        for (name, value) in headers {
            failure = failure.with_header(name, value);
        }
        if let Some(body) = body {
            failure = failure.with_body(body);
        }
        if let Some(message) = message {
            failure = failure.with_message(message);
        }
        failure
    }
}

/// Keys in the shapes that vendors use, and what is only known by where it stands.
fn secret() -> impl Strategy<Value = (String, bool)> {
    prop_oneof![
        "sk-[A-Za-z0-9]{24,48}".prop_map(|key| (key, true)),
        "sk-ant-api03-[A-Za-z0-9_-]{30,60}x".prop_map(|key| (key, true)),
        "AIza[A-Za-z0-9]{35}".prop_map(|key| (key, true)),
        "gsk_[A-Za-z0-9]{40}".prop_map(|key| (key, true)),
        "AKIA[A-Z0-9]{16}".prop_map(|key| (key, true)),
        "xai-[A-Za-z0-9]{40}".prop_map(|key| (key, true)),
        "eyJ[A-Za-z0-9]{20}\\.eyJ[A-Za-z0-9]{20}\\.[A-Za-z0-9]{20}".prop_map(|key| (key, true)),
        "[0-9]{2}[a-f0-9]{29}[a-f]".prop_map(|key| (key, true)),
        "hush[a-z]{6,12}".prop_map(|key| (key, false)),
    ]
}

/// A sentence that holds a secret. One without a shape stands where only secrets stand.
fn told() -> impl Strategy<Value = (String, String)> {
    (secret(), 0usize..16).prop_map(|((secret, shaped), place)| {
        let at = if shaped { place } else { place % 11 };
        let said = match at {
            0 => format!("Authorization: Bearer {secret}"),
            1 => format!("cookie: session={secret}; x=1"),
            2 => format!("GET https://me:{secret}@api.example.com/v1 failed"),
            3 => format!("GET https://api.example.com/v1?api-version=1&sig={secret}#x failed"),
            4 => format!("x-api-key: {secret}"),
            5 => format!("{{\"api_key\":\"{secret}\"}}"),
            6 => format!("client_secret={secret}&grant=1"),
            7 => format!("password: {secret}"),
            8 => format!("dial postgres://me:{secret}@db:5432/x: refused"),
            9 => format!("Set-Cookie: {secret}"),
            10 => format!("/v1/models?key={secret}"),
            11 => format!("the key {secret} is not known"),
            12 => format!("key '{secret}'."),
            13 => secret.clone(),
            14 => format!("[{secret}]"),
            _ => format!("Incorrect API key provided: {secret}. You can find yours at the site."),
        };
        (said, secret)
    })
}

fn everything(verdict: &Verdict) -> String {
    let info = ErrorInfo::from(verdict);
    format!("{verdict:?} {verdict} {}", info.to_stored().unwrap_or_default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_failure_panics_and_every_verdict_is_within_its_bounds(failure in failure()) {
        let verdict = classify(&failure, now());
        prop_assert_eq!(&classify(&failure, now()), &verdict, "the same failure, the same verdict");
        prop_assert!(!verdict.message.is_empty());
        let length = verdict.detail.as_deref().map(|detail| detail.chars().count());
        prop_assert!(length.is_none_or(|length| (1..=DETAIL_SCALARS_MAX).contains(&length)));
        if let Some(wait) = verdict.retry_after {
            prop_assert!(verdict.is_retryable() && wait > Duration::ZERO && wait <= RETRY_AFTER_MAX);
        }
        prop_assert_eq!(verdict.retry_after.is_some(), verdict.advice == chatwright_error::Advice::RetryAfter);
        prop_assert_eq!(ErrorInfo::from_stored(ErrorInfo::from(&verdict).to_stored().as_deref()), Some(ErrorInfo::from(&verdict)));
    }

    #[test]
    fn order_and_letter_case_of_headers_do_not_matter(failure in failure(), turn in 0usize..6, upper in any::<bool>()) {
        let mut other = failure.clone();
        let len = other.headers.len().max(1);
        other.headers.rotate_left(turn % len);
        for (name, _) in &mut other.headers {
            *name = if upper { name.to_ascii_uppercase() } else { name.to_ascii_lowercase() }.into();
        }
        prop_assert_eq!(classify(&failure, now()), classify(&other, now()));
    }

    #[test]
    fn no_planted_secret_reaches_a_verdict((said, secret) in told(), status in option::of(prop::sample::select(vec![400u16, 401, 403, 404, 429, 500, 503]))) {
        let json = serde_json::json!({ "error": { "message": said, "type": said, "code": said } }).to_string();
        let nested = serde_json::json!({ "error": { "message": format!("POST \"https://h/x\": 400 Bad Request {json}") } }).to_string();
        let base = || {
            let mut failure = Failure::new("openai", Cause::Status);
            failure.status = status;
            failure
        };
        let failures = [
            base().with_message(said.clone()),
            base().with_body(said.clone()),
            base().with_body(json.clone()),
            base().with_body(nested),
            base().with_message(format!("received error while streaming: {json}")),
            base().with_error(Some(&said), Some(&said)),
            base().with_header("x-amzn-errortype", said.clone()).with_header("retry-after", said.clone()),
            base().with_layer(Layer::Store).with_message(said.clone()),
        ];
        for failure in failures {
            let words = everything(&classify(&failure, now())) + &format!("{failure:?} {failure}");
            prop_assert!(!words.contains(&secret), "{words}");
        }
    }

    #[test]
    fn a_secret_that_is_known_goes_whatever_its_shape(secret in "[a-z ]{6,12}", body in text(), message in text()) {
        let failure = Failure::new("p", Cause::Status)
            .with_body(format!("{body}{secret}"))
            .with_message(format!("{secret}{message}"))
            .with_header("x", format!("a{secret}b"))
            .with_error(Some(&secret), Some(&secret))
            .without_secret(&secret);
        let words = format!("{:?}{:?}{:?}{:?}{:?}", failure.body, failure.message, failure.headers, failure.error_type, failure.error_code);
        prop_assert!(!words.contains(&secret), "{words}");
    }

    #[test]
    fn what_was_redacted_stays_as_it_is((said, _) in told(), text in text()) {
        for text in [said, text] {
            let once = redact(&text).into_owned();
            prop_assert_eq!(redact(&once), once.as_str());
        }
    }
}

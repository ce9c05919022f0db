//! What vendors, gateways, SDKs and transports really say, and what looks like it.

use std::time::{Duration, SystemTime};

use Kind::{Auth, Config, ContentFilter, Generic, Overloaded, RateLimit, Timeout, UsageLimit};
use chatwright_error::{Advice, Cause, Failure, Kind, Reason, Verdict, classify};

/// Kind, whether to try again, and the reason where one is wanted.
type Wanted = (Kind, bool, Option<Reason>);

const RETRY: Wanted = (Generic, true, None);
const STOP: Wanted = (Generic, false, None);
const INVALID: Wanted = (Generic, false, Some(Reason::InvalidRequest));
const PASSING: Wanted = (Timeout, true, None);
const BROKEN: Wanted = (Timeout, true, Some(Reason::Reset));
const DNS: Wanted = (Timeout, true, Some(Reason::Dns));
const TLS: Wanted = (Config, false, Some(Reason::Tls));
const SLOW: Wanted = (RateLimit, true, None);
const BUSY: Wanted = (Overloaded, true, None);
const EMPTY: Wanted = (UsageLimit, false, Some(Reason::QuotaExhausted));
const KEY: Wanted = (Auth, false, None);
const SETTING: Wanted = (Config, false, None);
const NO_MODEL: Wanted = (Config, false, Some(Reason::ModelNotFound));
const TOO_LONG: Wanted = (Config, false, Some(Reason::ContextOverflow));
const TOO_LARGE: Wanted = (Config, false, Some(Reason::RequestTooLarge));
const FILTERED: Wanted = (ContentFilter, false, None);

fn verdict(failure: &Failure) -> Verdict {
    classify(failure, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
}

/// Compares every row before it complains, so that one run shows all that is wrong.
fn check<'a>(rows: impl IntoIterator<Item = (&'a str, Failure, Wanted)>) {
    let wrong: Vec<_> = rows
        .into_iter()
        .filter_map(|(what, failure, wanted)| {
            let said = verdict(&failure);
            let reason = wanted.2.is_none() || wanted.2 == said.reason;
            let right = said.kind == wanted.0 && said.is_retryable() == wanted.1 && reason;
            (!right).then(|| {
                format!("{what}: wanted {wanted:?}, said {:?} {:?} {:?}", said.kind, said.advice, said.reason)
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn text(said: &str) -> Failure {
    Failure::new("", Cause::Other).with_message(said)
}

fn body(status: u16, said: &str) -> Failure {
    Failure::new("", Cause::Status).with_status(status).with_body(said)
}

#[test]
fn bodies_of_vendors_are_judged_by_their_codes_and_where_they_have_none_by_their_words() {
    let rows: &[(&str, u16, &str, Wanted)] = &[
        (
            "a spend limit at Anthropic",
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-02-01 at 00:00 UTC."}}"#,
            EMPTY,
        ),
        (
            "an empty account at Anthropic",
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
            EMPTY,
        ),
        (
            "an output that Anthropic blocks",
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
            FILTERED,
        ),
        (
            "an organization that Anthropic shut out",
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"This organization has been disabled."}}"#,
            KEY,
        ),
        (
            "a field called timeout",
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"tools.0.timeout: request timed out is no number"}}"#,
            INVALID,
        ),
        (
            "Azure without capacity",
            503,
            r#"{"error":{"code":"NoCapacity","message":"The system is currently experiencing high demand."}}"#,
            BUSY,
        ),
        (
            "a policy of Azure's",
            400,
            r#"{"error":{"code":"usage_policy_violation","message":"no"}}"#,
            FILTERED,
        ),
        (
            "a project of Google's without billing",
            403,
            r#"{"error":{"code":403,"message":"This API method requires billing to be enabled.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"BILLING_DISABLED"}]}}"#,
            EMPTY,
        ),
        (
            "a service of Google's that is off",
            403,
            r#"{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED","details":[{"reason":"SERVICE_DISABLED"}]}}"#,
            KEY,
        ),
        (
            "a budget at LiteLLM",
            400,
            r#"{"error":{"message":"Budget has been exceeded! Current cost: 10.1, Max budget: 10.0","type":"budget_exceeded","param":null,"code":"400"}}"#,
            EMPTY,
        ),
        (
            "an unknown model at OpenRouter",
            400,
            r#"{"error":{"message":"x/y is not a valid model ID","code":400}}"#,
            NO_MODEL,
        ),
        (
            "a full prompt behind OpenRouter",
            400,
            r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 210000 tokens > 200000 maximum\"}}","provider_name":"Anthropic"}}}"#,
            TOO_LONG,
        ),
        (
            "an empty account behind OpenRouter",
            429,
            r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"{\"error\":{\"message\":\"m\",\"code\":\"insufficient_quota\"}}"}}}"#,
            EMPTY,
        ),
        (
            "a limit behind OpenRouter",
            429,
            r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"x is temporarily rate-limited upstream"}}}"#,
            SLOW,
        ),
        (
            "Ollama with too many waiting",
            503,
            r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#,
            BUSY,
        ),
        (
            "a full tier at Groq",
            498,
            r#"{"error":{"message":"Flex tier capacity exceeded","type":"capacity_exceeded","code":"capacity_exceeded"}}"#,
            BUSY,
        ),
        (
            "a full tier at Mistral",
            429,
            r#"{"object":"error","message":"Service tier capacity exceeded for this model.","type":"service_tier_capacity_exceeded","code":"3505"}"#,
            BUSY,
        ),
        (
            "an empty account at xAI",
            429,
            r#"{"code":"Some resource has been exhausted","error":"Your team has either used all available credits or reached its monthly spending limit."}"#,
            EMPTY,
        ),
        (
            "a new account at xAI",
            403,
            r#"{"code":"The caller does not have permission","error":"Your newly created team doesn't have any credits or licenses yet."}"#,
            EMPTY,
        ),
        (
            "a full prompt at Cohere",
            400,
            r#"{"message":"too many tokens: total number of tokens in the prompt cannot exceed 128000 - received 130000."}"#,
            TOO_LONG,
        ),
        (
            "a full prompt at TGI",
            422,
            r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens","error_type":"validation"}"#,
            TOO_LONG,
        ),
        (
            "an empty account at Zhipu",
            429,
            r#"{"error":{"code":"1113","message":"Insufficient balance or no resource package. Please recharge."}}"#,
            EMPTY,
        ),
        (
            "a vector store that took too long",
            200,
            r#"{"type":"response.failed","response":{"error":{"code":"vector_store_timeout","message":"x"}}}"#,
            PASSING,
        ),
        (
            "credits that speak of a minute",
            429,
            r#"{"error":{"message":"insufficient balance of requests per minute"}}"#,
            SLOW,
        ),
        (
            "a daily limit that rolls",
            429,
            r#"{"error":{"message":"Rate limit reached on tokens per day (TPD). Please try again in 7m12s."}}"#,
            SLOW,
        ),
        (
            "a quota in other words",
            429,
            r#"{"error":{"message":"Quota exceeded, check your plan and billing"}}"#,
            SLOW,
        ),
        ("credits as a field", 400, r#"{"error":{"message":"property credits is not allowed"}}"#, INVALID),
        ("busy as a word", 400, r#"{"error":{"message":"server busy is no valid value"}}"#, INVALID),
        (
            "a policy as a name",
            400,
            r#"{"error":{"code":"policy_violation_mode","message":"no such mode"}}"#,
            INVALID,
        ),
    ];
    check(rows.iter().map(|(what, status, said, wanted)| (*what, body(*status, said), *wanted)));
}

#[test]
fn a_prompt_that_is_too_long_is_known_by_every_vendors_words() {
    for said in [
        "tokens in request more than max tokens allowed",
        "The total number of input tokens exceeds the limit",
        "input tokens exceed the configured limit of 272000 tokens",
        "Your prompt exceeds the maximum allowed length",
        "input length 140000 exceeds maximum allowed token size 131072",
        "Please reduce the length of the messages or completion.",
        "Total tokens of image and text exceed max message tokens",
        "Input validation error: inputs must have less than 4096 tokens. Given: 5000",
        "model_context_window_exceeded",
        "max_context_length_exceeded",
        "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).",
        "prompt exceeds the model context window",
        "Request too long: context limit reached",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "the request exceeds the available context size, try increasing it",
    ] {
        check([
            (said, text(said), TOO_LONG),
            (said, body(400, said), TOO_LONG),
            (said, body(413, said), TOO_LONG),
            (said, body(500, said), TOO_LONG),
            (said, body(429, said), SLOW),
        ]);
        assert_eq!(verdict(&body(422, said)).advice, Advice::CompactThenRetry, "{said}");
    }
    check([
        ("the code as a word", text("request_too_large"), TOO_LARGE),
        ("the reason phrase as a word", body(400, "Request Entity Too Large"), TOO_LARGE),
        ("a server that speaks of windows", body(503, "the context window cache is down"), PASSING),
        ("a server that speaks of sizes", body(500, "cannot read the context size"), RETRY),
        ("tokens per minute", text("input tokens exceed 30000 tokens per minute"), STOP),
        ("a limit and tokens", text("rate limit: input tokens exceed 30000 per minute"), SLOW),
        (
            "a field with its own limit",
            body(400, "string too long. Expected a string with maximum length 64"),
            INVALID,
        ),
        ("tokens to spend", text("budget_tokens: must be below max_tokens"), STOP),
    ]);
}

#[test]
fn connections_break_in_every_language() {
    let broken = [
        "request or response body error",
        "error decoding response body",
        "stream failed: error decoding response body",
        "hyper::Error(IncompleteMessage)",
        "unexpected end of file",
        "operation was canceled: connection was not ready",
        "http: server closed idle connection",
        "http2: Transport: cannot retry after Request.Body was written; define Request.GetBody to avoid this error",
        "httpx.ConnectError: All connection attempts failed",
        "httpx.RemoteProtocolError: Server disconnected without sending a response.",
        "peer closed connection without sending complete message body (incomplete chunked read)",
        "httpx.ReadError",
        "aiohttp.client_exceptions.ClientPayloadError: Response payload is not completed",
        "aiohttp.client_exceptions.ServerDisconnectedError: Server disconnected",
        "aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host api.example.com:443 ssl:default [Connect call failed]",
        "urllib3.exceptions.ProtocolError: ('Connection broken: IncompleteRead(0 bytes read)', IncompleteRead(0 bytes read))",
        "TypeError: fetch failed",
        "fetch failed",
        "TypeError: terminated",
        "Terminated",
        "terminated: other side closed",
        "SocketError: other side closed (UND_ERR_SOCKET)",
        "write EPIPE",
        "connect EHOSTUNREACH 1.2.3.4:443",
        "connect ENETUNREACH 1.2.3.4:443",
        "Client network socket disconnected before secure TLS connection was established",
        "Premature close",
        "ERR_STREAM_PREMATURE_CLOSE",
        "ERR_HTTP2_STREAM_ERROR: Stream closed with error code NGHTTP2_INTERNAL_ERROR",
        "net::ERR_CONNECTION_RESET",
        "network error",
        "NetworkError when attempting to fetch resource.",
        "TypeError: Failed to fetch",
    ];
    check(broken.map(|said| (said, text(said), BROKEN)));
    let slow = [
        "httpx.ReadTimeout",
        "httpx.ConnectTimeout",
        "asyncio.TimeoutError",
        "TimeoutError",
        "UND_ERR_CONNECT_TIMEOUT",
        "UND_ERR_HEADERS_TIMEOUT",
        "UND_ERR_BODY_TIMEOUT",
        "context deadline exceeded (Client.Timeout or context cancellation while reading body)",
        "net/http: TLS handshake timeout",
    ];
    check(slow.map(|said| (said, text(said), PASSING)));
    check(
        ["getaddrinfo EAI_AGAIN api.example.com", "net::ERR_NAME_NOT_RESOLVED"]
            .map(|said| (said, text(said), DNS)),
    );
    let unlike = [
        "the tool was terminated by its owner",
        "session terminated",
        "image fetch failed",
        "cannot decode: error decoding response body: missing field `choices`",
        "the epiphany of end users",
        "a prematurely closed bracket",
        "context deadline exceeded",
        "ERR_HTTP2_STREAM_ERROR: Stream closed with error code NGHTTP2_PROTOCOL_ERROR",
        "load failed",
    ];
    check(unlike.map(|said| (said, text(said), (verdict(&text(said)).kind, false, None))));
    check(
        ["fetch failed", "read ECONNRESET", "network error", "ReadTimeout"]
            .map(|said| (said, body(400, said), INVALID)),
    );
}

#[test]
fn certificates_that_nobody_trusts_are_a_setting_to_change() {
    let untrusted = [
        "error sending request for url (https://example.com/): client error (Connect): received fatal alert: HandshakeFailure",
        "remote error: tls: handshake failure",
        "tls: first record does not look like a TLS handshake",
        "unable to verify the first certificate",
        "DEPTH_ZERO_SELF_SIGNED_CERT",
        "CERT_HAS_EXPIRED: certificate has expired",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate",
        "aiohttp.ClientConnectorCertificateError: Cannot connect to host h:443 ssl:True [SSLCertVerificationError: x]",
        "net::ERR_CERT_AUTHORITY_INVALID",
        "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1007)",
    ];
    check(untrusted.map(|said| (said, text(said), TLS)));
    check([
        ("a time-out of the handshake", text("TLS handshake timeout"), PASSING),
        ("a line that broke in the handshake", text("tls handshake eof"), BROKEN),
        ("a certificate as a field", body(400, "field certificate has expired dates"), INVALID),
        ("an address without a host", text("builder error: relative URL without a base"), SETTING),
    ]);
}

#[test]
fn an_error_object_within_prose_counts_as_one_and_its_words_do_not() {
    let rows: &[(&str, &str, Wanted)] = &[
        (
            "a time-out",
            r#"received error while streaming: {"type":"error","error":{"type":"invalid_request_error","message":"timeout is not a valid field"}}"#,
            INVALID,
        ),
        (
            "an end",
            r#"received error while streaming: {"type":"error","error":{"type":"invalid_request_error","message":"Invalid schema: EOF"}}"#,
            INVALID,
        ),
        (
            "a load",
            r#"received error while streaming: {"type":"error","error":{"type":"invalid_request_error","message":"function overloaded is invalid"}}"#,
            INVALID,
        ),
        (
            "a rate",
            r#"received error while streaming: {"error":{"type":"invalid_request_error","message":"rate_limit is not a valid field"}}"#,
            INVALID,
        ),
        (
            "a quota",
            r#"received error while streaming: {"error":{"type":"invalid_request_error","message":"property quota is not valid"}}"#,
            INVALID,
        ),
        (
            "a permission",
            r#"error: {"error":{"type":"invalid_request_error","message":"'forbidden' is not one of the values"}}"#,
            INVALID,
        ),
        (
            "a certificate",
            r#"error: {"error":{"type":"invalid_request_error","message":"x509 is no format"}}"#,
            INVALID,
        ),
        (
            "a prompt",
            r#"error: {"error":{"type":"invalid_request_error","message":"prompt is too long"}}"#,
            TOO_LONG,
        ),
        (
            "behind a status",
            r#"400 {"type":"error","error":{"type":"invalid_request_error","message":"timeout: bad"}}"#,
            INVALID,
        ),
        (
            "by Python, a server's fault",
            "{'type': 'error', 'error': {'type': 'api_error', 'message': 'Internal error'}}",
            RETRY,
        ),
        (
            "by Python, a request",
            "Error: {'type': 'error', 'error': {'type': 'invalid_request_error', 'message': \"can't: timeout\"}}",
            INVALID,
        ),
        (
            "by Python, an account",
            "failed - {'error': {'message': 'm', 'param': None, 'code': 'insufficient_quota'}}",
            EMPTY,
        ),
        (
            "by Python, bytes",
            "litellm.APIError: b'{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}'",
            BUSY,
        ),
        (
            "after other braces",
            r#"tool args {x}: stream: {"type":"error","error":{"type":"api_error","message":"y"}}"#,
            RETRY,
        ),
        (
            "after an object that tells nothing",
            r#"sent {"n":1}, got {"error":{"type":"overloaded_error"}}"#,
            BUSY,
        ),
        (
            "as an event",
            "data: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"timeout\"}}",
            INVALID,
        ),
        ("braces alone", "{timeout}", PASSING),
        ("words that Python quotes", "{'x'} is overloaded", BUSY),
    ];
    check(rows.iter().map(|(what, said, wanted)| (*what, text(said), *wanted)));
    let failure = Failure::new("openai", Cause::InStream).with_error(Some("invalid_request_error"), None);
    check([
        ("an error event", failure.with_message("timeout: overloaded, connection reset"), INVALID),
        (
            "a whole stream",
            body(
                200,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"oops\"}}\n\n",
            ),
            RETRY,
        ),
        (
            "a stream with something before",
            body(
                200,
                ": ping\n\ndata: {\"type\":\"message_start\"}\n\nevent: error\ndata: {\"error\":{\"type\":\"overloaded_error\"}}\n",
            ),
            BUSY,
        ),
        (
            "a byte order mark",
            body(429, "\u{feff}{\"error\":{\"code\":\"credit_balance_exhausted\",\"message\":\"x\"}}"),
            EMPTY,
        ),
        (
            "a guard against scripts",
            body(429, ")]}'\n{\"error\":{\"code\":\"credit_balance_exhausted\",\"message\":\"x\"}}"),
            EMPTY,
        ),
        (
            "a dumped response",
            body(
                400,
                "HTTP/1.1 400 Bad Request\r\nA: b\r\n\r\n{\"error\":{\"code\":\"context_length_exceeded\"}}",
            ),
            TOO_LONG,
        ),
        ("data as a word", body(400, "data: the field timeout is missing"), INVALID),
    ]);
}

#[test]
fn names_of_exceptions_are_codes_where_they_stand_as_names() {
    let rows: &[(&str, Wanted)] = &[
        ("openai.RateLimitError: slow", SLOW),
        ("openai.RateLimitError: insufficient_quota", EMPTY),
        ("anthropic.InternalServerError: oops", RETRY),
        ("openai.AuthenticationError: nope", KEY),
        ("openai.PermissionDeniedError: nope", KEY),
        ("openai.NotFoundError: nope", SETTING),
        ("openai.BadRequestError: timeout is no number", INVALID),
        ("litellm.RateLimitError: boom. Received Model Group=gpt-4", SLOW),
        (
            "litellm.InternalServerError: AnthropicException - boom. Handle with `litellm.InternalServerError`.",
            RETRY,
        ),
        ("litellm.ServiceUnavailableError: VertexAIException - the model is not reachable", PASSING),
        ("litellm.ContextWindowExceededError: litellm.BadRequestError: too long", TOO_LONG),
        ("stream response: modelTimeoutException: something happened", PASSING),
        ("stream response: serviceUnavailableException: something happened", PASSING),
        ("stream response: modelNotReadyException: something happened", PASSING),
        ("stream response: validationException: something happened", SETTING),
        ("stream response: accessDeniedException: something happened", KEY),
        ("stream response: expiredTokenException: something happened", KEY),
        ("stream response: serviceQuotaExceededException: something happened", EMPTY),
        ("stream response: resourceNotFoundException: something happened", SETTING),
        ("https response error StatusCode: 400, RequestID: 4c4e7b2a, ValidationException: no", SETTING),
        (
            "An error occurred (ValidationException) when calling the Converse operation: The provided model identifier is invalid.",
            NO_MODEL,
        ),
        ("An error occurred (AccessDeniedException) when calling the InvokeModel operation: no", KEY),
        ("An error occurred (ExpiredTokenException) when calling the ConverseStream operation: no", KEY),
        (
            "An error occurred (ServiceUnavailableException) when calling the ConverseStream operation: no",
            PASSING,
        ),
        ("Traceback (most recent call last):\n  File \"x.py\"\nopenai.InternalServerError: oops", RETRY),
        (
            "rpc error: code = ResourceExhausted desc = Quota exceeded for aiplatform requests per minute",
            SLOW,
        ),
        ("rpc error: code = Unavailable desc = x", PASSING),
        (
            "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
            (Timeout, false, Some(Reason::Deadline)),
        ),
        ("failed to refresh cached credentials, no EC2 IMDS role found", KEY),
        ("Handle with `openai.RateLimitError` in your code", STOP),
        ("the class RateLimitError is unknown", STOP),
        ("PermissionError: [Errno 13] x", STOP),
        ("openai.APIError: x", STOP),
        ("MyRateLimitErrorHandler: x", STOP),
    ];
    check(rows.iter().map(|(said, wanted)| (*said, text(said), *wanted)));
    check(
        ["InternalServerError: x", "RateLimitError: x", "stream: TimeoutError: x"]
            .map(|said| (said, body(400, "").with_message(said), INVALID)),
    );
}

#[test]
fn a_status_in_prose_is_told_from_other_numbers() {
    for (said, wanted) in [
        ("HTTP status client error (400 Bad Request) for url (https://example.com/v1/)", Some(400)),
        ("HTTP status client error (404 Not Found) for url (https://example.com/v1/)", Some(404)),
        ("HTTP status server error (520 <unknown status code>) for url (https://example.com/)", Some(520)),
        ("Client error '400 Bad Request' for url 'https://example.com/'", Some(400)),
        ("Client error '429 Too Many Requests' for url 'https://example.com/'", Some(429)),
        ("402 Payment Required", Some(402)),
        ("400 Invalid schema for function 'x'", Some(400)),
        ("HTTP_503", Some(503)),
        ("status 200 but stream failed: 503", Some(503)),
        ("Error 400, Message: API key not valid., Status: INVALID_ARGUMENT", Some(400)),
        ("[503] down", Some(503)),
        ("offset 408 out of range", None),
        ("chunk 500 of 503 invalid", None),
        ("temperature 500 is out of range", None),
        ("used 500 of 500 requests", None),
        ("array too long: 529 > 128", None),
        ("seed 429, temperature 0.2: invalid combination", None),
        ("$ 500 spent", None),
        ("exceeded by 500", None),
        ("messages[500].content is invalid", None),
        ("decoded 500 KiB then failed", None),
        ("budget_tokens: must be >= 500", None),
        ("budget 503 too low", None),
        ("wait 503 and fail", None),
        ("400 tokens are missing", None),
        ("Error 42", None),
        ("Connection refused (os error 111)", None),
    ] {
        assert_eq!(verdict(&text(said)).status, wanted, "{said}");
    }
}

#[test]
fn waits_and_providers_are_read_where_gateways_put_them() {
    let wait = |failure: Failure| verdict(&failure).retry_after.map(|wait| wait.as_millis());
    assert_eq!(wait(body(429, r#"{"error":{"message":"m","retry_after_ms":2500}}"#)), Some(2_500));
    assert_eq!(wait(text("status 429: retry_after: 12")), Some(12_000));
    assert_eq!(wait(text("status 429: Retry-After: 20")), Some(20_000));
    let azure = text("Post \"https://acme.cognitiveservices.azure.com/openai/deployments/x\": EOF");
    assert_eq!(verdict(&azure).provider.as_deref(), Some("azure"));
    let raw = r#"{"error":{"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"no such voice\"}}"}}}"#;
    assert_eq!(verdict(&body(400, raw)).detail.as_deref(), Some("no such voice"));
    let reset = Cause::Http2 { reason: 1, remote: true };
    let said = Failure::new("", reset).with_message("internal server error: stream error: PROTOCOL_ERROR");
    check([
        ("the server's own fault", said, RETRY),
        ("a protocol that was broken", Failure::new("", reset), STOP),
    ]);
}

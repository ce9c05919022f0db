//! What goes wrong between a server and us, over real sockets.

use std::time::Duration;

use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::Part;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{FinishReason, Message, ModelCall, ModelPart, Role};
use chatwright_core::port::LanguageModel;
use chatwright_fake::{FakeServer, Reply, Script, Step};
use chatwright_providers::OpenAiChat;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const BOUND: Duration = Duration::from_secs(20);

const HI: &str = r#"data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#;
const STOP: &str = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

fn call() -> ModelCall {
    ModelCall::new(vec![Message::new(Role::User, vec![Part::text("Hello")])])
}

async fn parts(model: &OpenAiChat, call: ModelCall) -> Vec<ModelPart> {
    tokio::time::timeout(BOUND, model.stream(call).collect()).await.expect("the call ends")
}

async fn fold(model: &OpenAiChat) -> Accumulator {
    let mut answer = Accumulator::new();
    parts(model, call()).await.into_iter().for_each(|part| drop(answer.push(part)));
    answer
}

async fn start(reply: Reply) -> (FakeServer, OpenAiChat) {
    let server = FakeServer::start(Script::new(vec![reply])).await.expect("a free port");
    let model = OpenAiChat::builder("m").base_url(server.base_url()).build().expect("a valid address");
    (server, model)
}

async fn answer(reply: Reply) -> Accumulator {
    let (_server, model) = start(reply).await;
    fold(&model).await
}

fn failure(answer: &Accumulator) -> &Failure {
    match answer.end() {
        Some(End::Failure(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// A server that says this, whatever it is asked, and then closes.
async fn saying(words: &'static [u8]) -> (JoinSet<()>, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // All that is asked fits into one segment.
            let _ = stream.read(&mut [0; 65_536]).await;
            let _ = stream.write_all(words).await;
        }
    });
    (tasks, address)
}

#[tokio::test]
async fn every_line_end_a_bom_and_a_missing_last_blank_line_are_understood() {
    let whole = |end: &str| format!("{HI}{end}{end}: c{end}{STOP}{end}{end}data: [DONE]{end}{end}");
    let unended = format!("{HI}\n\n{STOP}\n\ndata: [DONE]");
    for body in [whole("\n"), whole("\r\n"), whole("\r"), format!("\u{feff}{}", whole("\n")), unended] {
        for size in [0, 1, 2] {
            let answer =
                answer(Reply::steps(vec![Step::Bytes(body.clone().into())]).in_pieces_of(size)).await;
            assert_eq!(answer.content(), [Part::text("Hi")], "{body:?} in pieces of {size}");
            assert_eq!(answer.finish_reason(), Some(FinishReason::Stop), "{body:?} in pieces of {size}");
        }
    }
}

#[tokio::test]
async fn a_clean_end_without_the_terminal_event_is_truncated_and_a_broken_one_a_reset() {
    let said = Reply::steps(vec![Step::Text("Hi".to_owned())]).with_header("x-request-id", "r1");
    for (reply, cause) in [
        (said.clone(), Cause::Truncated),
        (said.clone().until_close(), Cause::Truncated),
        (said.clone().until_close().cut_after(150), Cause::Truncated),
        (said.clone().cut_after(150), Cause::Reset),
        (said.clone().cut_after(0), Cause::Reset),
        (said.until_close().cut_after(0), Cause::Truncated),
    ] {
        let answer = answer(reply.clone()).await;
        let failure = failure(&answer);
        assert_eq!(failure.cause, cause, "{reply:?}");
        assert_eq!((failure.status, failure.header("x-request-id")), (Some(200), Some("r1")), "{reply:?}");
    }
}

#[tokio::test]
async fn an_error_event_is_told_with_the_headers_of_its_response() {
    let named =
        Step::Bytes(b"event: error\ndata: {\"message\":\"busy\",\"type\":\"overloaded\"}\n\n".to_vec());
    let answer = answer(Reply::steps(vec![named]).with_header("retry-after", "7")).await;
    let failure = failure(&answer);
    assert_eq!((failure.cause, failure.error_type.as_deref()), (Cause::InStream, Some("overloaded")));
    assert_eq!((failure.status, failure.header("retry-after")), (Some(200), Some("7")));
    assert_eq!(failure.body.as_deref(), Some("{\"message\":\"busy\",\"type\":\"overloaded\"}"));
}

#[tokio::test]
async fn an_event_over_its_bound_is_a_protocol_failure() {
    let endless = std::iter::repeat_with(|| Step::Bytes(vec![b'x'; 1 << 20])).take(17).collect();
    assert_eq!(failure(&answer(Reply::steps(endless)).await).cause, Cause::Protocol);
}

#[tokio::test]
async fn a_server_that_speaks_no_http_or_hangs_up_is_told_apart() {
    for (words, cause) in [
        (&b""[..], Cause::Reset),
        (b"HTTP/1.1 200 OK\r\n", Cause::Reset),
        (b"SSH-2.0-x\r\n\r\n", Cause::Protocol),
    ] {
        let (_server, address) = saying(words).await;
        let model = OpenAiChat::builder("m").base_url(format!("http://{address}")).build().expect("valid");
        let answer = fold(&model).await;
        assert_eq!(
            failure(&answer).cause,
            cause,
            "{:?}: {:?}",
            String::from_utf8_lossy(words),
            failure(&answer).message
        );
    }
}

#[cfg(feature = "ring")]
#[tokio::test]
async fn a_server_that_speaks_no_tls_is_a_tls_failure() {
    let (_server, address) = saying(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let model = OpenAiChat::builder("m").base_url(format!("https://{address}")).build().expect("valid");
    let answer = fold(&model).await;
    assert_eq!(failure(&answer).cause, Cause::Tls, "{:?}", failure(&answer).message);
}

#[tokio::test]
async fn a_refusal_whose_body_stalls_is_told_with_what_came() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.read(&mut [0; 65_536]).await;
        let head = b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 99\r\n\r\n{\"error\"";
        stream.write_all(head).await.expect("the client reads");
        // From here on only timers can wake anyone.
        tokio::time::pause();
        std::future::pending::<()>().await;
    });
    let model = OpenAiChat::builder("m").base_url(format!("http://{address}")).build().expect("valid");
    let parts: Vec<ModelPart> = model.stream(call()).collect().await;
    let [ModelPart::Failure(failure)] = &parts[..] else { panic!("one failure, not {parts:?}") };
    assert_eq!((failure.cause, failure.status), (Cause::Status, Some(429)));
    assert_eq!((failure.header("retry-after"), failure.body.as_deref()), (Some("7"), Some("{\"error\"")));
}

#[tokio::test]
async fn a_response_without_a_content_type_counts_only_where_it_was_said_to() {
    let reply: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let (_server, address) = saying(reply).await;
    let builder = || OpenAiChat::builder("m").base_url(format!("http://{address}"));
    assert_eq!(failure(&fold(&builder().build().expect("valid")).await).cause, Cause::Protocol);
    let tolerant = builder().no_content_type().build().expect("valid");
    assert_eq!(fold(&tolerant).await.content(), [Part::text("Hi")]);
}

#[tokio::test]
async fn servers_that_know_only_old_names_get_them() {
    let server = FakeServer::start(Script::new(vec![Reply::text("Hi")])).await.expect("a free port");
    let model = OpenAiChat::builder("m").base_url(server.base_url()).max_tokens().no_stream_options();
    let model = model.build().expect("valid");
    let mut call = call();
    call.max_output_tokens = Some(9);
    parts(&model, call).await;
    let body = server.requests().remove(0).body;
    let expected = serde_json::json!({
        "model": "m", "stream": true, "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_the_format_has_no_place_for_is_warned_of_first() {
    let (_server, model) = start(Reply::text("Hi")).await;
    let mut call = call();
    call.top_k = Some(3);
    let parts = parts(&model, call).await;
    assert_eq!(parts.first(), Some(&ModelPart::Warnings(vec!["top_k is not supported".to_owned()])));
}

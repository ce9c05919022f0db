//! The promises of [`LanguageModel`].
//!
//! The subject is a [`ModelRig`]: a model whose provider is the test's own, so that it can do what a [`ModelScript`]
//! says and count what reaches it. For a model that speaks HTTP the rig runs a server on the loopback address.
#![expect(unused_qualifications, reason = "the exported macro needs the path from outside")]

use std::sync::Arc;

use chatwright_core::content::Part;
use chatwright_core::error::{Cause, Failure, Layer};
use chatwright_core::model::{Message, ModelCall, ModelPart, Role};
use chatwright_core::port::{LanguageModel, ModelStream};
use futures::{FutureExt, StreamExt};

use crate::Subject;
use crate::clause::clauses;
use crate::wait::{until, within};

/// A model whose provider does as it is told.
pub trait ModelRig: Send + Sync + 'static {
    /// A model whose provider does this at every request.
    fn model(&self, script: ModelScript) -> Arc<dyn LanguageModel>;

    /// How many requests have reached the provider so far.
    fn requests(&self) -> usize;

    /// How many answers the provider is still giving: requests whose connection it has not seen end.
    fn open_calls(&self) -> usize;

    /// The type and the code that the provider's error event can carry: [`ERROR_TYPE`] and [`ERROR_CODE`] unless its
    /// wire format has no place for one.
    fn error_words(&self) -> (Option<&'static str>, Option<&'static str>) {
        (Some(ERROR_TYPE), Some(ERROR_CODE))
    }
}

/// What the provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelScript {
    /// Answers with some text and its terminal event.
    Complete,
    /// Answers with status 429, the headers [`HEADERS`] beside its own, and the body [`BODY`].
    Status429,
    /// Sends some text and closes the connection properly, without its terminal event.
    CutInText,
    /// Sends some text, then its error event with [`ERROR_TYPE`], [`ERROR_CODE`] and a message with [`SECRET`].
    ErrorInStream,
    /// Sends some text, then nothing until the call is dropped.
    Stall,
}

/// The headers of [`ModelScript::Status429`]. One comes twice.
pub const HEADERS: [(&str, &str); 3] =
    [("retry-after", "7"), ("x-kit-limit", "first kit_secret_3f1c"), ("x-kit-limit", "second")];
/// The body of [`ModelScript::Status429`].
pub const BODY: &str =
    r#"{"error":{"type":"kit_limit","message":"slow down, kit_secret_3f1c","param":null}}"#;
/// The type of the error event of [`ModelScript::ErrorInStream`].
pub const ERROR_TYPE: &str = "kit_overloaded_error";
/// Its code.
pub const ERROR_CODE: &str = "kit_busy";
/// A word that only headers, bodies and messages hold: it must not be printed.
pub const SECRET: &str = "kit_secret_3f1c";

/// The scripts that come to an end.
const ENDING: [ModelScript; 4] =
    [ModelScript::Complete, ModelScript::Status429, ModelScript::CutInText, ModelScript::ErrorInStream];

clauses! {
    ($) language_model in language_model: chatwright_conformance::language_model::ModelRig;
    "model.M1" m1_dropping_the_stream_ends_the_call,
    "model.M2" m2_one_terminal_part_comes_last_and_then_the_stream_ends,
    "model.M3" m3_a_refusal_is_told_with_its_status_all_headers_and_its_body,
    "model.M3" m3_an_error_in_the_stream_is_told_with_its_type_and_code,
    "model.M3" m3_what_a_failure_prints_has_no_secret,
    "model.M4" m4_nothing_is_asked_before_the_first_poll,
    "model.M4" m4_one_call_is_one_request_also_when_it_fails,
    "model.M5" m5_a_stream_that_is_cut_off_is_a_failure,
}

fn ask(rig: &dyn ModelRig, script: ModelScript) -> ModelStream {
    let prompt = vec![
        Message::new(Role::System, vec![Part::text("Be brief.")]),
        Message::new(Role::User, vec![Part::text("Hello")]),
    ];
    rig.model(script).stream(ModelCall::new(prompt))
}

/// All that streams, to its end.
async fn parts(rig: &dyn ModelRig, script: ModelScript, clause: &str) -> Vec<ModelPart> {
    let mut stream = ask(rig, script);
    let mut parts = Vec::new();
    while let Some(part) =
        within(clause, &format!("{script:?}: the next part, or the end"), stream.next()).await
    {
        parts.push(part);
        assert!(parts.len() < 10_000, "{clause}: {script:?}: the stream does not end");
    }
    parts
}

async fn failure(rig: &dyn ModelRig, script: ModelScript, clause: &str) -> Failure {
    let parts = parts(rig, script, clause).await;
    match parts.last() {
        Some(ModelPart::Failure(failure)) => (**failure).clone(),
        other => panic!("{clause}: {script:?} ends in no failure but in {other:?}"),
    }
}

async fn m1_dropping_the_stream_ends_the_call(subject: &Subject<dyn ModelRig>) {
    const CLAUSE: &str = "model.M1";
    let rig = subject.connect().await;
    for _ in 0..3 {
        let mut stream = ask(&*rig, ModelScript::Stall);
        loop {
            let part = within(CLAUSE, "some content", stream.next()).await;
            let part = part.unwrap_or_else(|| panic!("{CLAUSE}: a stream ends while its provider goes on"));
            assert!(!part.is_terminal(), "{CLAUSE}: a call ends while its provider goes on: {part:?}");
            if part.is_content() {
                break;
            }
        }
        until(CLAUSE, "the provider counts the open call", || rig.open_calls() == 1).await;
        drop(stream);
        until(CLAUSE, "the call ends after its stream was dropped", || rig.open_calls() == 0).await;
    }
    // At its very beginning.
    let mut stream = ask(&*rig, ModelScript::Stall);
    let _ = stream.next().now_or_never();
    drop(stream);
    until(CLAUSE, "the call ends after its stream was dropped early", || rig.open_calls() == 0).await;
}

async fn m2_one_terminal_part_comes_last_and_then_the_stream_ends(subject: &Subject<dyn ModelRig>) {
    const CLAUSE: &str = "model.M2";
    let rig = subject.connect().await;
    for script in ENDING {
        let parts = parts(&*rig, script, CLAUSE).await;
        let terminals = parts.iter().filter(|part| part.is_terminal()).count();
        assert_eq!(terminals, 1, "{CLAUSE}: {script:?}: terminal parts in {parts:?}");
        let last = parts.last();
        assert!(last.is_some_and(ModelPart::is_terminal), "{CLAUSE}: {script:?}: it ends with {last:?}");
        let finished = matches!(last, Some(ModelPart::Finish(_)));
        assert_eq!(finished, script == ModelScript::Complete, "{CLAUSE}: {script:?} ends with {last:?}");
        let content = parts.iter().any(ModelPart::is_content);
        assert_eq!(content, script != ModelScript::Status429, "{CLAUSE}: {script:?}: content in {parts:?}");
    }
}

async fn m3_a_refusal_is_told_with_its_status_all_headers_and_its_body(subject: &Subject<dyn ModelRig>) {
    const CLAUSE: &str = "model.M3";
    let rig = subject.connect().await;
    let failure = failure(&*rig, ModelScript::Status429, CLAUSE).await;
    assert_eq!((failure.layer, failure.cause), (Layer::Provider, Cause::Status), "{CLAUSE}: layer and cause");
    assert_eq!(failure.status, Some(429), "{CLAUSE}: the status");
    for name in ["retry-after", "x-kit-limit"] {
        let sent: Vec<&str> = HEADERS.iter().filter(|(n, _)| *n == name).map(|(_, value)| *value).collect();
        let told = failure.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let told: Vec<&str> = told.map(|(_, value)| &**value).collect();
        let whole =
            told.len() == sent.len() && told.iter().zip(&sent).all(|(told, sent)| as_sent(told, sent));
        assert!(whole, "{CLAUSE}: the headers {name} are {told:?} instead of {sent:?}");
    }
    let body = failure.body.as_deref();
    assert!(
        body.is_some_and(|body| as_sent(body, BODY)),
        "{CLAUSE}: the body is {body:?} instead of {BODY:?}"
    );
}

/// Whether this is what was sent. A credential in it may have been taken out.
fn as_sent(told: &str, sent: &str) -> bool {
    let Some((before, after)) = sent.split_once(SECRET) else { return told == sent };
    told.len() >= before.len() + after.len() && told.starts_with(before) && told.ends_with(after)
}

async fn m3_an_error_in_the_stream_is_told_with_its_type_and_code(subject: &Subject<dyn ModelRig>) {
    const CLAUSE: &str = "model.M3";
    let rig = subject.connect().await;
    let failure = failure(&*rig, ModelScript::ErrorInStream, CLAUSE).await;
    assert_eq!(
        (failure.layer, failure.cause),
        (Layer::Provider, Cause::InStream),
        "{CLAUSE}: layer and cause"
    );
    let words = (failure.error_type.as_deref(), failure.error_code.as_deref());
    assert_eq!(words, rig.error_words(), "{CLAUSE}: the type and the code of the error event");
}

async fn m3_what_a_failure_prints_has_no_secret(subject: &Subject<dyn ModelRig>) {
    const CLAUSE: &str = "model.M3";
    let rig = subject.connect().await;
    for script in [ModelScript::Status429, ModelScript::ErrorInStream] {
        let failure = failure(&*rig, script, CLAUSE).await;
        let printed = format!("{failure} {failure:?} {failure:#?}");
        assert!(!printed.contains(SECRET), "{CLAUSE}: {script:?} prints a secret");
    }
}

async fn m4_nothing_is_asked_before_the_first_poll(subject: &Subject<dyn ModelRig>) {
    const CLAUSE: &str = "model.M4";
    let rig = subject.connect().await;
    let unpolled = [ask(&*rig, ModelScript::Complete), ask(&*rig, ModelScript::Stall)];
    // A request that was made all the same would be counted before this one is answered.
    parts(&*rig, ModelScript::Complete, CLAUSE).await;
    assert_eq!(rig.requests(), 1, "{CLAUSE}: requests after one stream of three was polled");
    drop(unpolled);
    until(CLAUSE, "the answer that was read counts as ended", || rig.open_calls() == 0).await;
    assert_eq!(rig.requests(), 1, "{CLAUSE}: requests after the others were dropped");
}

async fn m4_one_call_is_one_request_also_when_it_fails(subject: &Subject<dyn ModelRig>) {
    const CLAUSE: &str = "model.M4";
    let rig = subject.connect().await;
    for script in ENDING {
        let before = rig.requests();
        parts(&*rig, script, CLAUSE).await;
        assert_eq!(rig.requests() - before, 1, "{CLAUSE}: {script:?}: requests of one call");
    }
}

async fn m5_a_stream_that_is_cut_off_is_a_failure(subject: &Subject<dyn ModelRig>) {
    const CLAUSE: &str = "model.M5";
    let rig = subject.connect().await;
    let parts = parts(&*rig, ModelScript::CutInText, CLAUSE).await;
    let Some(ModelPart::Failure(failure)) = parts.last() else {
        panic!("{CLAUSE}: a stream that is cut off ends with {:?}", parts.last())
    };
    assert_eq!(
        (failure.layer, failure.cause),
        (Layer::Provider, Cause::Truncated),
        "{CLAUSE}: layer and cause"
    );
    let said = parts.iter().any(|part| matches!(part, ModelPart::TextDelta { .. }));
    assert!(said, "{CLAUSE}: what was said before the cut is lost");
}

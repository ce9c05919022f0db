//! The promises of [`Tool`].
//!
//! T1 is the tool's own and is checked here. T2 (a key that never changes, a deadline, cancellation) and T3 (checked
//! arguments) are the caller's promises; they are proved where the caller lives.
#![expect(unused_qualifications, reason = "the exported macro needs the path from outside")]

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::content::Output;
use chatwright_core::port::Tool;
use chatwright_core::tool::{CallKey, Effect, ToolCall};
use chatwright_core::{Cancel, Canceler, ChatId, Gen, MessageId, SessionId, Timestamp};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Subject;
use crate::clause::clauses;
use crate::wait::within;

/// A tool with arguments for it.
pub trait ToolRig: Send + Sync + 'static {
    /// The tool.
    fn tool(&self) -> Arc<dyn Tool>;

    /// Arguments that its schema allows, and with which a call succeeds.
    fn input(&self) -> Value;
}

clauses! {
    ($) tool in tool: chatwright_conformance::tool::ToolRig;
    "tool.T1" t1_the_declaration_is_valid_and_never_changes,
    "tool.T1" t1_a_call_succeeds_within_its_deadline,
    "tool.T1" t1_what_may_run_twice_does_so_with_one_key,
    "tool.T1" t1_a_cancelled_call_returns_or_can_be_dropped,
}

fn call(subject: &Subject<dyn ToolRig>, rig: &dyn ToolRig, key: CallKey, cancel: Cancel) -> ToolCall {
    // In store time, of which the kit knows nothing.
    let deadline = Timestamp::from_millis(4_900_000_000_000);
    ToolCall::new(key, Gen::new(1), SessionId::mint(&subject.ids), rig.input(), deadline, cancel)
}

fn key(subject: &Subject<dyn ToolRig>) -> CallKey {
    CallKey { chat: ChatId::mint(&subject.ids), message: MessageId::mint(&subject.ids), ordinal: 0 }
}

async fn t1_the_declaration_is_valid_and_never_changes(subject: &Subject<dyn ToolRig>) {
    const CLAUSE: &str = "tool.T1";
    let rig = subject.connect().await;
    let spec = rig.tool().spec();
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    assert!(
        (1..=64).contains(&spec.name.len()) && spec.name.chars().all(valid),
        "{CLAUSE}: the name {:?}",
        spec.name
    );
    assert!(!spec.description.trim().is_empty(), "{CLAUSE}: a model is told nothing of the tool");
    let object = spec.input_schema.get("type").and_then(Value::as_str);
    assert_eq!(object, Some("object"), "{CLAUSE}: the type of the schema {}", spec.input_schema);
    assert!(spec.deadline > Duration::ZERO, "{CLAUSE}: a deadline of nothing");
    let (_canceler, cancel) = Canceler::new();
    within_deadline(&*rig, call(subject, &*rig, key(subject), cancel), CLAUSE).await;
    for (tool, what) in
        [(rig.tool(), "after a call"), (subject.connect().await.tool(), "of another instance")]
    {
        assert_eq!(tool.spec(), spec, "{CLAUSE}: the declaration {what}");
    }
}

async fn within_deadline(rig: &dyn ToolRig, call: ToolCall, clause: &str) -> Output {
    let tool = rig.tool();
    // The kit has its own bound beside the tool's.
    let deadline = tool.spec().deadline.min(Duration::from_secs(20));
    let output = timeout(deadline, tool.call(call)).await;
    output.unwrap_or_else(|_| panic!("{clause}: a call takes longer than {deadline:?}"))
}

async fn t1_a_call_succeeds_within_its_deadline(subject: &Subject<dyn ToolRig>) {
    const CLAUSE: &str = "tool.T1";
    let rig = subject.connect().await;
    let (_canceler, cancel) = Canceler::new();
    let output = within_deadline(&*rig, call(subject, &*rig, key(subject), cancel), CLAUSE).await;
    assert!(
        !matches!(output, Output::Error { .. }),
        "{CLAUSE}: a call with good arguments fails: {output:?}"
    );
}

async fn t1_what_may_run_twice_does_so_with_one_key(subject: &Subject<dyn ToolRig>) {
    const CLAUSE: &str = "tool.T1";
    let rig = subject.connect().await;
    let effect = rig.tool().spec().effect;
    if effect == Effect::Once {
        println!("{CLAUSE}: not checked, the tool says that it runs once");
        return;
    }
    let (key, (_canceler, cancel)) = (key(subject), Canceler::new());
    for run in 1..=2 {
        let output = within_deadline(&*rig, call(subject, &*rig, key, cancel.clone()), CLAUSE).await;
        let failed = matches!(output, Output::Error { .. });
        assert!(
            !failed,
            "{CLAUSE}: run {run} of a tool that is {effect:?} fails with the same key: {output:?}"
        );
    }
}

async fn t1_a_cancelled_call_returns_or_can_be_dropped(subject: &Subject<dyn ToolRig>) {
    const CLAUSE: &str = "tool.T1";
    let rig = subject.connect().await;
    for cancelled_before in [true, false] {
        let (canceler, cancel) = Canceler::new();
        let (tool, call) = (rig.tool(), call(subject, &*rig, key(subject), cancel));
        if cancelled_before {
            canceler.cancel();
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(tool.call(call).await) });
        tokio::task::yield_now().await;
        canceler.cancel();
        // It should stop soon; if it does not, it is dropped, which its thread must allow.
        if timeout(Duration::from_millis(500), tasks.join_next()).await.is_err() {
            tasks.abort_all();
        }
        within(CLAUSE, "a cancelled call is gone", async { while tasks.join_next().await.is_some() {} })
            .await;
    }
    let (_canceler, cancel) = Canceler::new();
    let output = within_deadline(&*rig, call(subject, &*rig, key(subject), cancel), CLAUSE).await;
    assert!(
        !matches!(output, Output::Error { .. }),
        "{CLAUSE}: after a cancelled call the next one fails: {output:?}"
    );
}

//! Turns from the first message to rest, in one process.

mod common;

use std::sync::Arc;

use chatwright_core::content::Part;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::head::Status;
use chatwright_core::model::{Finish, FinishReason, ModelPart, ReasoningEffort};
use chatwright_core::tool::Effect;
use chatwright_loop::{Busy, Chats, Failed, NewMessage, Refused};
use tokio::task::JoinSet;

use common::{CountTool, RuleModel, World, echo, log, new_chat, transcript, until};

/// Runs a worker of this process for as long as the set lives.
fn work(chats: &Chats) -> JoinSet<()> {
    let worker = chats.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    tasks
}

#[tokio::test(start_paused = true)]
async fn a_plain_turn_takes_three_commits() {
    let world = World::new();
    let chats = world.process(vec![]);
    let _worker = work(&chats);
    let (chat, receipt) = chats.create(new_chat("hello")).await.expect("created");
    assert_eq!(receipt.seq.get(), 1);
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(transcript(&chats, chat).await, ["user: hello", "model: You said hello."]);
    let expected =
        "chat.created message.user\nclaimed attempt.started\nattempt.ended message.assistant turn.ended";
    assert_eq!(log(&chats, chat).await, expected);
    assert_eq!(world.store.calls().commit, 3);
    let head = chats.head(chat).await.expect("there");
    assert_eq!((head.holder, head.wake_at), (None, None), "at rest");
}

#[tokio::test(start_paused = true)]
async fn two_parallel_tools_take_at_most_six_commits_and_the_model_sees_their_results_in_call_order() {
    let world = World::new();
    let (a, b) = (CountTool::new("a", Effect::Pure), CountTool::new("b", Effect::Pure));
    let chats = world.process(vec![a.clone(), b.clone()]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use b,a")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    let lines = transcript(&chats, chat).await;
    assert_eq!(lines.last().map(String::as_str), Some("model: The tools said [b 0][a 1]."), "{lines:#?}");
    assert_eq!((a.started(), b.started()), (1, 1));
    assert!(
        world.store.calls().commit <= 6,
        "{} commits:\n{}",
        world.store.calls().commit,
        log(&chats, chat).await
    );
}

#[tokio::test(start_paused = true)]
async fn tools_with_effects_run_one_after_the_other_each_after_its_own_intent() {
    let world = World::new();
    let (a, b) = (CountTool::new("a", Effect::Once), CountTool::new("b", Effect::Idempotent));
    let chats = world.process(vec![a.clone(), b.clone()]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use a,b,a")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!((a.started(), b.started()), (2, 1));
    let expected = "chat.created message.user\n\
                    claimed attempt.started\n\
                    attempt.ended message.assistant batch.started tool.intent\n\
                    tool.results tool.intent\n\
                    tool.results tool.intent\n\
                    tool.results batch.ended attempt.started\n\
                    attempt.ended message.assistant turn.ended";
    assert_eq!(log(&chats, chat).await, expected);
}

#[tokio::test(start_paused = true)]
async fn unknown_tools_and_invalid_arguments_are_answered_without_a_batch() {
    let world = World::new();
    let tool = CountTool::new("a", Effect::Once);
    let model = RuleModel::new(|prompt| match prompt.len() {
        1 => vec![
            common::call("c0", "nope", "{}"),
            common::call("c1", "a", "{\"n\": "),
            common::call("c2", "a", "{}"),
            common::finish(FinishReason::ToolCalls),
        ],
        _ => echo(prompt),
    });
    let chats = world.process_with(model, vec![tool.clone()]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(tool.started(), 0);
    let lines = transcript(&chats, chat).await;
    assert_eq!(lines[2], "tool 0: There is no tool named \"nope\".");
    assert!(lines[3].starts_with("tool 1: The arguments are not valid JSON:"), "{}", lines[3]);
    assert_eq!(
        lines[4],
        "tool 2: The arguments do not keep to the schema of the tool: \"n\" is a required property."
    );
    assert!(!log(&chats, chat).await.contains("batch.started"));
}

#[tokio::test(start_paused = true)]
async fn messages_sent_while_busy_wait_and_run_in_order() {
    let world = World::new();
    let chats = world.process(vec![]);
    let (chat, _) = chats.create(new_chat("one")).await.expect("created");
    for (place, words) in ["two", "three"].into_iter().enumerate() {
        let receipt = chats.send(chat, NewMessage::text(words)).await.expect("queued");
        assert_eq!(receipt.position, Some(place as u32));
    }
    let _worker = work(&chats);
    until(&chats, chat, Status::Waiting).await;
    let lines = transcript(&chats, chat).await;
    let expected = [
        "user: one",
        "model: You said one.",
        "user: two",
        "model: You said two.",
        "user: three",
        "model: You said three.",
    ];
    assert_eq!(lines, expected);
    assert_eq!(world.store.calls().commit, 3 + 4, "each promotion shares the commit of the ending");
}

#[tokio::test(start_paused = true)]
async fn a_stop_keeps_what_was_said_and_promotes_the_queue() {
    let world = World::new();
    let chats = world.process(vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("stall")).await.expect("created");
    until(&chats, chat, Status::Running).await;
    // Let the model say something.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let mut next = NewMessage::text("next");
    next.busy = Busy::Interrupt;
    let receipt = chats.send(chat, next).await.expect("queued");
    assert!(receipt.queued.is_some());
    until(&chats, chat, Status::Waiting).await;
    let lines = transcript(&chats, chat).await;
    assert_eq!(lines, ["user: stall", "model: I begin to  (stopped)", "user: next", "model: You said next."]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_turn_whose_tool_hangs() {
    let world = World::new();
    let tool = CountTool::hanging("a", Effect::Once);
    let chats = world.process(vec![tool.clone()]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("use a")).await.expect("created");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(tool.started(), 1);
    let begun = tokio::time::Instant::now();
    chats.interrupt(chat, None).await.expect("running");
    until(&chats, chat, Status::Waiting).await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "doorbell or 2 s, plus the grace of 5 s");
    let lines = transcript(&chats, chat).await;
    assert!(lines[2].starts_with("tool 0: The outcome of this call is unknown"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_chat_that_nobody_runs_is_stopped_by_the_command_itself() {
    let world = World::new();
    let chats = world.process(vec![]);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    chats.interrupt(chat, None).await.expect("running");
    assert_eq!(log(&chats, chat).await, "chat.created message.user\ninterrupt.requested turn.ended");
    let refused = chats.interrupt(chat, None).await;
    assert!(matches!(refused, Err(Failed::Refused(Refused::State { status: Status::Waiting, .. }))));
}

#[tokio::test(start_paused = true)]
async fn a_provider_failure_ends_in_error_and_the_chat_is_usable_again() {
    let world = World::new();
    let model = RuleModel::new(|prompt| match prompt.len() {
        1 => vec![
            ModelPart::TextDelta { id: "t".into(), delta: "half".into() },
            ModelPart::Failure(Box::new(
                Failure::new("rule", Cause::Status).with_status(401).with_body("sk-secret"),
            )),
        ],
        _ => echo(prompt),
    });
    let chats = world.process_with(model, vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    until(&chats, chat, Status::Error).await;
    let text = log(&chats, chat).await;
    assert!(text.ends_with("attempt.failed chat.error"), "{text}");
    let whole: String =
        common::records(&chats, chat).await.iter().map(|r| r.body.as_str().to_owned()).collect();
    assert!(!whole.contains("sk-secret") && !whole.contains("half"), "neither a secret nor a discarded part");
    assert!(whole.contains(r#""kind":"auth""#) && whole.contains(r#""status_code":401"#));
    chats.send(chat, NewMessage::text("again")).await.expect("accepted");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(transcript(&chats, chat).await.last().map(String::as_str), Some("model: You said again."));
}

#[tokio::test(start_paused = true)]
async fn bad_input_is_refused_with_its_cause_and_changes_nothing() {
    let world = World::new();
    let chats = world.process(vec![]);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    let before = chats.head(chat).await.expect("there");
    let words = |result: Result<_, Failed>| {
        result.map(|_: chatwright_loop::Receipt| ()).expect_err("refused").to_string()
    };

    let huge = NewMessage::text("x".repeat(2_000_000));
    assert!(words(chats.send(chat, huge).await).starts_with("message is too large: 20000"));
    assert_eq!(words(chats.send(chat, NewMessage::new(vec![])).await), "a message needs content");
    assert_eq!(words(chats.send(chat, NewMessage::text(" \n")).await), "part 0 of the message is blank");
    let mut keyed = NewMessage::text("x");
    keyed.key = Some("k".repeat(201));
    assert_eq!(words(chats.send(chat, keyed).await), "client key is too large: 201 bytes, at most 200");
    let nobody = chatwright_core::ChatId::from_uuid(chatwright_core::Uuid::nil());
    assert_eq!(words(chats.send(nobody, NewMessage::text("x")).await), "there is no such chat");
    let mut wrong = new_chat("x");
    wrong.model = Some("nope".into());
    let refused = chats.create(wrong).await.map(|(_, receipt)| receipt);
    assert_eq!(words(refused), "there is no model \"nope\"; there is \"rule\"");
    assert_eq!(chats.head(chat).await.expect("there"), before);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_again_gives_the_first_receipt_and_another_body_is_refused() {
    let world = World::new();
    let chats = world.process(vec![]);
    let id = Some(chatwright_core::ChatId::from_uuid(chatwright_core::Uuid::from_u128(7)));
    let mut new = new_chat("hello");
    (new.id, new.key) = (id, Some("create".to_owned()));
    let (chat, first) = chats.create(new.clone()).await.expect("created");
    assert_eq!(chats.create(new.clone()).await.expect("replayed"), (chat, first));
    new.key = None;
    assert!(matches!(chats.create(new).await, Err(Failed::Refused(Refused::Exists))));

    let mut message = NewMessage::text("again");
    message.key = Some("send".to_owned());
    let first = chats.send(chat, message.clone()).await.expect("queued");
    assert_eq!(chats.send(chat, message.clone()).await.expect("replayed"), first);
    let mut harder = message.clone();
    harder.effort = Some(ReasoningEffort::Max);
    assert!(matches!(chats.send(chat, harder).await, Err(Failed::Refused(Refused::KeyReused))));
    message.content = vec![Part::text("something else")];
    assert!(matches!(chats.send(chat, message).await, Err(Failed::Refused(Refused::KeyReused))));
    assert_eq!(world.store.calls().commit, 2);
}

#[tokio::test(start_paused = true)]
async fn the_queue_holds_twenty_messages() {
    let world = World::new();
    let chats = world.process(vec![]);
    let (chat, _) = chats.create(new_chat("hello")).await.expect("created");
    for _ in 0..20 {
        chats.send(chat, NewMessage::text("x")).await.expect("queued");
    }
    let refused = chats.send(chat, NewMessage::text("x")).await;
    assert!(matches!(refused, Err(Failed::Refused(Refused::QueueFull { max: 20 }))));
}

#[tokio::test(start_paused = true)]
async fn a_drain_hands_the_chat_over_and_another_process_finishes_the_turn() {
    let world = World::new();
    let first = world.process(vec![]);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = first.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(async { drop(stopped.await) }).await });
    let (chat, _) = first.create(new_chat("stall")).await.expect("created");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    stop.send(()).expect("the worker runs");
    tasks.join_next().await.expect("one task").expect("no panic");
    let text = log(&first, chat).await;
    assert!(text.ends_with("freed attempt.ended"), "{text}");

    let second = world.process_with(RuleModel::new(|_| common::say("Here I am.")), vec![]);
    let _worker = work(&second);
    until(&second, chat, Status::Waiting).await;
    assert_eq!(transcript(&second, chat).await, ["user: stall", "model: Here I am."]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_is_followed_within_its_lease_and_once_is_never_twice() {
    let world = World::new();
    let hang = CountTool::hanging("a", Effect::Once);
    let first = world.process(vec![hang.clone()]);
    let worker = work(&first);
    let (chat, _) = first.create(new_chat("use a")).await.expect("created");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(hang.started(), 1);
    // Dropped without a word: a crash.
    drop(worker);

    let again = CountTool::new("a", Effect::Once);
    let second = world.process(vec![again.clone() as Arc<_>]);
    let _worker = work(&second);
    until(&second, chat, Status::Waiting).await;
    assert_eq!(again.started(), 0);
    let lines = transcript(&second, chat).await;
    assert!(lines[2].starts_with("tool 0: The outcome of this call is unknown"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_provider_paused_goes_on_in_the_same_turn() {
    let world = World::new();
    let model = RuleModel::new(|prompt| {
        let mut parts = common::text(if prompt.len() == 1 { "First half" } else { "second half." });
        let reason = if prompt.len() == 1 { FinishReason::Pause } else { FinishReason::Stop };
        parts.push(ModelPart::Finish(Finish { reason, ..Finish::default() }));
        parts
    });
    let chats = world.process_with(model.clone(), vec![]);
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("go")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(transcript(&chats, chat).await, ["user: go", "model: First half", "model: second half."]);
    assert_eq!(model.prompts.lock().len(), 2);
}

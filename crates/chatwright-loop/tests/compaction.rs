//! Summaries that die, are stopped, overtaken, asked for twice, or fail.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chatwright_core::content::{Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::head::{State, Status};
use chatwright_core::model::{FinishReason, Message, ModelPart};
use chatwright_core::port::{ChatStore, Event, Observer, Tool};
use chatwright_core::record::Body;
use chatwright_core::tool::{Effect, ToolSpec};
use chatwright_core::{ChatId, Seq};
use chatwright_loop::{Asked, Chats, NewEdit, NewMessage, Ports, Settings};
use tokio::time::sleep;

use common::doors::{At, Cut, Staged, Then};
use common::{
    CountTool, RuleModel, World, check_log, echo, finish, log, new_chat, records, stall, text, transcript,
    until, words_of, work,
};

const SUMMARY: &str = "They spoke.";

/// Answers as `echo` does, and a request for a summary by this rule, told how many came before.
fn model(rule: impl Fn(usize) -> Vec<ModelPart> + Send + Sync + 'static) -> Arc<RuleModel> {
    let asked = AtomicUsize::new(0);
    RuleModel::new(move |prompt| match words(&prompt[prompt.len() - 1]) {
        last if last.starts_with("Summarise") => rule(asked.fetch_add(1, Ordering::SeqCst)),
        _ => echo(prompt),
    })
}

/// One that always has a summary.
fn sure_model() -> Arc<RuleModel> {
    model(|_| common::say(SUMMARY))
}

/// Without what a summary is introduced by.
fn words(message: &Message) -> String {
    let words: String = message.content.iter().map(words_of).collect();
    match words.strip_prefix("[The conversation before") {
        Some(rest) => rest.split_once("]\n\n").expect("the summary follows").1.to_owned(),
        None => words,
    }
}

/// The prompts so far.
fn prompts(model: &RuleModel) -> Vec<Vec<String>> {
    model.prompts.lock().iter().map(|prompt| prompt.iter().map(words).collect()).collect()
}

fn summaries(model: &RuleModel) -> usize {
    prompts(model)
        .iter()
        .filter(|prompt| prompt.last().is_some_and(|last| last.starts_with("Summarise")))
        .count()
}

fn process(world: &World, model: &Arc<RuleModel>, chats: Arc<dyn ChatStore>) -> Chats {
    let schema = serde_json::json!({"type": "object"});
    let ask = ToolSpec::new("ask", "Asks the client.", schema, Effect::Pure);
    let tools = vec![CountTool::new("a", Effect::Pure) as Arc<dyn Tool>];
    let ports = Ports { chats, client_tools: vec![ask], ..world.ports(model.clone(), tools) };
    Chats::new(ports, Settings::default()).expect("a valid setup")
}

/// A chat at rest with two turns behind it.
async fn two_turns(chats: &Chats) -> ChatId {
    let _worker = work(chats);
    let (chat, _) = chats.create(new_chat("one")).await.expect("created");
    until(chats, chat, Status::Waiting).await;
    turn(chats, chat, "two").await;
    chat
}

async fn turn(chats: &Chats, chat: ChatId, words: &str) {
    chats.send(chat, NewMessage::text(words)).await.expect("accepted");
    until(chats, chat, Status::Waiting).await;
}

async fn state(chats: &Chats, chat: ChatId) -> State {
    chats.head(chat).await.expect("there").state.decode().expect("ours")
}

async fn count(chats: &Chats, chat: ChatId, kind: &str) -> usize {
    records(chats, chat).await.iter().filter(|record| record.kind.name() == kind).count()
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_dies_after_any_commit_is_made_by_whoever_comes_next() {
    for in_a_turn in [false, true] {
        let mut cuts = 0;
        for left in 0.. {
            let mut reached = false;
            for last_is_applied in [false, true] {
                let (world, model) = (World::new(), sure_model());
                let sure = process(&world, &model, world.store.clone());
                let chat = two_turns(&sure).await;
                if in_a_turn {
                    let _worker = work(&sure);
                    sure.send(chat, NewMessage::text("use a,ask")).await.expect("accepted");
                    until(&sure, chat, Status::RequiresAction).await;
                }
                sure.compact(chat, None).await.expect("accepted");
                sure.send(chat, NewMessage::text("three")).await.expect("accepted");
                if in_a_turn {
                    sure.submit(chat, vec![(1, Output::text("b"))], None).await.expect("complete");
                }
                let cut = Cut::after(world.store.clone(), left, last_is_applied);
                let dies = process(&world, &model, cut.clone());
                let worker = work(&dies);
                for _ in 0..2_000 {
                    let rests = sure.head(chat).await.is_ok_and(|head| head.index.status == Status::Waiting);
                    if rests || cut.is_cut() {
                        break;
                    }
                    sleep(Duration::from_millis(5)).await;
                }
                reached |= cut.is_cut();
                drop(worker);
                let _worker = work(&sure);
                until(&sure, chat, Status::Waiting).await;
                let what = format!("in a turn: {in_a_turn}, cut after {left}, applied: {last_is_applied}");
                check_log(&records(&sure, chat).await);
                assert_eq!(count(&sure, chat, "context.compacted").await, 1, "{what}");
                assert_eq!(state(&sure, chat).await.compact, None);
                let last = prompts(&model).pop().expect("it was asked");
                let expected: &[&str] = match in_a_turn {
                    false => &[SUMMARY, "two", "You said two.", "three"],
                    true => &[
                        SUMMARY,
                        "use a,ask",
                        "Let me see.",
                        "[a 0][b]",
                        "The tools said [a 0][b].",
                        "three",
                    ],
                };
                assert_eq!(last, expected, "{what}");
                let lines = transcript(&sure, chat).await;
                assert_eq!(
                    lines[..4],
                    ["user: one", "model: You said one.", "user: two", "model: You said two."]
                );
                assert_eq!(lines.last().map(String::as_str), Some("model: You said three."), "{what}");
            }
            if !reached {
                break;
            }
            cuts += 1;
        }
        assert!(cuts >= 3, "it was cut at {cuts} places");
    }
}

/// Counts the attempts that began and those that ended.
#[derive(Default)]
struct Attempts(AtomicUsize, AtomicUsize);

impl Observer for Attempts {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::AttemptStarted { .. } => self.0.fetch_add(1, Ordering::SeqCst),
            Event::AttemptEnded { .. } => self.1.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_summary_is_observed_from_its_beginning_to_its_end() {
    let (world, model) = (World::new(), sure_model());
    let observer = Arc::new(Attempts::default());
    let mut ports = world.ports(model.clone(), vec![]);
    ports.observers = vec![observer.clone()];
    let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
    let chat = two_turns(&chats).await;
    let _worker = work(&chats);
    chats.compact(chat, None).await.expect("at rest");
    until(&chats, chat, Status::Waiting).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((observer.0.load(Ordering::SeqCst), observer.1.load(Ordering::SeqCst)), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_a_summary_keeps_history_as_it_is() {
    let (world, model) =
        (World::new(), model(|n| if n == 0 { stall("They ") } else { common::say(SUMMARY) }));
    let chats = process(&world, &model, world.store.clone());
    let chat = two_turns(&chats).await;
    let before = state(&chats, chat).await;
    let _worker = work(&chats);
    chats.compact(chat, None).await.expect("at rest");
    sleep(Duration::from_secs(1)).await;
    chats.send(chat, NewMessage::text("three")).await.expect("accepted");
    chats.interrupt(chat, None).await.expect("it runs");
    until(&chats, chat, Status::Waiting).await;
    let after = state(&chats, chat).await;
    assert_eq!((after.context_from, after.anchor, after.compact), (before.context_from, before.anchor, None));
    let expected = ["one", "You said one.", "two", "You said two.", "three"];
    assert_eq!(prompts(&model).last().expect("asked"), &expected, "nothing of the summary is left");
    assert_eq!((summaries(&model), count(&chats, chat, "context.compacted").await), (1, 0));
    chats.compact(chat, None).await.expect("at rest");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(count(&chats, chat, "context.compacted").await, 1, "it may be asked for again");
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_meets_the_end_of_a_summary_ends_the_turn_and_loses_neither() {
    for (at, then) in [
        (At::Before("context.compacted"), Then::GoOn),
        (At::Before("context.compacted"), Then::Fail),
        (At::After("context.compacted"), Then::Fail),
    ] {
        for in_a_turn in [false, true] {
            let (world, model) = (World::new(), sure_model());
            let staged = Staged::new(world.store.clone());
            let chats = process(&world, &model, staged.clone());
            let chat = two_turns(&chats).await;
            let _worker = work(&chats);
            let mut storing = staged.stop(at);
            if in_a_turn {
                chats.send(chat, NewMessage::text("use ask")).await.expect("accepted");
                until(&chats, chat, Status::RequiresAction).await;
            }
            chats.compact(chat, None).await.expect("accepted");
            if in_a_turn {
                chats.submit(chat, vec![(0, Output::text("b"))], None).await.expect("complete");
            }
            storing.reached().await;
            let stopped = chats.interrupt(chat, None).await;
            // At rest the summary was the end of it.
            assert_eq!(
                stopped.is_ok(),
                in_a_turn || matches!(at, At::Before(_)),
                "{at:?}, in a turn: {in_a_turn}"
            );
            storing.then(then);
            until(&chats, chat, Status::Waiting).await;
            sleep(Duration::from_secs(60)).await;
            let text = log(&chats, chat).await;
            assert_eq!(
                text.matches("context.compacted").count(),
                1,
                "{at:?}, in a turn: {in_a_turn}:\n{text}"
            );
            assert_eq!(summaries(&model), 1);
            let asked = prompts(&model).pop().expect("asked");
            assert!(!asked[asked.len() - 1].starts_with("[b]"), "the turn was stopped: {asked:?}");
            check_log(&records(&chats, chat).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_in_the_middle_of_a_summary_is_answered_and_the_summary_is_not_stored() {
    for at in [None, Some(At::Before("context.compacted"))] {
        let (world, model) =
            (World::new(), model(move |_| if at.is_some() { common::say(SUMMARY) } else { stall("They ") }));
        let staged = Staged::new(world.store.clone());
        let chats = process(&world, &model, staged.clone());
        let chat = two_turns(&chats).await;
        let _worker = work(&chats);
        let storing = at.map(|at| staged.stop(at));
        let two = records(&chats, chat).await;
        let is_two =
            |body: Body| matches!(body, Body::MessageUser(message) if message.content == [Part::text("two")]);
        let two =
            two.iter().find(|record| is_two(record.open().expect("ours").body)).expect("it is there").seq;
        chats.compact(chat, None).await.expect("at rest");
        match storing {
            Some(mut storing) => {
                storing.reached().await;
                chats.edit(chat, NewEdit::text(two, "zwei")).await.expect("edited");
                storing.then(Then::GoOn);
            }
            None => {
                sleep(Duration::from_secs(1)).await;
                chats.edit(chat, NewEdit::text(two, "zwei")).await.expect("edited");
            }
        }
        until(&chats, chat, Status::Waiting).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(prompts(&model).last().expect("asked"), &["one", "You said one.", "zwei"]);
        assert_eq!((summaries(&model), count(&chats, chat, "context.compacted").await), (1, 0));
        let state = state(&chats, chat).await;
        assert_eq!((state.context_from, state.anchor, state.compact), (Seq::new(1), None, None));
        assert_eq!(transcript(&chats, chat).await.last().map(String::as_str), Some("model: You said zwei."));
        check_log(&records(&chats, chat).await);
    }
}

fn fails(status: u16) -> Vec<ModelPart> {
    let mut parts = text("They sp");
    parts.push(ModelPart::Failure(Box::new(Failure::new("rule", Cause::Status).with_status(status))));
    parts
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_fails_is_tried_again_as_an_answer_is() {
    let (world, model) = (World::new(), model(|n| if n < 3 { fails(500) } else { common::say(SUMMARY) }));
    let chats = process(&world, &model, world.store.clone());
    let chat = two_turns(&chats).await;
    let _worker = work(&chats);
    chats.compact(chat, None).await.expect("at rest");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!((summaries(&model), count(&chats, chat, "attempt.failed").await), (4, 3));
    turn(&chats, chat, "three").await;
    assert_eq!(prompts(&model).last().expect("asked"), &[SUMMARY, "two", "You said two.", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_does_not_come_ends_in_an_error_that_is_seen_and_not_in_a_loop() {
    let cut = |reason| {
        let mut parts = text("They sp");
        parts.push(finish(reason));
        parts
    };
    let nothing = vec![finish(FinishReason::Stop)];
    for (parts, kind) in [
        (fails(401), "auth"),
        (fails(500), "generic"),
        (nothing, "generic"),
        (cut(FinishReason::Length), "generic"),
        (cut(FinishReason::ContentFilter), "content_filter"),
    ] {
        for in_a_turn in [false, true] {
            let answer = parts.clone();
            let (world, model) = (World::new(), model(move |_| answer.clone()));
            let chats = process(&world, &model, world.store.clone());
            let chat = two_turns(&chats).await;
            let _worker = work(&chats);
            if in_a_turn {
                chats.send(chat, NewMessage::text("use ask")).await.expect("accepted");
                until(&chats, chat, Status::RequiresAction).await;
            }
            chats.compact(chat, None).await.expect("accepted");
            if in_a_turn {
                chats.submit(chat, vec![(0, Output::text("b"))], None).await.expect("complete");
            }
            // Longer than a failure is tried again.
            sleep(Duration::from_secs(2 * 3_600)).await;
            let asked = summaries(&model);
            sleep(Duration::from_secs(3_600)).await;
            until(&chats, chat, Status::Error).await;
            assert_eq!(summaries(&model), asked, "nobody tries for ever");
            let after = state(&chats, chat).await;
            assert_eq!(after.last.expect("it is seen").kind.as_ref(), kind, "{parts:?}");
            assert_eq!((after.context_from, after.anchor, after.compact), (Seq::new(1), None, None));
            assert_eq!(count(&chats, chat, "context.compacted").await, 0);
            turn(&chats, chat, "three").await;
            let last = prompts(&model).pop().expect("asked");
            assert_eq!(last[..4], ["one", "You said one.", "two", "You said two."], "all of it is shown");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_is_asked_for_twice_is_made_once() {
    // Before anybody takes the chat, and while the summary is written.
    let (world, model) = (World::new(), sure_model());
    let staged = Staged::new(world.store.clone());
    let chats = process(&world, &model, staged.clone());
    let chat = two_turns(&chats).await;
    let first = chats.compact(chat, Asked::with_key("k")).await.expect("at rest");
    chats.compact(chat, None).await.expect("it runs");
    let mut storing = staged.stop(At::Before("context.compacted"));
    let worker = work(&chats);
    storing.reached().await;
    chats.compact(chat, None).await.expect("it runs");
    storing.then(Then::GoOn);
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(chats.compact(chat, Asked::with_key("k")).await.expect("the same"), first);
    assert_eq!((summaries(&model), count(&chats, chat, "context.compacted").await), (1, 1));
    assert_eq!(prompts(&model).len(), 3, "and nothing else was asked");
    assert_eq!(
        (chats.head(chat).await.expect("there").wake_at, state(&chats, chat).await.compact),
        (None, None)
    );

    // While a turn waits for its client.
    chats.send(chat, NewMessage::text("use ask")).await.expect("accepted");
    until(&chats, chat, Status::RequiresAction).await;
    chats.compact(chat, None).await.expect("a turn runs");
    chats.compact(chat, None).await.expect("a turn runs");
    chats.submit(chat, vec![(0, Output::text("b"))], None).await.expect("complete");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!((summaries(&model), count(&chats, chat, "context.compacted").await), (2, 2));
    // With nothing between it and the last one, nobody is asked.
    let asked = prompts(&model).len();
    chats.compact(chat, None).await.expect("at rest");
    until(&chats, chat, Status::Waiting).await;
    assert_eq!(prompts(&model).len(), asked);
    drop(worker);
}

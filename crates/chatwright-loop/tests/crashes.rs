//! The process may die at any commit: a fresh one finishes the turn with the same result.

mod common;

use std::sync::Arc;
use std::time::Duration;

use chatwright_conformance::{Chance, Flaky, FlakyRates};
use chatwright_core::ChatId;
use chatwright_core::head::Status;
use chatwright_core::port::Tool;
use chatwright_core::tool::Effect;
use chatwright_loop::{Chats, NewMessage, Settings};
use tokio::task::JoinSet;

use common::doors::Cut;
use common::{CountTool, World, check_log, new_chat, transcript, until};

fn tools(once: Effect) -> (Vec<Arc<CountTool>>, Vec<Arc<dyn Tool>>) {
    let tools = vec![
        CountTool::new("a", Effect::Pure),
        CountTool::new("b", Effect::Idempotent),
        CountTool::new("c", once),
    ];
    let ports = tools.iter().map(|tool| tool.clone() as Arc<dyn Tool>).collect();
    (tools, ports)
}

/// Runs the script, cut after `left` commits of the worker; gives the transcript and how often the third tool started, or
/// `None` if the script needed no more commits than that.
async fn cut_run(left: isize, last_is_applied: bool, effect: Effect) -> (Vec<String>, usize, bool) {
    let world = World::new();
    let (counters, ports) = tools(effect);
    let whole = world.process(ports.clone());
    let (chat, _) = whole.create(new_chat("use a,b,c,a")).await.expect("created");
    whole.send(chat, NewMessage::text("and then?")).await.expect("queued");

    let cut = Cut::after(world.store.clone(), left, last_is_applied);
    let mut first = world.ports(common::RuleModel::new(common::echo), ports.clone());
    first.chats = cut.clone();
    let first = Chats::new(first, Settings::default()).expect("a valid setup");
    let worker = first.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    for _ in 0..4_000 {
        let rests = whole.head(chat).await.is_ok_and(|head| head.index.status == Status::Waiting);
        if cut.is_cut() || rests {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let was_cut = cut.is_cut();
    drop(tasks);

    let second = world.process(ports);
    let worker = second.worker();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { worker.run(std::future::pending()).await });
    until(&second, chat, Status::Waiting).await;
    check_log(&common::records(&second, chat).await);
    (transcript(&second, chat).await, counters[2].started(), was_cut)
}

#[tokio::test(start_paused = true)]
async fn a_turn_cut_after_every_commit_ends_with_the_same_transcript() {
    let (uncut, _, was_cut) = cut_run(1_000, false, Effect::Idempotent).await;
    assert!(!was_cut && uncut.len() == 9, "{uncut:#?}");
    let mut cuts = 0;
    for left in 0.. {
        let mut reached = false;
        for last_is_applied in [false, true] {
            let (lines, _, was_cut) = cut_run(left, last_is_applied, Effect::Idempotent).await;
            assert_eq!(
                sorted(lines),
                sorted(uncut.clone()),
                "cut after {left} commits, applied: {last_is_applied}"
            );
            reached |= was_cut;
        }
        if !reached {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 6, "the script was cut at {cuts} places");
}

/// Results of tools that run side by side come in any order.
fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines[2..6].sort();
    lines
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_must_run_once_never_starts_twice_wherever_the_process_dies() {
    let mut unknown = 0;
    for left in 0..10 {
        for last_is_applied in [false, true] {
            let (lines, started, _) = cut_run(left, last_is_applied, Effect::Once).await;
            assert!(
                started <= 1,
                "started {started} times; cut after {left} commits, applied: {last_is_applied}"
            );
            let answered = lines.iter().filter(|line| line.starts_with("tool 2: ")).count();
            assert_eq!(answered, 1, "one result for the call: {lines:#?}");
            unknown += lines.iter().filter(|line| line.contains("outcome of this call is unknown")).count();
            assert!(lines.iter().filter(|line| *line == "user: use a,b,c,a").count() == 1);
            assert_eq!(lines.last().map(String::as_str), Some("model: You said and then?."));
        }
    }
    assert!(unknown > 0, "somewhere the outcome was unknown, and said so");
}

#[tokio::test(start_paused = true)]
async fn two_workers_race_for_two_hundred_chats_over_a_flaky_store_and_each_message_is_answered_once() {
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    let world = World::new();
    let rates = FlakyRates { reads: 3, before: 4, after: 4, later: 4 };
    let mut processes = Vec::new();
    let mut workers = JoinSet::new();
    for n in 0..2 {
        let mut ports = world.ports(common::RuleModel::new(common::echo), vec![]);
        let flaky = Flaky::new(world.store.clone(), rates, Chance::new(chance.seed().wrapping_add(n)));
        ports.chats = Arc::new(flaky);
        let chats = Chats::new(ports, Settings::default()).expect("a valid setup");
        let worker = chats.worker();
        workers.spawn(async move { worker.run(std::future::pending()).await });
        processes.push(chats);
    }
    let sure = world.process(vec![]);
    let mut acknowledged = Vec::new();
    for n in 0..200_usize {
        let mut new = new_chat(&format!("message {n}"));
        (new.id, new.key) = (
            Some(ChatId::mint(&*world.ports(common::RuleModel::new(common::echo), vec![]).ids)),
            Some("k".into()),
        );
        // A caller that gets an unknown outcome repeats the command with its key.
        let chat = loop {
            match processes[n % 2].create(new.clone()).await {
                Ok((chat, _)) => break chat,
                Err(chatwright_loop::Failed::Refused(refused)) => panic!("refused: {refused}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        acknowledged.push((n, chat));
    }
    for (n, chat) in acknowledged {
        until(&sure, chat, Status::Waiting).await;
        let lines = transcript(&sure, chat).await;
        assert_eq!(lines, [format!("user: message {n}"), format!("model: You said message {n}.")]);
        check_log(&common::records(&sure, chat).await);
    }
}

//! A process that is killed loses no debug run that it was told is stored, and leaves no batch in part.
//!
//! The parent starts this binary again as a child, which writes batches to several runs and says which were answered with `Ok`. The
//! parent kills it, opens the file and reads everything. `CHATWRIGHT_CRASH_ROUNDS` (default 16) makes it longer.
#![cfg(unix)]

mod kit;

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use chatwright_core::debug::{
    ContentHash, DebugRun, DebugStep, DebugWrite, DebugWritten, Detail, RunChange, RunKind,
};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::DebugStore;
use chatwright_core::{Json, RunId, StepId, Timestamp, Uuid};
use chatwright_sqlite::SqliteStore;
use kit::{chat, run, say};
use tokio::task::JoinSet;

const RUNS: u128 = 3;
/// Where a child that nobody kills ends.
const BATCHES_MAX: u32 = 900;
const SIGKILL: i32 = 9;

const PATH: &str = "CHATWRIGHT_SQLITE_DEBUG_CRASH_PATH";
const ROUNDS: &str = "CHATWRIGHT_CRASH_ROUNDS";
/// The broken twins: one says so before it is stored, one stores half of it first.
const TWIN: &str = "CHATWRIGHT_SQLITE_DEBUG_CRASH_TWIN";

fn id(n: u128) -> RunId {
    RunId::from_uuid(Uuid::from_u128(n))
}

fn at(number: u32) -> Timestamp {
    Timestamp::from_millis(i64::from(number))
}

/// Contents of which each is another; of some the pages overflow.
fn bytes(n: u128, number: u32) -> Vec<u8> {
    format!("{n} {number} ").repeat(1 + number as usize % 7 * 90).into_bytes()
}

fn summary(number: u32) -> Json {
    Json::encode(&serde_json::json!({ "batches": number })).expect("JSON")
}

/// A step with a piece of contents, and the run that says how many there are.
fn batch(n: u128, number: u32) -> Vec<DebugWrite> {
    let (run, chat, now) = (id(n), chat(n), at(number));
    let step = StepId::from_uuid(Uuid::from_u128((n << 64) | u128::from(number)));
    let bytes = bytes(n, number);
    let change = RunChange { summary: Some(summary(number)), ..RunChange::default() };
    let mut step = DebugStep::new(step, run, chat, now);
    step.request = Some(summary(number));
    vec![
        DebugWrite::CreateRun(Box::new(DebugRun::new(run, chat, RunKind::ChatTurn, at(0)))),
        DebugWrite::CreateStep(Box::new(step)),
        DebugWrite::Content { chat, run, hash: ContentHash::of(chat, &bytes), bytes: bytes.into() },
        DebugWrite::UpdateRun { chat, run, change: Box::new(change), now },
    ]
}

#[test]
fn a_killed_process_loses_no_batch_that_was_acknowledged_and_leaves_none_in_part() {
    let rounds = std::env::var(ROUNDS).map_or(16, |rounds| rounds.parse().expect("rounds are a number"));
    let (mut folder, mut acknowledged) = (tempfile::tempdir().expect("a folder"), [0; RUNS as usize]);
    for round in 0..rounds {
        // A file lives through four crashes.
        if round % 4 == 0 {
            (folder, acknowledged) = (tempfile::tempdir().expect("a folder"), [0; RUNS as usize]);
        }
        let path = folder.path().join("chats.db");
        let status = child(&path, None, &mut acknowledged, 1 + round * 37 % 110);
        assert_eq!(status.signal(), Some(SIGKILL), "round {round}: {status}");
        assert!(acknowledged.iter().sum::<u32>() > 0);
        assert_eq!(run(violations(&path, acknowledged)), [""; 0], "round {round}");
    }
}

#[test]
fn twins_that_acknowledge_before_they_write_and_that_write_in_two_halves_are_found_out() {
    for (twin, expected) in [
        ("early", &["run 1: 5 acknowledged, 4 stored"][..]),
        ("half", &["run 1: it does not say 5", "run 1: contents 5 are not there"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, mut acknowledged) = (folder.path().join("chats.db"), [0; RUNS as usize]);
        let status = child(&path, Some(twin), &mut acknowledged, u64::MAX);
        assert!(!status.success(), "the twin dies by itself");
        assert_eq!(run(violations(&path, acknowledged)), expected);
    }
}

/// The child: writes until it is killed. Without a file it has nothing to do.
#[test]
fn crash_child() {
    let Ok(path) = std::env::var(PATH) else {
        assert!(std::env::var(TWIN).is_err(), "a twin needs a file");
        return;
    };
    let twin = std::env::var(TWIN).ok();
    let runs = if twin.is_some() { 1 } else { RUNS };
    run(async {
        let store = SqliteStore::open(path).expect("the file opens");
        let mut tasks = JoinSet::new();
        for n in 1..=runs {
            tasks.spawn(keep_writing(store.clone(), n, twin.clone()));
        }
        while let Some(result) = tasks.join_next().await {
            result.expect("it writes");
        }
    });
    panic!("nobody has killed it");
}

async fn keep_writing(store: SqliteStore, n: u128, twin: Option<String>) {
    let last = steps(&store, n).await.last().map_or(0, |step| step.number);
    for number in last + 1..=BATCHES_MAX {
        let batch = batch(n, number);
        let acknowledge = || say(&format!("\nACK {n} {number}"));
        match twin.as_deref().filter(|_| number == 5) {
            None => {}
            Some("early") => {
                acknowledge();
                std::process::abort();
            }
            Some(_) => {
                store.write(&batch[..2]).await.expect("it is stored");
                std::process::abort();
            }
        }
        let written = store.write(&batch).await.expect("it is stored");
        assert_eq!(written[1], DebugWritten::Step(number));
        acknowledge();
    }
}

/// Lives until so many batches are acknowledged.
fn child(
    path: &Path,
    twin: Option<&str>,
    acknowledged: &mut [u32; RUNS as usize],
    batches: u64,
) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.args(["--exact", "crash_child", "--nocapture"]).env(PATH, path);
    command.envs(twin.map(|twin| (TWIN, twin)));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut heard = 0;
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line.expect("a line");
        let ["ACK", n, number] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        acknowledged[n.parse::<usize>().expect("a run") - 1] = number.parse().expect("a batch");
        heard += 1;
        if heard == batches {
            child.kill().expect("it lives");
        }
    }
    child.wait().expect("it is dead")
}

async fn steps(store: &SqliteStore, n: u128) -> Vec<DebugStep> {
    let mut all: Vec<DebugStep> = Vec::new();
    loop {
        let after = all.last().map_or(0, |step| step.number);
        let page =
            store.steps(chat(n), id(n), after, PAGE_ITEMS_MAX, Detail::Whole).await.expect("a page of steps");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// In what a file differs from what the children must have written.
async fn violations(path: &Path, acknowledged: [u32; RUNS as usize]) -> Vec<String> {
    let store = SqliteStore::open(path).expect("the file opens");
    let mut found = Vec::new();
    for (n, acknowledged) in (1..).zip(acknowledged) {
        let steps = steps(&store, n).await;
        let stored = u32::try_from(steps.len()).expect("few");
        if stored < acknowledged {
            found.push(format!("run {n}: {acknowledged} acknowledged, {stored} stored"));
        }
        if !steps.iter().zip(1..).all(|(step, number)| {
            step.number == number && step.started_at == at(number) && step.request == Some(summary(number))
        }) {
            found.push(format!("run {n}: the steps are not those that were written"));
        }
        let told = store.run(chat(n), id(n)).await.expect("it answers").map(|run| run.summary);
        if told != (stored > 0).then(|| summary(stored)) {
            found.push(format!("run {n}: it does not say {stored}"));
        }
        for number in 1..=stored {
            let bytes = bytes(n, number);
            let name = ContentHash::of(chat(n), &bytes);
            let read = store.contents(chat(n), id(n), &[name]).await.expect("it answers");
            if read != [Some(bytes.into())] {
                found.push(format!("run {n}: contents {number} are not there"));
            }
        }
    }
    found
}

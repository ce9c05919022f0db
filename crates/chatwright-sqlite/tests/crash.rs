//! A process that is killed loses nothing that it was told is stored, and leaves nothing in part.
//!
//! The parent starts this binary again as a child. The child commits to several chats at once and says which commits
//! were answered with `Ok`; the parent kills it, opens the file and compares it with what the child must have written.
//! Everything that a child writes follows from the seed, the chat and the number of the operation.
//!
//! `CHATWRIGHT_SEED` repeats a run, `CHATWRIGHT_CRASH_ROUNDS` (default 48) makes it longer.
#![cfg(unix)]

mod kit;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use chatwright_core::head::HeadDraft;
use chatwright_core::port::ChatStore as _;
use chatwright_core::record::Draft;
use chatwright_core::{ChatId, Commit, Head, Json, OpId, Timestamp, Uuid};
use chatwright_sqlite::SqliteStore;
use kit::{chat, index, log, run, say, session};
use tokio::task::JoinSet;

const CHATS: u128 = 6;
/// Where a child that nobody kills ends.
const OPS_MAX: u64 = 1_000;
const SIGKILL: i32 = 9;
const SIGXFSZ: i32 = 25;

const PATH: &str = "CHATWRIGHT_SQLITE_CRASH_PATH";
const SEED: &str = "CHATWRIGHT_SEED";
const ROUNDS: &str = "CHATWRIGHT_CRASH_ROUNDS";
/// The broken twin: it says so before it is stored.
const TWIN: &str = "CHATWRIGHT_SQLITE_CRASH_TWIN";

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged_and_leaves_nothing_in_part() {
    let (seed, mut folder) = (seed(), tempfile::tempdir().expect("the set-up holds"));
    let (mut acknowledged, mut total) = (Acknowledged::new(), 0);
    for round in 0..rounds() {
        // A file lives through four crashes.
        let life = round / 4;
        if round % 4 == 0 {
            (folder, acknowledged) = (tempfile::tempdir().expect("the set-up holds"), Acknowledged::new());
        }
        let (path, script) = (folder.path().join("chats.db"), Random::of(&[seed, life]).0);
        let mut random = Random::of(&[seed, round, 1]);
        // Some die while they open the file, and some while they write.
        let (lines, spins) = match random.below(4) {
            0 => (1, random.below(60_000)),
            _ => (2 + random.below(60), random.below(2_000)),
        };
        let mut child = start(child(&path, script));
        let status = listen(&mut child, &mut acknowledged, |child, line| {
            if line == lines {
                (0..spins).for_each(|_| std::thread::yield_now());
                child.kill().expect("the set-up holds");
            }
        });
        assert_eq!(status.signal(), Some(SIGKILL), "round {round}: {status}");
        total += acknowledged.values().sum::<u64>();
        assert_eq!(run(violations(&path, script, &acknowledged)), NONE, "{SEED}={seed}, round {round}");
    }
    assert!(total > 0, "some were acknowledged");
}

#[test]
fn a_process_that_dies_at_any_byte_of_a_file_leaves_nothing_in_part() {
    let seed = seed();
    let mut random = Random::of(&[seed, 2]);
    let mut limits: Vec<u64> = (1..=20).collect(); // creation: header, schema, journal
    limits.extend((24..=72).step_by(8)); // the index of the log
    limits.extend((0..rounds()).map(|_| 73 + random.below(2_400))); // the log
    limits.extend((0..rounds() / 4).map(|_| 8_000 + random.below(2_000))); // checkpoints: the file itself
    let mut acknowledged_once = false;
    for blocks in limits {
        let folder = tempfile::tempdir().expect("the set-up holds");
        let path = folder.path().join("chats.db");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -c 0; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
        command.arg(std::env::current_exe().expect("the set-up holds"));
        let mut acknowledged = Acknowledged::new();
        let mut child = start(prepare(command, &path, seed));
        let status = listen(&mut child, &mut acknowledged, |_, _| ());
        assert_eq!(status.signal(), Some(SIGXFSZ), "{blocks} blocks: {status}");
        acknowledged_once |= !acknowledged.is_empty();
        assert_eq!(run(violations(&path, seed, &acknowledged)), NONE, "{SEED}={seed}, {blocks} blocks");
    }
    assert!(acknowledged_once, "some were acknowledged");
}

#[test]
fn a_twin_that_acknowledges_before_it_commits_is_found_out() {
    let (seed, folder) = (seed(), tempfile::tempdir().expect("the set-up holds"));
    let path = folder.path().join("chats.db");
    let mut command = child(&path, seed);
    command.env(TWIN, "1");
    let mut acknowledged = Acknowledged::new();
    let status = listen(&mut start(command), &mut acknowledged, |_, _| ());
    assert!(!status.success(), "the twin dies by itself");
    let found = run(violations(&path, seed, &acknowledged));
    let of_the_last = format!("chat {}: 5 acknowledged, 4 stored", chat(1));
    assert!(found.contains(&of_the_last), "{SEED}={seed}: {found:?}");
}

#[test]
fn whatever_is_stored_in_part_is_found_out() {
    let tampering = [
        "DELETE FROM record WHERE id = (SELECT max(id) FROM record)",
        "DELETE FROM record WHERE id = (1 << 32) | 2",
        "INSERT INTO record SELECT max(id) + 1, kind, body FROM record",
        "UPDATE record SET body = replace(body, 'fill', 'full') WHERE id = (1 << 32) | 1",
        "UPDATE chat SET revision = revision + 1",
        "UPDATE chat SET revision = revision - 1",
        "UPDATE chat SET last_seq = last_seq + 1",
        "UPDATE chat SET state = '{}'",
        "UPDATE chat SET wake_at = 77",
    ];
    let seed = seed();
    for sql in tampering {
        let folder = tempfile::tempdir().expect("the set-up holds");
        let path = folder.path().join("chats.db");
        run(async {
            let store = SqliteStore::open(&path).expect("the set-up holds");
            let mut last = None;
            for op in 1..=5 {
                let commit = operation(seed, chat(1), op, last.as_ref());
                store.commit(&commit).await.expect("the set-up holds");
                last = Some(commit.head().clone());
            }
        });
        assert_eq!(run(violations(&path, seed, &Acknowledged::from([(1, 5)]))), NONE);
        rusqlite::Connection::open(&path)
            .expect("the set-up holds")
            .execute_batch(sql)
            .expect("the set-up holds");
        assert_ne!(run(violations(&path, seed, &Acknowledged::new())), NONE, "{sql}");
    }
}

/// The child: commits until it is killed. Without a file it has nothing to do.
#[test]
fn crash_child() {
    let Ok(path) = std::env::var(PATH) else {
        assert!(std::env::var(TWIN).is_err(), "a twin needs a file");
        return;
    };
    let (seed, twin) = (seed(), std::env::var(TWIN).is_ok());
    say("\nSTART");
    run(async {
        let store = SqliteStore::open(path).expect("the set-up holds");
        say("OPEN");
        let mut tasks = JoinSet::new();
        for n in 1..=CHATS {
            tasks.spawn(keep_committing(store.clone(), seed, n, twin));
        }
        while let Some(result) = tasks.join_next().await {
            result.expect("the set-up holds");
        }
    });
    panic!("nobody has killed it");
}

async fn keep_committing(store: SqliteStore, seed: u64, n: u128, twin: bool) {
    let mut last = store.head(chat(n)).await.expect("the set-up holds");
    let first = last.as_ref().map_or(0, |head| head.revision.get()) + 1;
    for op in first..=OPS_MAX {
        let commit = operation(seed, chat(n), op, last.as_ref());
        if twin {
            say(&format!("ACK {n} {op}"));
            if (n, op) == (1, 5) {
                std::process::abort();
            }
        }
        store.commit(&commit).await.expect("the set-up holds");
        if !twin {
            say(&format!("ACK {n} {op}"));
        }
        last = Some(commit.head().clone());
    }
}

/// The last operation of each chat that a child was told is stored.
type Acknowledged = BTreeMap<u128, u64>;

fn child(path: &Path, seed: u64) -> Command {
    prepare(Command::new(std::env::current_exe().expect("the set-up holds")), path, seed)
}

fn prepare(mut command: Command, path: &Path, seed: u64) -> Command {
    command.args(["--exact", "crash_child", "--nocapture"]);
    command.env(PATH, path).env(SEED, seed.to_string());
    command
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the set-up holds")
}

/// Hears what a child says until it is dead. Its lines are numbered from 1: START, OPEN, and what is acknowledged.
fn listen(
    child: &mut Child,
    acknowledged: &mut Acknowledged,
    mut hear: impl FnMut(&mut Child, u64),
) -> ExitStatus {
    let mut number = 0;
    for line in BufReader::new(child.stdout.take().expect("the set-up holds")).lines() {
        let line = line.expect("the set-up holds");
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["START" | "OPEN"] => {}
            ["ACK", chat, op] => {
                let before = acknowledged
                    .insert(chat.parse().expect("the set-up holds"), op.parse().expect("the set-up holds"));
                assert!(before.is_none_or(|before| before < op.parse().expect("the set-up holds")), "{line}");
            }
            _ => continue,
        }
        number += 1;
        hear(child, number);
    }
    child.wait().expect("the set-up holds")
}

const NONE: [String; 0] = [];

/// In what a file differs from what the children must have written.
async fn violations(path: &Path, seed: u64, acknowledged: &Acknowledged) -> Vec<String> {
    let store = match SqliteStore::open(path) {
        Ok(store) => store,
        Err(error) => return vec![error.to_string()],
    };
    let mut found: Vec<String> =
        store.check().await.expect("the set-up holds").iter().map(ToString::to_string).collect();
    for n in 1..=CHATS {
        let id = chat(n);
        let head = store.head(id).await.expect("the set-up holds");
        let stored = head.as_ref().map_or(0, |head| head.revision.get());
        let acknowledged = acknowledged.get(&n).copied().unwrap_or(0);
        if stored < acknowledged {
            found.push(format!("chat {id}: {acknowledged} acknowledged, {stored} stored"));
        }
        let (mut last, mut records) = (None, Vec::new());
        for op in 1..=stored {
            let commit = operation(seed, id, op, last.as_ref());
            records.extend_from_slice(commit.records());
            last = Some(commit.head().clone());
        }
        if head != last {
            found.push(format!("chat {id}: the head is not the one of operation {stored}"));
        }
        if log(&store, id).await != records {
            found.push(format!("chat {id}: the log is not the one of {stored} operations"));
        }
    }
    found
}

/// The commit of a chat's operation number `op`, which is its revision as well.
fn operation(seed: u64, of: ChatId, op: u64, last: Option<&Head>) -> Commit {
    let mut random = Random::of(&[seed, of.as_uuid().as_u64_pair().1, op]);
    let (parts, now) = (1 + random.below(3), Timestamp::from_millis(op as i64));
    let mut drafts = Vec::new();
    for part in 0..parts {
        let size = match random.below(12) {
            0 => 20_000 + random.below(60_000),
            1 => 4_000 + random.below(9_000),
            _ => random.below(600),
        };
        let fill = char::from(b'a' + random.below(26) as u8).to_string().repeat(size as usize);
        let data = serde_json::json!({"op": op, "part": part, "parts": parts, "fill": fill});
        let id = (part == 0).then(|| OpId::from_uuid(Uuid::from_u128(u128::from(op))));
        drafts.push(Draft::raw("test.op/1", id, now, &data).expect("the set-up holds"));
    }
    let fill = "s".repeat(random.below(3_000) as usize);
    let state = Json::encode(&serde_json::json!({"v": 1, "op": op, "fill": fill})).expect("the set-up holds");
    let mut index = index();
    index.updated = now;
    let head = HeadDraft::from_json(index, state)
        .expect("the set-up holds")
        .wake_at((random.below(3) > 0).then_some(now))
        .holder((random.below(2) > 0).then(|| session(u128::from(op))));
    match last {
        None => Commit::create(of, head, drafts).expect("the set-up holds"),
        Some(last) => Commit::next(of, last, head, drafts).expect("the set-up holds"),
    }
}

fn rounds() -> u64 {
    std::env::var(ROUNDS).map_or(48, |rounds| rounds.parse().expect("rounds are a number"))
}

fn seed() -> u64 {
    let given = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a seed is a number"));
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("{SEED}={seed}");
    seed
}

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn of(parts: &[u64]) -> Self {
        let mut random = Self(0);
        for part in parts {
            random.0 ^= part;
            random.0 = random.below(u64::MAX);
        }
        random
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

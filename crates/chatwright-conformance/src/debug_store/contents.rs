//! D12: what runs refer to.

use chatwright_core::ChatId;
use chatwright_core::debug::{ContentHash, DebugDelete, DebugRun, DebugStatus, DebugWrite, DebugWritten};
use chatwright_core::limits::{DEBUG_CONTENT_BYTES_MAX, PAGE_BYTES_MAX, PAGE_ITEMS_MAX};
use chatwright_core::port::DebugStore;

use super::fixture::{Notes, content, to, update};
use crate::Subject;

pub(super) async fn d12_content_comes_back_through_each_run_that_has_it_and_no_other(
    subject: &Subject<dyn DebugStore>,
) {
    const CLAUSE: &str = "debug.D12";
    let mut notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let [run, same, without] = [1, 2, 3].map(|ms| desk.run(&subject.ids, ms));
    let other = DebugRun { chat: ChatId::mint(&subject.ids), ..desk.run(&subject.ids, 1) };
    for run in [&run, &same, &without, &other] {
        notes.create(run, &[]).await;
    }
    let large = vec![0xa5; DEBUG_CONTENT_BYTES_MAX];
    let pieces: [&[u8]; 8] = [b"", b"\0", b"a", b"A", b"a\0b", b"\xff\xfe\x80", "é 😀".as_bytes(), &large];
    for piece in pieces {
        for _ in ["once", "again"] {
            notes.done(content(&run, piece), "content").await;
        }
        notes.done(content(&same, piece), "content that another run has").await;
    }
    notes.done(content(&other, b"secret"), "another chat's content").await;
    // A run that has ended may still be given some.
    notes.done(update(&same, &to(DebugStatus::Completed), desk.at(9)), "a run").await;
    notes.done(content(&same, b"late"), "content of a run that has ended").await;
    for round in ["at once", "later"] {
        notes.has(&run, &pieces, round).await;
        let backwards: Vec<&[u8]> = pieces.into_iter().rev().collect();
        notes.has(&same, &backwards, round).await;
        notes.has(&same, &[b"late", b"a", b"a"], round).await;
        notes.has_not(&run, &[b"late", b"never"], round).await;
        notes.has_not(&without, &pieces, round).await;
        notes.has(&other, &[b"secret"], round).await;
        // Whoever knows the name and another chat's run.
        let name = ContentHash::of(other.chat, b"secret");
        for (chat, run) in [(desk.chat, run.id), (desk.chat, other.id), (other.chat, run.id)] {
            let found = notes.answer(notes.store.contents(chat, run, &[name]).await);
            assert_eq!(found, [None], "{CLAUSE}: {round}: another chat's content");
        }
        notes = subject.reconnect(notes).await;
    }
    let stray = DebugRun { chat: other.chat, ..run.clone() };
    for (run, what) in
        [(&stray, "another chat's run"), (&desk.run(&subject.ids, 1), "a run that is not there")]
    {
        notes.says(content(run, b"stray"), DebugWritten::Missing, what).await;
        notes.has_not(run, &[b"stray"], what).await;
    }
    // What a chat has no run of can be read through none, under whichever name.
    let foreign = DebugWrite::Content {
        chat: desk.chat,
        run: run.id,
        hash: ContentHash::of(other.chat, b"secret"),
        bytes: b"own".as_slice().into(),
    };
    notes.done(foreign, "content under the name of another chat's").await;
    let name = ContentHash::of(other.chat, b"secret");
    let found = notes.answer(notes.store.contents(desk.chat, run.id, &[name]).await);
    assert_eq!(found, [Some(b"own".as_slice().into())], "{CLAUSE}: content under another chat's name");
    notes.has(&other, &[b"secret"], "after another chat used its name").await;
}

pub(super) async fn d12_content_stays_as_long_as_a_run_of_its_chat_has_it(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D12";
    let mut notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let runs = [10, 20, 30].map(|ms| desk.run(&subject.ids, ms));
    let other = DebugRun { chat: ChatId::mint(&subject.ids), ..desk.run(&subject.ids, 1) };
    for (run, own) in runs.iter().zip([b"first", b"secnd", b"third"]) {
        notes.create(run, &[]).await;
        for piece in [own, b"share"] {
            notes.done(content(run, piece), "content").await;
        }
    }
    notes.create(&other, &[]).await;
    notes.done(content(&other, b"share"), "content").await;
    notes.done(content(&runs[1], b"first"), "content that an older run has").await;
    let forget = async |notes: &Notes, ms| {
        let which = DebugDelete {
            chat: Some(desk.chat),
            started_before: Some(desk.at(ms)),
            ..DebugDelete::default()
        };
        assert_eq!(notes.delete(&which, PAGE_ITEMS_MAX).await, 1, "{CLAUSE}: one run is deleted");
    };
    forget(&notes, 11).await;
    notes.has_not(&runs[0], &[b"first", b"share"], "of a run that is deleted").await;
    notes.has(&runs[1], &[b"first", b"secnd", b"share"], "after one run was deleted").await;
    notes.has(&runs[2], &[b"third", b"share"], "after one run was deleted").await;
    notes = subject.reconnect(notes).await;
    forget(&notes, 21).await;
    notes.has(&runs[2], &[b"third", b"share"], "after two runs were deleted").await;
    // It is gone, and not brought back by a run of the same id.
    notes.create(&runs[1], &[]).await;
    notes.has_not(&runs[1], &[b"first", b"secnd", b"share"], "of a run that is created anew").await;
    notes.has_not(&runs[2], &[b"first", b"secnd"], "that only others had").await;
    notes.clear(desk.chat).await;
    notes.has(&other, &[b"share"], "of another chat").await;
}

pub(super) async fn d12_an_answer_stops_at_its_bytes_and_is_never_empty(subject: &Subject<dyn DebugStore>) {
    const CLAUSE: &str = "debug.D12";
    let notes = subject.notes(CLAUSE).await;
    let desk = subject.desk();
    let run = desk.run(&subject.ids, 1);
    notes.create(&run, &[]).await;
    let most = PAGE_BYTES_MAX / DEBUG_CONTENT_BYTES_MAX;
    let pieces: Vec<Vec<u8>> = (0..most as u8 + 6).map(|n| vec![n; DEBUG_CONTENT_BYTES_MAX]).collect();
    for some in pieces.chunks(32) {
        let writes: Vec<DebugWrite> = some.iter().map(|piece| content(&run, piece)).collect();
        notes.write(&writes).await;
    }
    let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let names: Vec<ContentHash> = pieces.iter().map(|piece| ContentHash::of(run.chat, piece)).collect();
    let mut answered = 0;
    while answered < names.len() {
        let page = notes.answer(notes.store.contents(run.chat, run.id, &names[answered..]).await);
        let bytes: usize = page.iter().flatten().map(|piece| piece.len()).sum();
        assert!(bytes <= PAGE_BYTES_MAX, "{CLAUSE}: an answer has {bytes} bytes");
        assert!(!page.is_empty(), "{CLAUSE}: an answer is empty");
        answered += page.len();
    }
    notes.has(&run, &pieces, "asked for in several calls").await;
    notes.clear(desk.chat).await;
}

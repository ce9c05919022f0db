mod fixture;
mod laws;
mod totality;

use std::collections::BTreeMap;

use fixture::*;
use serde_json::json;

use super::*;
use crate::content::{Output, Part};
use crate::frame::{ByeReason, Queued, ResetReason};
use crate::head::{Status, UnitKind};
use crate::live::BlockKind;
use crate::record::{
    BatchEnded, BatchStarted, CallResult, ChatChanged, HistoryCut, MessagePart, MessageUser, Outcome,
    QueueAdded, QueuePromoted, ResultOrigin, ToolResults,
};
use crate::{Draft, Epoch, Gen};

#[test]
fn a_view_has_no_cursor_until_its_snapshot_is_complete() {
    let mut view = View::new();
    let mut part = commit(0, 1, vec![user(1, "Hi")]);
    part.cursor = None;
    for frame in [hello(), Frame::still(FrameBody::State(Box::new(state(2)))), part] {
        assert_eq!(view.apply(&frame), Applied::Ok);
        assert_eq!(view.cursor(), None);
    }
    assert_eq!(view.apply(&commit(1, 2, vec![user(2, "there")])), Applied::Ok);
    assert_eq!(view.cursor(), Some(cursor(2, 0, 0)));
    assert!(!view.is_caught_up());
    view.apply(&Frame::still(FrameBody::CaughtUp));
    assert!(view.is_caught_up());
}

#[test]
fn a_hole_is_asked_for_with_the_own_cursor() {
    let mut view = answering();
    view.apply(&delta(1, &[append(0, "Help")]));
    let own = Some(cursor(2, 1, 4));
    assert_eq!(view.cursor(), own);
    let before = view.clone();
    for beyond in [
        delta(1, &[append(5, "o")]),
        delta(2, &[append(0, "o")]),
        commit(3, 4, vec![user(4, "x")]),
        Frame::to(cursor(3, 1, 4), FrameBody::State(Box::new(state(3)))),
        Frame::still(FrameBody::Capped { r#gen: Gen::new(1), off: 5 }),
    ] {
        assert_eq!(view.apply(&beyond), Applied::Ask(own), "{beyond:?}");
        assert_eq!(view, before, "{beyond:?}");
    }
    let half = delta(1, &[append(4, "lo"), append(9, "!")]);
    assert_eq!(view.apply(&half), Applied::Ask(Some(cursor(2, 1, 6))), "what fits was applied");
    assert_eq!(View::new().apply(&delta(1, &[append(0, "x")])), Applied::Ask(None));
    let resumed = Frame::still(FrameBody::Hello { mode: HelloMode::Resume });
    assert_eq!(View::new().apply(&resumed), Applied::Ask(None), "there is nothing to go on with");
}

#[test]
fn what_was_applied_is_dropped_and_nothing_is_asked_for() {
    let mut view = answering();
    view.apply(&delta(1, &[append(0, "Help")]));
    let before = view.clone();
    for old in [
        delta(1, &[append(0, "Help")]),
        delta(1, &[append(1, "el"), append(3, "p")]),
        live(1, 2, &[]),
        commit(0, 2, vec![user(1, "Hi"), started(2, 1, 2)]),
        commit(1, 2, vec![started(2, 1, 2)]),
        Frame::to(cursor(1, 0, 0), FrameBody::State(Box::new(state(1)))),
    ] {
        assert_eq!(view.apply(&old), Applied::Ok, "{old:?}");
        assert_eq!(view, before, "{old:?}");
    }
}

#[test]
fn an_overlap_that_begins_inside_a_character_is_asked_for() {
    let mut view = answering();
    view.apply(&delta(1, &[append(0, "aa")]));
    assert_eq!(view.apply(&delta(1, &[append(1, "é")])), Applied::Ask(Some(cursor(2, 1, 2))));
}

#[test]
fn a_result_closes_the_preview_of_its_call_for_good() {
    let mut view = calling();
    view.apply(&delta(2, &[open(0, 0, BlockKind::ToolOutput), open(1, 1, BlockKind::ToolOutput)]));
    view.apply(&delta(2, &[on(0, append(2, "one")), on(1, append(5, "two"))]));
    let blocks = |view: &View| -> Vec<(u32, String)> {
        let preview = view.transcript().preview.as_ref().expect("a batch is open");
        preview.blocks.iter().map(|block| (block.block, block.text.clone())).collect()
    };
    assert_eq!(blocks(&view), [(0, "one".to_owned()), (1, "two".to_owned())]);

    view.apply(&commit(5, 6, vec![result(6, Some(2), &[(3, "done")])]));
    assert_eq!(blocks(&view), [(0, "one".to_owned())]);
    // What was on its way is passed over, and still counts.
    assert_eq!(view.apply(&delta(2, &[on(1, append(8, "late")), on(0, append(12, "!"))])), Applied::Ok);
    assert_eq!(blocks(&view), [(0, "one!".to_owned())]);
    assert_eq!(view.cursor(), Some(cursor(6, 2, 13)));
    let whole = LiveBlock { text: "again".to_owned(), ..block(1) };
    view.apply(&live(2, 13, &[LiveBlock { text: "one!".to_owned(), ..block(0) }, whole]));
    assert_eq!(blocks(&view), [(0, "one!".to_owned())]);
    let answers = |view: &View| view.transcript().message(id(3)).expect("it is there").results.clone();
    let first = CallAnswer { seq: seq(6), output: Output::text("done"), origin: ResultOrigin::Tool };
    assert_eq!(answers(&view), BTreeMap::from([(3, first.clone())]));

    let ended = BatchEnded { r#gen: Gen::new(2), outcome: Outcome::Committed, off: 13 };
    view.apply(&commit(6, 8, vec![result(7, Some(2), &[(3, "twice"), (0, "one!")]), record(8, ended)]));
    assert_eq!(view.transcript().preview, None);
    assert_eq!(answers(&view)[&3], first, "the first result counts");
    assert_eq!(answers(&view)[&0].output, Output::text("one!"));
}

#[test]
fn a_cut_takes_what_is_after_it_and_results_too() {
    let mut view = calling();
    view.apply(&commit(5, 7, vec![result(6, None, &[(0, "kept")]), user(7, "Again")]));
    view.apply(&commit(7, 8, vec![result(8, None, &[(3, "cut")])]));
    view.apply(&commit(
        8,
        10,
        vec![
            record(9, HistoryCut { from: seq(7), message: None, content_hash: None, key: None }),
            user(10, "Instead"),
        ],
    ));
    let ids: Vec<_> = view.transcript().messages.iter().map(|message| message.id).collect();
    assert_eq!(ids, [id(1), id(3), id(10)]);
    assert_eq!(view.transcript().messages[1].results.keys().collect::<Vec<_>>(), [&0]);
}

#[test]
fn a_queued_message_is_in_the_queue_or_in_history() {
    let mut view = answering();
    let entry = |n| crate::QueueId::from_uuid(uuid(n));
    let added = |n: u64, position| {
        let message = MessageUser::new(id(n), vec![Part::text(format!("later {n}"))]);
        record(n, QueueAdded { id: entry(n.into()), message, position, held: false })
    };
    view.apply(&commit(2, 3, vec![added(3, 0)]));
    view.apply(&commit(3, 4, vec![added(4, 0)]));
    let queue = |view: &View| view.transcript().queue.iter().map(|item| item.id).collect::<Vec<_>>();
    assert_eq!(queue(&view), [entry(4), entry(3)]);
    view.apply(&commit(4, 6, vec![record(5, QueuePromoted { id: entry(4) }), user(6, "later 4")]));
    assert_eq!(queue(&view), [entry(3)]);
    assert_eq!(view.transcript().messages.last().map(|message| message.id), Some(id(6)));

    let mut told = state(6);
    told.queue = vec![Queued { id: entry(9), held: false }, Queued { id: entry(3), held: true }];
    view.apply(&Frame::to(cursor(6, 1, 0), FrameBody::State(Box::new(told))));
    let items = &view.transcript().queue;
    assert_eq!(
        items.iter().map(|item| (item.id, item.held)).collect::<Vec<_>>(),
        [(entry(9), false), (entry(3), true)]
    );
    assert_eq!(items.iter().map(|item| item.message.is_some()).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn in_a_snapshot_the_state_rules_and_records_only_bring_contents() {
    let mut view = View::new();
    let entry = crate::QueueId::from_uuid(uuid(3));
    let ghost = crate::QueueId::from_uuid(uuid(4));
    let mut told = state(9);
    told.title = crate::head::Title::new("New").expect("short");
    told.queue = vec![Queued { id: entry, held: true }];
    told.last_gen = Gen::new(4);
    view.apply(&hello());
    view.apply(&Frame::still(FrameBody::State(Box::new(told))));
    let message = MessageUser::new(id(3), vec![Part::text("later")]);
    let records = vec![
        record(2, ChatChanged { title: crate::head::Title::new("Old").ok(), ..ChatChanged::default() }),
        record(3, QueueAdded { id: entry, message: message.clone(), position: 0, held: false }),
        record(4, QueueAdded { id: ghost, message: message.clone(), position: 1, held: false }),
        started(5, 3, 5),
    ];
    view.apply(&Frame { cursor: Some(cursor(9, 4, 0)), ..commit(0, 9, records) });
    let shown = view.transcript();
    assert_eq!(shown.title.as_str(), "New");
    assert_eq!(shown.queue, [QueueItem { id: entry, held: true, message: Some(message) }]);
    assert_eq!(shown.preview, None, "gen 3 is over");
    assert_eq!(view.cursor(), Some(cursor(9, 4, 0)));
}

#[test]
fn a_message_in_parts_is_whole() {
    let mut view = answering();
    let part = |n, continues, words: &str| {
        record(n, MessagePart { message: id(2), content: vec![Part::text(words)], continues })
    };
    let other = MessagePart { message: id(7), content: vec![Part::text("stray")], continues: true };
    let records = vec![
        ended(3, 1, Outcome::Committed),
        part(4, true, "Hel"),
        record(5, other),
        part(6, false, "lo"),
        assistant(7, 1, 2, "again"),
    ];
    view.apply(&commit(2, 7, records));
    let whole = view.transcript().message(id(2)).map(|message| message.content.clone());
    assert_eq!(whole, Some(vec![Part::text("Hello"), Part::text("again")]));
}

#[test]
fn records_that_are_not_understood_are_skipped() {
    let mut view = answering();
    let strange = Draft::raw("novel.thing/1", None, NOW, &json!([1])).expect("small").at(seq(3));
    let damaged = Draft::raw("message.user/1", None, NOW, &json!(7)).expect("small").at(seq(4));
    assert_eq!(view.apply(&commit(2, 5, vec![strange, damaged, user(5, "still here")])), Applied::Ok);
    assert_eq!(view.transcript().messages.last().map(|message| message.id), Some(id(5)));
    assert_eq!(view.cursor(), Some(cursor(5, 1, 0)));
}

#[test]
fn whoever_stays_behind_the_head_of_a_ping_asks_at_the_next() {
    let mut view = answering();
    let ping = |seq_, off| Frame::still(FrameBody::Ping { seq: seq(seq_), r#gen: Gen::new(1), off });
    assert_eq!(view.apply(&ping(2, 0)), Applied::Ok);
    assert_eq!(view.apply(&ping(2, 5)), Applied::Ok, "it may be on its way");
    view.apply(&delta(1, &[append(0, "Hello")]));
    assert_eq!(view.apply(&ping(2, 6)), Applied::Ok);
    assert_eq!(view.apply(&ping(2, 6)), Applied::Ask(Some(cursor(2, 1, 5))));
    assert_eq!(view.apply(&ping(2, 6)), Applied::Ok, "it asks once");
    assert_eq!(view.apply(&Frame::bye(ByeReason::Shutdown, None, true)), Applied::Over);
}

#[test]
fn a_reset_forgets_everything() {
    let mut view = answering();
    view.apply(&Frame::still(FrameBody::Hello { mode: HelloMode::Reset { reason: ResetReason::Tag } }));
    assert_eq!(view, View::new());
}

#[test]
fn a_transcript_reads_as_text() {
    let mut view = calling();
    view.apply(&commit(5, 6, vec![result(6, Some(2), &[(0, "sunny")])]));
    view.apply(&delta(2, &[open(1, 0, BlockKind::ToolOutput), on(1, append(1, "wor"))]));
    let mut told = state(6);
    told.status = Status::Running;
    told.open = Some(crate::frame::OpenState {
        r#gen: Gen::new(2),
        kind: UnitKind::Batch,
        message: Some(id(3)),
        calls: vec![0, 3],
        done: vec![0],
    });
    view.apply(&Frame::to(cursor(6, 2, 4), FrameBody::State(Box::new(told))));
    let text = "user: Hi\nassistant: Let me look.\n  result 0: sunny\n… output 1: wor\n(running)\n";
    assert_eq!(view.transcript().to_string(), text);
}

/// A view at record 5 whose gen 2 is a batch of the calls 0 and 3 of message 3.
fn calling() -> View {
    let mut view = answering();
    let batch = BatchStarted {
        r#gen: Gen::new(2),
        epoch: Epoch::new(1),
        writer: crate::SessionId::from_uuid(uuid(99)),
        message: id(3),
        calls: vec![0, 3],
    };
    let records = vec![ended(3, 1, Outcome::Committed), assistant(4, 1, 3, "Let me look."), record(5, batch)];
    assert_eq!(view.apply(&commit(2, 5, records)), Applied::Ok);
    view
}

fn result(n: u64, r#gen: Option<u64>, outputs: &[(u32, &str)]) -> Record {
    let results = outputs
        .iter()
        .map(|&(ordinal, text)| CallResult {
            ordinal,
            output: Output::text(text),
            origin: ResultOrigin::Tool,
        })
        .collect();
    record(n, ToolResults { r#gen: r#gen.map(Gen::new), message: id(3), results, key: None })
}

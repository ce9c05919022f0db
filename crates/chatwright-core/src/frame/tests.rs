use std::path::PathBuf;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::content::Part;
use crate::head::{CallKind, Last, OpenCall, OpenGen, State, Status, Title, UnitKind};
use crate::live::{BlockKind, Piece, PieceBody};
use crate::model::ModelId;
use crate::record::{AttemptEnded, AttemptStarted, Body, ChatUnarchived, MessageUser, Outcome};
use crate::tool::Effect;
use crate::{Draft, Epoch, Gen, MessageId, OpId, QueueId, Record, Seq, SessionId, Timestamp};

const GEN: Gen = Gen::new(3);
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | n)
}

fn message() -> MessageId {
    MessageId::from_uuid(uuid(1))
}

fn cursor() -> Cursor {
    Cursor { tag: 0x00c0_ffee, seq: Seq::new(9), r#gen: GEN, off: 42 }
}

fn state() -> StateFrame {
    let call = OpenCall {
        ordinal: 2,
        kind: CallKind::Approval,
        effect: Some(Effect::Once),
        started: None,
        deadline: Some(NOW),
        stop_after: false,
    };
    StateFrame {
        seq: Seq::new(9),
        status: Status::RequiresAction,
        archived: true,
        title: Title::new("Engines").expect("short"),
        queue: vec![Queued { id: QueueId::from_uuid(uuid(4)), held: true }],
        last_gen: GEN,
        last_off: 7,
        open: Some(OpenState {
            r#gen: GEN,
            kind: UnitKind::Batch,
            message: Some(message()),
            calls: vec![0, 1],
            done: vec![1],
        }),
        action: Some(Action { message: message(), calls: vec![call] }),
        last: Some(Last { seq: Seq::new(8), kind: "length".into(), message: "It was cut.".into() }),
        retry_at: Some(NOW),
    }
}

fn records() -> Vec<Record> {
    let said = Body::MessageUser(MessageUser::new(message(), vec![Part::text("Hi \u{0}é😀")]));
    let first = Draft::first(OpId::from_uuid(uuid(9)), NOW, &said).expect("small");
    let later = Draft::raw("note.weather/2", None, NOW, &json!({"sky": "grey"})).expect("small");
    vec![first.at(Seq::new(8)), later.at(Seq::new(9))]
}

fn samples() -> Vec<Frame> {
    let blocks = vec![
        LiveBlock {
            block: 0,
            kind: BlockKind::ToolCall,
            id: Some("call_1".into()),
            name: Some("look".into()),
            text: r#"{"at":"#.into(),
            item: None,
            closed: true,
        },
        LiveBlock {
            block: 2,
            kind: BlockKind::Item,
            id: None,
            name: None,
            text: String::new(),
            item: Some(Part::text("whole")),
            closed: false,
        },
    ];
    let open = PieceBody::Open { kind: BlockKind::Text, id: None, name: None };
    let pieces = vec![
        Piece { block: 0, from: 36, body: open },
        Piece { block: 0, from: 37, body: PieceBody::Append { text: "Hé!".into() } },
        Piece { block: 0, from: 41, body: PieceBody::Close },
    ];
    vec![
        Frame::still(FrameBody::Hello { mode: HelloMode::Reset { reason: ResetReason::Off } }),
        Frame::to(cursor(), FrameBody::State(Box::new(state()))),
        Frame::to(
            cursor(),
            FrameBody::Record { after: Seq::ZERO, to: Seq::new(9), records: records(), more_before: true },
        ),
        Frame::to(
            cursor(),
            FrameBody::LiveSnapshot {
                r#gen: GEN,
                message: Some(message()),
                kind: UnitKind::Attempt,
                off: 42,
                blocks,
            },
        ),
        Frame::to(cursor(), FrameBody::Delta { r#gen: GEN, pieces }),
        Frame::still(FrameBody::Capped { r#gen: GEN, off: 42 }),
        Frame::still(FrameBody::CaughtUp),
        Frame::still(FrameBody::Ping { seq: Seq::new(9), r#gen: GEN, off: 42 }),
        Frame::bye(ByeReason::Store, Some(1_000), true),
    ]
}

fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden-frames", name].iter().collect()
}

/// `GOLDEN=write cargo test -p chatwright-core` writes files that are missing; a published file never changes.
fn check_golden(name: &str, written: &str) {
    let path = golden(name);
    if std::env::var("GOLDEN").is_ok_and(|word| word == "write") && !path.exists() {
        std::fs::create_dir_all(golden("")).expect("the golden folder can be made");
        std::fs::write(&path, format!("{written}\n")).expect("the golden folder is writable");
    }
    let file = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(written, file.trim_end(), "{}", path.display());
}

#[test]
fn every_frame_reads_and_writes_its_golden_file() {
    for frame in samples() {
        let written = serde_json::to_string(&frame).expect("a frame encodes");
        let name = frame.body.name();
        check_golden(&format!("{name}.json"), &written);
        assert!(written.contains(&format!(r#""type":"{name}""#)), "{written}");
        assert_eq!(serde_json::from_str::<Frame>(&written).expect("a frame decodes"), frame);
    }
}

#[test]
fn every_cursor_reads_and_writes_its_golden_text() {
    let max = Cursor { tag: u32::MAX, seq: Seq::new(u64::MAX), r#gen: Gen::new(u64::MAX), off: u64::MAX };
    let first = Cursor { tag: 0, seq: Seq::new(1), r#gen: Gen::ZERO, off: 0 };
    let told = [first, cursor(), max].map(|cursor| cursor.to_string());
    check_golden("cursors.txt", &told.join("\n"));
    let tag = Cursor::tag_of("store-1", crate::ChatId::from_uuid(uuid(2)));
    check_golden("tag.txt", &format!("{tag:08x}"));
}

#[test]
fn every_golden_file_belongs_to_a_frame() {
    let mut known: Vec<_> =
        samples().iter().map(|frame| golden(&format!("{}.json", frame.body.name()))).collect();
    known.extend(["cursors.txt", "tag.txt"].map(golden));
    for file in std::fs::read_dir(golden("")).expect("the golden folder exists") {
        let path = file.expect("readable").path();
        assert!(known.contains(&path), "{} belongs to no frame", path.display());
    }
}

#[test]
fn what_a_newer_version_says_is_read_as_unknown() {
    let read = |text: &str| serde_json::from_str::<Frame>(text).expect("tolerated").body;
    assert_eq!(read(r#"{"type":"hologram","beams":[1]}"#), FrameBody::Unknown);
    assert_eq!(
        read(r#"{"type":"bye","reason":"tea_time","resumable":true}"#),
        FrameBody::Bye { reason: ByeReason::Unknown, retry_after_ms: None, resumable: true }
    );
    assert_eq!(
        read(r#"{"type":"hello","mode":{"reset":{"reason":"tea_time"}}}"#),
        FrameBody::Hello { mode: HelloMode::Reset { reason: ResetReason::Unknown } }
    );
}

#[test]
fn what_a_client_offers_is_resumed_or_reset_and_never_an_error() {
    let parse = |text: &str| Resume::parse(Some(text.as_bytes()));
    assert_eq!(Resume::parse(None), Resume::Nothing);
    assert_eq!(parse(""), Resume::Nothing);
    assert_eq!(parse("now"), Resume::Now);
    assert_eq!(parse("v1.00c0ffee.9.3.42"), Resume::From(cursor()));
    assert_eq!(parse("v7.x"), Resume::Unusable(InvalidCursor::Version));
    assert_eq!(Resume::parse(Some(b"\xff\0")), Resume::Unusable(InvalidCursor::Malformed));
}

#[test]
fn the_gens_of_a_head_are_those_of_its_records() {
    let started = |r#gen| {
        Body::AttemptStarted(AttemptStarted {
            r#gen,
            unit: UnitKind::Attempt,
            epoch: Epoch::new(1),
            writer: SessionId::from_uuid(uuid(3)),
            message: message(),
            model: ModelId { provider: "p".into(), model: "m".into() },
            step: 1,
            attempt: 1,
        })
    };
    let ended = |r#gen| {
        Body::AttemptEnded(AttemptEnded {
            r#gen,
            outcome: Outcome::Committed,
            off: 7,
            finish: None,
            usage: Default::default(),
            estimated: false,
            prices: None,
            warnings: Vec::new(),
        })
    };
    let mut gens = Gens::default();
    assert!(gens.fold(&started(GEN)));
    let mut state = State { last_gen: GEN, ..State::default() };
    state.open = Some(OpenGen {
        r#gen: GEN,
        kind: UnitKind::Attempt,
        seq: Seq::new(4),
        writer: SessionId::from_uuid(uuid(3)),
        message: Some(message()),
    });
    assert_eq!(gens, Gens::of(&state));

    assert!(!gens.fold(&started(GEN)), "a gen is opened once");
    assert!(!gens.fold(&ended(Gen::new(2))), "an older seal seals nothing");
    assert!(!gens.fold(&Body::ChatUnarchived(ChatUnarchived::default())));
    assert!(gens.fold(&ended(GEN)));
    (state.open, state.last_off) = (None, 7);
    assert_eq!(gens, Gens::of(&state));
}

//! The laws of a stream, each with a twin that breaks it: a law that no twin breaks tests nothing.

use std::collections::BTreeSet;

use chatwright_core::Gen;
use chatwright_core::frame::{Frame, FrameBody, Gens, HelloMode, OpenUnit, Resume};
use chatwright_core::head::UnitKind;
use chatwright_core::record::Body;
use chatwright_core::view::{Applied, View};

use super::client::Client;
use super::world::{Act, Fact, World, text};

/// stream.S13: pieces of a gen come between its opening and its seal. stream.S14: a message comes with its seal.
/// stream.S20: cursors never decrease.
pub(super) fn in_order(frames: &[Frame]) -> Result<(), String> {
    in_order_after(&View::new(), frames)
}

/// The same for frames that go on where a view stood.
pub(super) fn in_order_after(view: &View, frames: &[Frame]) -> Result<(), String> {
    let mut last = view.cursor().map(|cursor| cursor.position());
    let mut gens = gens_of(view);
    for frame in frames {
        let mut sealed = BTreeSet::<Gen>::new();
        let live = match &frame.body {
            FrameBody::Hello { mode: HelloMode::Snapshot | HelloMode::Reset { .. } } => {
                (gens, last) = (Gens::default(), None);
                None
            }
            FrameBody::Record { records, .. } => {
                for record in records {
                    let body = record.open().expect("it was written here").body;
                    gens.fold(&body);
                    match body {
                        Body::AttemptEnded(ended) => drop(sealed.insert(ended.r#gen)),
                        Body::MessageAssistant(message) if !sealed.contains(&message.r#gen) => {
                            return Err(format!(
                                "the message of gen {} comes without its seal",
                                message.r#gen
                            ));
                        }
                        _ => {}
                    }
                }
                None
            }
            FrameBody::Delta { r#gen, .. }
            | FrameBody::LiveSnapshot { r#gen, .. }
            | FrameBody::Capped { r#gen, .. } => Some(*r#gen),
            _ => None,
        };
        if live.is_some() && live != gens.open.as_ref().map(|open| open.r#gen) {
            return Err(format!("{} of a gen that is not open", frame.body.name()));
        }
        let here = frame.cursor.map(|cursor| cursor.position());
        if here.is_some() && here < last {
            return Err(format!("the cursor went back: {:?}", frame.cursor));
        }
        last = here.or(last);
    }
    Ok(())
}

fn gens_of(view: &View) -> Gens {
    let open = view.transcript().preview.as_ref().map(|preview| OpenUnit {
        r#gen: preview.r#gen,
        unit: preview.kind,
        message: preview.message,
        calls: preview.calls.clone(),
    });
    let (last, off) = view.cursor().map(|cursor| (cursor.r#gen, cursor.off)).unwrap_or_default();
    Gens { last, off, open }
}

/// stream.S14: the preview of an answer or its message, the preview of a call's output or its result: one of them, and
/// only one.
pub(super) fn one_of_preview_and_message(view: &View, facts: &[Fact]) -> Result<(), String> {
    let (shown, through) = (view.transcript(), view.cursor().map(|cursor| cursor.seq).unwrap_or_default());
    let preview = shown.preview.as_ref();
    for fact in facts.iter().filter(|fact| fact.opened <= through) {
        let open = fact.sealed.is_none_or(|sealed| sealed > through);
        if open != preview.is_some_and(|preview| preview.r#gen == fact.r#gen) {
            return Err(format!("gen {} is open: {open}, and its preview is not", fact.r#gen));
        }
        let message = shown.message(fact.message);
        if fact.unit != UnitKind::Attempt {
            let (Some(preview), Some(message)) = (preview.filter(|_| open), message) else { continue };
            let twice = |ordinal: &u32| {
                let block = preview.block_of_call(*ordinal);
                preview.blocks.iter().any(|shown| Some(shown.block) == block)
            };
            if let Some(ordinal) = message.results.keys().find(|ordinal| twice(ordinal)) {
                return Err(format!("call {ordinal} shows its result and its preview"));
            }
        } else if open && message.is_some() {
            return Err(format!("gen {} shows its preview and its message", fact.r#gen));
        }
    }
    Ok(())
}

async fn a_turn() -> (World, Vec<Frame>) {
    let mut world = World::new().await;
    let mut client = Client::new(&world, Resume::Nothing).await;
    for act in [Act::Open, text("Hel"), text("lo"), Act::Seal, Act::Say] {
        world.act(&act).await;
        client.pull(&world.facts).await;
    }
    (world, client.frames)
}

fn place(frames: &[Frame], name: &str, nth: usize) -> usize {
    let mut places = frames.iter().enumerate().filter(|(_, frame)| frame.body.name() == name);
    places.nth(nth).expect("there is one").0
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_in_order() {
    let (_, frames) = a_turn().await;
    assert_eq!(in_order(&frames), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_sends_a_piece_after_the_seal_is_caught() {
    let (_, mut frames) = a_turn().await;
    let (delta, seal) = (place(&frames, "delta", 1), place(&frames, "record", 2));
    assert!(delta < seal, "{frames:?}");
    frames.swap(delta, seal);
    assert_eq!(in_order(&frames), Err("delta of a gen that is not open".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_sends_a_piece_before_the_opening_is_caught() {
    let (_, mut frames) = a_turn().await;
    let (opening, delta) = (place(&frames, "record", 1), place(&frames, "delta", 0));
    assert!(opening < delta, "{frames:?}");
    frames.swap(opening, delta);
    assert_eq!(in_order(&frames), Err("delta of a gen that is not open".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_parts_the_seal_from_its_message_is_caught() {
    let (world, mut frames) = a_turn().await;
    let seal = place(&frames, "record", 2);
    let FrameBody::Record { after, to, records, .. } = frames[seal].body.clone() else { return };
    let part = |records: &[_], after, to| FrameBody::Record {
        after,
        to,
        records: records.to_vec(),
        more_before: false,
    };
    let between = records[0].seq;
    let apart = [part(&records[..1], after, between), part(&records[1..], between, to)];
    frames.splice(seal..=seal, apart.map(Frame::still));
    assert_eq!(in_order(&frames), Err("the message of gen 1 comes without its seal".to_owned()));

    // A viewer of such a stream sees neither; it has no way to know better.
    let mut view = View::new();
    frames[..=seal].iter().for_each(|frame| assert_eq!(view.apply(frame), Applied::Ok));
    assert_eq!(
        (view.transcript().preview.as_ref(), view.transcript().message(world.facts[0].message)),
        (None, None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_shows_a_preview_beside_its_message_is_caught() {
    let (world, frames) = a_turn().await;
    let mut view = View::new();
    frames.iter().for_each(|frame| assert_eq!(view.apply(frame), Applied::Ok));
    assert_eq!(one_of_preview_and_message(&view, &world.facts), Ok(()));
    let mut facts = world.facts.clone();
    facts[0].sealed = None;
    assert!(one_of_preview_and_message(&view, &facts).is_err(), "neither");
    let early = View::new();
    assert_eq!(one_of_preview_and_message(&early, &facts), Ok(()), "nothing was opened yet");
}

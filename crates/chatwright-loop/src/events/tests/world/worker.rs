//! What a worker commits and appends.

use chatwright_core::accumulator::Accumulator;
use chatwright_core::content::{Output, Part};
use chatwright_core::head::{CallKind, OpenCall, OpenGen, UnitKind};
use chatwright_core::live::{BlockKind, Piece, PieceBody};
use chatwright_core::model::{ModelId, ModelPart};
use chatwright_core::record::{
    AttemptEnded, AttemptFailed, AttemptStarted, BatchEnded, BatchStarted, Body, CallResult, ErrorInfo,
    MessageAssistant, Outcome, ResultOrigin, StopReason, ToolResults, TurnEnded,
};
use chatwright_core::{Gen, MessageId};

use super::{EPOCH, Fact, WRITER, World};

impl World {
    /// Opens a gen in the live log, and gives the record that opens it as the `nth` of the next commit.
    pub(super) async fn start(&mut self, nth: u64) -> Body {
        let message = MessageId::from_uuid(self.mint());
        let r#gen = self.open(UnitKind::Attempt, message, nth).await;
        self.answer = Accumulator::new();
        let model = ModelId { provider: "p".into(), model: "m".into() };
        let (epoch, writer) = (EPOCH, WRITER);
        let unit = UnitKind::Attempt;
        AttemptStarted { r#gen, unit, epoch, writer, message, model, step: 1, attempt: 1 }.into()
    }

    async fn open(&mut self, unit: UnitKind, message: MessageId, nth: u64) -> Gen {
        let r#gen = self.state.last_gen.next();
        self.live.open(self.chat, EPOCH, r#gen).await.expect("a new gen");
        let seq = self.next_seq(nth);
        let (kind, writer, named) = (unit, WRITER, Some(message));
        self.state.open = Some(OpenGen { r#gen, kind, seq, writer, message: named });
        (self.state.last_gen, self.state.last_off, self.off) = (r#gen, 0, 0);
        self.facts.push(Fact { r#gen, unit, message, opened: seq, sealed: None, stored: false });
        r#gen
    }

    pub(super) async fn part(&mut self, part: ModelPart) {
        let pieces = self.answer.push(part);
        self.append(&pieces).await;
    }

    pub(in super::super) async fn append(&mut self, pieces: &[Piece]) {
        if pieces.is_empty() {
            return;
        }
        let appended = self.live.append(self.chat, EPOCH, self.state.last_gen, self.off, pieces).await;
        self.off = appended.expect("the next units");
    }

    /// The seal of the open gen as the `nth` record of the next commit.
    fn close(&mut self, off: u64, nth: u64, stored: bool) -> Gen {
        let open = self.state.open.take().expect("a gen is open");
        self.state.last_off = off;
        let sealed = Some(self.next_seq(nth));
        let fact = self.facts.last_mut().expect("it was opened");
        (fact.sealed, fact.stored) = (sealed, stored);
        open.r#gen
    }

    async fn seal_live(&self, r#gen: Gen, off: u64) {
        self.live.seal(self.chat, EPOCH, r#gen, off).await.expect("it was open");
    }

    pub(super) async fn seal(&mut self, outcome: Outcome) {
        let (off, content) = (self.off, self.answer.content());
        let message = self.state.open.as_ref().and_then(|open| open.message).expect("an attempt");
        let stored = !content.is_empty();
        let r#gen = self.close(off, 1, stored);
        let mut bodies = vec![ended(r#gen, outcome, off)];
        let calls = content.iter().filter(|part| matches!(part, Part::ToolCall { .. })).count();
        if stored {
            let model = ModelId { provider: "p".into(), model: "m".into() };
            let interrupted = outcome == Outcome::Interrupted;
            let id = message;
            bodies
                .push(MessageAssistant { id, r#gen, content, model, interrupted, response_id: None }.into());
        }
        if calls > 0 && outcome == Outcome::Committed {
            // The seal of an answer, the batch and its calls share a commit.
            let nth = bodies.len() as u64 + 1;
            let batch = self.open(UnitKind::Batch, message, nth).await;
            self.calls = (0..u32::try_from(calls).expect("few")).rev().collect();
            self.blocks.clear();
            self.state.calls_in = Some(message);
            self.state.calls = self.calls.iter().map(|&ordinal| open_call(ordinal)).collect();
            let (epoch, writer, calls) = (EPOCH, WRITER, self.calls.clone());
            bodies.push(BatchStarted { r#gen: batch, epoch, writer, message, calls }.into());
        } else {
            bodies.push(TurnEnded { reason: StopReason::Complete }.into());
        }
        self.commit(bodies).await;
        self.seal_live(r#gen, off).await;
    }

    pub(super) async fn fail(&mut self, again: bool) {
        let off = self.off;
        let r#gen = self.close(0, 1, false);
        let error = ErrorInfo {
            message: "no".into(),
            kind: "overloaded".into(),
            provider: None,
            retryable: true,
            status_code: None,
            detail: None,
        };
        let (usage, estimated, prices) = Default::default();
        let failed = AttemptFailed {
            r#gen,
            error,
            failures: 1,
            retry_at: None,
            delay_ms: None,
            usage,
            estimated,
            prices,
        };
        let mut bodies = vec![failed.into()];
        if again {
            bodies.push(self.start(2).await);
        }
        self.commit(bodies).await;
        self.seal_live(r#gen, off).await;
    }

    /// What only its writer had is gone, and nobody seals its live log.
    pub(super) async fn lose_writer(&mut self) {
        let r#gen = self.close(0, 1, false);
        self.commit(vec![ended(r#gen, Outcome::WriterLost, 0)]).await;
    }

    pub(super) async fn output(&mut self, place: u32, text: &str) {
        let Some(open) = self.state.calls.get(place as usize % self.state.calls.len().max(1)) else { return };
        let at = self.calls.iter().position(|&call| call == open.ordinal).expect("a call of the batch");
        let block = u32::try_from(at).expect("few");
        let mut pieces = Vec::new();
        if !self.blocks.contains(&block) {
            self.blocks.push(block);
            let body = PieceBody::Open { kind: BlockKind::ToolOutput, id: None, name: None };
            pieces.push(Piece { block, from: self.off, body });
        }
        if !text.is_empty() {
            let from = self.off + pieces.len() as u64;
            pieces.push(Piece { block, from, body: PieceBody::Append { text: text.to_owned() } });
        }
        self.append(&pieces).await;
    }

    pub(super) async fn result(&mut self, place: u32) {
        let at = place as usize % self.state.calls.len().max(1);
        let ordinal = self.state.calls.remove(at).ordinal;
        let message = self.state.calls_in.expect("a batch is open");
        let r#gen = self.state.last_gen;
        let results = vec![CallResult { ordinal, output: Output::text("done"), origin: ResultOrigin::Tool }];
        let mut bodies = vec![ToolResults { r#gen: Some(r#gen), message, results, key: None }.into()];
        if !self.state.calls.is_empty() {
            return self.commit(bodies).await;
        }
        self.state.calls_in = None;
        let off = self.off;
        self.close(off, 2, false);
        bodies.push(BatchEnded { r#gen, outcome: Outcome::Committed, off }.into());
        bodies.push(self.start(3).await);
        self.commit(bodies).await;
        self.seal_live(r#gen, off).await;
    }
}

fn open_call(ordinal: u32) -> OpenCall {
    OpenCall {
        ordinal,
        kind: CallKind::Local,
        effect: None,
        started: None,
        deadline: None,
        stop_after: false,
    }
}

fn ended(r#gen: Gen, outcome: Outcome, off: u64) -> Body {
    AttemptEnded {
        r#gen,
        outcome,
        off,
        finish: None,
        usage: Default::default(),
        estimated: false,
        prices: None,
        warnings: Vec::new(),
    }
    .into()
}

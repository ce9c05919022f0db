use crate::head::{State, UnitKind};
use crate::record::Body;
use crate::{Gen, MessageId};

/// Which gen is open, and where the last one ended: the live half of a [`Cursor`](super::Cursor), folded from records or
/// taken from a head. Both ways give the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gens {
    /// The newest gen, open or sealed.
    pub last: Gen,
    /// The next unit of it, or its end.
    pub off: u64,
    /// What is open. Its gen is `last`.
    pub open: Option<OpenUnit>,
}

/// A gen that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUnit {
    /// Its number.
    pub r#gen: Gen,
    /// What streams.
    pub unit: UnitKind,
    /// The message that it will become, or that holds the calls of a batch.
    pub message: Option<MessageId>,
    /// The calls of a batch by their place, in the order of their blocks. Empty if it is no batch, or unknown.
    pub calls: Vec<u32>,
}

impl Gens {
    /// What a head says. The calls of a batch stand in the record that opened it, not here.
    pub fn of(state: &State) -> Self {
        let open = state.open.as_ref().map(|open| OpenUnit {
            r#gen: open.r#gen,
            unit: open.kind,
            message: open.message,
            calls: Vec::new(),
        });
        // An open gen is the newest one, and nothing of it has been shown yet.
        let off = if open.is_some() { 0 } else { state.last_off };
        Self { last: open.as_ref().map_or(state.last_gen, |open| open.r#gen), off, open }
    }

    /// Takes the next record in; gives whether it opened or sealed a gen.
    pub fn fold(&mut self, body: &Body) -> bool {
        match body {
            Body::AttemptStarted(started) => self.opened(OpenUnit {
                r#gen: started.r#gen,
                unit: started.unit,
                message: Some(started.message),
                calls: Vec::new(),
            }),
            Body::BatchStarted(started) => self.opened(OpenUnit {
                r#gen: started.r#gen,
                unit: UnitKind::Batch,
                message: Some(started.message),
                calls: started.calls.clone(),
            }),
            Body::AttemptEnded(ended) => self.sealed(ended.r#gen, ended.off),
            Body::BatchEnded(ended) => self.sealed(ended.r#gen, ended.off),
            // What it streamed is discarded, and with it its end.
            Body::AttemptFailed(failed) => self.sealed(failed.r#gen, 0),
            _ => false,
        }
    }

    fn opened(&mut self, open: OpenUnit) -> bool {
        if open.r#gen <= self.last {
            return false;
        }
        (self.last, self.off, self.open) = (open.r#gen, 0, Some(open));
        true
    }

    fn sealed(&mut self, r#gen: Gen, off: u64) -> bool {
        if r#gen < self.last {
            return false;
        }
        (self.last, self.off, self.open) = (r#gen, off, None);
        true
    }
}

//! A scripted model that can be broken in one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chatwright_conformance::language_model::{
    BODY, CLAUSES, ERROR_CODE, ERROR_TYPE, HEADERS, ModelRig, ModelScript, SECRET,
};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, ModelCall, ModelId, ModelPart};
use chatwright_core::port::{LanguageModel, ModelStream};
use futures::{FutureExt, StreamExt, stream};

use crate::caught::{Mutant, all_are_caught_at_once};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    GoesOnWhenDropped,
    StallsAreFailures,
    EndsInSilence,
    EndsTwice,
    GoesOnAfterTheEnd,
    StaysOpenAfterTheEnd,
    FinishesWhatFailed,
    DropsTheStatus,
    KeepsOneHeaderOfAName,
    DropsTheBody,
    RefusalsAreResets,
    DropsTheType,
    DropsTheCode,
    PrintsASecret,
    AsksAtOnce,
    AsksAgainWhenRefused,
    AsksAgainWhenCut,
    CutIsFinished,
    CutIsAReset,
    DropsTheTextBeforeTheCut,
}

#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    open: AtomicUsize,
}

struct Rig {
    fault: Fault,
    counts: Arc<Counts>,
}

struct Model {
    fault: Fault,
    script: ModelScript,
    counts: Arc<Counts>,
}

/// Counts an open call until it is dropped.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.requests.fetch_add(1, Ordering::SeqCst);
        counts.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ModelRig for Rig {
    fn model(&self, script: ModelScript) -> Arc<dyn LanguageModel> {
        Arc::new(Model { fault: self.fault, script, counts: Arc::clone(&self.counts) })
    }

    fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    fn open_calls(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }
}

impl Model {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn refusal(&self) -> Failure {
        let cause = if self.is(Fault::RefusalsAreResets) { Cause::Reset } else { Cause::Status };
        let provider = if self.is(Fault::PrintsASecret) { SECRET } else { "kit" };
        let mut failure = Failure::new(provider, cause);
        if !self.is(Fault::DropsTheStatus) {
            failure = failure.with_status(429);
        }
        if !self.is(Fault::DropsTheBody) {
            failure = failure.with_body(BODY);
        }
        failure = failure.with_header("content-type", "application/json");
        for (name, value) in HEADERS {
            if failure.header(name).is_none() || !self.is(Fault::KeepsOneHeaderOfAName) {
                failure = failure.with_header(name, value);
            }
        }
        failure
    }

    /// All parts but for a stall's end.
    fn parts(&self) -> Vec<ModelPart> {
        let id = || Box::<str>::from("0");
        let text = [
            ModelPart::KeepAlive,
            ModelPart::TextStart { id: id() },
            ModelPart::TextDelta { id: id(), delta: "Hel".to_owned() },
        ];
        let finish = || ModelPart::Finish(Finish::default());
        let fails = |failure: Failure| ModelPart::Failure(Box::new(failure));
        let mut parts = Vec::from(text);
        match self.script {
            ModelScript::Complete => {
                parts.push(ModelPart::TextEnd { id: id(), metadata: Default::default() });
                parts.push(finish());
            }
            ModelScript::Status429 => parts = vec![fails(self.refusal())],
            ModelScript::CutInText if self.is(Fault::CutIsFinished) => parts.push(finish()),
            ModelScript::CutInText => {
                if self.is(Fault::DropsTheTextBeforeTheCut) {
                    parts.clear();
                }
                let cause = if self.is(Fault::CutIsAReset) { Cause::Reset } else { Cause::Truncated };
                parts.push(fails(Failure::new("kit", cause)));
            }
            ModelScript::ErrorInStream if self.is(Fault::FinishesWhatFailed) => parts.push(finish()),
            ModelScript::ErrorInStream => {
                let kind = (!self.is(Fault::DropsTheType)).then_some(ERROR_TYPE);
                let code = (!self.is(Fault::DropsTheCode)).then_some(ERROR_CODE);
                let failure =
                    Failure::new("kit", Cause::InStream).with_error(kind, code).with_message(SECRET);
                parts.push(fails(failure));
            }
            ModelScript::Stall if self.is(Fault::StallsAreFailures) => {
                parts = vec![fails(Failure::new("kit", Cause::Other))];
            }
            ModelScript::Stall => return parts,
        }
        match self.fault {
            Fault::EndsInSilence => drop(parts.pop()),
            Fault::EndsTwice => parts.push(finish()),
            Fault::GoesOnAfterTheEnd => parts.push(ModelPart::KeepAlive),
            _ => {}
        }
        parts
    }
}

impl LanguageModel for Model {
    fn id(&self) -> ModelId {
        ModelId { provider: "kit".into(), model: "scripted".into() }
    }

    fn stream(&self, _: ModelCall) -> ModelStream {
        let counts = Arc::clone(&self.counts);
        let (parts, fault, script) = (self.parts(), self.fault, self.script);
        if fault == Fault::AsksAtOnce {
            counts.requests.fetch_add(1, Ordering::SeqCst);
        }
        async move {
            let open = Open::new(&counts);
            let again = match script {
                ModelScript::Status429 => fault == Fault::AsksAgainWhenRefused,
                ModelScript::CutInText => fault == Fault::AsksAgainWhenCut,
                _ => false,
            };
            if again {
                drop(Open::new(&counts));
            }
            let stays = script == ModelScript::Stall || fault == Fault::StaysOpenAfterTheEnd;
            let end = if stays { stream::pending().boxed() } else { stream::empty().boxed() };
            if fault == Fault::GoesOnWhenDropped {
                counts.open.fetch_add(1, Ordering::SeqCst);
                drop(open);
                return stream::iter(parts).chain(end).boxed();
            }
            let parts = stream::iter(parts).chain(end).map(move |part| {
                let _open = &open;
                part
            });
            parts.boxed()
        }
        .flatten_stream()
        .boxed()
    }
}

fn broken(fault: Fault) -> Mutant<dyn ModelRig> {
    Box::new(move || Arc::new(Rig { fault, counts: Arc::default() }))
}

const DROPPED: &str = "m1_dropping_the_stream_ends_the_call";
const ENDS: &str = "m2_one_terminal_part_comes_last_and_then_the_stream_ends";
const REFUSAL: &str = "m3_a_refusal_is_told_with_its_status_all_headers_and_its_body";
const ERROR: &str = "m3_an_error_in_the_stream_is_told_with_its_type_and_code";
const PRINTED: &str = "m3_what_a_failure_prints_has_no_secret";
const LAZY: &str = "m4_nothing_is_asked_before_the_first_poll";
const ONCE: &str = "m4_one_call_is_one_request_also_when_it_fails";
const CUT: &str = "m5_a_stream_that_is_cut_off_is_a_failure";

#[test]
fn every_broken_model_is_caught_by_the_clause_that_it_breaks() {
    let mutants = [
        (DROPPED, "goes on when it is dropped", Fault::GoesOnWhenDropped),
        (DROPPED, "fails when its provider is slow", Fault::StallsAreFailures),
        (ENDS, "ends in silence", Fault::EndsInSilence),
        (ENDS, "ends twice", Fault::EndsTwice),
        (ENDS, "goes on after the end", Fault::GoesOnAfterTheEnd),
        (ENDS, "stays open after the end", Fault::StaysOpenAfterTheEnd),
        (ENDS, "finishes what failed", Fault::FinishesWhatFailed),
        (REFUSAL, "drops the status", Fault::DropsTheStatus),
        (REFUSAL, "keeps one header of a name", Fault::KeepsOneHeaderOfAName),
        (REFUSAL, "drops the body", Fault::DropsTheBody),
        (REFUSAL, "takes refusals for resets", Fault::RefusalsAreResets),
        (ERROR, "drops the type", Fault::DropsTheType),
        (ERROR, "drops the code", Fault::DropsTheCode),
        (PRINTED, "prints a secret", Fault::PrintsASecret),
        (LAZY, "asks at once", Fault::AsksAtOnce),
        (ONCE, "asks again when it is refused", Fault::AsksAgainWhenRefused),
        (ONCE, "asks again when it is cut off", Fault::AsksAgainWhenCut),
        (CUT, "takes a cut for an end", Fault::CutIsFinished),
        (CUT, "takes a cut for a reset", Fault::CutIsAReset),
        (CUT, "drops the text before the cut", Fault::DropsTheTextBeforeTheCut),
    ];
    all_are_caught_at_once(
        CLAUSES,
        mutants.map(|(clause, what, fault)| (clause, what, broken(fault))).into(),
    );
}

mod sound {
    chatwright_conformance::language_model!(super::Rig {
        fault: super::Fault::None,
        counts: std::sync::Arc::default()
    });
}

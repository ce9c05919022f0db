//! A model that says what another one said.

use std::collections::VecDeque;
use std::sync::Arc;

use chatwright_core::content::Part;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, ModelCall, ModelId, ModelPart};
use chatwright_core::port::{LanguageModel, ModelStream};
use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;

use super::Cassette;
use crate::doc::{AttemptStatus, FailureDoc};
use crate::recorder::cause_of;

/// Gives the answers of a [`Cassette`], one for each call, in their order: those that failed fail again, in the same way; one that was
/// stopped says what it said and then nothing, until it is stopped again. A call too many fails.
pub struct ReplayModel {
    id: ModelId,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

struct Answer {
    parts: Vec<ModelPart>,
    /// Its end, if it came to one.
    end: Option<ModelPart>,
}

impl Cassette {
    /// A model that gives the recorded answers again.
    pub fn model(&self) -> ReplayModel {
        let unknown = || ModelId { provider: "replay".into(), model: "unknown".into() };
        let id = self.run.model.clone().unwrap_or_else(unknown);
        let mut answers = VecDeque::new();
        for step in &self.steps {
            for (at, attempt) in step.attempts.iter().enumerate() {
                let is_last = at + 1 == step.attempts.len();
                // The answer that counts is the step's. All others are their attempts' own.
                let counts = is_last && attempt.doc.status == AttemptStatus::Completed;
                let content = if counts { &step.content } else { &attempt.content };
                let end = match (&attempt.doc.failure, attempt.doc.status) {
                    (Some(failure), _) => Some(ModelPart::Failure(Box::new(failure.to_failure()))),
                    // Nothing is asked again behind a whole answer, unless that was an error.
                    (None, AttemptStatus::Completed) if !counts => Some(ModelPart::Finish(Finish {
                        reason: FinishReason::Error,
                        usage: attempt.doc.usage,
                        ..Finish::default()
                    })),
                    (None, AttemptStatus::Completed) => {
                        let doc = step.response.clone().unwrap_or_default();
                        Some(ModelPart::Finish(Finish {
                            reason: doc.finish_reason.unwrap_or_default(),
                            usage: attempt.doc.usage,
                            response_id: doc.response_id,
                            metadata: doc.metadata,
                        }))
                    }
                    _ => None,
                };
                answers.push_back(Answer { parts: parts_of(content), end });
            }
        }
        ReplayModel { id, answers: Arc::new(Mutex::new(answers)) }
    }
}

impl ReplayModel {
    /// How many answers are left.
    pub fn left(&self) -> usize {
        self.answers.lock().len()
    }
}

impl LanguageModel for ReplayModel {
    fn id(&self) -> ModelId {
        self.id.clone()
    }

    fn stream(&self, _: ModelCall) -> ModelStream {
        let (answers, provider) = (Arc::clone(&self.answers), self.id.provider.clone());
        // Nothing happens before it is polled.
        stream::once(async move {
            let answer = answers.lock().pop_front();
            let Some(Answer { parts, end }) = answer else {
                let words = "the recording has no more answers";
                let failure = Failure::new(provider, Cause::Request).with_message(words);
                return stream::iter(vec![ModelPart::Failure(Box::new(failure))]).boxed();
            };
            let parts = stream::iter(parts);
            match end {
                Some(end) => parts.chain(stream::iter([end])).boxed(),
                None => parts.chain(stream::pending()).boxed(),
            }
        })
        .flatten()
        .boxed()
    }
}

/// The parts in which an answer streams that is folded to this.
fn parts_of(content: &[Part]) -> Vec<ModelPart> {
    let mut parts = Vec::new();
    for (at, part) in content.iter().enumerate() {
        let id: Box<str> = at.to_string().into();
        match part.clone() {
            Part::Text { text, metadata } => parts.extend([
                ModelPart::TextStart { id: id.clone() },
                ModelPart::TextDelta { id: id.clone(), delta: text },
                ModelPart::TextEnd { id, metadata },
            ]),
            Part::Reasoning { text, metadata } => parts.extend([
                ModelPart::ReasoningStart { id: id.clone(), metadata: Default::default() },
                ModelPart::ReasoningDelta { id: id.clone(), delta: text, metadata: Default::default() },
                ModelPart::ReasoningEnd { id, metadata },
            ]),
            Part::ToolCall { id, name, input, provider_executed, metadata } => parts.extend([
                ModelPart::ToolInputStart { id: id.clone(), name: name.clone(), provider_executed },
                ModelPart::ToolInputDelta { id: id.clone(), delta: input.clone() },
                ModelPart::ToolInputEnd { id: id.clone() },
                ModelPart::ToolCall { id, name, input, provider_executed, metadata },
            ]),
            item => parts.push(ModelPart::Item(item)),
        }
    }
    parts
}

impl FailureDoc {
    /// The failure that this was.
    pub fn to_failure(&self) -> Failure {
        let mut failure = Failure::new(self.provider.clone(), cause_of(&self.cause));
        (failure.status, failure.body) = (self.status, self.body.clone());
        failure.headers.clone_from(&self.headers);
        (failure.error_type, failure.error_code) = (self.error_type.clone(), self.error_code.clone());
        failure.message.clone_from(&self.message);
        failure
    }
}

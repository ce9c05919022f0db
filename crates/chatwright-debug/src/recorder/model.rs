//! A model whose calls are recorded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::config::{Configured, ModelConfig, ProviderConfig};
use chatwright_core::error::Failure;
use chatwright_core::model::{Finish, ModelCall, ModelId, ModelPart};
use chatwright_core::port::{LanguageModel, ModelResolver, ModelStream, Unresolved};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc::OwnedPermit;
use tokio::time::Instant;

use super::Shared;
use super::capture::Capture;
use super::http::Http;
use super::job::{CallNumber, End, Ended, Job};
use super::weight::{of_failure, of_metadata};

/// A model whose calls are recorded, if they say what they are part of: made by [`Recorder::model`](crate::Recorder::model).
pub struct RecordedModel {
    inner: Arc<dyn LanguageModel>,
    id: Arc<ModelId>,
    shared: Arc<Shared>,
}

impl RecordedModel {
    pub(super) fn new(inner: Arc<dyn LanguageModel>, shared: Arc<Shared>) -> Self {
        Self { id: Arc::new(inner.id()), inner, shared }
    }
}

impl LanguageModel for RecordedModel {
    fn id(&self) -> ModelId {
        self.inner.id()
    }

    fn account(&self) -> Box<str> {
        self.inner.account()
    }

    fn context_window(&self) -> Option<u64> {
        self.inner.context_window()
    }

    fn stream(&self, mut call: ModelCall) -> ModelStream {
        let Some((number, end)) = self.shared.begin(&call, &self.id) else {
            return self.inner.stream(call);
        };
        let other = call.transport.observer.take();
        call.transport.observer = Some(Arc::new(Http::new(Arc::clone(&self.shared), number, other)));
        let capture = Capture::new(self.shared.settings.answer_bytes_max, self.shared.budget.nothing());
        Recorded {
            inner: Some(self.inner.stream(call)),
            shared: Arc::clone(&self.shared),
            number,
            capture: Some((capture, end)),
            began: Instant::now(),
            first: None,
        }
        .boxed()
    }
}

/// Models made of rows, whose calls are recorded: made by [`Recorder::resolver`](crate::Recorder::resolver).
pub struct RecordedResolver {
    inner: Arc<dyn ModelResolver>,
    shared: Arc<Shared>,
}

impl RecordedResolver {
    pub(super) fn new(inner: Arc<dyn ModelResolver>, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

#[async_trait]
impl ModelResolver for RecordedResolver {
    async fn resolve(
        &self,
        provider: &Configured<ProviderConfig>,
        model: &Configured<ModelConfig>,
    ) -> Result<Arc<dyn LanguageModel>, Unresolved> {
        let inner = self.inner.resolve(provider, model).await?;
        Ok(Arc::new(RecordedModel::new(inner, Arc::clone(&self.shared))))
    }
}

/// A stream that goes on as it is, while it is looked at.
struct Recorded {
    inner: Option<ModelStream>,
    shared: Arc<Shared>,
    number: CallNumber,
    /// What was gathered, and where its end is told. Absent: it is told of already.
    capture: Option<(Capture, OwnedPermit<Job>)>,
    began: Instant,
    first: Option<Duration>,
}

impl Recorded {
    fn see(&mut self, part: &ModelPart) {
        if let (true, ModelPart::TextDelta { .. }, Some((capture, _))) =
            (self.first.is_some(), part, &mut self.capture)
        {
            return capture.take(part);
        }
        let end = match part {
            ModelPart::Finish(finish) => {
                let has_room = self.has_room(of_metadata(&finish.metadata));
                End::Finished(if has_room { finish.clone() } else { without_metadata(finish) })
            }
            ModelPart::Failure(failure) => {
                let has_room = self.has_room(of_failure(failure));
                End::Failed(if has_room { failure.clone() } else { Box::new(without_words(failure)) })
            }
            _ => {
                if self.first.is_none() && part.is_content() {
                    self.first = Some(self.began.elapsed());
                }
                if let Some((capture, _)) = &mut self.capture {
                    capture.take(part);
                }
                return;
            }
        };
        self.tell(end);
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        self.capture.as_mut().is_some_and(|(capture, _)| capture.holds(bytes))
    }

    fn tell(&mut self, end: End) {
        let Some((capture, place)) = self.capture.take() else { return };
        // Nothing may come behind it, and an exchange that is still open ends with it.
        self.inner = None;
        let (took, first) = (self.began.elapsed(), self.first);
        let (call, at) = (self.number, self.shared.service.now());
        let ended = Ended { call, end, gathered: capture.gathered(), at, took, first };
        place.send(Job::Ended(Box::new(ended)));
    }
}

impl Stream for Recorded {
    type Item = ModelPart;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ModelPart>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = inner.poll_next_unpin(cx);
        match &polled {
            Poll::Ready(Some(part)) => self.see(part),
            Poll::Ready(None) => self.tell(End::Dropped),
            Poll::Pending => {}
        }
        polled
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.tell(End::Dropped);
    }
}

fn without_metadata(finish: &Finish) -> Finish {
    Finish {
        reason: finish.reason,
        usage: finish.usage,
        response_id: finish.response_id.clone(),
        ..Finish::default()
    }
}

fn without_words(failure: &Failure) -> Failure {
    let mut short = Failure::new(failure.provider.clone(), failure.cause).with_layer(failure.layer);
    short.status = failure.status;
    short
}

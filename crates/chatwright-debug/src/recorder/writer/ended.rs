//! A call ends: what was answered, or why it was not.

use chatwright_core::debug::{Change, DebugStatus, RunKind, StepChange};
use chatwright_core::model::{FinishReason, Usage};
use tokio::time::Instant;

use super::super::capture::Gathered;
use super::super::job::{End, Ended};
use super::super::payload;
use super::super::track::OpenCall;
use super::{Writer, heavy, millis};
use crate::doc::{AttemptStatus, DOC_VERSION, ExchangeDoc, ResponseDoc};

impl Writer {
    pub(super) async fn ended(&mut self, ended: Ended) {
        let Ended { call, end, gathered, at, took, first } = ended;
        let Some(open) = self.tracks.calls.remove(&call) else { return };
        let OpenCall { chat, kind, run, step, attempt, redactor, exchanges } = open;
        let Gathered { pieces, dropped, counts, _grant: grant } = gathered;
        let made = heavy(grant.bytes(), {
            let redactor = redactor.clone();
            move || {
                let (content, warnings) = payload::folded(pieces.parts());
                (content.len(), payload::content(&redactor, &content), warnings)
            }
        });
        let (parts, lines, warnings) = made.await.unwrap_or_default();
        drop(grant);
        let content = self.kept(chat, run, lines).await;
        let Some(track) = self.tracks.runs.get_mut(&(chat, kind)).filter(|track| track.run == run) else {
            return;
        };
        track.open_calls = track.open_calls.saturating_sub(1);
        (track.last_seen, track.ended_at) = (Instant::now(), Some(at));
        let is_last = track.open_calls == 0;
        let Some(step) = track.step_mut(step) else { return };
        let mut exchanges: Vec<_> = exchanges.into_iter().collect();
        exchanges.sort_unstable_by_key(|(number, _)| *number);
        let http: Vec<ExchangeDoc> = exchanges.into_iter().map(|(_, doc)| doc).collect();
        if step.metadata.endpoint.is_none() {
            let full = http.iter().find(|doc| doc.end.as_ref() == "complete" && !doc.path.is_empty());
            step.metadata.endpoint = full.map(endpoint);
        }
        let mut response = ResponseDoc {
            version: DOC_VERSION,
            content,
            parts: parts as u64,
            warnings: warnings.iter().map(|warning| redactor.text(warning).into_owned()).collect(),
            dropped_bytes: dropped,
            ..ResponseDoc::default()
        };
        let mut change = StepChange::default();
        let doc = &mut step.attempts[attempt];
        let status = match &end {
            End::Finished(finish) => {
                doc.status = AttemptStatus::Completed;
                doc.usage = finish.usage;
                response.finish_reason = Some(finish.reason);
                let id = finish.response_id.as_deref();
                response.response_id = id.map(|id| redactor.text(id).into());
                let mut metadata = serde_json::json!(finish.metadata);
                redactor.value(&mut metadata);
                response.metadata = serde_json::from_value(metadata).unwrap_or_default();
                if finish.reason == FinishReason::Error {
                    // Another attempt may give the step another answer.
                    doc.content = content;
                    DebugStatus::Error
                } else {
                    DebugStatus::Completed
                }
            }
            End::Failed(failure) => {
                doc.status = AttemptStatus::Failed;
                doc.failure = Some(payload::failure(&redactor, failure));
                doc.content = content;
                change.error = Change::Set(payload::error(&redactor, failure, at));
                DebugStatus::Error
            }
            End::Dropped => {
                doc.status = AttemptStatus::Interrupted;
                doc.content = content;
                DebugStatus::Interrupted
            }
        };
        (doc.duration_ms, doc.first_content_ms, doc.http) = (millis(took), first.map(millis), http);
        if matches!(status, DebugStatus::Completed) && step.has_error {
            change.error = Change::Clear;
        }
        step.has_error =
            matches!(change.error, Change::Set(_)) || step.has_error && matches!(change.error, Change::Keep);
        let metadata = &mut step.metadata;
        metadata.model_ms = Some(metadata.model_ms.unwrap_or(0).saturating_add(millis(took)));
        metadata.first_content_ms = first.map(millis);
        metadata.stream = payload::counts(counts);
        metadata.tokens_per_second = first.and_then(|first| {
            let (tokens, seconds) = (doc.usage.output?, took.saturating_sub(first).as_secs_f64());
            (seconds > 0.0).then(|| (tokens as f64 / seconds * 10.0).round() / 10.0)
        });
        step.usage = plus(step.usage, doc.usage);
        step.status = step.status.max(status);
        // A lower status would change nothing at all.
        change.status = Some(step.status);
        change.finished_at = Some(at);
        // An attempt that failed has said nothing that counts.
        if !matches!(end, End::Failed(_)) {
            change.response = Change::Set(payload::json_of(&response));
        }
        if !step.usage.is_empty() {
            change.usage = Change::Set(payload::json_of(&step.usage));
        }
        change.metadata = Change::Set(payload::json_of(&step.metadata));
        change.attempts = Change::Set(payload::json_of(&step.attempts));
        let id = step.id;
        self.update_step(chat, run, id, change).await;
        // A run that is not a turn's is over with its answer.
        let is_over = matches!(end, End::Finished(_)) || kind == RunKind::TitleGeneration;
        if kind != RunKind::ChatTurn && is_over && is_last {
            self.finalize(chat, kind, None, Some(at)).await;
        }
    }
}

fn endpoint(doc: &ExchangeDoc) -> Box<str> {
    if doc.method.is_empty() { doc.path.clone() } else { format!("{} {}", doc.method, doc.path).into() }
}

fn plus(sum: Usage, more: Usage) -> Usage {
    let add = |sum: Option<u64>, more: Option<u64>| match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
        (sum, more) => sum.or(more),
    };
    Usage {
        input: add(sum.input, more.input),
        output: add(sum.output, more.output),
        reasoning: add(sum.reasoning, more.reasoning),
        cache_read: add(sum.cache_read, more.cache_read),
        cache_write: add(sum.cache_write, more.cache_write),
    }
}

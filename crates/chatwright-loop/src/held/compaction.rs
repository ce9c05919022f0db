use chatwright_core::Seq;
use chatwright_core::accumulator::Accumulator;
use chatwright_core::content::Part;
use chatwright_core::head::OpenGen;
use chatwright_core::model::{FinishReason, Message, ModelCall, Role, Usage};
use chatwright_engine::{Compacted, Item, Next, Summary, Work};

use super::Held;
use crate::failure;
use crate::models::Chosen;

const INSTRUCTION: &str = "Summarise the conversation above for yourself: it will be replaced by your summary, and you \
    will go on from it. Keep what was asked, what was decided and why, names, numbers, paths and identifiers word for \
    word, what was tried and failed, and what is still to be done. Write nothing but the summary.";

impl Held {
    /// The last record that a summary would cover, and the first that is kept word for word: the last message of a user with all
    /// that came after it. Nothing if there is nothing before it.
    pub(super) fn summary_range(&self) -> Option<(Seq, Seq)> {
        let from = self.chat.state.context_from;
        let shown = self.history.items().iter().filter(|(seq, _)| *seq >= from);
        let of_people = shown.filter(|(_, item)| !matches!(item, Item::System(_)));
        let items: Vec<_> = of_people.collect();
        let (kept, _) = items.iter().rev().find(|(_, item)| matches!(item, Item::User(_)))?;
        let covered = items.iter().rev().find(|(seq, _)| seq < kept).map(|(seq, _)| *seq)?;
        Some((covered, *kept))
    }

    /// The whole prompt, and then what to do with it.
    pub(super) fn summary_call(mut prompt: Vec<Message>, chosen: &Chosen) -> ModelCall {
        prompt.push(Message::new(Role::User, vec![Part::text(INSTRUCTION)]));
        let mut call = ModelCall::new(prompt);
        if let Some(options) = chosen.options() {
            options.apply(&mut call);
        }
        call
    }

    pub(super) async fn nothing_to_summarise(&mut self, open: &OpenGen) {
        let next = self.next().await;
        let (summary, usage) = (None, Usage::default());
        let compacted = Compacted { summary, usage, estimated: false, off: 0, next };
        self.feed(open.r#gen, Work::Compacted(Box::new(compacted))).await;
    }

    /// What becomes of what the model has written. A summary without words, or one that was cut, is none: the context stays as
    /// it is.
    pub(super) fn summarised(&self, answer: &Accumulator, finish: FinishReason, next: Next) -> Work {
        let usage = answer.usage();
        let words = |part: &Part| matches!(part, Part::Text { .. }) && !part.is_blank();
        let content: Vec<Part> = answer.content().into_iter().filter(words).collect();
        if let Some(verdict) = failure::no_summary(finish, content.is_empty()) {
            return Work::Failed { verdict: Box::new(verdict), usage, partial: None };
        }
        let summary = self.summary_range().map(|(covers_to, from)| {
            let (tokens_before, tokens_after) = (usage.input, usage.output);
            Summary { covers_to, from, content, tokens_before, tokens_after }
        });
        let estimated = usage.is_empty();
        Work::Compacted(Box::new(Compacted { summary, usage, estimated, off: 0, next }))
    }
}

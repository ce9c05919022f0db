//! A title for a chat that has none, from its first exchange.

use std::sync::Arc;
use std::time::Duration;

use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::Part;
use chatwright_core::error::classify;
use chatwright_core::head::Title;
use chatwright_core::model::{FinishReason, Message, ModelCall, Role};
use chatwright_core::port::{LedgerEnd, Purpose};
use chatwright_core::{ChatId, OpId, Seq, limits};
use chatwright_engine::{Command, History, Input, Item, Set};
use futures::StreamExt;
use tokio::time::timeout;

use crate::advisor::text_of;
use crate::blobs::cut;
use crate::deps::Deps;
use crate::feed::Failed;
use crate::meter::{Meter, Request, scope};
use crate::tokens;

/// Titles that a model writes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TitleSettings {
    /// The name of the model that writes them. The chat's own by default; a small one does.
    pub model: Option<Box<str>>,
    /// How long the model may take. 30 s by default.
    pub within: Duration,
}

impl Default for TitleSettings {
    fn default() -> Self {
        Self { model: None, within: Duration::from_secs(30) }
    }
}

const INSTRUCTION: &str = "Write a title for the conversation that follows: two to six words in its language, which say what the user wants. No \
    quotation marks, no full stop, nothing but the title. Do not answer the conversation.";

/// How long what stands around its request may take in all.
const AROUND: Duration = Duration::from_secs(15);
/// Most bytes of what each of them said.
const SAID_BYTES_MAX: usize = 2_000;
/// Most characters of a title that a model writes.
const TITLE_CHARS_MAX: usize = 80;
/// Most tokens of its answer. Models that think need some for that.
const OUTPUT_TOKENS_MAX: u64 = 1_000;

/// Writes a title for a chat that has had none. What goes wrong is tried again when its next turn ends.
pub(crate) async fn title(deps: &Arc<Deps>, chat: ChatId) {
    let Some(settings) = &deps.settings.titles else { return };
    match timeout(settings.within.saturating_add(AROUND), write(deps, chat, settings)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%chat, %error, "a chat has no title yet"),
        Err(_) => tracing::debug!(%chat, "a chat has no title yet: it took too long"),
    }
}

async fn write(
    deps: &Arc<Deps>,
    chat: ChatId,
    settings: &TitleSettings,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Some(known) = deps.reload(chat).await?.filter(|known| !known.state.titled) else { return Ok(()) };
    let Some((asked, answered)) = first_exchange(deps, chat).await? else { return Ok(()) };
    let name = settings.model.as_deref().or(known.state.model.as_deref());
    let index = &known.head.index;
    let chosen = deps.models.choose(name, &index.organization).await?;
    let said = format!("The user: {}\n\nThe assistant: {}", brief(&asked), brief(&answered));
    let mut call = ModelCall::new(vec![
        Message::new(Role::System, vec![Part::text(INSTRUCTION)]),
        Message::new(Role::User, vec![Part::text(said)]),
    ]);
    if let Some(options) = chosen.options() {
        options.apply(&mut call);
    }
    call.max_output_tokens =
        Some(call.max_output_tokens.map_or(OUTPUT_TOKENS_MAX, |max| max.min(OUTPUT_TOKENS_MAX)));
    call.parallel_tool_calls = None;
    let mut scope = scope(chat, index, Purpose::Title);
    (scope.turn, scope.tip) = (known.state.turn_from, Some(known.head.last_seq));
    call.scope = Some(Arc::new(scope));
    let gate = deps.gates.gate(&chosen.model.account());
    if gate.pass(chat.as_uuid().as_u64_pair().1, settings.within).await.is_err() {
        return Err("its provider tells others to wait".into());
    }
    let prompt = tokens::of_bytes(tokens::bytes_of(&call.prompt));
    let request = Request { purpose: Purpose::Title, chat, r#gen: None, index, chosen: &chosen, prompt };
    let meter = Meter::open(deps, request).await?;
    let mut answer = Accumulator::new();
    let mut parts = chosen.model.stream(call);
    let streamed = async {
        while let Some(part) = parts.next().await {
            let is_over = part.is_terminal() || answer.bytes() > limits::CONFIG_BYTES_MAX;
            answer.push_into(part, &mut Vec::<_>::new());
            if is_over {
                break;
            }
        }
    };
    // One that takes too long has an answer without an end.
    let _ = timeout(settings.within, streamed).await;
    if let Some(End::Failure(failure)) = answer.end() {
        gate.heed(&classify(failure, deps.ports.clock.now().into()));
    }
    let finished = matches!(answer.end(), Some(End::Finish(finish)) if finish.reason == FinishReason::Stop);
    meter.close(&meter.report(&answer), if finished { LedgerEnd::Finished } else { LedgerEnd::Failed }).await;
    let Some(title) = Some(answer.content()).filter(|_| finished).and_then(|content| cleaned(&content))
    else {
        return Err("the model gave no title".into());
    };
    let set = Set { title: Some(title), generated: true, ..Set::default() };
    let input = Input::Command(OpId::mint(&*deps.ports.ids), Command::Set(set));
    match deps.feed(chat, &input, None, &mut History::default()).await {
        Ok(landed) => {
            deps.ring(chat, landed.chat.head.revision, false).await;
            Ok(())
        }
        // The user was faster.
        Err(Failed::Refused(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the user said first, and the first answer with words.
async fn first_exchange(deps: &Deps, chat: ChatId) -> Result<Option<(Vec<Part>, Vec<Part>)>, Failed> {
    let page =
        deps.ports.chats.records(chat, Seq::ZERO, limits::PAGE_ITEMS_MAX).await.map_err(Failed::Store)?;
    let mut history = History::default();
    for record in &page {
        history.fold(record).map_err(crate::feed::broken)?;
    }
    // What was cut away is not there any more.
    let items = || history.items().iter().map(|(_, item)| item);
    let asked = items().find_map(|item| match item {
        Item::User(message) => Some(message.content.clone()),
        _ => None,
    });
    let answered = items().skip_while(|item| !matches!(item, Item::User(_))).find_map(|item| match item {
        Item::Assistant(message) if !text_of(&message.content).is_empty() => Some(message.content.clone()),
        _ => None,
    });
    Ok(asked.zip(answered))
}

fn brief(content: &[Part]) -> String {
    cut(&text_of(content), SAID_BYTES_MAX, "")
}

/// The title in what a model wrote: its first line, without what models like to put around it.
fn cleaned(content: &[Part]) -> Option<Title> {
    let words = text_of(content);
    let line = words.lines().map(str::trim).find(|line| !line.is_empty())?;
    let line = line.trim_start_matches(['#', '*', ' ']);
    let line =
        ["Title:", "title:", "TITLE:"].iter().find_map(|label| line.strip_prefix(label)).unwrap_or(line);
    let around =
        |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '*' | '“' | '”' | '„' | '«' | '»');
    let line = line.trim_matches(around).trim_end_matches(['.', '。']);
    let title: String = line.chars().filter(|c| !c.is_control()).take(TITLE_CHARS_MAX).collect();
    Title::new(title.trim()).ok().filter(|title| !title.as_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_first_line_without_what_models_put_around_it() {
        for (wrote, title) in [
            ("Trains to Vienna", Some("Trains to Vienna")),
            ("\n\n**\"Trains to Vienna.\"**\n\nI hope", Some("Trains to Vienna")),
            ("Title: Trains to Vienna", Some("Trains to Vienna")),
            ("# Züge nach Wien", Some("Züge nach Wien")),
            ("“”", None),
            (" \n ", None),
        ] {
            assert_eq!(cleaned(&[Part::text(wrote)]).as_ref().map(Title::as_str), title, "{wrote:?}");
        }
        let long = cleaned(&[Part::text("é".repeat(500))]).expect("a title");
        assert_eq!(long.as_str().chars().count(), TITLE_CHARS_MAX);
    }
}

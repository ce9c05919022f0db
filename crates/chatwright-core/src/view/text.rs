//! Plain text, for terminals and tests.

use std::fmt::{self, Display, Formatter};

use super::{Message, Preview, Transcript};
use crate::content::{Output, Part};
use crate::frame::LiveBlock;
use crate::head::Status;
use crate::live::BlockKind;
use crate::model::Role;

impl Display for Transcript {
    /// A line or more per message, the preview behind `…`, then what waits and what went wrong.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.more_before {
            writeln!(f, "(older messages are not shown)")?;
        }
        self.messages.iter().try_for_each(|message| message.fmt(f))?;
        if let Some(preview) = &self.preview {
            preview.fmt(f)?;
        }
        for item in &self.queue {
            let words = item.message.as_ref().map(|message| words(&message.content)).unwrap_or_default();
            writeln!(f, "{}: {words}", if item.held { "held" } else { "queued" })?;
        }
        if let Some(last) = &self.last {
            writeln!(f, "({}: {})", last.kind, last.message)?;
        }
        if self.status != Status::Waiting {
            writeln!(f, "({})", self.status.as_str())?;
        }
        Ok(())
    }
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        let stopped = if self.interrupted { " (stopped)" } else { "" };
        writeln!(f, "{role}: {}{stopped}", words(&self.content))?;
        for (ordinal, answer) in &self.results {
            let (words, mark) = match &answer.output {
                Output::Text { text } => (text.as_str(), ""),
                Output::Error { text } => (text.as_str(), " failed"),
                Output::Media { media_type, .. } => (&**media_type, ""),
            };
            writeln!(f, "  result {ordinal}{mark}: {words}")?;
        }
        Ok(())
    }
}

impl Display for Preview {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for LiveBlock { block, kind, name, text, item, .. } in &self.blocks {
            let name = name.as_deref().unwrap_or_default();
            match (kind, item) {
                (_, Some(part)) => writeln!(f, "… {}", words(std::slice::from_ref(part)))?,
                (BlockKind::Reasoning, _) => writeln!(f, "… <{text}>")?,
                (BlockKind::ToolCall, _) => writeln!(f, "… {name}({text})")?,
                (BlockKind::ToolOutput, _) => writeln!(f, "… output {block}: {text}")?,
                _ => writeln!(f, "… {text}")?,
            }
        }
        if self.capped { writeln!(f, "… (the rest follows with the message)") } else { Ok(()) }
    }
}

fn words(content: &[Part]) -> String {
    let word = |part: &Part| match part {
        Part::Text { text, .. } => text.clone(),
        Part::Reasoning { text, .. } => format!("<{text}>"),
        Part::ToolCall { name, input, .. } => format!("{name}({input})"),
        Part::ToolResult { name, .. } => format!("[result of {name}]"),
        Part::File { name, media_type, .. } => format!("[{}]", name.as_deref().unwrap_or(media_type)),
        Part::Source { id, url, .. } => format!("[{}]", url.as_deref().unwrap_or(id)),
        Part::Unknown(_) => "[?]".to_owned(),
    };
    content.iter().map(word).collect::<Vec<_>>().join(" ")
}

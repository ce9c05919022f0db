//! A run as text for a terminal.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use chatwright_core::Timestamp;
use chatwright_core::content::{FileData, Output, Part};
use chatwright_core::error::{Advice, classify};
use chatwright_core::model::Usage;
use serde_json::Value;

use super::{Cassette, CassetteAttempt, CassetteStep};
use crate::doc::{AttemptDoc, AttemptStatus, ExchangeDoc, FailureDoc};
use crate::label;

/// About how wide it is.
const WIDTH: usize = 100;
/// Where the text of a row begins.
const MARGIN: usize = 25;
/// So many new messages of a prompt are shown, the newest.
const MESSAGES_MAX: usize = 8;

/// A run as text for a terminal: who was asked, and then for each step what was new in the prompt, how each attempt went and how long
/// it took, what was answered, and what that took. The same cassette always gives the same text.
///
/// Texts are cut to a line each, and of many new messages the last eight are shown; [`full`](Self::full) shows all, with the headers
/// and bodies of requests and responses. Control characters of what was recorded are shown as `�`: a terminal obeys none.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'a> {
    cassette: &'a Cassette,
    full: bool,
}

impl Cassette {
    /// The run as text for a terminal.
    ///
    /// ```
    /// use chatwright_debug::Cassette;
    ///
    /// # let file = include_bytes!("../../tests/run/cassette.jsonl");
    /// let cassette = Cassette::read(&file[..])?;
    /// println!("{}", cassette.timeline());
    /// # Ok::<(), chatwright_debug::CassetteError>(())
    /// ```
    pub fn timeline(&self) -> Timeline<'_> {
        Timeline { cassette: self, full: false }
    }
}

impl Timeline<'_> {
    /// With everything that was recorded, uncut.
    #[must_use]
    pub fn full(self) -> Self {
        Self { full: true, ..self }
    }
}

impl fmt::Display for Timeline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.cassette.run.started_at;
        let mut rows = Rows { f, start, full: self.full, last: String::new() };
        rows.head(self.cassette)?;
        let mut before = None;
        for step in &self.cassette.steps {
            rows.step(step, before)?;
            before = Some(step);
        }
        Ok(())
    }
}

/// Writes rows.
struct Rows<'f, 'a> {
    f: &'f mut fmt::Formatter<'a>,
    /// When the run began.
    start: i64,
    full: bool,
    /// What the row before tells of: it is said once.
    last: String,
}

impl Rows<'_, '_> {
    fn head(&mut self, Cassette { run, .. }: &Cassette) -> fmt::Result {
        let model = run.model.as_ref().map_or_else(|| "nobody known".to_owned(), ToString::to_string);
        writeln!(self.f, "{} of {}: {}", run.kind.as_str(), clean(&model), run.status.as_str())?;
        let sum = &run.summary;
        let mut facts = vec![Timestamp::from_millis(run.started_at).to_string()];
        facts.extend(run.finished_at.map(|end| format!("took {}", span(between(run.started_at, end)))));
        facts.push(counted(sum.step_count, "step"));
        facts.push(counted(sum.attempt_count, "attempt"));
        facts.push(tokens(sum.total_input_tokens, sum.total_cache_read_tokens, sum.total_output_tokens));
        writeln!(self.f, "{}", facts.join(", "))?;
        if self.full {
            writeln!(self.f, "run {}, chat {}", run.id, run.chat)?;
        }
        match &sum.first_message {
            Some(first) => writeln!(self.f, "{}", clean(first)),
            None => Ok(()),
        }
    }

    fn step(&mut self, step: &CassetteStep, before: Option<&CassetteStep>) -> fmt::Result {
        let old = before.map_or(&[][..], |before| &before.messages);
        let kept = step.messages.iter().zip(old).take_while(|(new, old)| new == old).count();
        let took = step.finished_at.map(|end| format!(" after {}", span(between(step.started_at, end))));
        let (number, offset) = (format!("#{}", step.number), self.offset(step.started_at));
        let (status, took) = (step.status.as_str(), took.unwrap_or_default());
        writeln!(self.f, "\n{number:<4}{offset:>9}  {status}{took}")?;

        self.last.clear();
        if step.request.is_some() {
            self.asked(step, before, kept)?;
            self.settings(step, before)?;
        }
        for attempt in &step.attempts {
            self.attempt(attempt)?;
        }
        // What was said before the last attempt failed or was stopped stands there.
        let stands_there = step.attempts.last().is_some_and(|last| last.content == step.content);
        if !stands_there {
            self.parts("answered", &step.content)?;
        }
        self.end(step)
    }

    /// What is new in the prompt.
    fn asked(&mut self, step: &CassetteStep, before: Option<&CassetteStep>, kept: usize) -> fmt::Result {
        let gone = before.map_or(0, |before| before.messages.len() - kept);
        if gone > 0 {
            let words = format!("without {} of the prompt before", counted(gone as u64, "message"));
            self.row("asked", "", &words)?;
        }
        let new = &step.messages[kept..];
        let hidden = if self.full { 0 } else { new.len().saturating_sub(MESSAGES_MAX) };
        if hidden > 0 {
            self.row("asked", "", &format!("{}, and then", counted(hidden as u64, "message")))?;
        }
        for message in &new[hidden..] {
            let role = message["role"].as_str().unwrap_or("?");
            let parts: Vec<_> =
                message["content"].as_array().into_iter().flatten().map(shown_value).collect();
            if let Some(words) =
                before.filter(|_| role == "assistant").and_then(|before| answer(&parts, before))
            {
                self.row("asked", role, &words)?;
                continue;
            }
            if parts.is_empty() {
                self.row("asked", role, "(nothing)")?;
            }
            for (word, text) in parts {
                match word {
                    "text" => self.row("asked", role, &text)?,
                    _ => self.row("asked", role, &format!("{word} {text}"))?,
                }
            }
        }
        Ok(())
    }

    /// What else is asked for, where that is not as in the step before.
    fn settings(&mut self, step: &CassetteStep, before: Option<&CassetteStep>) -> fmt::Result {
        if let Some(model) = step
            .model
            .as_ref()
            .filter(|model| before.is_some_and(|before| before.model.as_ref() != Some(model)))
        {
            self.row("with", "model", &model.to_string())?;
        }
        if before.is_none_or(|before| before.tools != step.tools)
            && (before.is_some() || !step.tools.is_empty())
        {
            if self.full {
                for tool in &step.tools {
                    self.row("with", "tool", &tool.to_string())?;
                }
            } else {
                let name = |tool: &Value| tool["name"].as_str().unwrap_or("?").to_owned();
                let names: Vec<_> = step.tools.iter().map(name).collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                self.row("with", "tools", &names)?;
            }
        }
        let none = Default::default();
        let of = |step: &'_ CassetteStep| step.request.as_ref().map(|request| request.settings.clone());
        let (new, old) = (of(step).unwrap_or_default(), before.and_then(of).unwrap_or(none));
        for (name, value) in &new {
            if old.get(name) != Some(value) {
                self.row("with", "setting", &format!("{name} {value}"))?;
            }
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            self.row("with", "setting", &format!("no {name}"))?;
        }
        Ok(())
    }

    fn attempt(&mut self, attempt: &CassetteAttempt) -> fmt::Result {
        let doc = &attempt.doc;
        let took = span(Duration::from_millis(doc.duration_ms));
        let mut facts = vec![match doc.status {
            AttemptStatus::Open => "has not ended".to_owned(),
            AttemptStatus::Completed => format!("completed after {took}"),
            AttemptStatus::Failed => format!("failed after {took}"),
            AttemptStatus::Interrupted => format!("stopped after {took}"),
        }];
        let first = doc.first_content_ms.map(Duration::from_millis);
        facts.extend(first.map(|first| format!("first content {}", span(first))));
        facts.extend(speed(doc).map(|speed| format!("{speed:.1} tokens/s")));
        let (what, offset) = (format!("attempt {}", doc.number), self.offset(doc.started_at));
        self.row(&what, &offset, &facts.join(", "))?;
        for (at, exchange) in doc.http.iter().enumerate() {
            let none = (None, None);
            self.exchange(exchange, attempt.bodies.get(at).unwrap_or(&none))?;
        }
        if let Some(failure) = &doc.failure {
            let ended = doc.started_at.saturating_add_unsigned(doc.duration_ms);
            self.row("", "failure", &why(failure, ended))?;
        }
        self.parts("said", &attempt.content)
    }

    fn exchange(&mut self, doc: &ExchangeDoc, bodies: &(Option<String>, Option<String>)) -> fmt::Result {
        let to = if self.full { &doc.url } else { &doc.path };
        let mut facts = vec![format!("{} {}", doc.method, to)];
        facts.push(doc.status.map_or("no response".to_owned(), |status| status.to_string()));
        facts.extend(doc.head_ms.map(|head| format!("head {}", span(Duration::from_millis(head)))));
        facts.push(format!("{} {}", doc.end, span(Duration::from_millis(doc.duration_ms))));
        self.row("", "http", &facts.join(", "))?;
        if let Some(error) = &doc.error {
            self.row("", "error", error)?;
        }
        if self.full {
            let headers = |headers: &[(Box<str>, Box<str>)]| {
                headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
            };
            for (of, headers, body) in [
                ("request", headers(&doc.request_headers), &bodies.0),
                ("response", headers(&doc.response_headers), &bodies.1),
            ] {
                let texts = [headers.as_str(), body.as_deref().unwrap_or_default()];
                for text in texts.into_iter().filter(|text| !text.is_empty()) {
                    self.row("", of, text)?;
                }
            }
        }
        Ok(())
    }

    fn parts(&mut self, what: &str, content: &[Part]) -> fmt::Result {
        for (word, text) in content.iter().map(shown) {
            self.row(what, word, &text)?;
        }
        Ok(())
    }

    /// How it ended.
    fn end(&mut self, step: &CassetteStep) -> fmt::Result {
        for warning in step.response.iter().flat_map(|response| &response.warnings) {
            self.row("warning", "", warning)?;
        }
        let mut facts = Vec::new();
        if let Some(response) = &step.response {
            facts.extend(response.finish_reason.map(|reason| reason.as_str().to_owned()));
            let dropped = (response.dropped_bytes > 0).then_some(response.dropped_bytes);
            facts.extend(dropped.map(|bytes| format!("{bytes} bytes of it were not kept")));
        }
        if !step.usage.is_empty() {
            let Usage { input, output, cache_read, cache_write, .. } = step.usage;
            let input = [input, cache_read, cache_write].into_iter().flatten().fold(0, u64::saturating_add);
            facts.push(tokens(input, cache_read.unwrap_or(0), output.unwrap_or(0)));
        }
        let id = step.response.as_ref().and_then(|response| response.response_id.as_deref());
        facts.extend(id.filter(|_| self.full).map(str::to_owned));
        if !facts.is_empty() {
            self.row("end", "", &facts.join(", "))?;
        }
        // An attempt has said why it failed.
        if let Some(error) =
            step.error.as_ref().filter(|_| step.attempts.last().is_none_or(|last| last.doc.failure.is_none()))
        {
            let word = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            self.row("error", "", &format!("{}: {}", word("kind"), word("message")))?;
        }
        for problem in &step.problems {
            self.row("problem", "", problem)?;
        }
        Ok(())
    }

    /// A row: what it tells of, whose or which it is, and the text.
    fn row(&mut self, what: &str, of: &str, text: &str) -> fmt::Result {
        let said = if what == self.last { "" } else { what };
        let head = format!("    {said:<10} {of:<9} ");
        what.clone_into(&mut self.last);
        if !self.full {
            let text = clean(&label(text, WIDTH - MARGIN)).into_owned();
            return writeln!(self.f, "{}", format_args!("{head}{text}").to_string().trim_end());
        }
        let mut head = head.as_str();
        for line in text.trim_end().lines() {
            writeln!(self.f, "{}", format_args!("{head}{}", clean(line)).to_string().trim_end())?;
            head = "                         ";
        }
        if text.trim_end().is_empty() { writeln!(self.f, "{}", head.trim_end()) } else { Ok(()) }
    }

    /// How long after the start of the run.
    fn offset(&self, at: i64) -> String {
        format!("+{}", span(between(self.start, at)))
    }
}

/// A part of content in words: of which kind it is, and its text.
fn shown(part: &Part) -> (&'static str, Cow<'_, str>) {
    match part {
        Part::Text { text, .. } => ("text", text.into()),
        Part::Reasoning { text, .. } if text.is_empty() => ("thought", "(hidden)".into()),
        Part::Reasoning { text, .. } => ("thought", text.into()),
        Part::ToolCall { name, input, .. } => ("call", format!("{name} {input}").into()),
        Part::ToolResult { name, output: Output::Text { text }, .. } => {
            ("result", format!("{name}: {text}").into())
        }
        Part::ToolResult { name, output: Output::Error { text }, .. } => {
            ("error", format!("{name}: {text}").into())
        }
        Part::ToolResult { name, output: Output::Media { media_type, data, text }, .. } => {
            let text = text.as_deref().unwrap_or_default();
            ("result", format!("{name}: {media_type} {} {text}", place(data)).into())
        }
        Part::File { media_type, name, data, .. } => {
            let name = name.as_deref().unwrap_or_default();
            ("file", format!("{media_type} {} {name}", place(data)).into())
        }
        Part::Source { url, title, name, .. } => {
            let words: Vec<_> = [title, name, url].into_iter().flatten().map(|word| &**word).collect();
            ("source", words.join(" ").into())
        }
        other => ("part", serde_json::to_string(other).unwrap_or_default().into()),
    }
}

/// A part of a message of a prompt. What is none is shown as it is.
fn shown_value(value: &Value) -> (&'static str, String) {
    match serde_json::from_value::<Part>(value.clone()) {
        Ok(part) => {
            let (word, text) = shown(&part);
            (word, text.into_owned())
        }
        Err(_) => ("part", value.to_string()),
    }
}

/// What is said of parts that are what a step answered.
fn answer(parts: &[(&'static str, String)], step: &CassetteStep) -> Option<String> {
    let answered: Vec<_> = step.content.iter().map(shown).collect();
    let parts = parts.iter().map(|(word, text)| (*word, Cow::from(text)));
    if parts.clone().eq(answered.iter().cloned()) {
        return Some(format!("(what #{} answered)", step.number));
    }
    let is_no_thought = |(word, _): &(&str, Cow<'_, str>)| *word != "thought";
    let is_same =
        parts.clone().filter(is_no_thought).eq(answered.iter().filter(|part| is_no_thought(part)).cloned());
    (is_same && parts.len() > 0)
        .then(|| format!("(what #{} answered, without some of its thoughts)", step.number))
}

fn place(data: &FileData) -> &str {
    match data {
        FileData::Url(url) | FileData::Blob(url) => url,
        _ => "(bytes)",
    }
}

/// What a failure is, what is to be done about it, and what was said of it.
fn why(doc: &FailureDoc, at: i64) -> String {
    let failure = doc.to_failure();
    let verdict = classify(&failure, Timestamp::from_millis(at).into());
    let advice = match (verdict.advice, verdict.retry_after) {
        (Advice::RetryAfter, Some(wait)) => format!("retry after {}", span(wait)),
        (advice, _) => advice.as_str().replace('_', " "),
    };
    let said = verdict.detail.as_deref().map_or_else(String::new, |said| format!(": {said}"));
    format!("{}, {advice}: {failure}{said}", verdict.kind.as_str())
}

/// Tokens of the answer per second of it.
fn speed(doc: &AttemptDoc) -> Option<f64> {
    let streamed = doc.duration_ms.checked_sub(doc.first_content_ms?).filter(|millis| *millis > 0)?;
    Some(doc.usage.output? as f64 * 1000.0 / streamed as f64)
}

fn tokens(input: u64, cached: u64, output: u64) -> String {
    let cached = if cached > 0 { format!(" ({cached} from a cache)") } else { String::new() };
    format!("{} in{cached}, {output} out", counted(input, "token"))
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn between(start: i64, end: i64) -> Duration {
    Timestamp::from_millis(end).since(Timestamp::from_millis(start))
}

/// A span in milliseconds, from a second on in seconds.
fn span(time: Duration) -> String {
    match time.as_millis() {
        millis @ ..1_000 => format!("{millis} ms"),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

/// Without what a terminal would obey.
fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    text.replace('\t', "    ").replace(char::is_control, "\u{fffd}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_milliseconds_and_from_a_second_on_in_seconds() {
        let spans = [0, 999, 1_000, 1_239, 61_000].map(|millis| span(Duration::from_millis(millis)));
        assert_eq!(spans, ["0 ms", "999 ms", "1.00 s", "1.24 s", "61.00 s"]);
        assert_eq!(span(between(5, 3)), "0 ms", "a clock that was set back");
    }

    #[test]
    fn a_terminal_obeys_nothing_that_was_recorded() {
        assert_eq!(clean("a\u{1b}[2Jb\tc\u{9b}"), "a\u{fffd}[2Jb    c\u{fffd}");
    }
}

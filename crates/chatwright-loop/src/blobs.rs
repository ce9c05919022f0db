//! What is too large for a record goes to the host's blobs before the commit that refers to it, and comes back when a prompt
//! is built. Blobs only help: what they refuse, lose or keep waiting for is told in words, to people and to the model.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatwright_core::content::{FileData, Output, Part};
use chatwright_core::message::CHUNK_BYTES;
use chatwright_core::model::{Message, ModelPart};
use chatwright_core::port::{Blobs, StoreError};
use chatwright_core::{BlobRef, Cancel, ChatId};
use futures::FutureExt;
use tokio::time::{Instant, timeout_at};

use crate::deps::Deps;

/// Most bytes of a file in a record, in base64.
const FILE_BYTES_MAX: usize = 512 * 1024;
/// Most bytes of files that one answer may have beside what counts as its output, in base64.
const FILES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most bytes of any one part or result in a record, as JSON: these are never split.
const WHOLE_BYTES_MAX: usize = CHUNK_BYTES;
/// Most blobs that are read for one prompt.
const PROMPT_BLOBS_MAX: usize = 100;

/// What became of something that is too large for a record.
enum Kept {
    /// It is there under this reference.
    In(BlobRef),
    /// There is no place for it.
    Nowhere,
    /// It could not be kept, or not in time.
    Failed,
}

impl Kept {
    fn words(&self) -> String {
        match self {
            Self::In(blob) => format!("; the whole is kept as blob {blob}"),
            Self::Nowhere => String::new(),
            Self::Failed => "; it could not be kept".to_owned(),
        }
    }
}

/// A file that no record takes: its bytes in base64, and why they are not kept.
struct Lost {
    bytes: usize,
    why: Kept,
}

/// Makes what a model or a tool gave fit into records, and keeps the rest for as long as there is time.
pub(crate) struct Keeper {
    blobs: Option<Arc<dyn Blobs>>,
    chat: ChatId,
    until: Instant,
    cancel: Option<Cancel>,
}

impl Keeper {
    /// It gives up after [`blobs_within`](crate::Settings::blobs_within), counted from now.
    pub(crate) fn new(deps: &Deps, chat: ChatId) -> Self {
        let until = Instant::now() + deps.settings.blobs_within;
        Self { blobs: deps.ports.blobs.clone(), chat, until, cancel: None }
    }

    /// It gives up at once when this is cancelled: the turn is being stopped, and must not wait for a store.
    pub(crate) fn until_canceled(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// It has given up.
    pub(crate) fn in_no_time(deps: &Deps, chat: ChatId) -> Self {
        Self { until: Instant::now(), ..Self::new(deps, chat) }
    }

    /// The output of a tool: text over `max` bytes is cut in its middle, and large media are kept elsewhere.
    pub(crate) async fn output(&self, output: Output, max: usize) -> Output {
        let fitted = match output {
            Output::Text { text } => Output::Text { text: self.shorten(text, max).await },
            Output::Error { text } => Output::Error { text: self.shorten(text, max).await },
            Output::Media { media_type, data, text } => {
                let text = match text {
                    Some(text) => Some(self.shorten(text, max).await),
                    None => None,
                };
                match self.data(data).await {
                    Ok(data) => Output::Media { media_type, data, text },
                    Err(Lost { bytes, why }) => {
                        let beside = text.map(|text| format!("\n\n{text}")).unwrap_or_default();
                        Output::error(format!(
                            "The tool gave {bytes} bytes of media; {FILE_BYTES_MAX} are allowed, in base64{}.{beside}",
                            why.words()
                        ))
                    }
                }
            }
            other => other,
        };
        match encoded(&fitted) {
            0..=WHOLE_BYTES_MAX => fitted,
            bytes => Output::error(format!("The tool gave a result of {bytes} bytes, which is too large.")),
        }
    }

    /// An answer: large files are kept elsewhere, and what no record takes is told in words.
    pub(crate) async fn content(&self, content: Vec<Part>, max: usize) -> Vec<Part> {
        let mut fitted = Vec::with_capacity(content.len());
        for part in content {
            fitted.push(self.part(part, max).await);
        }
        fitted
    }

    async fn part(&self, part: Part, max: usize) -> Part {
        let part = match part {
            // Long ones are split between records.
            Part::Text { .. } | Part::Reasoning { .. } => return part,
            Part::File { media_type, name, data, metadata } => match self.data(data).await {
                Ok(data) => Part::File { media_type, name, data, metadata },
                Err(Lost { bytes, why }) => {
                    let file = file(name.as_deref(), &media_type);
                    let words = why.words();
                    return Part::text(format!(
                        "[{file} is left out: {bytes} bytes in base64 are too large{words}.]"
                    ));
                }
            },
            Part::ToolResult { call_id, name, output, provider_executed, metadata } => {
                let is_large = match &output {
                    Output::Media { .. } => true,
                    // What a provider ran comes back to it word for word, as far as it can be stored.
                    output => encoded(output) > WHOLE_BYTES_MAX,
                };
                let output = if is_large { self.output(output, max).await } else { output };
                Part::ToolResult { call_id, name, output, provider_executed, metadata }
            }
            other => other,
        };
        let bytes = encoded(&part);
        match part {
            part if bytes <= WHOLE_BYTES_MAX => part,
            Part::ToolResult { call_id, name, provider_executed, .. } => Part::ToolResult {
                call_id,
                name,
                output: Output::error(format!("A result of {bytes} bytes is left out: it is too large.")),
                provider_executed,
                metadata: Default::default(),
            },
            Part::ToolCall { name, .. } => {
                let name = brief(&name);
                Part::text(format!("[A call of {name} with {bytes} bytes is left out: it is too large.]"))
            }
            _ => Part::text(format!("[A part of {bytes} bytes is left out: it is too large.]")),
        }
    }

    /// A file as a record takes it.
    async fn data(&self, data: FileData) -> Result<FileData, Lost> {
        let (FileData::Base64(text) | FileData::Url(text) | FileData::Blob(text)) = &data else {
            return Ok(data);
        };
        if text.len() <= FILE_BYTES_MAX {
            return Ok(data);
        }
        let base64 = match &data {
            FileData::Base64(text) => Some(&**text),
            FileData::Url(url) => {
                let rest = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
                rest.map(|(_, base64)| base64)
            }
            _ => None,
        };
        let lost = |why| Err(Lost { bytes: base64.unwrap_or(text).len(), why });
        if self.blobs.is_none() {
            return lost(Kept::Nowhere);
        }
        let Some(raw) = base64.and_then(|text| STANDARD.decode(text).ok()) else {
            return lost(Kept::Failed);
        };
        match self.keep(&raw).await {
            Kept::In(blob) => Ok(FileData::Blob(blob.into())),
            why => lost(why),
        }
    }

    /// Cuts the middle out of long text, two thirds before and one third behind.
    async fn shorten(&self, text: String, max: usize) -> String {
        if text.len() <= max {
            return text;
        }
        cut(&text, max, &self.keep(text.as_bytes()).await.words())
    }

    async fn keep(&self, bytes: &[u8]) -> Kept {
        let Some(blobs) = &self.blobs else { return Kept::Nowhere };
        let canceled = async {
            match self.cancel.clone() {
                Some(mut cancel) => cancel.canceled().await,
                None => std::future::pending().await,
            }
        };
        let kept = tokio::select! {
            biased;
            kept = within(self.until, blobs.put(self.chat, bytes)) => kept,
            () = canceled => Err("the turn is being stopped".to_owned()),
        };
        match kept {
            Ok(blob) => Kept::In(blob),
            Err(error) => {
                tracing::warn!(chat = %self.chat, bytes = bytes.len(), %error, "a blob could not be kept");
                Kept::Failed
            }
        }
    }
}

/// What a store of the host's answers in time, whatever else it does.
async fn within<T>(until: Instant, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
    match timeout_at(until, AssertUnwindSafe(answer).catch_unwind()).await {
        Ok(Ok(answer)) => answer.map_err(|error| error.to_string()),
        Ok(Err(_)) => Err("the store panicked".to_owned()),
        Err(_) => Err("the store took too long".to_owned()),
    }
}

/// The beginning and the end of a text that is longer, with these words in between.
pub(crate) fn cut(text: &str, max: usize, words: &str) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    // The rest of the line has at most so many bytes.
    let room = max.saturating_sub(64 + words.len());
    let head = (0..=room * 2 / 3).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let tail =
        (text.len() - room / 3..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    format!("{}\n[… {} bytes left out{words} …]\n{}", &text[..head], tail - head, &text[tail..])
}

pub(crate) fn encoded(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |text| text.len())
}

pub(crate) fn brief(text: &str) -> String {
    text.chars().take(100).collect()
}

fn file(name: Option<&str>, media_type: &str) -> String {
    let media_type = brief(media_type);
    match name {
        Some(name) => format!("The file {:?} ({media_type})", brief(name)),
        None => format!("A file ({media_type})"),
    }
}

/// Files of an answer that no record takes: they do not count as its output.
#[derive(Default)]
pub(crate) struct Aside(usize);

impl Aside {
    pub(crate) fn take(&mut self, part: &ModelPart) {
        if let ModelPart::Item(Part::File { data: FileData::Base64(data), .. }) = part
            && data.len() > FILE_BYTES_MAX
        {
            self.0 += data.len();
        }
    }

    /// Whether an answer of so many bytes in all is over `max`, or its files over their bound.
    pub(crate) fn is_over(&self, bytes: usize, max: usize) -> bool {
        self.0 > FILES_BYTES_MAX || bytes.saturating_sub(self.0) > max
    }
}

/// What a holder has read of its chat's blobs. What a model was shown of one stays as it was for as long as the chat is held,
/// so that every prompt begins with the same bytes as the one before.
#[derive(Default)]
pub(crate) struct Shown {
    now: BTreeMap<Box<str>, Seen>,
    /// What was read for another prompt.
    before: BTreeMap<Box<str>, Seen>,
    /// The bytes that are in the prompt.
    bytes: usize,
}

enum Seen {
    /// In base64, with the bytes that these are.
    Base64(Box<str>, usize),
    /// There was no room for so many bytes.
    Large(usize),
    /// It was not there, or could not be read.
    Lost,
    /// There were as many blobs before it as a prompt may have.
    Beyond,
}

impl Shown {
    /// For a prompt that begins anew.
    pub(crate) fn anew(self) -> Self {
        Self { before: self.now, ..Self::default() }
    }

    /// The prompt is whole: what is not in it is of no use any more.
    pub(crate) fn settle(&mut self) {
        self.before.clear();
    }
}

/// Puts the bytes of blobs in the place of their references, the oldest first: what comes later in a prompt changes nothing
/// before it. What cannot be read, and what there is no room for, becomes words. `shown` tells of what stands before these
/// messages.
pub(crate) async fn resolve(deps: &Deps, chat: ChatId, messages: &mut [Message], shown: &mut Shown) {
    let Some(blobs) = deps.ports.blobs.as_deref() else { return };
    let until = Instant::now() + deps.settings.blobs_within;
    let with_blobs =
        messages.iter_mut().filter(|message| message.content.iter().any(|part| blob_of(part).is_some()));
    for part in with_blobs.flat_map(|message| Arc::make_mut(&mut message.content)) {
        let Some(text) = blob_of(part).map(Box::<str>::from) else { continue };
        let room = deps.settings.prompt_blob_bytes_max - shown.bytes;
        let known = shown.now.remove(&text).or_else(|| shown.before.remove(&text));
        let seen = match known {
            Some(Seen::Large(bytes)) if bytes <= room => read(blobs, chat, &text, until).await,
            Some(seen) => seen,
            None if shown.now.len() < PROMPT_BLOBS_MAX => read(blobs, chat, &text, until).await,
            None => Seen::Beyond,
        };
        let seen = match seen {
            Seen::Base64(_, bytes) if bytes > room => Seen::Large(bytes),
            seen => seen,
        };
        match &seen {
            Seen::Base64(base64, bytes) => {
                shown.bytes += bytes;
                show(part, base64.clone());
            }
            Seen::Large(bytes) => {
                tell(part, &format!("is not shown: there is no room for its {bytes} bytes"));
            }
            Seen::Lost => tell(part, "cannot be read"),
            Seen::Beyond => {
                tell(part, &format!("is not shown: {PROMPT_BLOBS_MAX} files are before it"));
            }
        }
        shown.now.insert(text, seen);
    }
}

async fn read(blobs: &dyn Blobs, chat: ChatId, text: &str, until: Instant) -> Seen {
    let Ok(blob) = BlobRef::new(text) else { return Seen::Lost };
    match within(until, blobs.get(chat, &blob)).await {
        Ok(Some(bytes)) => Seen::Base64(STANDARD.encode(&bytes).into(), bytes.len()),
        Ok(None) => Seen::Lost,
        Err(error) => {
            tracing::warn!(%chat, %blob, %error, "a blob could not be read for a prompt");
            Seen::Lost
        }
    }
}

fn blob_of(part: &Part) -> Option<&str> {
    match part {
        Part::File { data: FileData::Blob(blob), .. }
        | Part::ToolResult { output: Output::Media { data: FileData::Blob(blob), .. }, .. } => Some(blob),
        _ => None,
    }
}

fn show(part: &mut Part, base64: Box<str>) {
    if let Part::File { data, .. } | Part::ToolResult { output: Output::Media { data, .. }, .. } = part {
        *data = FileData::Base64(base64);
    }
}

fn tell(part: &mut Part, what: &str) {
    match part {
        Part::File { name, media_type, .. } => {
            *part = Part::text(format!("[{} {what}.]", file(name.as_deref(), media_type)));
        }
        Part::ToolResult { output, .. } => {
            if let Output::Media { media_type, text, .. } = output {
                let beside = text.as_deref().map(|text| format!("\n\n{text}")).unwrap_or_default();
                *output = Output::text(format!("[{} {what}.]{beside}", file(None, media_type)));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_output_keeps_its_head_and_its_tail_and_says_what_is_missing() {
        let long = "é".repeat(1_000);
        let blob = BlobRef::new("f".repeat(64)).expect("a short reference");
        for (kept, words) in [
            (Kept::Nowhere, "bytes left out …]".to_owned()),
            (Kept::Failed, "bytes left out; it could not be kept …]".to_owned()),
            (Kept::In(blob.clone()), format!("bytes left out; the whole is kept as blob {blob} …]")),
        ] {
            let text = cut(&long, 300, &kept.words());
            assert!(text.len() <= 300 && text.starts_with("éé") && text.ends_with("éé"), "{text}");
            assert!(text.contains(&words), "{text}");
            let (head, rest) = text.split_once("\n[… ").expect("a line in between");
            let (missing, rest) = rest.split_once(" bytes").expect("a number");
            let (_, tail) = rest.split_once("…]\n").expect("its end");
            assert_eq!(missing.parse(), Ok(long.len() - head.len() - tail.len()));
            assert!(head.len() >= tail.len() * 2 - 2 && head.len() <= tail.len() * 2 + 2, "{text}");
        }
    }

    #[test]
    fn large_files_do_not_count_as_output_and_have_a_bound_of_their_own() {
        let item = |bytes: usize| {
            let data = FileData::Base64("A".repeat(bytes).into());
            let (media_type, metadata) = ("image/png".into(), Default::default());
            ModelPart::Item(Part::File { media_type, name: None, data, metadata })
        };
        let mut aside = Aside::default();
        aside.take(&item(FILE_BYTES_MAX));
        assert!(aside.is_over(101, 100), "what a record takes counts");
        aside.take(&item(FILE_BYTES_MAX + 4));
        assert!(!aside.is_over(FILE_BYTES_MAX + 4 + 100, 100));
        assert!(aside.is_over(FILE_BYTES_MAX + 4 + 101, 100));
        for _ in 0..FILES_BYTES_MAX / FILE_BYTES_MAX {
            aside.take(&item(FILE_BYTES_MAX + 4));
        }
        assert!(aside.is_over(0, 100), "the files alone are too much");
    }

    proptest! {
        #[test]
        fn output_of_any_length_stays_within_its_bound_and_keeps_both_ends(
            words in "[a-zé😀]{1,9}",
            times in 1..2_000_usize,
            max in 200..4_000_usize,
        ) {
            let whole = words.repeat(times);
            prop_assume!(whole.len() > max);
            let text = cut(&whole, max, "");
            prop_assert!(text.len() <= max, "{} of {max}", text.len());
            let (head, rest) = text.split_once("\n[… ").expect("it says so");
            let (missing, tail) = rest.split_once(" bytes left out …]\n").expect("it says how much");
            prop_assert!(whole.starts_with(head) && whole.ends_with(tail) && !head.is_empty() && !tail.is_empty());
            prop_assert_eq!(missing.parse::<usize>().expect("a number"), whole.len() - head.len() - tail.len());
            prop_assert!(text.len() + 140 > max, "no more is left out than must be: {} of {}", text.len(), max);
        }
    }
}

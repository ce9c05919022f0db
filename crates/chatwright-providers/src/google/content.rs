//! The content of an answer, part by part.

use chatwright_core::content::{FileData, Metadata, Part};
use chatwright_core::model::ModelPart;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::chunk::{File, FunctionCall, Part as Piece, object};
use super::metadata;

/// Most blocks of one answer.
const BLOCKS_MAX: usize = 4_096;

/// Most bytes of one answer besides its text and its thoughts: arguments, files, signatures, what searches found.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What has come of an answer.
#[derive(Debug, Default)]
pub(super) struct Content {
    open: Option<Open>,
    /// Blocks and items so far.
    blocks: usize,
    held_bytes: usize,
    /// A call whose arguments still come.
    streaming: Option<Call>,
    /// Calls that have begun.
    begun: usize,
    /// Calls whose arguments have all come.
    pub(super) calls: Vec<Call>,
    sources: Vec<Box<str>>,
}

/// A text or a thought that may go on.
#[derive(Debug)]
struct Open {
    id: Box<str>,
    thought: bool,
    bytes: usize,
}

impl Content {
    /// Takes a part; gives whether it says something.
    pub(super) fn piece(&mut self, raw: &RawValue, parts: &mut Vec<ModelPart>) -> Result<bool, String> {
        let part: Piece<'_> = object("a part", raw.get())?;
        let signature = part.thought_signature;
        let thought = part.thought.unwrap_or(false);
        if signature.is_some() || part.text.is_none() {
            self.hold(raw.get().len())?;
        }
        if let Some(call) = part.function_call {
            return self.call(object("functionCall", call.get())?, signature, parts);
        }
        if let (Some(file), false) = (part.inline_data.or(part.file_data), thought) {
            return self.file(object("a file", file.get())?, signature, parts).map(|()| true);
        }
        if let Some(text) = part.text {
            return self.say(thought, text, signature, parts);
        }
        let fields: Map<String, Value> = object("a part", raw.get())?;
        let is_data = |name: &&String| {
            !matches!(name.as_str(), "thought" | "thoughtSignature" | "partMetadata" | "videoMetadata")
        };
        match fields.keys().find(is_data) {
            // The name keeps it apart from the types of parts and from parts of other providers.
            Some(kind) => {
                let kind = format!("google.{kind}");
                self.item(Part::Unknown(json!({"type": kind, "part": Value::Object(fields)})), parts)?;
                Ok(true)
            }
            None => self.say(thought, String::new(), signature, parts),
        }
    }

    fn say(
        &mut self,
        thought: bool,
        delta: String,
        signature: Option<String>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<bool, String> {
        if delta.is_empty() && signature.is_none() {
            return Ok(false);
        }
        if self.open.as_ref().is_none_or(|open| open.thought != thought) {
            self.close(Metadata::new(), parts);
            let id: Box<str> = self.blocks.to_string().into();
            self.count()?;
            parts.push(match thought {
                true => ModelPart::ReasoningStart { id: id.clone(), metadata: Metadata::new() },
                false => ModelPart::TextStart { id: id.clone() },
            });
            self.open = Some(Open { id, thought, bytes: 0 });
        }
        let Some(open) = &mut self.open else { return Ok(true) };
        let from = open.bytes;
        open.bytes += delta.len();
        if !delta.is_empty() {
            let id = open.id.clone();
            parts.push(match thought {
                true => ModelPart::ReasoningDelta { id, delta, metadata: Metadata::new() },
                false => ModelPart::TextDelta { id, delta },
            });
        }
        if let Some(signature) = signature {
            // The signature is that of its own part, which is only the end of what readers see as one.
            let mut fields = signed(Some(signature));
            if from > 0 {
                fields.insert("signed_from".to_owned(), from.into());
            }
            self.close(metadata(fields), parts);
        }
        Ok(true)
    }

    pub(super) fn close(&mut self, metadata: Metadata, parts: &mut Vec<ModelPart>) {
        if let Some(Open { id, thought, .. }) = self.open.take() {
            parts.push(match thought {
                true => ModelPart::ReasoningEnd { id, metadata },
                false => ModelPart::TextEnd { id, metadata },
            });
        }
    }

    fn call(
        &mut self,
        piece: FunctionCall<'_>,
        signature: Option<String>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<bool, String> {
        self.close(Metadata::new(), parts);
        if let Some(name) = piece.name.filter(|name| !name.is_empty()) {
            self.count()?;
            let given = piece.id.filter(|id| !id.is_empty());
            let id: Box<str> = given.clone().unwrap_or_else(|| format!("call_{}", self.begun)).into();
            self.begun += 1;
            let mut call = Call::new(id.clone(), name.as_str().into());
            // Only an id of Google's own is sent back.
            call.metadata.extend(given.map(|id| ("id".to_owned(), id.into())));
            parts.push(ModelPart::ToolInputStart { id, name: name.into(), provider_executed: false });
            // A call that is cut off by the next one is never complete.
            self.streaming = Some(call);
        }
        let Some(mut call) = self.streaming.take() else {
            return match piece.args.is_some() || piece.partial_args.is_some() {
                true => Err("arguments of a call that has not begun".to_owned()),
                false => Ok(false),
            };
        };
        call.metadata.extend(signed(signature));
        if let Some(args) = piece.args {
            call.whole = Some(args.get().to_owned());
        }
        for piece in piece.partial_args.into_iter().flatten() {
            let items = call.piece(piece)?;
            self.hold(items * size_of::<Value>())?;
        }
        if piece.will_continue.unwrap_or(false) {
            self.streaming = Some(call);
        } else {
            call.end(parts);
            self.calls.push(call);
        }
        Ok(true)
    }

    fn file(
        &mut self,
        file: File,
        signature: Option<String>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<(), String> {
        let data = file.data.map(FileData::Base64).or(file.file_uri.map(FileData::Url));
        let data = data.ok_or("a file without bytes and address")?;
        let metadata = metadata(signed(signature));
        self.item(Part::File { media_type: file.mime_type, name: None, data, metadata }, parts)
    }

    fn item(&mut self, item: Part, parts: &mut Vec<ModelPart>) -> Result<(), String> {
        self.close(Metadata::new(), parts);
        self.count()?;
        parts.push(ModelPart::Item(item));
        Ok(())
    }

    /// The pages that the answer refers to, each once.
    pub(super) fn cite(&mut self, grounding: &Value, parts: &mut Vec<ModelPart>) {
        for chunk in grounding["groundingChunks"].as_array().into_iter().flatten() {
            let page = ["web", "retrievedContext", "maps"].iter().find_map(|kind| chunk.get(kind));
            let word = |name: &str| page?[name].as_str().map(Box::<str>::from);
            let (url, title) = (word("uri"), word("title"));
            let Some(id) = url.clone().or_else(|| title.clone()) else { continue };
            if self.sources.len() < BLOCKS_MAX && !self.sources.contains(&id) {
                self.sources.push(id.clone());
                let (media_type, name, metadata) = (None, None, Metadata::new());
                parts.push(ModelPart::Item(Part::Source { id, url, title, media_type, name, metadata }));
            }
        }
    }

    fn count(&mut self) -> Result<(), String> {
        self.blocks += 1;
        if self.blocks > BLOCKS_MAX { Err("too many blocks in one answer".to_owned()) } else { Ok(()) }
    }

    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), String> {
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        match self.held_bytes > HELD_BYTES_MAX {
            true => Err("the parts of the answer are too large".to_owned()),
            false => Ok(()),
        }
    }
}

fn signed(signature: Option<String>) -> Map<String, Value> {
    signature.map(|signature| ("thoughtSignature".to_owned(), signature.into())).into_iter().collect()
}

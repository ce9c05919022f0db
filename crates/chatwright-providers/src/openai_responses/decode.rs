use std::collections::BTreeSet;

use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, ModelPart};
use serde_json::{Map, Value};

use super::event::{Event, Response, usage};
use super::item::{Call, Item, Thought};
use super::metadata;
use crate::decode::Decode;
use crate::endpoint::in_stream;
use crate::raw::{field, optional};

/// Most items of one answer.
const ITEMS_MAX: usize = 4_096;

/// Most bytes of one answer besides its text and its thoughts: arguments, whole items, annotations.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Decodes the data of Responses events, one after the other. It is total: whatever comes in, it ends in exactly one terminal
/// part. Every event makes at least one part, so that a reader sees the stream live.
///
/// Calls for the host are complete only with the terminal event; those that the provider runs itself are complete when their item
/// is.
#[derive(Debug)]
pub struct ResponsesDecoder {
    provider: Box<str>,
    /// Items that have begun and not ended.
    open: Vec<Item>,
    items: usize,
    held_bytes: usize,
    /// Calls whose items have ended.
    calls: Vec<Call>,
    /// Sources that were told.
    told: BTreeSet<String>,
    response_id: Option<Box<str>>,
    done: bool,
}

impl ResponsesDecoder {
    /// A decoder that names this provider in failures.
    pub fn new(provider: impl Into<Box<str>>) -> Self {
        Self {
            provider: provider.into(),
            open: Vec::new(),
            items: 0,
            held_bytes: 0,
            calls: Vec::new(),
            told: BTreeSet::new(),
            response_id: None,
            done: false,
        }
    }
}

impl Decode for ResponsesDecoder {
    fn is_done(&self) -> bool {
        self.done
    }

    fn event(&mut self, data: &str, parts: &mut Vec<ModelPart>) {
        if self.done {
            return;
        }
        let before = parts.len();
        match data.trim() {
            // A sign of life without a comment.
            "" => {}
            // Some gateways end like this, whatever came before.
            "[DONE]" => self.end(None, parts),
            _ => {
                if let Err(words) = self.take(data, parts) {
                    let failure = Failure::new(self.provider.clone(), Cause::Protocol).with_body(data);
                    self.fail(failure.with_message(format!("an event does not decode: {words}")), parts);
                }
            }
        }
        if parts.len() == before {
            self.keep_alive(parts);
        }
    }

    fn error_event(&mut self, data: &str, parts: &mut Vec<ModelPart>) {
        if self.done {
            return;
        }
        let mut event: Value = serde_json::from_str(data).unwrap_or_else(|_| data.into());
        let error = match event.get("error").filter(|error| !error.is_null()) {
            Some(error) => error.clone(),
            None => {
                // The type of the event is none of the error.
                if let Some(fields) = event
                    .as_object_mut()
                    .filter(|fields| fields.get("type").is_some_and(|kind| kind == "error"))
                {
                    fields.remove("type");
                }
                event
            }
        };
        self.fail(in_stream(&self.provider, &error, data), parts);
    }

    fn end(&mut self, rest: Option<&str>, parts: &mut Vec<ModelPart>) {
        let is_terminal = |data: &&str| Event::parse(data).is_ok_and(|event| event.is_terminal());
        if let Some(data) = rest.filter(is_terminal) {
            self.event(data, parts);
        }
        self.fail(Failure::new(self.provider.clone(), Cause::Truncated), parts);
    }

    fn fail(&mut self, failure: Failure, parts: &mut Vec<ModelPart>) {
        if !std::mem::replace(&mut self.done, true) {
            parts.push(ModelPart::Failure(Box::new(failure)));
        }
    }

    fn protocol(&mut self, words: &str, parts: &mut Vec<ModelPart>) {
        self.fail(Failure::new(self.provider.clone(), Cause::Protocol).with_message(words), parts);
    }
}

impl ResponsesDecoder {
    fn take(&mut self, data: &str, parts: &mut Vec<ModelPart>) -> Result<(), String> {
        let event = Event::parse(data)?;
        match &*event.kind() {
            kind @ ("response.output_text.delta" | "response.refusal.delta") => {
                let (index, delta) =
                    (optional("content_index", event.content_index)?, field("delta", event.delta)?);
                self.item(&event)?.text(index, kind == "response.refusal.delta", delta, parts)?;
            }
            "response.reasoning_summary_text.delta" => {
                let (index, delta) =
                    (optional("summary_index", event.summary_index)?, field("delta", event.delta)?);
                self.item(&event)?.thought((Thought::Summary, index), delta, parts)?;
            }
            "response.reasoning_text.delta" => {
                let (index, delta) =
                    (optional("content_index", event.content_index)?, field("delta", event.delta)?);
                self.item(&event)?.thought((Thought::Content, index), delta, parts)?;
            }
            "response.function_call_arguments.delta" => {
                self.hold(data)?;
                let delta = field("delta", event.delta)?;
                self.item(&event)?.arguments(delta, parts)?;
            }
            "response.output_text.annotation.added" => {
                self.hold(data)?;
                let index = optional("content_index", event.content_index)?;
                let annotation = field("annotation", event.annotation)?;
                self.item(&event)?.annotation(index, annotation, parts)?;
            }
            "response.output_item.added" => {
                if self.at(&event)?.is_some() {
                    return Err("an item begins twice".to_owned());
                }
                self.hold(data)?;
                let item = self.start(&event, &field("item", event.item)?, parts)?;
                self.open.push(item);
            }
            "response.output_item.done" => self.item_done(&event, data, parts)?,
            "response.created" => {
                let response: Response<'_> = field("response", event.response)?;
                self.response_id = response.id.map(Into::into);
            }
            "response.completed" => self.complete(field("response", event.response)?, false, data, parts)?,
            "response.incomplete" => self.complete(field("response", event.response)?, true, data, parts)?,
            "response.failed" => {
                let response: Response<'_> = field("response", event.response)?;
                self.failed(&response, data, parts);
            }
            "error" => self.error_event(data, parts),
            // An error that some gateway did not dress up as an event.
            "" if event.error.is_some() => self.error_event(data, parts),
            // Progress of tools that the provider runs, ends of pieces that have come, and what is not known yet.
            _ => {}
        }
        Ok(())
    }

    /// Where an open item is. Its place in the answer tells it; some gateways give it another id in every event.
    fn at(&self, event: &Event<'_>) -> Result<Option<usize>, String> {
        let index: Option<u64> = optional("output_index", event.output_index)?;
        if index.is_some() {
            return Ok(self.open.iter().rposition(|item| item.index == index));
        }
        let id: Option<String> = match event.item_id {
            Some(id) => field("item_id", Some(id))?,
            None => {
                let item: Option<Map<String, Value>> = optional("item", event.item)?;
                item.and_then(|item| item.get("id")?.as_str().map(str::to_owned))
            }
        };
        Ok(id.and_then(|id| self.open.iter().rposition(|item| *item.id == *id)))
    }

    fn item(&mut self, event: &Event<'_>) -> Result<&mut Item, String> {
        let at = self.at(event)?.ok_or("a piece of an item that is not open")?;
        Ok(&mut self.open[at])
    }

    fn start(
        &mut self,
        event: &Event<'_>,
        item: &Map<String, Value>,
        parts: &mut Vec<ModelPart>,
    ) -> Result<Item, String> {
        if self.items == ITEMS_MAX {
            return Err("too many items in one answer".to_owned());
        }
        let item = Item::start(self.items, optional("output_index", event.output_index)?, item, parts)?;
        self.items += 1;
        Ok(item)
    }

    fn item_done(&mut self, event: &Event<'_>, data: &str, parts: &mut Vec<ModelPart>) -> Result<(), String> {
        self.hold(data)?;
        let item: Map<String, Value> = field("item", event.item)?;
        let open = match self.at(event)? {
            Some(at) => self.open.remove(at),
            None => self.start(event, &item, parts)?,
        };
        let call = open.done(item, &self.provider, &mut self.told, parts)?;
        self.calls.extend(call);
        Ok(())
    }

    fn hold(&mut self, data: &str) -> Result<(), String> {
        self.held_bytes = self.held_bytes.saturating_add(data.len());
        match self.held_bytes > HELD_BYTES_MAX {
            true => Err("the items of the answer are too large".to_owned()),
            false => Ok(()),
        }
    }

    fn failed(&mut self, response: &Response<'_>, data: &str, parts: &mut Vec<ModelPart>) {
        let error = response.error.as_ref().unwrap_or(&Value::Null);
        self.fail(in_stream(&self.provider, error, data), parts);
    }

    /// A terminal event: only now calls are complete. A call is complete only if its arguments may be the whole of them: its item
    /// has ended, and where the model did not end by itself, they are JSON.
    fn complete(
        &mut self,
        response: Response<'_>,
        cut: bool,
        data: &str,
        parts: &mut Vec<ModelPart>,
    ) -> Result<(), String> {
        // The status says it too, and some servers have one event for all ends.
        let cut = match response.status.as_deref() {
            Some("failed" | "cancelled") => {
                self.failed(&response, data, parts);
                return Ok(());
            }
            Some("incomplete") => true,
            _ => cut,
        };
        // Some gateways stream no item: then the end has them all.
        if self.items == 0 {
            for item in optional::<Vec<Map<String, Value>>>("output", response.output)? {
                let open = Item::start(self.items, None, &item, parts)?;
                self.items += 1;
                self.calls.extend(open.done(item, &self.provider, &mut self.told, parts)?);
            }
        }
        for item in std::mem::take(&mut self.open) {
            item.cut(parts);
        }
        let before = parts.len();
        for mut call in std::mem::take(&mut self.calls) {
            if !cut && call.input.trim().is_empty() {
                call.input = "{}".to_owned();
            }
            if !call.cut && (!cut || call.is_whole()) {
                parts.push(call.part());
            }
        }
        let why = response.incomplete_details.as_ref().and_then(|details| details["reason"].as_str());
        let reason = match (cut, why) {
            (true, Some("max_output_tokens")) => FinishReason::Length,
            (true, Some("content_filter")) => FinishReason::ContentFilter,
            (true, _) => FinishReason::Other,
            _ if parts.len() > before => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        let mut details = Map::new();
        let said =
            [("incomplete_details", response.incomplete_details), ("service_tier", response.service_tier)];
        for (name, value) in said {
            if let Some(value) = value {
                details.insert(name.to_owned(), value);
            }
        }
        let (usage, rest) = usage(response.usage.unwrap_or_default());
        if !rest.is_empty() {
            details.insert("usage".to_owned(), rest.into());
        }
        self.done = true;
        let response_id = response.id.map(Into::into).or(self.response_id.take());
        parts.push(ModelPart::Finish(Finish { reason, usage, response_id, metadata: metadata(details) }));
        Ok(())
    }
}

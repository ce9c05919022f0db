//! The content of messages.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// What a provider attached to a part, by provider id: signatures, encrypted reasoning, item ids. Whatever is in it
/// is kept and sent back, known or not.
pub type Metadata = BTreeMap<Box<str>, Value>;

/// One part of a message's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// Provider metadata, for example citations.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        metadata: Metadata,
    },
    /// What the model thought. Empty text with metadata is a redacted thought and must be kept.
    Reasoning {
        /// The text, if it may be read.
        text: String,
        /// The signature or the encrypted thought. Reasoning without it is shown and never replayed.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        metadata: Metadata,
    },
    /// The model calls a tool.
    ToolCall {
        /// The provider's id of the call. Not unique across messages, and some providers repeat it within one.
        id: Box<str>,
        /// The name of the tool as the model wrote it.
        name: Box<str>,
        /// The arguments exactly as the model wrote them; JSON unless the model erred.
        input: String,
        /// The provider ran it itself.
        #[serde(default, skip_serializing_if = "is_false")]
        provider_executed: bool,
        /// Provider metadata.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        metadata: Metadata,
    },
    /// What a tool call gave.
    ToolResult {
        /// The provider's id of the call.
        call_id: Box<str>,
        /// The name of the tool.
        name: Box<str>,
        /// The result.
        output: Output,
        /// The provider ran it itself; such a result stays in the assistant's message.
        #[serde(default, skip_serializing_if = "is_false")]
        provider_executed: bool,
        /// Provider metadata, for example encrypted search hits.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        metadata: Metadata,
    },
    /// A file.
    File {
        /// The media type (RFC 6838).
        media_type: Box<str>,
        /// The file's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Box<str>>,
        /// The bytes, or where they are.
        data: FileData,
        /// Provider metadata.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        metadata: Metadata,
    },
    /// Something that the model refers to.
    Source {
        /// The provider's id of the source.
        id: Box<str>,
        /// The address of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<Box<str>>,
        /// The title.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<Box<str>>,
        /// The media type of a document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        media_type: Option<Box<str>>,
        /// The file name of a document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Box<str>>,
        /// Provider metadata.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        metadata: Metadata,
    },
    /// A part of a type that this version does not know. It is kept as it came.
    #[serde(skip)]
    Unknown(Value),
}

/// The bytes of a file, or where they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FileData {
    /// The bytes in standard base64 with padding (RFC 4648, section 4).
    Base64(Box<str>),
    /// An address that the provider reads.
    Url(Box<str>),
    /// A [`BlobRef`](crate::BlobRef) of the chat: the bytes are in [`Blobs`](crate::port::Blobs).
    Blob(Box<str>),
}

/// The result of a tool call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Output {
    /// Text, often JSON.
    Text {
        /// The text.
        text: String,
    },
    /// The call failed; the model reads why.
    Error {
        /// What went wrong.
        text: String,
    },
    /// An image, a sound, a document.
    Media {
        /// The media type (RFC 6838).
        media_type: Box<str>,
        /// The bytes, or where they are.
        data: FileData,
        /// Words beside it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
}

impl Part {
    /// Text without metadata.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), metadata: Metadata::new() }
    }

    /// Whether the part says nothing: blank text or reasoning without metadata. A part with metadata is never blank,
    /// because providers demand signatures back.
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Text { text, metadata } | Self::Reasoning { text, metadata } => {
                metadata.is_empty() && text.trim().is_empty()
            }
            _ => false,
        }
    }
}

impl Output {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// An error that the model reads.
    pub fn error(text: impl Into<String>) -> Self {
        Self::Error { text: text.into() }
    }

    /// Whether the call failed.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error { .. })
    }
}

const KNOWN: [&str; 6] = ["text", "reasoning", "tool_call", "tool_result", "file", "source"];

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unknown(value) => value.serialize(serializer),
            known => Self::serialize(known, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match value.get("type").and_then(Value::as_str) {
            // A known type with wrong fields is an error; only an unknown type is kept as it came.
            Some(name) if KNOWN.contains(&name) => Self::deserialize(value).map_err(serde::de::Error::custom),
            Some(_) => Ok(Self::Unknown(value)),
            None => Err(serde::de::Error::custom("a content part has no type")),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn an_unknown_part_is_kept_and_a_malformed_known_one_is_an_error() {
        let unknown = json!({"type": "hologram", "beams": [1, 2]});
        let part: Part = from_value(unknown.clone()).expect("unknown parts are kept");
        assert_eq!(part, Part::Unknown(unknown.clone()));
        assert_eq!(to_value(&part).ok(), Some(unknown));
        assert!(from_value::<Part>(json!({"type": "text", "words": "x"})).is_err());
        assert!(from_value::<Part>(json!({"text": "x"})).is_err());
    }

    #[test]
    fn blank_parts_with_a_signature_are_not_blank() {
        let signed = Metadata::from([("anthropic".into(), json!({"signature": "s"}))]);
        assert!(!Part::Reasoning { text: String::new(), metadata: signed }.is_blank());
        assert!(Part::text(" \n").is_blank());
    }
}

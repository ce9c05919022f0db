use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Status;
use crate::model::ReasoningEffort;
use crate::tool::Effect;
use crate::{Epoch, Gen, MessageId, QueueId, Seq, SessionId, Timestamp};

/// The version that this code writes. A replica neither writes nor claims a head of a higher one.
pub const STATE_VERSION: u32 = 1;

/// What the engine knows of a chat between two commits: references, never contents. Fields that this version does not
/// know survive a rewrite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct State {
    /// The version of the format.
    #[serde(rename = "v")]
    pub version: u32,
    /// What the chat is doing.
    #[serde(default)]
    pub status: Status,
    /// The fencing token: +1 per claim or free.
    #[serde(default)]
    pub epoch: Epoch,
    /// The newest gen, open or sealed.
    #[serde(default)]
    pub last_gen: Gen,
    /// The end of the newest gen's live preview, once it is sealed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub last_off: u64,
    /// The open gen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenGen>,
    /// The least position from which records fold to the prompt.
    #[serde(default)]
    pub context_from: Seq,
    /// The last message of a user in history: with it the turn began. What a turn has done counts, also where a model is no longer shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_from: Option<Seq>,
    /// The record that set `context_from`, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Seq>,
    /// Failed attempts in a row.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub failures: u32,
    /// Set from the first failed attempt in a row to the next success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retrying>,
    /// Claims after deaths without progress between them.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub deaths: u32,
    /// Steps of the turn so far.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub steps: u32,
    /// Calls of the last step without a result: at most [`limits::OPEN_CALLS_MAX`](crate::limits::OPEN_CALLS_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<OpenCall>,
    /// The message that holds the open calls: they are all of the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_in: Option<MessageId>,
    /// The model of the turns to come, by the host's name for it: at most
    /// [`limits::ID_BYTES_MAX`](crate::limits::ID_BYTES_MAX) bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Box<str>>,
    /// How much the model thinks in the turns to come, as far as its configuration lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<ReasoningEffort>,
    /// Queued messages: at most [`limits::QUEUE_MAX`](crate::limits::QUEUE_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<QueueEntry>,
    /// Client keys seen, oldest first: at most [`limits::CLIENT_KEYS_MAX`](crate::limits::CLIENT_KEYS_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<ClientKey>,
    /// Where the host's instructions stand, if there are any: they stay in the prompt whatever becomes of older history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Seq>,
    /// A compaction that is to happen and has not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact: Option<Compact>,
    /// What became of the compactions that the turn needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squeezed: Option<Squeezed>,
    /// The family of this root is being archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archiving: Option<Archiving>,
    /// How many chats joined the family of this root.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub children: u32,
    /// Where the first of them joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_child: Option<Seq>,
    /// How far below its root the chat is; 0: it is the root.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub depth: u32,
    /// The chat has had a title, of its user's or of a model's: no model writes it another one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub titled: bool,
    /// A tool that ends the turn has succeeded in it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stop_after: bool,
    /// The last stop or error: at most [`limits::LAST_BYTES_MAX`](crate::limits::LAST_BYTES_MAX) bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: STATE_VERSION,
            status: Status::default(),
            epoch: Epoch::ZERO,
            last_gen: Gen::ZERO,
            last_off: 0,
            open: None,
            context_from: Seq::new(1),
            turn_from: None,
            anchor: None,
            failures: 0,
            retry: None,
            deaths: 0,
            steps: 0,
            calls: Vec::new(),
            calls_in: None,
            model: None,
            effort: None,
            queue: Vec::new(),
            keys: Vec::new(),
            system: None,
            compact: None,
            squeezed: None,
            archiving: None,
            children: 0,
            first_child: None,
            depth: 0,
            titled: false,
            stop_after: false,
            last: None,
            unknown: BTreeMap::new(),
        }
    }
}

/// Why there is to be a compaction, and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compact {
    /// Somebody asked for it in a turn, which goes on.
    GoOn,
    /// Somebody asked for it at rest, where the chat goes back to, or takes the next message of its queue.
    Rest,
    /// The prompt would fill too much of the model's window. The turn goes on, also without a summary.
    Full,
    /// The provider did not take the prompt. The turn goes on with a summary, or fails.
    TooLarge,
}

/// What became of the compactions that a turn needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Squeezed {
    /// There was one since the last answer: another would not help.
    Done,
    /// There is none to be had in this turn, unless the provider makes it necessary.
    Failed,
}

/// A family is being archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Archiving {
    /// Members that do something are stopped.
    pub stop: bool,
}

/// Attempts failed and others follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retrying {
    /// When the first of them failed, in store time.
    pub since: Timestamp,
    /// How much of the time since then was spent in waits that the provider asked for and nobody held the chat for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parked_ms: u64,
    /// When the next attempt begins, in store time; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl Retrying {
    /// It began just now.
    pub fn since(since: Timestamp) -> Self {
        Self { since, parked_ms: 0, at: None }
    }
}

/// A gen that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenGen {
    /// Its number.
    pub r#gen: Gen,
    /// What streams.
    pub kind: UnitKind,
    /// The record that opened it.
    pub seq: Seq,
    /// The session that writes its preview.
    pub writer: SessionId,
    /// The message that it will become; the preview shares its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
}

/// What a gen is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// A model attempt.
    Attempt,
    /// A compaction.
    Compaction,
    /// A batch of tool calls.
    Batch,
}

/// A call without a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// Its place among the calls of the message that [`State::calls_in`] names, from 0.
    pub ordinal: u32,
    /// Who answers it.
    pub kind: CallKind,
    /// What running it twice would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// When its intent was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it is given up, in store time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// If it succeeds, the turn ends with its step.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stop_after: bool,
}

/// Who answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// A tool of the host, run by the holder.
    Local,
    /// The client.
    Client,
    /// A tool of the host, once a person approves.
    Approval,
}

/// A queued message. Its content is in the record at `seq`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// The record that holds its content.
    pub seq: Seq,
    /// Its id.
    pub id: QueueId,
    /// The record that changed its content last, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Seq>,
    /// The size of its content in bytes.
    pub bytes: u32,
    /// Skipped by promotion until released.
    #[serde(default, skip_serializing_if = "crate::content::is_false")]
    pub held: bool,
}

/// A client key that a command carried. The receipt is in the record at `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKey(pub KeyHash, pub Seq);

/// 128 bits of a hash of a client key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(pub u128);

impl Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Why the last turn ended where it did not simply end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Last {
    /// The record that says it in full.
    pub seq: Seq,
    /// The kind of stop or error, for example `rate_limit`.
    pub kind: Box<str>,
    /// What a user reads, bounded so that the whole stays within its bound.
    pub message: Box<str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::limits;

    fn largest() -> State {
        let max = Seq::new(u64::MAX);
        let time = Timestamp::from_millis(i64::MIN);
        let call = OpenCall {
            ordinal: 31,
            kind: CallKind::Approval,
            effect: Some(Effect::Idempotent),
            started: Some(time),
            deadline: Some(time),
            stop_after: true,
        };
        let entry = QueueEntry {
            seq: max,
            id: QueueId::from_uuid(Uuid::max()),
            edited: Some(max),
            bytes: u32::MAX,
            held: true,
        };
        State {
            version: u32::MAX,
            status: Status::RequiresAction,
            epoch: Epoch::new(u64::MAX),
            last_gen: Gen::new(u64::MAX),
            last_off: u64::MAX,
            open: Some(OpenGen {
                r#gen: Gen::new(u64::MAX),
                kind: UnitKind::Compaction,
                seq: max,
                writer: SessionId::from_uuid(Uuid::max()),
                message: Some(MessageId::from_uuid(Uuid::max())),
            }),
            context_from: max,
            turn_from: Some(max),
            anchor: Some(max),
            failures: u32::MAX,
            retry: Some(Retrying { since: time, parked_ms: u64::MAX, at: Some(time) }),
            deaths: u32::MAX,
            steps: u32::MAX,
            calls: vec![call; limits::OPEN_CALLS_MAX],
            calls_in: Some(MessageId::from_uuid(Uuid::max())),
            model: Some("\u{1}".repeat(limits::ID_BYTES_MAX).into()),
            effort: Some(ReasoningEffort::Minimal),
            queue: vec![entry; limits::QUEUE_MAX],
            keys: vec![ClientKey(KeyHash(u128::MAX), max); limits::CLIENT_KEYS_MAX],
            system: Some(max),
            compact: Some(Compact::TooLarge),
            squeezed: Some(Squeezed::Failed),
            archiving: Some(Archiving { stop: false }),
            titled: true,
            stop_after: true,
            children: u32::MAX,
            first_child: Some(max),
            depth: u32::MAX,
            last: None,
            unknown: BTreeMap::new(),
        }
    }

    #[test]
    fn the_sum_of_all_maxima_leaves_room_for_newer_fields() {
        let bytes =
            serde_json::to_string(&largest()).expect("a state encodes").len() + limits::LAST_BYTES_MAX;
        assert!(bytes < limits::STATE_KNOWN_BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn a_state_survives_its_codec_and_keeps_fields_of_newer_versions() {
        let mut state = largest();
        state.unknown.insert("hologram".to_owned(), json!({"beams": [1, 2]}));
        let text = serde_json::to_string(&state).expect("a state encodes");
        assert_eq!(serde_json::from_str::<State>(&text).ok(), Some(state));
        let plain = serde_json::to_string(&State::default()).expect("a state encodes");
        assert_eq!(plain, r#"{"v":1,"status":"waiting","epoch":0,"last_gen":0,"context_from":1}"#);
    }
}

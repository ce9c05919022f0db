//! Every bound of the stored format, with its unit in the name. Sizes are counted as encoded JSON.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Most records in one commit.
pub const COMMIT_RECORDS_MAX: usize = 64;
/// Most bytes of all bodies of one commit.
pub const COMMIT_BYTES_MAX: usize = 4 * MIB;
/// Most bytes of one record body. A larger message is split into `message.part` records.
pub const BODY_BYTES_MAX: usize = MIB;
/// How deep values may stand in each other in a record body. Readers of JSON give up at 128.
pub const BODY_DEPTH_MAX: usize = 100;
/// Most bytes of [`Head::state`](crate::Head::state).
pub const STATE_BYTES_MAX: usize = 16 * KIB;
/// Most bytes that the known fields of a state take when each is at its own bound.
pub const STATE_KNOWN_BYTES_MAX: usize = 13 * KIB;
/// Most bytes of [`Head::index`](crate::Head::index).
pub const INDEX_BYTES_MAX: usize = 4 * KIB;
/// Most bytes of an identifier as text.
pub const ID_BYTES_MAX: usize = 64;
/// Most bytes of a record kind such as `message.user/1`.
pub const KIND_BYTES_MAX: usize = 64;
/// Most Unicode scalar values of a title.
pub const TITLE_SCALARS_MAX: usize = 200;
/// Most labels of a chat.
pub const LABELS_MAX: usize = 50;
/// Most bytes of a label's key.
pub const LABEL_KEY_BYTES_MAX: usize = 64;
/// Most bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 64;
/// Most queued messages of a chat.
pub const QUEUE_MAX: usize = 20;
/// Most calls that are open at once, and most local calls of a step that are run.
pub const OPEN_CALLS_MAX: usize = 32;
/// How many client keys a chat remembers.
pub const CLIENT_KEYS_MAX: usize = 64;
/// Most bytes of a client key.
pub const CLIENT_KEY_BYTES_MAX: usize = 200;
/// Most bytes of the last stop or error kept in the head.
pub const LAST_BYTES_MAX: usize = KIB;
/// Most bytes that one model attempt may produce.
pub const ATTEMPT_BYTES_MAX: usize = 3 * MIB;
/// Most bytes of one gen's live preview.
pub const LIVE_BYTES_MAX: usize = MIB;
/// Most bytes of bodies in one page of [`ChatStore::records`](crate::port::ChatStore::records).
pub const PAGE_BYTES_MAX: usize = 4 * MIB;
/// Most items of one page of any port.
pub const PAGE_ITEMS_MAX: usize = 1_000;
/// Most chats in one call of [`ChatStore::revisions`](crate::port::ChatStore::revisions).
pub const REVISIONS_MAX: usize = 1_000;
/// Most bytes of a bus frame. A PostgreSQL `NOTIFY` takes 7,999 bytes of text, and base64 costs a third.
pub const BUS_FRAME_BYTES_MAX: usize = 4_096;
/// Most bytes of a bus topic.
pub const BUS_TOPIC_BYTES_MAX: usize = 128;
/// Most bytes of a session's address.
pub const ADDRESS_BYTES_MAX: usize = 512;
/// Most bytes of a blob.
pub const BLOB_BYTES_MAX: usize = 8 * MIB;
/// Most bytes of a value of the configuration.
pub const CONFIG_BYTES_MAX: usize = 256 * KIB;
/// Most bytes of what a user wants every model to know.
pub const USER_PROMPT_BYTES_MAX: usize = 128 * KIB;
/// Most that a number in a row of the ledger may be: tokens of a kind, a gen, a version of prices.
pub const LEDGER_NUMBER_MAX: u64 = i64::MAX as u64;
/// Most that a row of the ledger may cost, in 10⁻¹² of the currency: its whole micro-units are a signed 64-bit number.
pub const LEDGER_PICO_MAX: u128 = (1 << 63) * 1_000_000 - 1;

/// Most writes in one call of [`DebugStore::write`](crate::port::DebugStore::write).
pub const DEBUG_WRITES_MAX: usize = 256;
/// Most bytes of all that one such call brings.
pub const DEBUG_WRITE_BYTES_MAX: usize = 4 * MIB;
/// Most bytes of one JSON value of a debug run or step.
pub const DEBUG_JSON_BYTES_MAX: usize = MIB;
/// Most bytes of one piece of a debug run's contents.
pub const DEBUG_CONTENT_BYTES_MAX: usize = 64 * KIB;

/// How long a session lives without renewal.
pub const SESSION_TTL: Duration = Duration::from_secs(15);

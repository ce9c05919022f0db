use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ChatId, Gen, Seq};

/// No cursor has as many bytes as this.
pub const CURSOR_BYTES_MAX: usize = 96;

/// Where a viewer stands: every record up to `seq` and every unit of `gen` before `off` have been applied. With no gen
/// open, `(gen, off)` is the end of the last one.
///
/// As text it is `v1.<tag>.<seq>.<gen>.<off>`: the tag as 8 lower-case hexadecimal digits, the others as decimal numbers
/// without a sign or leading zeros. Clients treat it as opaque.
///
/// ```
/// use chatwright_core::frame::Cursor;
/// use chatwright_core::{ChatId, Gen, Seq, Uuid};
///
/// let tag = Cursor::tag_of("store-1", ChatId::from_uuid(Uuid::nil()));
/// let cursor = Cursor { tag, seq: Seq::new(7), r#gen: Gen::new(2), off: 40 };
/// assert_eq!(cursor.to_string().parse(), Ok(cursor));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// 32 bits of a hash of the store's incarnation and the chat: [`Cursor::tag_of`].
    pub tag: u32,
    /// The last record.
    pub seq: Seq,
    /// The newest gen up to that record.
    pub r#gen: Gen,
    /// The next unit of that gen.
    pub off: u64,
}

/// Text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCursor {
    /// It has [`CURSOR_BYTES_MAX`] bytes or more.
    #[error("the cursor is too long: {bytes} bytes, fewer than {CURSOR_BYTES_MAX} are allowed")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// It is of a version that this code does not know.
    #[error("the cursor is of an unknown version")]
    Version,
    /// It is not of the form `v1.<tag>.<seq>.<gen>.<off>`.
    #[error("the cursor is malformed")]
    Malformed,
}

impl Cursor {
    /// The tag of a chat in one incarnation of a store: FNV-1a (32 bits) over the incarnation's bytes and the 16 bytes of
    /// the chat's id. It is the same in every process and every version; a restore from a backup must change the
    /// incarnation. A guard against mistakes, not a credential.
    pub fn tag_of(incarnation: &str, chat: ChatId) -> u32 {
        fnv1a(incarnation.bytes().chain(*chat.as_uuid().as_bytes()))
    }

    /// Takes what a client offers, whatever it is (stream.S19).
    ///
    /// # Errors
    /// [`InvalidCursor`].
    pub fn parse(offered: &[u8]) -> Result<Self, InvalidCursor> {
        if offered.len() >= CURSOR_BYTES_MAX {
            return Err(InvalidCursor::TooLong { bytes: offered.len() });
        }
        let text = std::str::from_utf8(offered).map_err(|_| InvalidCursor::Malformed)?;
        let (version, rest) = text.split_once('.').ok_or(InvalidCursor::Malformed)?;
        if version != "v1" {
            let digits = version.strip_prefix('v').and_then(decimal);
            return Err(if digits.is_some() { InvalidCursor::Version } else { InvalidCursor::Malformed });
        }
        v1(rest).ok_or(InvalidCursor::Malformed)
    }

    /// What orders two cursors of one chat: records first, then gens and units. Later frames of a connection never stand
    /// before earlier ones, except after a reset (stream.S20).
    pub fn position(&self) -> (Seq, Gen, u64) {
        (self.seq, self.r#gen, self.off)
    }
}

fn v1(rest: &str) -> Option<Cursor> {
    let mut fields = rest.split('.');
    let cursor = Cursor {
        tag: hexadecimal(fields.next()?)?,
        seq: Seq::new(decimal(fields.next()?)?),
        r#gen: Gen::new(decimal(fields.next()?)?),
        off: decimal(fields.next()?)?,
    };
    fields.next().is_none().then_some(cursor)
}

fn hexadecimal(text: &str) -> Option<u32> {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == 8 && text.bytes().all(digit)).then(|| u32::from_str_radix(text, 16).ok())?
}

fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    // Empty text and numbers over 64 bits do not parse.
    canonical.then(|| text.parse().ok())?
}

fn fnv1a(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1.{:08x}.{}.{}.{}", self.tag, self.seq, self.r#gen, self.off)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        Self::parse(text.as_bytes())
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // The reference values of Fowler, Noll and Vo.
        assert_eq!(fnv1a("".bytes()), 0x811c_9dc5);
        assert_eq!(fnv1a("foobar".bytes()), 0xbf9c_f968);
    }

    #[test]
    fn another_chat_and_another_incarnation_have_another_tag() {
        let (one, two) = (ChatId::from_uuid(Uuid::from_u128(1)), ChatId::from_uuid(Uuid::from_u128(2)));
        let tag = Cursor::tag_of("store-1", one);
        assert_ne!(tag, Cursor::tag_of("store-1", two));
        assert_ne!(tag, Cursor::tag_of("store-2", one));
    }

    #[test]
    fn only_the_canonical_form_is_a_cursor() {
        use InvalidCursor::{Malformed, TooLong, Version};
        let long = "v1.".repeat(32);
        for (text, why) in [
            ("", Malformed),
            ("now", Malformed),
            ("v1", Malformed),
            ("v1.0000000f.1.2", Malformed),
            ("v1.0000000f.1.2.3.4", Malformed),
            ("v1.0000000f.1.2.3.", Malformed),
            ("v1.000000f.1.2.3", Malformed),
            ("v1.0000000F.1.2.3", Malformed),
            ("v1.+000000f.1.2.3", Malformed),
            ("v1.0000000f.01.2.3", Malformed),
            ("v1.0000000f.+1.2.3", Malformed),
            ("v1.0000000f.-1.2.3", Malformed),
            ("v1.0000000f.1..3", Malformed),
            ("v1.0000000f.1.2.18446744073709551616", Malformed),
            (" v1.0000000f.1.2.3", Malformed),
            ("v2.0000000f.1.2.3", Version),
            ("v01.0000000f.1.2.3", Malformed),
            (&long, TooLong { bytes: 96 }),
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(why), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_cursor_reads_back_and_is_short(tag: u32, seq: u64, r#gen: u64, off: u64) {
            let cursor = Cursor { tag, seq: Seq::new(seq), r#gen: Gen::new(r#gen), off };
            let text = cursor.to_string();
            prop_assert!(text.len() < CURSOR_BYTES_MAX);
            prop_assert_eq!(text.parse(), Ok(cursor));
        }

        #[test]
        fn any_bytes_are_a_cursor_or_a_typed_error(bytes: Vec<u8>, like in "v1[.][0-9a-f]{7,9}([.][+0-9]{0,21}){2,4}") {
            for offered in [bytes.as_slice(), like.as_bytes()] {
                if let Ok(cursor) = Cursor::parse(offered) {
                    let text = cursor.to_string();
                    prop_assert_eq!(text.as_bytes(), offered, "one text per cursor");
                }
            }
        }
    }
}

//! Bytes that are stored as what is new in them.
//!
//! Bytes are cut where their own content says so, and each piece is named by its hash: bytes that are mostly the same as others before
//! them mostly consist of the same pieces, wherever they differ. The list of the pieces is cut in the same way, and the list of these
//! lists, until one piece is left, the root. So a prompt that has grown adds about as much as it has grown by, whichever process stored
//! the one before, and whether or not that one was stored at all.

use std::fmt;
use std::str::FromStr;

use chatwright_core::debug::{ContentHash, InvalidHash};
use chatwright_core::limits::PAGE_ITEMS_MAX;
use chatwright_core::port::{DebugStore, StoreError};
use chatwright_core::{ChatId, RunId};
use serde::{Deserialize, Serialize};

/// A piece is not shorter, unless it is the last.
const PIECE_BYTES_MIN: usize = 512;
/// Nor longer.
const PIECE_BYTES_MAX: usize = 8 * 1024;
/// Behind the shortest length, one place of so many is an end.
const PIECE_ENDS: u64 = 2 * 1024;
/// A list does not have more entries.
const LIST_MAX: usize = 128;
/// One entry of so many ends a list.
const LIST_ENDS: u8 = 32;
/// What an entry takes: a hash, and a length.
const ENTRY_BYTES: usize = 32 + 8;
/// No bytes are so many that their lists stand higher.
const HEIGHT_MAX: u8 = 12;

/// Where bytes are: the root of their pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// How many bytes they are.
    pub len: u64,
    /// How many lists stand above the pieces; 0: the root is the only piece.
    pub height: u8,
    /// The name of the root.
    pub root: ContentHash,
}

/// Text that is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a length, a height and 64 hexadecimal digits were expected, with colons between them")]
pub struct InvalidPlace;

impl From<InvalidHash> for InvalidPlace {
    fn from(_: InvalidHash) -> Self {
        Self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.len, self.height, self.root)
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let mut words = text.splitn(3, ':');
        let mut next = || words.next().ok_or(InvalidPlace);
        let (len, height, root) = (next()?, next()?, next()?);
        let len = len.parse().map_err(|_| InvalidPlace)?;
        let height = height.parse().ok().filter(|height| *height <= HEIGHT_MAX).ok_or(InvalidPlace)?;
        Ok(Self { len, height, root: root.parse()? })
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An entry of a list.
#[derive(Clone, Copy)]
struct Entry {
    hash: ContentHash,
    len: u64,
}

/// Bytes that grow at their end.
pub(crate) struct Rope {
    chat: ChatId,
    pieces: Vec<Entry>,
    /// What stands behind the last end.
    tail: Vec<u8>,
}

impl Rope {
    pub(crate) fn new(chat: ChatId) -> Self {
        Self { chat, pieces: Vec::new(), tail: Vec::new() }
    }

    /// About how much memory it takes.
    pub(crate) fn memory(&self) -> usize {
        self.pieces.capacity() * size_of::<Entry>() + self.tail.capacity()
    }

    /// Adds bytes, and gives the pieces that came to their end.
    pub(crate) fn push(&mut self, mut bytes: &[u8], give: &mut impl FnMut(ContentHash, &[u8])) {
        while !bytes.is_empty() {
            let (taken, ends) = end_of(&self.tail, bytes);
            self.tail.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if ends {
                let piece = std::mem::take(&mut self.tail);
                self.pieces.push(given(self.chat, &piece, piece.len() as u64, give));
                self.tail = piece;
                self.tail.clear();
            }
        }
    }

    /// Where the bytes so far are, with the pieces that it takes to read them there. Nothing: there are none.
    pub(crate) fn place(&self, give: &mut impl FnMut(ContentHash, &[u8])) -> Option<Place> {
        let mut entries = self.pieces.clone();
        if !self.tail.is_empty() {
            entries.push(given(self.chat, &self.tail, self.tail.len() as u64, give));
        }
        let len = entries.iter().map(|entry| entry.len).sum();
        let mut height = 0;
        while entries.len() > 1 {
            height += 1;
            entries = self.listed(&entries, give);
        }
        entries.first().map(|root| Place { len, height, root: root.hash })
    }

    /// Makes lists of entries: one entry for each list.
    fn listed(&self, entries: &[Entry], give: &mut impl FnMut(ContentHash, &[u8])) -> Vec<Entry> {
        let mut lists = Vec::with_capacity(entries.len() / usize::from(LIST_ENDS) + 1);
        let (mut list, mut len) = (Vec::with_capacity(LIST_MAX * ENTRY_BYTES), 0);
        for (at, entry) in entries.iter().enumerate() {
            list.extend_from_slice(entry.hash.as_bytes());
            list.extend_from_slice(&entry.len.to_le_bytes());
            len += entry.len;
            let count = list.len() / ENTRY_BYTES;
            // A list of one would never come to an end.
            let ends = count > 1 && entry.hash.as_bytes()[0] < u8::MAX / LIST_ENDS;
            if ends || count == LIST_MAX || at + 1 == entries.len() {
                lists.push(given(self.chat, &list, len, give));
                list.clear();
                len = 0;
            }
        }
        lists
    }
}

fn given(chat: ChatId, bytes: &[u8], len: u64, give: &mut impl FnMut(ContentHash, &[u8])) -> Entry {
    let hash = ContentHash::of(chat, bytes);
    give(hash, bytes);
    Entry { hash, len }
}

/// How many of these bytes belong to a piece that begins with `tail`, and whether it ends there.
fn end_of(tail: &[u8], bytes: &[u8]) -> (usize, bool) {
    /// As many bytes have a say in where a piece ends: each shifts the others out by one bit.
    const WINDOW: usize = 64;
    let room = PIECE_BYTES_MAX - tail.len();
    let skipped = PIECE_BYTES_MIN.saturating_sub(tail.len()).min(bytes.len());
    let mut hash = 0_u64;
    let before = &bytes[..skipped];
    let missing = WINDOW.saturating_sub(before.len()).min(tail.len());
    for byte in tail[tail.len() - missing..].iter().chain(&before[before.len().saturating_sub(WINDOW)..]) {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
    }
    for (at, byte) in bytes.iter().enumerate().skip(skipped).take(room.saturating_sub(skipped)) {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
        // The upper bits: all bytes of the window have a say in them.
        if hash >> (64 - PIECE_ENDS.trailing_zeros()) == 0 {
            return (at + 1, true);
        }
    }
    let taken = room.min(bytes.len());
    (taken, taken == room)
}

/// A random number for each byte.
const GEAR: [u64; 256] = {
    let mut numbers = [0; 256];
    let (mut at, mut state) = (0, 0x6368_6174_7772_6967_u64);
    while at < numbers.len() {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = state;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        numbers[at] = number ^ (number >> 31);
        at += 1;
    }
    numbers
};

/// Contents that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A piece is not there: it was dropped before it was written, or deleted.
    #[error("a piece of the contents is missing")]
    Missing,
    /// A piece is not what it should be.
    #[error("a piece of the contents is damaged")]
    Damaged,
    /// There is more than the caller takes.
    #[error("{len} bytes of contents: {max} at most were asked for")]
    TooLarge {
        /// How much there is.
        len: u64,
        /// How much there may be.
        max: u64,
    },
}

/// Reads the bytes at a place of a run, if they are at most `max`.
pub(crate) async fn read(
    store: &dyn DebugStore,
    (chat, run): (ChatId, RunId),
    place: Place,
    max: u64,
) -> Result<Vec<u8>, ContentError> {
    if place.len > max {
        return Err(ContentError::TooLarge { len: place.len, max });
    }
    let mut names = vec![place.root];
    for _ in 0..place.height {
        let mut below = Vec::new();
        for list in pieces(store, (chat, run), &names).await? {
            if list.is_empty() || list.len() % ENTRY_BYTES != 0 {
                return Err(ContentError::Damaged);
            }
            below.extend(list.chunks_exact(ENTRY_BYTES).map(|entry| {
                let mut hash = [0; 32];
                hash.copy_from_slice(&entry[..32]);
                ContentHash::from_bytes(hash)
            }));
        }
        // Each name stands for at least a byte, but the last of each list.
        if below.len() as u64 > place.len {
            return Err(ContentError::Damaged);
        }
        names = below;
    }
    let bytes = pieces(store, (chat, run), &names).await?.concat();
    if bytes.len() as u64 == place.len { Ok(bytes) } else { Err(ContentError::Damaged) }
}

async fn pieces(
    store: &dyn DebugStore,
    (chat, run): (ChatId, RunId),
    mut names: &[ContentHash],
) -> Result<Vec<Box<[u8]>>, ContentError> {
    let mut found = Vec::with_capacity(names.len());
    while !names.is_empty() {
        let asked = &names[..names.len().min(PAGE_ITEMS_MAX)];
        let page = store.contents(chat, run, asked).await?;
        if page.is_empty() || page.len() > asked.len() {
            return Err(ContentError::Damaged);
        }
        names = &names[page.len()..];
        for piece in page {
            found.push(piece.ok_or(ContentError::Missing)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chatwright_core::Uuid;
    use proptest::prelude::*;

    use super::*;

    fn chat() -> ChatId {
        ChatId::from_uuid(Uuid::from_u128(7))
    }

    /// So many bytes like those of a conversation, the same for the same seed.
    fn words(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut bytes = Vec::new();
        while bytes.len() < len {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.extend_from_slice(format!("word{} ", (state >> 40) % 5_000).as_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// The pieces by their names, and where the bytes are.
    fn stored(parts: &[&[u8]], known: &mut BTreeMap<ContentHash, Vec<u8>>) -> Option<Place> {
        let mut rope = Rope::new(chat());
        let mut give = |hash, bytes: &[u8]| drop(known.insert(hash, bytes.to_vec()));
        parts.iter().for_each(|part| rope.push(part, &mut give));
        rope.place(&mut give)
    }

    fn sum(known: &BTreeMap<ContentHash, Vec<u8>>) -> usize {
        known.values().map(Vec::len).sum()
    }

    proptest! {
        #[test]
        fn the_same_bytes_are_the_same_pieces_however_they_came(seed: u64, len in 0..60_000_usize, cuts in prop::collection::vec(0..60_000_usize, 0..20)) {
            let bytes = words(seed, len);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(len)).collect();
            cuts.extend([0, len]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (mut whole, mut cut) = (BTreeMap::new(), BTreeMap::new());
            prop_assert_eq!(stored(&[&bytes], &mut whole), stored(&parts, &mut cut));
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn what_a_prompt_adds_is_about_what_it_has_grown_by() {
        let mut known = BTreeMap::new();
        let text = words(1, 400_000);
        stored(&[&text], &mut known);
        let before = sum(&known);
        let grown = [&text[..], &words(2, 1_000)].concat();
        stored(&[&grown], &mut known);
        let added = sum(&known) - before;
        assert!(added < 25_000, "{added} bytes more for 1000");
        // A mark in the middle, as that of a cache.
        let (before, middle) =
            (sum(&known), [&text[..200_000], b"\"cache_control\"", &text[200_000..]].concat());
        stored(&[&middle], &mut known);
        let added = sum(&known) - before;
        assert!(added < 25_000, "{added} bytes more for 15");
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = stored(&[&words(3, 100_000)], &mut BTreeMap::new()).expect("not empty");
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "1:2", "x:0:00", &format!("1:99:{}", place.root)] {
            assert_eq!(wrong.parse::<Place>(), Err(InvalidPlace), "{wrong}");
        }
        assert_eq!(stored(&[], &mut BTreeMap::new()), None);
    }
}

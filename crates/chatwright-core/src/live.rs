//! Pieces of a live preview. Every byte shown has an address `(chat, gen, off)` that never changes meaning.

use serde::{Deserialize, Serialize};

use crate::content::Part;

/// A part of a gen's live preview: it covers the units `[from, to)`. Text counts its UTF-8 bytes, anything else one
/// unit. A piece may be split at a character boundary or merged with its neighbour of the same block: neither changes
/// an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The block's place in its gen, from 0.
    pub block: u32,
    /// The first unit.
    pub from: u64,
    /// What it says.
    pub body: PieceBody,
}

/// What a piece says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PieceBody {
    /// A block begins.
    Open {
        /// What it holds.
        kind: BlockKind,
        /// The provider's id of a call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Box<str>>,
        /// The name of a tool.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Box<str>>,
    },
    /// More text of the block, never empty.
    Append {
        /// The text.
        text: String,
    },
    /// The block ends.
    Close,
    /// A whole block at once: a source, a file, a result.
    Item {
        /// The content, without provider metadata.
        part: Part,
    },
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlockKind {
    /// Text of the answer.
    Text,
    /// Reasoning.
    Reasoning,
    /// Arguments of a tool call.
    ToolCall,
    /// Output of a running tool.
    ToolOutput,
    /// A finished piece of content.
    Item,
}

impl Piece {
    /// How many units it covers, at least one.
    pub fn units(&self) -> u64 {
        match &self.body {
            PieceBody::Append { text } => text.len() as u64,
            _ => 1,
        }
    }

    /// The unit after its last one.
    pub fn to(&self) -> u64 {
        self.from + self.units()
    }

    /// The part of it from unit `off` on: all of it if `off` is not after its start, `None` if nothing is left or `off`
    /// lies inside a character.
    #[must_use]
    pub fn tail(&self, off: u64) -> Option<Self> {
        if off <= self.from {
            return Some(self.clone());
        }
        let PieceBody::Append { text } = &self.body else { return None };
        let cut = usize::try_from(off - self.from).ok()?;
        let rest = text.get(cut..).filter(|rest| !rest.is_empty())?;
        Some(Self { block: self.block, from: off, body: PieceBody::Append { text: rest.to_owned() } })
    }

    /// Whether `off` is an address inside or at an end of this piece, that is, not inside a character of it.
    pub fn has_boundary(&self, off: u64) -> bool {
        match &self.body {
            PieceBody::Append { text } => off
                .checked_sub(self.from)
                .and_then(|cut| usize::try_from(cut).ok())
                .is_some_and(|cut| text.is_char_boundary(cut)),
            _ => off == self.from || off == self.to(),
        }
    }

    /// Takes the next piece in if both are text of one block; gives it back otherwise.
    #[must_use = "a piece that is given back was not merged"]
    pub fn merge(&mut self, next: Self) -> Option<Self> {
        let adjacent = self.block == next.block && self.to() == next.from;
        match (&mut self.body, next) {
            (PieceBody::Append { text }, Self { body: PieceBody::Append { text: more }, .. }) if adjacent => {
                text.push_str(&more);
                None
            }
            (_, next) => Some(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(block: u32, from: u64, text: &str) -> Piece {
        Piece { block, from, body: PieceBody::Append { text: text.to_owned() } }
    }

    #[test]
    fn splitting_and_merging_keep_addresses() {
        let piece = append(0, 10, "aé!");
        assert_eq!(piece.to(), 14);
        assert_eq!(piece.tail(11), Some(append(0, 11, "é!")));
        assert_eq!(piece.tail(12), None, "inside a character");
        assert_eq!(piece.tail(14), None, "nothing left");
        assert_eq!(
            [10, 11, 12, 13, 14, 15].map(|off| piece.has_boundary(off)),
            [true, true, false, true, true, false]
        );

        let mut merged = append(0, 10, "a");
        assert_eq!(merged.merge(append(0, 11, "é!")), None);
        assert_eq!(merged, piece);
        let other = append(1, 14, "x");
        assert_eq!(merged.merge(other.clone()), Some(other));
        let hole = append(0, 15, "x");
        assert_eq!(merged.merge(hole.clone()), Some(hole));
    }
}

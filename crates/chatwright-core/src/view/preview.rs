use std::collections::BTreeSet;

use crate::frame::{LiveBlock, OpenUnit};
use crate::head::UnitKind;
use crate::live::{BlockKind, Piece, PieceBody};
use crate::{Gen, MessageId};

/// What is being said: the blocks of the open gen so far.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Preview {
    /// The gen.
    pub r#gen: Gen,
    /// What streams.
    pub kind: UnitKind,
    /// The message that it will become, or that holds the calls of a batch.
    pub message: Option<MessageId>,
    /// The calls of a batch by their place, in the order of their blocks.
    pub calls: Vec<u32>,
    /// The blocks, ascending by place. A call that has its result has none.
    pub blocks: Vec<LiveBlock>,
    /// It ends here, because it is too long; the message will be complete.
    pub capped: bool,
    dropped: BTreeSet<u32>,
}

impl Preview {
    pub(super) fn new(open: &OpenUnit) -> Self {
        Self {
            r#gen: open.r#gen,
            kind: open.unit,
            message: open.message,
            calls: open.calls.clone(),
            blocks: Vec::new(),
            capped: false,
            dropped: BTreeSet::new(),
        }
    }

    /// The block of a batch's call, if the call is one of the batch.
    pub fn block_of_call(&self, ordinal: u32) -> Option<u32> {
        let at = self.calls.iter().position(|&call| call == ordinal)?;
        u32::try_from(at).ok()
    }

    pub(super) fn push(&mut self, piece: &Piece) {
        if !self.dropped.contains(&piece.block) {
            fold(&mut self.blocks, piece);
        }
    }

    pub(super) fn replace(&mut self, blocks: &[LiveBlock]) {
        let kept = |block: &&LiveBlock| !self.dropped.contains(&block.block);
        self.blocks = blocks.iter().filter(kept).cloned().collect();
        self.capped = false;
    }

    /// Calls that have a result lose their blocks for good.
    pub(super) fn drop_calls(&mut self, ordinals: &[u32]) {
        for block in ordinals.iter().filter_map(|&ordinal| self.block_of_call(ordinal)).collect::<Vec<_>>() {
            self.dropped.insert(block);
        }
        self.blocks.retain(|block| !self.dropped.contains(&block.block));
    }
}

/// Takes the next piece of a gen into its blocks, which ascend by place. Total: text of a block that was not opened opens
/// it, and opening it twice changes nothing. How text is cut into pieces makes no difference (stream.S11).
pub fn fold(blocks: &mut Vec<LiveBlock>, piece: &Piece) {
    match &piece.body {
        PieceBody::Open { kind, id, name } => {
            let block = block(blocks, piece.block, *kind);
            if block.id.is_none() && block.name.is_none() {
                (block.id, block.name) = (id.clone(), name.clone());
            }
        }
        PieceBody::Append { text } => block(blocks, piece.block, BlockKind::Text).text.push_str(text),
        PieceBody::Close => block(blocks, piece.block, BlockKind::Text).closed = true,
        PieceBody::Item { part } => {
            block(blocks, piece.block, BlockKind::Item).item.get_or_insert_with(|| part.clone());
        }
    }
}

fn block(blocks: &mut Vec<LiveBlock>, place: u32, kind: BlockKind) -> &mut LiveBlock {
    let at = match blocks.binary_search_by_key(&place, |block| block.block) {
        Ok(at) => at,
        Err(at) => {
            let text = String::new();
            let fresh =
                LiveBlock { block: place, kind, id: None, name: None, text, item: None, closed: false };
            blocks.insert(at, fresh);
            at
        }
    };
    &mut blocks[at]
}

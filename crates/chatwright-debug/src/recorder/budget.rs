use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// What bodies grow by.
pub(super) const BLOCK_BYTES: usize = 16 * 1024;
/// Most blocks that are kept for the next body.
const BLOCKS_MAX: usize = 256;

/// How many bytes may be held at once, by all calls together.
#[derive(Clone)]
pub(super) struct Budget(Arc<Inner>);

struct Inner {
    left: AtomicUsize,
    /// Blocks that nobody needs now: memory that was used lately is had sooner than other.
    blocks: Mutex<Vec<Vec<u8>>>,
}

/// Some of these bytes. They are given back when it is dropped.
pub(super) struct Grant {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Inner { left: AtomicUsize::new(bytes), blocks: Mutex::default() }))
    }

    /// How many are left.
    pub(super) fn left(&self) -> usize {
        self.0.left.load(Ordering::Relaxed)
    }

    /// Nothing yet.
    pub(super) fn nothing(&self) -> Grant {
        Grant { budget: self.clone(), bytes: 0 }
    }
}

impl Grant {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// An empty block, for which room has been taken.
    pub(super) fn block(&self) -> Vec<u8> {
        self.budget.0.blocks.lock().pop().unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES))
    }

    /// Gives blocks back.
    pub(super) fn put_back(&self, blocks: impl Iterator<Item = Vec<u8>>) {
        let whole = blocks.filter(|block| block.capacity() == BLOCK_BYTES);
        let mut kept = self.budget.0.blocks.lock();
        let room = BLOCKS_MAX.saturating_sub(kept.len());
        kept.extend(whole.take(room).map(|mut block| {
            block.clear();
            block
        }));
    }

    /// Takes so many more, if there are as many.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let taken = self
            .budget
            .0
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        self.bytes += taken.map_or(0, |_| bytes);
        taken.is_ok()
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.0.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_there_is_and_all_of_it_comes_back() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.nothing(), budget.nothing());
        assert!(one.grow(6) && !other.grow(5) && other.grow(4));
        assert_eq!((budget.left(), one.bytes(), other.bytes()), (0, 6, 4));
        drop(one);
        assert_eq!(budget.left(), 6);
        drop(other);
        assert_eq!(budget.left(), 10);
    }
}

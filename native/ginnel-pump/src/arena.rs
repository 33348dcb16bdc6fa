//! Packet buffers cut from one block that comes back once all of them are gone.

use bytes::BytesMut;

/// Bytes of a block; a 64 KiB super-packet with headers and padding for each segment fits.
const BLOCK: usize = 160 * 1024;
/// Room behind each buffer for padding, so that growing it needs no copy.
const SLACK: usize = 16;

/// A source of buffers. Their contents are whatever was there before.
pub struct Arena {
    block: BytesMut,
}

impl Arena {
    /// One zeroed block.
    pub fn new() -> Arena {
        Arena {
            block: BytesMut::zeroed(BLOCK),
        }
    }

    /// A buffer of `len` bytes, of which the caller writes each.
    pub fn take(&mut self, len: usize) -> BytesMut {
        let need = len + SLACK;
        if self.block.len() < need {
            self.refill(need);
        }
        let mut buffer = self.block.split_to(need);
        buffer.truncate(len);
        buffer
    }

    fn refill(&mut self, need: usize) {
        let size = BLOCK.max(need);
        self.block.clear();
        if self.block.try_reclaim(size) {
            // SAFETY: the block was zeroed in full when it was made, so every byte of its capacity is initialised;
            // `try_reclaim` gives that same block back and `size` is at most its capacity.
            unsafe { self.block.set_len(size) };
        } else {
            self.block = BytesMut::zeroed(size);
        }
    }
}

impl Default for Arena {
    fn default() -> Arena {
        Arena::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_do_not_overlap_and_can_grow_by_their_slack() {
        let mut arena = Arena::new();
        let mut buffers: Vec<BytesMut> = (0..500u16).map(|_| arena.take(1280)).collect();
        for (n, buffer) in buffers.iter_mut().enumerate() {
            buffer.fill(n as u8);
            buffer.resize(1280 + SLACK, 0);
        }
        for (n, buffer) in buffers.iter().enumerate() {
            assert!(buffer[..1280].iter().all(|byte| *byte == n as u8));
        }
    }

    #[test]
    fn a_block_comes_back_when_its_buffers_are_gone() {
        let mut arena = Arena::new();
        let start = arena.block.as_ptr();
        for _ in 0..1000 {
            let buffer = arena.take(1280);
            assert_eq!(buffer.len(), 1280);
        }
        drop(arena.take(1));
        let block = start as usize..start as usize + BLOCK;
        assert!(block.contains(&(arena.take(1).as_ptr() as usize)));
    }
}

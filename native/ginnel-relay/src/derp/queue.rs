//! What waits for a client whose socket is full: the newest packets win, because the oldest are what the tunnel has
//! sent again by now.

use std::collections::VecDeque;

use crate::config::{QUEUE_DEPTH, QUEUE_SIZE};

#[derive(Debug, Default)]
pub(crate) struct Queue {
    frames: VecDeque<Box<[u8]>>,
    size: usize,
}

impl Queue {
    /// Append a frame; returns how many of the oldest had to go.
    pub(crate) fn push(&mut self, frame: &[u8]) -> u64 {
        let mut dropped = 0;
        while self.frames.len() >= QUEUE_DEPTH
            || (self.size + frame.len() > QUEUE_SIZE && !self.frames.is_empty())
        {
            self.pop();
            dropped += 1;
        }
        self.size += frame.len();
        self.frames.push_back(frame.into());
        dropped
    }

    /// Move everything to `out`.
    pub(crate) fn drain_into(&mut self, out: &mut Vec<u8>) {
        self.frames
            .iter()
            .for_each(|frame| out.extend_from_slice(frame));
        *self = Self::default();
    }

    pub(crate) fn len(&self) -> u64 {
        self.frames.len() as u64
    }

    fn pop(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.size -= frame.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut queue = Queue::default();
        let dropped: u64 = (0..40u8).map(|number| queue.push(&[number])).sum();
        assert_eq!(dropped, 8);
        let mut out = Vec::new();
        assert_eq!(queue.len(), 32);
        queue.drain_into(&mut out);
        assert_eq!(out, (8..40).collect::<Vec<u8>>());
        assert_eq!((queue.len(), queue.size), (0, 0));
    }

    #[test]
    fn large_packets_are_bounded_by_their_bytes() {
        let mut queue = Queue::default();
        for _ in 0..100 {
            queue.push(&vec![0; 65 << 10]);
            assert!(queue.size <= QUEUE_SIZE);
        }
        queue.push(&[1]);
        assert_eq!(queue.len(), 4);
    }
}

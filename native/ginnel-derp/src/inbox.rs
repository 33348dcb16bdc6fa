//! Incremental reading: whatever pieces the bytes come in, the same frames go out.

use crate::{DerpError, HEADER_SIZE};

/// What to do with a frame's type before its body is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// A longer body is an error.
    pub limit: u32,
    /// False: let the body pass without keeping it.
    pub keep: bool,
}

/// A whole frame in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// Its type.
    pub kind: u8,
    /// Its body, complete.
    pub body: &'a [u8],
}

/// A buffer that the socket fills at one end and frames leave at the other. It holds at most one frame of the
/// longest kind and one read.
#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of a skipped body that are still to come.
    passing: usize,
    rule: fn(u8) -> Rule,
    read_size: usize,
    skipped: u64,
}

impl Inbox {
    /// `read_size`: bytes of room that `space` offers at least.
    pub fn new(rule: fn(u8) -> Rule, read_size: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            passing: 0,
            rule,
            read_size: read_size.max(1),
            skipped: 0,
        }
    }

    /// Room to read into; say by `filled` how much of it came to be used.
    pub fn space(&mut self) -> &mut [u8] {
        self.make_room(self.read_size);
        &mut self.buffer[self.end..]
    }

    /// `size` bytes of `space` hold new data.
    pub fn filled(&mut self, size: usize) {
        self.end = (self.end + size).min(self.buffer.len());
    }

    /// Append bytes by copying them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.buffer[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// The next whole frame, or None until more bytes come. After an error the stream is of no further use.
    pub fn next_frame(&mut self) -> Result<Option<RawFrame<'_>>, DerpError> {
        loop {
            self.pass();
            let Some((kind, size)) = self.header() else {
                return Ok(None);
            };
            let rule = (self.rule)(kind);
            if size > rule.limit as usize {
                return Err(DerpError::TooLong {
                    kind,
                    size,
                    limit: rule.limit as usize,
                });
            }
            if rule.keep {
                return Ok(self.take_frame(kind, size));
            }
            self.start += HEADER_SIZE;
            self.passing = size;
            self.skipped += 1;
        }
    }

    /// Frames that the rule let pass.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Bytes that are here and not yet part of a frame that went out.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Drop the first `size` of the pending bytes.
    pub fn consume(&mut self, size: usize) {
        self.start = (self.start + size).min(self.end);
    }

    /// Give the memory back if nothing is pending; for connections that fall silent.
    pub fn release(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.buffer = Vec::new();
        }
    }

    fn header(&self) -> Option<(u8, usize)> {
        let head: &[u8; HEADER_SIZE] = self.pending().first_chunk()?;
        Some((
            head[0],
            u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize,
        ))
    }

    fn take_frame(&mut self, kind: u8, size: usize) -> Option<RawFrame<'_>> {
        let body = self.start + HEADER_SIZE;
        if self.end - body < size {
            return None;
        }
        self.start = body + size;
        Some(RawFrame {
            kind,
            body: &self.buffer[body..body + size],
        })
    }

    fn pass(&mut self) {
        let now = self.passing.min(self.end - self.start);
        self.start += now;
        self.passing -= now;
    }

    fn make_room(&mut self, size: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.len() - self.end >= size {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() - self.end < size {
            self.buffer.resize(self.end + size, 0);
        }
    }
}

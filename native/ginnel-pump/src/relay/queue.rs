//! What waits to be written to one relay: bounded, the oldest gives way.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::BytesMut;
use parking_lot::{Condvar, Mutex};

/// Packets that wait at most. 32, as in the official client, starve a bulk stream: one TCP super-packet is 52 packets.
/// 512 are 10 ms at 0.5 Gbit/s; what a slow link cannot carry is dropped here from the front.
const PACKETS_MAX: usize = 512;
/// Disco packets and control frames that wait at most.
const CONTROL_MAX: usize = 64;

/// The queue between those who send and the thread that writes.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Go first: disco, answers to pings, preference.
    control: VecDeque<BytesMut>,
    packets: VecDeque<BytesMut>,
    open: bool,
    closed: bool,
    nudged: bool,
}

/// What the writer should do next.
pub enum Next {
    /// Write these frames, and whatever TLS has of its own.
    Write,
    /// The time has come.
    Time,
    /// The connection is closed.
    Closed,
}

impl Queue {
    /// Queue a data frame; true if an older one had to go.
    pub fn push_packet(&self, frame: BytesMut) -> bool {
        let mut state = self.state.lock();
        let full = state.packets.len() >= PACKETS_MAX;
        if full {
            state.packets.pop_front();
        }
        state.packets.push_back(frame);
        self.wake(&state);
        full
    }

    /// Queue a frame that goes before data; false if there was no room.
    pub fn push_control(&self, frame: BytesMut) -> bool {
        let mut state = self.state.lock();
        if state.control.len() >= CONTROL_MAX {
            return false;
        }
        state.control.push_back(frame);
        self.wake(&state);
        true
    }

    /// The login is through; `first` goes before everything that waits.
    pub fn open(&self, first: Option<BytesMut>) {
        let mut state = self.state.lock();
        state.open = true;
        if let Some(first) = first {
            state.control.push_front(first);
        }
        self.changed.notify_all();
    }

    /// Whether the login is through.
    pub fn is_open(&self) -> bool {
        self.state.lock().open
    }

    /// Nothing more is written.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Nothing more is written here; gives the frames that wait.
    pub fn retire(&self) -> VecDeque<BytesMut> {
        let mut state = self.state.lock();
        state.closed = true;
        self.changed.notify_all();
        let mut frames = std::mem::take(&mut state.control);
        frames.append(&mut state.packets);
        frames
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// TLS has something to say of its own (an alert, a key update).
    pub fn nudge(&self) {
        let mut state = self.state.lock();
        state.nudged = true;
        self.changed.notify_all();
    }

    /// Wait for something to write, not longer than `until`, and take up to about `limit` bytes of whole frames into
    /// `out`.
    pub fn take(&self, limit: usize, out: &mut Vec<BytesMut>, until: Option<Instant>) -> Next {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return Next::Closed;
            }
            let waiting = !state.control.is_empty() || !state.packets.is_empty();
            if state.open && (waiting || state.nudged) {
                break;
            }
            match until {
                None => self.changed.wait(&mut state),
                Some(at) if self.changed.wait_until(&mut state, at).timed_out() => {
                    return Next::Time;
                }
                Some(_) => {}
            }
        }
        state.nudged = false;
        out.extend(state.control.drain(..));
        let mut bytes = 0;
        while bytes < limit
            && let Some(frame) = state.packets.pop_front()
        {
            bytes += frame.len();
            out.push(frame);
        }
        Next::Write
    }

    fn wake(&self, state: &State) {
        if state.open && state.packets.len() + state.control.len() == 1 {
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: usize) -> BytesMut {
        BytesMut::from(&(n as u32).to_be_bytes()[..])
    }

    fn taken(queue: &Queue, limit: usize) -> Vec<BytesMut> {
        let mut out = Vec::new();
        assert!(matches!(queue.take(limit, &mut out, None), Next::Write));
        out
    }

    #[test]
    fn the_oldest_packet_gives_way() {
        let queue = Queue::default();
        queue.open(None);
        let dropped = (0..PACKETS_MAX + 3)
            .filter(|n| queue.push_packet(frame(*n)))
            .count();
        assert_eq!(dropped, 3);
        assert_eq!(taken(&queue, usize::MAX)[0], frame(3));
    }

    #[test]
    fn control_frames_go_first_and_are_bounded() {
        let queue = Queue::default();
        queue.push_packet(frame(1));
        assert!((0..CONTROL_MAX).all(|n| queue.push_control(frame(100 + n))));
        assert!(!queue.push_control(frame(0)));
        queue.open(Some(frame(7)));
        let frames = taken(&queue, usize::MAX);
        assert_eq!((&frames[0], frames.last()), (&frame(7), Some(&frame(1))));
    }

    #[test]
    fn a_batch_holds_whole_frames_up_to_its_limit() {
        let queue = Queue::default();
        queue.open(None);
        (0..10).for_each(|n| {
            queue.push_packet(frame(n));
        });
        assert_eq!(taken(&queue, 9).len(), 3);
    }

    #[test]
    fn a_writer_that_has_nothing_to_write_wakes_at_its_time() {
        let queue = Queue::default();
        queue.open(None);
        let next = queue.take(1, &mut Vec::new(), Some(Instant::now()));
        assert!(matches!(next, Next::Time));
    }

    #[test]
    fn a_closed_queue_ends_its_writer() {
        let queue = Queue::default();
        queue.close();
        assert!(matches!(queue.take(1, &mut Vec::new(), None), Next::Closed));
    }
}

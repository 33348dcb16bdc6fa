//! Data messages that came by a relay just now, so that their copies by UDP are known.
//!
//! A peer that is not sure of its direct way sends by both. The copy that comes second is a replay: its content is
//! dropped, but that it came says which ways carry data. The tunnel refuses it by its counter, before it looks at the tag
//! (gotatun: noise/session.rs), so here the copy must have the tag that was found authentic a moment ago: whoever shows
//! it had that very message. Each message counts once and for a short time, so a recording keeps no dead way alive.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ginnel_wire::wireguard::OVERHEAD;

/// One message is enough to tell, however many come: so the ring spans its time at any rate.
const NOTE_EVERY: Duration = Duration::from_millis(20);
/// How much slower the direct way may be than the relay.
const KEPT_FOR: Duration = Duration::from_secs(1);
const KEPT: usize = 50;
const TAG: usize = 16;

/// What tells a data message from all others: receiver index and counter, and the authentication tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark([u8; 12], [u8; TAG]);

impl Mark {
    /// Of a data message (WireGuard paper §5.4.6).
    pub fn of(message: &[u8]) -> Option<Mark> {
        if message.len() < OVERHEAD {
            return None;
        }
        let head = message.get(4..16)?.try_into().ok()?;
        Some(Mark(head, *message.last_chunk()?))
    }
}

/// Of one peer.
#[derive(Default)]
pub struct Copies(VecDeque<(Mark, Instant)>);

impl Copies {
    /// This message came by a relay, and was authentic.
    pub fn note(&mut self, mark: Mark, now: Instant) {
        let close = |&(_, at): &(Mark, Instant)| now.saturating_duration_since(at) < NOTE_EVERY;
        if self.0.back().is_some_and(close) {
            return;
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((mark, now));
    }

    /// This message came by UDP and was refused as a replay. True, once: it is a copy of what a relay has just brought.
    pub fn take(&mut self, mark: &Mark, now: Instant) -> bool {
        let Some(found) = self.0.iter().rposition(|(noted, _)| noted == mark) else {
            return false;
        };
        let noted = self.0.remove(found);
        noted.is_some_and(|(_, at)| now.saturating_duration_since(at) <= KEPT_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(counter: u8, tag: u8) -> Mark {
        let mut bytes = [0; 48];
        bytes[0] = 4;
        bytes[8] = counter;
        bytes[40] = tag;
        Mark::of(&bytes).unwrap()
    }

    #[test]
    fn a_copy_counts_once() {
        let (mut copies, start) = (Copies::default(), Instant::now());
        copies.note(message(1, 9), start);
        assert!(copies.take(&message(1, 9), start + Duration::from_millis(80)));
        assert!(!copies.take(&message(1, 9), start + Duration::from_millis(90)));
    }

    #[test]
    fn what_has_another_tag_or_counter_is_no_copy() {
        let (mut copies, start) = (Copies::default(), Instant::now());
        copies.note(message(1, 9), start);
        assert!(!copies.take(&message(1, 8), start));
        assert!(!copies.take(&message(2, 9), start));
    }

    #[test]
    fn an_old_message_that_is_repeated_is_no_copy() {
        let (mut copies, start) = (Copies::default(), Instant::now());
        copies.note(message(1, 9), start);
        assert!(!copies.take(&message(1, 9), start + Duration::from_millis(1001)));
    }

    #[test]
    fn of_a_dense_flow_the_last_second_is_known_and_no_more_is_kept() {
        let (mut copies, start) = (Copies::default(), Instant::now());
        for number in 0..=200u8 {
            let now = start + Duration::from_millis(10 * u64::from(number));
            copies.note(message(number, 9), now);
        }
        assert_eq!(copies.0.len(), KEPT);
        let now = start + Duration::from_secs(2);
        assert!(copies.take(&message(102, 9), now));
        assert!(!copies.take(&message(100, 9), now));
    }

    #[test]
    fn what_is_too_short_has_no_mark() {
        assert_eq!(Mark::of(&[4; 31]), None);
    }
}

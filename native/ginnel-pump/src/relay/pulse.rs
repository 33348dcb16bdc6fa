//! Whether a relay is still there: it is asked when packets went out and nothing came back for a while.
//!
//! ```text
//!   quiet --packets written--> waiting --ASK_AFTER--> asked --PONG_WITHIN--> gone
//!     ^------------------ anything read from it ---------'
//! ```
//!
//! Whoever writes nothing asks nothing. Bytes that the relay's machine does not acknowledge are the kernel's to judge
//! (`dial::ACKNOWLEDGED_WITHIN`); here a relay is found out whose machine takes everything and that says nothing.

use std::time::{Duration, Instant};

/// From the first packet that nothing followed to our ping.
const ASK_AFTER: Duration = Duration::from_secs(2);
/// From the ping to the end.
const PONG_WITHIN: Duration = Duration::from_millis(2500);

/// Of one connection. `heard`, everywhere: how often something was read from it.
#[derive(Debug, Default)]
pub struct Pulse {
    heard: u32,
    waiting_since: Option<Instant>,
    asked_at: Option<Instant>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Ask,
    /// It did not answer.
    GiveUp,
}

impl Pulse {
    /// Packets were written.
    pub fn wrote(&mut self, heard: u32, now: Instant) {
        self.hear(heard);
        self.waiting_since.get_or_insert(now);
    }

    /// When to `tick`.
    pub fn next_timeout(&self) -> Option<Instant> {
        match (self.waiting_since, self.asked_at) {
            (_, Some(asked)) => Some(asked + PONG_WITHIN),
            (Some(since), None) => Some(since + ASK_AFTER),
            (None, None) => None,
        }
    }

    /// `on_the_way`: whether the kernel still has bytes that were not acknowledged; the ping may be among them.
    pub fn tick(&mut self, heard: u32, now: Instant, on_the_way: impl FnOnce() -> bool) -> Due {
        self.hear(heard);
        if self.next_timeout().is_none_or(|due| now < due) {
            return Due::Nothing;
        }
        match self.asked_at {
            Some(_) if !on_the_way() => return Due::GiveUp,
            Some(_) => self.asked_at = Some(now),
            None => {
                self.asked_at = Some(now);
                return Due::Ask;
            }
        }
        Due::Nothing
    }

    fn hear(&mut self, heard: u32) {
        if heard != self.heard {
            *self = Pulse {
                heard,
                ..Pulse::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged() -> bool {
        false
    }

    fn next(pulse: &Pulse) -> Instant {
        pulse.next_timeout().expect("something is due")
    }

    #[test]
    fn an_idle_connection_asks_nothing() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.next_timeout(), None);
        assert_eq!(pulse.tick(0, Instant::now(), acknowledged), Due::Nothing);
    }

    #[test]
    fn a_relay_that_says_nothing_is_asked_and_then_given_up_within_five_seconds() {
        let start = Instant::now();
        let mut pulse = Pulse::default();
        pulse.wrote(0, start);
        pulse.wrote(0, start + Duration::from_secs(1));
        assert_eq!(pulse.tick(0, start, acknowledged), Due::Nothing);
        assert_eq!(pulse.tick(0, next(&pulse), acknowledged), Due::Ask);
        let end = next(&pulse);
        assert_eq!(pulse.tick(0, end, acknowledged), Due::GiveUp);
        assert!(end - start < Duration::from_secs(5));
    }

    #[test]
    fn any_word_ends_the_wait_until_something_is_written_again() {
        let start = Instant::now();
        let mut pulse = Pulse::default();
        pulse.wrote(0, start);
        assert_eq!(pulse.tick(0, next(&pulse), acknowledged), Due::Ask);
        assert_eq!(pulse.tick(1, next(&pulse), acknowledged), Due::Nothing);
        assert_eq!(pulse.next_timeout(), None);
        pulse.wrote(1, start + Duration::from_secs(9));
        assert_eq!(next(&pulse), start + Duration::from_secs(9) + ASK_AFTER);
    }

    #[test]
    fn a_one_way_stream_asks_once_in_a_while() {
        let start = Instant::now();
        let mut pulse = Pulse::default();
        let (mut heard, mut asked) = (0, 0);
        for tenth in 0..600 {
            let now = start + Duration::from_millis(100 * tenth);
            pulse.wrote(heard, now);
            if pulse.tick(heard, now, acknowledged) == Due::Ask {
                asked += 1;
                heard += 1; // the answer
            }
        }
        assert!((25..=30).contains(&asked), "{asked}");
    }

    #[test]
    fn a_slow_way_is_waited_for_while_the_kernel_has_bytes_on_it() {
        let mut pulse = Pulse::default();
        pulse.wrote(0, Instant::now());
        assert_eq!(pulse.tick(0, next(&pulse), acknowledged), Due::Ask);
        assert_eq!(pulse.tick(0, next(&pulse), || true), Due::Nothing);
        assert_eq!(pulse.tick(0, next(&pulse), acknowledged), Due::GiveUp);
    }
}

//! When to ask again: sooner than WireGuard's own timers, a few times, then no more until there was an answer.
//!
//! A first initiation lost costs 5 s by the protocol's timers, and a session that the other side has forgotten 15 s
//! (WireGuard paper §6.2, §6.5). Peers take initiations 20 ms apart (wireguard-go: device/noise-protocol.go), so asking
//! a few times more is free; asking for ever is not.

use std::time::{Duration, Instant};

/// How often and how late one question is repeated.
pub struct Patience {
    delays: &'static [Duration],
    asked: Option<(Instant, usize)>,
}

impl Patience {
    /// Nothing was asked yet. `delays`: each repetition, counted from the question.
    pub const fn new(delays: &'static [Duration]) -> Patience {
        Patience {
            delays,
            asked: None,
        }
    }

    /// Something was asked; while an earlier question waits, that one counts.
    pub fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert((now, 0));
    }

    /// It was answered, or nobody wants to know any more.
    pub fn answered(&mut self) {
        self.asked = None;
    }

    /// Whether to ask again now. True once for each delay.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let Some((since, repeats)) = &mut self.asked else {
            return false;
        };
        let due = self
            .delays
            .get(*repeats)
            .is_some_and(|delay| now.saturating_duration_since(*since) >= *delay);
        *repeats += usize::from(due);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

    #[test]
    fn it_is_due_once_for_each_delay_and_again_after_an_answer() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut patience = Patience::new(&DELAYS);
        assert!(!patience.is_due(at(9000)));
        patience.asked(at(0));
        patience.asked(at(500));
        let due: Vec<u64> = (0..20)
            .map(|step| step * 500)
            .filter(|ms| patience.is_due(at(*ms)))
            .collect();
        assert_eq!(due, [1000, 3000]);
        patience.answered();
        patience.asked(at(20_000));
        assert!(patience.is_due(at(21_000)));
    }
}

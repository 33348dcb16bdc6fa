//! How fast clients may send, each and all together. They change while the relay runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::config::Rate;

/// `number` changes with every change, so that who reads packets looks no further as long as it is the same.
pub(crate) struct Rates {
    number: AtomicU64,
    each: RwLock<Option<Rate>>,
    total: RwLock<Option<Rate>>,
    begun: Instant,
    /// When the debt of all is paid, in nanoseconds since `begun` (the theoretical arrival time of ITU-T I.371).
    paid_at: AtomicU64,
}

impl Rates {
    pub(crate) fn new(each: Option<Rate>, total: Option<Rate>, now: Instant) -> Self {
        Self {
            number: AtomicU64::new(0),
            each: RwLock::new(each),
            total: RwLock::new(total),
            begun: now,
            paid_at: AtomicU64::new(0),
        }
    }

    pub(crate) fn set(&self, each: Option<Rate>, total: Option<Rate>) {
        *self.each.write() = each;
        *self.total.write() = total;
        self.paid_at.store(0, Ordering::Relaxed);
        self.number.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    pub(crate) fn each(&self) -> Option<Rate> {
        *self.each.read()
    }

    pub(crate) fn total(&self) -> Option<Rate> {
        *self.total.read()
    }

    /// So many bytes were read by somebody; until when that one has to wait.
    pub(crate) fn spend(&self, rate: Rate, bytes: usize, now: Instant) -> Option<Instant> {
        let nanoseconds = |bytes: u64| {
            let exact =
                u128::from(bytes) * 1_000_000_000 / u128::from(rate.bytes_per_second.max(1));
            u64::try_from(exact).unwrap_or(u64::MAX / 4)
        };
        let (cost, burst) = (nanoseconds(bytes as u64), nanoseconds(rate.burst));
        let now = now.duration_since(self.begun).as_nanos() as u64;
        let before = self
            .paid_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid_at| {
                Some(paid_at.max(now).saturating_add(cost))
            })
            .unwrap_or_else(|same| same);
        let paid_at = before.max(now).saturating_add(cost);
        let wait = paid_at.checked_sub(now.saturating_add(burst))?;
        self.begun
            .checked_add(Duration::from_nanos(now.saturating_add(wait)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        bytes_per_second: 1000,
        burst: 500,
    };

    #[test]
    fn all_together_have_one_burst_and_then_wait_for_their_turn() {
        let start = Instant::now();
        let rates = Rates::new(None, Some(RATE), start);
        assert_eq!(rates.spend(RATE, 500, start), Some(start));
        let second = |seconds: u64| Some(start + Duration::from_secs(seconds));
        assert_eq!(rates.spend(RATE, 1000, start), second(1));
        assert_eq!(rates.spend(RATE, 1000, start), second(2));
        let later = start + Duration::from_secs(10);
        assert_eq!(rates.spend(RATE, 400, later), None);
    }

    #[test]
    fn a_change_is_seen_by_its_number() {
        let rates = Rates::new(None, None, Instant::now());
        let before = rates.number();
        rates.set(Some(RATE), None);
        assert_ne!(rates.number(), before);
        assert_eq!((rates.each(), rates.total()), (Some(RATE), None));
    }
}

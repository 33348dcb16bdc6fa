//! How fast a client may send. A client that is too fast is not read for a while, so that its own TCP slows it down:
//! nothing is dropped, and nothing piles up here.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;

/// A bucket that fills with time. Reading may overdraw it by one read; then it waits until the debt is paid.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<Rate>,
    level: f64,
    at: Instant,
}

impl Pace {
    /// None: as fast as it can.
    pub(crate) fn new(rate: Option<Rate>, now: Instant) -> Self {
        Self {
            rate,
            level: rate.map_or(0.0, |rate| rate.burst as f64),
            at: now,
        }
    }

    /// So many bytes were read.
    pub(crate) fn spend(&mut self, bytes: usize, now: Instant) {
        if let Some(rate) = self.rate {
            let earned = now.duration_since(self.at).as_secs_f64() * rate.bytes_per_second as f64;
            self.level = (self.level + earned).min(rate.burst as f64) - bytes as f64;
            self.at = now;
        }
    }

    /// When reading may go on; None: now.
    pub(crate) fn paused_until(&self, now: Instant) -> Option<Instant> {
        let rate = self.rate.filter(|_| self.level < 0.0)?;
        let debt = -self.level / rate.bytes_per_second as f64;
        let paid = Duration::try_from_secs_f64(debt)
            .ok()
            .and_then(|debt| self.at.checked_add(debt))?;
        (paid > now).then_some(paid)
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
    fn a_burst_passes_and_a_debt_is_waited_for() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(RATE), start);
        pace.spend(500, start);
        assert_eq!(pace.paused_until(start), None);
        pace.spend(2000, start);
        let paid = start + Duration::from_secs(2);
        assert_eq!(pace.paused_until(start), Some(paid));
        assert_eq!(pace.paused_until(paid), None);
    }

    #[test]
    fn silence_earns_no_more_than_a_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(RATE), start);
        let later = start + Duration::from_secs(3600);
        pace.spend(1500, later);
        assert_eq!(
            pace.paused_until(later),
            Some(later + Duration::from_secs(1))
        );
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);
        pace.spend(usize::MAX, start);
        assert_eq!(pace.paused_until(start), None);
    }
}

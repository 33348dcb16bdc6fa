//! How fast a client may send. A client that is too fast is not read for a while, so that its own TCP slows it down:
//! nothing is dropped, and nothing piles up here.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;
use crate::rates::Rates;

/// A bucket that fills with time. Reading may overdraw it by one read; then it waits until the debt is paid, and until
/// its turn has come among all who share the relay's rate.
#[derive(Debug)]
pub(crate) struct Pace {
    each: Option<Rate>,
    total: Option<Rate>,
    /// Of the rates that these are.
    number: u64,
    level: f64,
    at: Instant,
    turn: Option<Instant>,
}

impl Pace {
    /// With a full bucket.
    pub(crate) fn new(rates: &Rates, now: Instant) -> Self {
        let each = rates.each();
        Self {
            each,
            total: rates.total(),
            number: rates.number(),
            level: each.map_or(0.0, |rate| rate.burst as f64),
            at: now,
            turn: None,
        }
    }

    /// So many bytes were read.
    pub(crate) fn spend(&mut self, rates: &Rates, bytes: usize, now: Instant) {
        if self.number != rates.number() {
            *self = Self::new(rates, now);
        }
        if let Some(rate) = self.each {
            let earned = now.duration_since(self.at).as_secs_f64() * rate.bytes_per_second as f64;
            self.level = (self.level + earned).min(rate.burst as f64) - bytes as f64;
            self.at = now;
        }
        if let Some(rate) = self.total {
            let turn = rates.spend(rate, bytes, now.into_std());
            self.turn = turn.map(Instant::from_std);
        }
    }

    /// When reading may go on; None: now.
    pub(crate) fn paused_until(&self, now: Instant) -> Option<Instant> {
        let paid = self.debt().and_then(|debt| self.at.checked_add(debt));
        paid.max(self.turn).filter(|until| *until > now)
    }

    fn debt(&self) -> Option<Duration> {
        let rate = self.each.filter(|_| self.level < 0.0)?;
        Duration::try_from_secs_f64(-self.level / rate.bytes_per_second as f64).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(each: Option<Rate>) -> Rates {
        Rates::new(each, None, std::time::Instant::now())
    }

    const RATE: Rate = Rate {
        bytes_per_second: 1000,
        burst: 500,
    };

    #[test]
    fn a_burst_passes_and_a_debt_is_waited_for() {
        let start = Instant::now();
        let rates = rates(Some(RATE));
        let mut pace = Pace::new(&rates, start);
        pace.spend(&rates, 500, start);
        assert_eq!(pace.paused_until(start), None);
        pace.spend(&rates, 2000, start);
        let paid = start + Duration::from_secs(2);
        assert_eq!(pace.paused_until(start), Some(paid));
        assert_eq!(pace.paused_until(paid), None);
    }

    #[test]
    fn silence_earns_no_more_than_a_burst() {
        let start = Instant::now();
        let rates = rates(Some(RATE));
        let mut pace = Pace::new(&rates, start);
        let later = start + Duration::from_secs(3600);
        pace.spend(&rates, 1500, later);
        assert_eq!(
            pace.paused_until(later),
            Some(later + Duration::from_secs(1))
        );
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        let rates = rates(None);
        let mut pace = Pace::new(&rates, start);
        pace.spend(&rates, usize::MAX, start);
        assert_eq!(pace.paused_until(start), None);
    }

    #[test]
    fn another_rate_holds_from_the_next_read_on() {
        let start = Instant::now();
        let rates = rates(None);
        let mut pace = Pace::new(&rates, start);
        pace.spend(&rates, 5000, start);
        rates.set(Some(RATE), None);
        pace.spend(&rates, 1500, start);
        assert_eq!(
            pace.paused_until(start),
            Some(start + Duration::from_secs(1))
        );
        rates.set(None, None);
        pace.spend(&rates, 5000, start);
        assert_eq!(pace.paused_until(start), None);
    }
}

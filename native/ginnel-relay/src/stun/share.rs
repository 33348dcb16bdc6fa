//! How many answers one place may have: so many that no household behind one address meets it, and so few that nobody
//! can have the server send a flood to an address that is not his own. The memory is the same for any number of places.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::place::prefix;

/// Two places in one slot share its answers; which ones meet, nobody outside can know.
const SLOTS: usize = 1 << 14;
/// What a place may have at once, in seconds of its rate.
const BURST: u64 = 1;

/// For each slot the time until which its answers are given away, in nanoseconds since `begun`
/// (a virtual schedule, as in ITU-T I.371's GCRA: one number holds level and time).
pub(super) struct Shares {
    slots: Box<[u64]>,
    hasher: RandomState,
    begun: Instant,
    /// Nanoseconds of each answer; 0: no limit.
    interval: u64,
    loopback_too: bool,
}

impl Shares {
    /// `rate`: answers a second; 0: no limit.
    pub(super) fn new(rate: u32, loopback_too: bool, begun: Instant) -> Self {
        Self {
            slots: vec![0; if rate == 0 { 0 } else { SLOTS }].into(),
            hasher: RandomState::new(),
            begun,
            interval: 1_000_000_000u64.checked_div(rate.into()).unwrap_or(0),
            loopback_too,
        }
    }

    /// Take `cost` answers for this source; false if its place has had its share.
    pub(super) fn take(&mut self, source: IpAddr, cost: u64, now: Instant) -> bool {
        let Some(place) = prefix(source, self.loopback_too).filter(|_| self.interval > 0) else {
            return true;
        };
        let index = self.hasher.hash_one(place) as usize % self.slots.len();
        let now = nanoseconds(now.duration_since(self.begun));
        let given = self.slots[index].max(now);
        let price = (cost * self.interval).min(BURST * 1_000_000_000);
        let over = given - now > BURST * 1_000_000_000 - price;
        if !over {
            self.slots[index] = given + price;
        }
        !over
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(shares: &mut Shares, source: &str, times: u32, now: Instant) -> usize {
        let source = source.parse().unwrap();
        (0..times).filter(|_| shares.take(source, 1, now)).count()
    }

    #[test]
    fn a_place_has_its_share_and_earns_it_again() {
        let start = Instant::now();
        let mut shares = Shares::new(10, false, start);
        assert_eq!(taken(&mut shares, "192.0.2.1", 100, start), 10);
        let later = start + Duration::from_millis(350);
        assert_eq!(taken(&mut shares, "192.0.2.1", 100, later), 3);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!(taken(&mut shares, "192.0.2.1", 100, much_later), 10);
    }

    #[test]
    fn a_dear_answer_takes_its_price_of_the_share_and_never_more_than_the_whole() {
        let start = Instant::now();
        let mut shares = Shares::new(100, false, start);
        let source = "192.0.2.1".parse().unwrap();
        assert_eq!(
            (0..50).filter(|_| shares.take(source, 20, start)).count(),
            5
        );
        assert!(!shares.take(source, 1, start));
        let mut shares = Shares::new(10, false, start);
        assert_eq!(
            (0..50).filter(|_| shares.take(source, 20, start)).count(),
            1
        );
    }

    #[test]
    fn a_slash_64_is_one_place_and_an_ipv4_address_another() {
        let start = Instant::now();
        let mut shares = Shares::new(10, false, start);
        assert_eq!(taken(&mut shares, "2001:db8::1", 10, start), 10);
        assert_eq!(taken(&mut shares, "2001:db8::2", 10, start), 0);
        assert_eq!(taken(&mut shares, "::ffff:192.0.2.9", 6, start), 6);
        assert_eq!(taken(&mut shares, "192.0.2.9", 6, start), 4);
    }

    #[test]
    fn loopback_and_no_rate_are_no_limit() {
        let start = Instant::now();
        let mut shares = Shares::new(1, false, start);
        assert_eq!(taken(&mut shares, "127.0.0.1", 100, start), 100);
        let mut shares = Shares::new(1, true, start);
        assert_eq!(taken(&mut shares, "127.0.0.1", 100, start), 1);
        let mut shares = Shares::new(0, true, start);
        assert_eq!(taken(&mut shares, "192.0.2.1", 100, start), 100);
        let mut shares = Shares::new(u32::MAX, true, start);
        assert_eq!(taken(&mut shares, "192.0.2.1", 100, start), 100);
    }

    #[test]
    fn a_hundred_thousand_places_take_no_more_memory() {
        let start = Instant::now();
        let mut shares = Shares::new(1000, false, start);
        for number in 0..100_000u32 {
            assert!(shares.take(IpAddr::from(number.to_be_bytes()), 1, start));
        }
        assert_eq!(shares.slots.len(), SLOTS);
    }
}

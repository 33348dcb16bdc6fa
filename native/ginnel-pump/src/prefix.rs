//! Prefixes, address ranges, and the two tables made of them: longest match and membership.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A prefix or range that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address, prefix or range")]
pub struct BadPrefix(pub String);

/// An address as a number, with its family's width in bits. IPv4-mapped IPv6 stays IPv6.
fn number(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(v4) => (false, u128::from(u32::from(v4))),
        IpAddr::V6(v6) => (true, u128::from(v6)),
    }
}

fn width(v6: bool) -> u8 {
    if v6 { 128 } else { 32 }
}

fn mask(v6: bool, len: u8) -> u128 {
    let host = u32::from(width(v6) - len);
    let all = if v6 { u128::MAX } else { u128::from(u32::MAX) };
    if host >= 128 {
        0
    } else {
        (all >> host) << host
    }
}

/// A prefix with its host bits cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    v6: bool,
    len: u8,
    bits: u128,
}

impl Prefix {
    /// Host bits in `address` are cleared. `None` when `len` is longer than the address.
    pub fn new(address: IpAddr, len: u8) -> Option<Prefix> {
        let (v6, bits) = number(address);
        (len <= width(v6)).then(|| Prefix {
            v6,
            len,
            bits: bits & mask(v6, len),
        })
    }

    #[cfg(test)]
    fn contains(&self, address: IpAddr) -> bool {
        let (v6, bits) = number(address);
        v6 == self.v6 && bits & mask(v6, self.len) == self.bits
    }

    fn range(&self) -> Range {
        let all = if self.v6 {
            u128::MAX
        } else {
            u128::from(u32::MAX)
        };
        Range {
            v6: self.v6,
            first: self.bits,
            last: self.bits | (all & !mask(self.v6, self.len)),
        }
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Prefix, BadPrefix> {
        let bad = || BadPrefix(text.to_owned());
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len.parse::<u8>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let len = len.unwrap_or_else(|| width(address.is_ipv6()));
        Prefix::new(address, len).ok_or_else(bad)
    }
}

/// Addresses from first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    v6: bool,
    first: u128,
    last: u128,
}

impl Range {
    /// Whether it holds an address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (v6, bits) = number(address);
        v6 == self.v6 && (self.first..=self.last).contains(&bits)
    }
}

impl FromStr for Range {
    type Err = BadPrefix;

    /// A prefix, an address or `a-b`. A star stands for both families, so [`everything`] is for it.
    fn from_str(text: &str) -> Result<Range, BadPrefix> {
        let Some((first, last)) = text.split_once('-') else {
            return text.parse::<Prefix>().map(|prefix| prefix.range());
        };
        let bad = || BadPrefix(text.to_owned());
        let ends: (IpAddr, IpAddr) = (
            first.parse().map_err(|_| bad())?,
            last.parse().map_err(|_| bad())?,
        );
        let ((v6, first), (v6_too, last)) = (number(ends.0), number(ends.1));
        if v6 != v6_too || first > last {
            return Err(bad());
        }
        Ok(Range { v6, first, last })
    }
}

/// Every address of both families.
pub fn everything() -> [Range; 2] {
    [
        Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        Prefix::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    ]
    .map(|prefix| prefix.expect("length 0 fits every family").range())
}

/// A set of addresses: sorted ranges that do not touch.
#[derive(Clone, Debug, Default)]
pub struct AddressSet {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl AddressSet {
    /// The union of ranges.
    pub fn new(ranges: impl IntoIterator<Item = Range>) -> AddressSet {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            let family = if range.v6 { &mut v6 } else { &mut v4 };
            family.push((range.first, range.last));
        }
        AddressSet {
            v4: merged(v4),
            v6: merged(v6),
        }
    }

    /// Whether the set holds an address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (v6, bits) = number(address);
        let ranges = if v6 { &self.v6 } else { &self.v4 };
        let after = ranges.partition_point(|(first, _)| *first <= bits);
        after > 0 && bits <= ranges[after - 1].1
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut result: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match result.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => {
                previous.1 = previous.1.max(last);
            }
            _ => result.push((first, last)),
        }
    }
    result
}

/// Longest-prefix match. Host addresses are one hash lookup; others one for each length in use.
#[derive(Clone, Debug)]
pub struct Routes<V> {
    v4: Family<V>,
    v6: Family<V>,
}

#[derive(Clone, Debug)]
struct Family<V> {
    /// Longest length first.
    by_len: Vec<(u8, HashMap<u128, V>)>,
}

impl<V> Default for Routes<V> {
    fn default() -> Routes<V> {
        let empty = || Family { by_len: Vec::new() };
        Routes {
            v4: empty(),
            v6: empty(),
        }
    }
}

impl<V> Routes<V> {
    /// Point a prefix at a value; what it pointed at before is returned.
    pub fn insert(&mut self, prefix: Prefix, value: V) -> Option<V> {
        let family = self.family(prefix.v6);
        let at = match family
            .by_len
            .binary_search_by(|(len, _)| prefix.len.cmp(len))
        {
            Ok(at) => at,
            Err(at) => {
                family.by_len.insert(at, (prefix.len, HashMap::new()));
                at
            }
        };
        family.by_len[at].1.insert(prefix.bits, value)
    }

    /// Remove a prefix if `mine` says that its value is the caller's.
    pub fn remove_if(&mut self, prefix: Prefix, mine: impl Fn(&V) -> bool) {
        let family = self.family(prefix.v6);
        if let Ok(at) = family
            .by_len
            .binary_search_by(|(len, _)| prefix.len.cmp(len))
        {
            let map = &mut family.by_len[at].1;
            if map.get(&prefix.bits).is_some_and(mine) {
                map.remove(&prefix.bits);
            }
            if map.is_empty() {
                family.by_len.remove(at);
            }
        }
    }

    /// The value of the longest prefix that holds an address.
    pub fn get(&self, address: IpAddr) -> Option<&V> {
        let (v6, bits) = number(address);
        let family = if v6 { &self.v6 } else { &self.v4 };
        family
            .by_len
            .iter()
            .find_map(|(len, map)| map.get(&(bits & mask(v6, *len))))
    }

    fn family(&mut self, v6: bool) -> &mut Family<V> {
        if v6 { &mut self.v6 } else { &mut self.v4 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address() -> impl Strategy<Value = IpAddr> {
        // Few distinct bits, so that prefixes and addresses meet.
        prop_oneof![
            (0u32..16, 0u32..4)
                .prop_map(|(high, low)| IpAddr::V4(Ipv4Addr::from(high << 28 | low))),
            (0u128..16, 0u128..4)
                .prop_map(|(high, low)| IpAddr::V6(Ipv6Addr::from(high << 124 | low))),
        ]
    }

    fn prefix() -> impl Strategy<Value = Prefix> {
        (address(), 0u8..=128).prop_map(|(address, len)| {
            Prefix::new(address, len % (width(address.is_ipv6()) + 1)).unwrap()
        })
    }

    proptest! {
        #[test]
        fn longest_match_agrees_with_a_linear_search(
            entries in prop::collection::vec(prefix(), 0..40),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            probes in prop::collection::vec(address(), 1..40),
        ) {
            let mut routes = Routes::default();
            let mut naive: Vec<(Prefix, usize)> = Vec::new();
            for (value, entry) in entries.iter().enumerate() {
                routes.insert(*entry, value);
                naive.retain(|(known, _)| known != entry);
                naive.push((*entry, value));
            }
            for index in removed {
                if !entries.is_empty() {
                    let entry = *index.get(&entries);
                    routes.remove_if(entry, |_| true);
                    naive.retain(|(known, _)| *known != entry);
                }
            }
            for probe in probes {
                let expected = naive
                    .iter()
                    .filter(|(known, _)| known.contains(probe))
                    .max_by_key(|(known, _)| known.len)
                    .map(|(_, value)| value);
                prop_assert_eq!(routes.get(probe), expected);
            }
        }

        #[test]
        fn a_set_agrees_with_asking_each_range(
            prefixes in prop::collection::vec(prefix(), 0..20),
            probes in prop::collection::vec(address(), 1..40),
        ) {
            let set = AddressSet::new(prefixes.iter().map(Prefix::range));
            for probe in probes {
                prop_assert_eq!(set.contains(probe), prefixes.iter().any(|p| p.contains(probe)));
            }
        }
    }

    #[test]
    fn text_is_an_address_a_prefix_or_a_range() {
        assert!("100.64.0.0/10".parse::<Prefix>().is_ok());
        let range: Range = "10.0.0.3-10.0.0.9".parse().unwrap();
        assert!(range.contains("10.0.0.9".parse().unwrap()));
        assert!(!range.contains("10.0.0.10".parse().unwrap()));
        for bad in [
            "",
            "1.2.3.4/33",
            "::/129",
            "9.9.9.9-1.1.1.1",
            "1.1.1.1-::1",
            "x",
        ] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mapped_address_is_not_its_ipv4_twin() {
        let prefix: Prefix = "10.0.0.0/8".parse().unwrap();
        assert!(!prefix.contains("::ffff:10.0.0.1".parse().unwrap()));
    }
}

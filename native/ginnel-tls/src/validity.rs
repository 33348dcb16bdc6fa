//! The dates of an X.509 certificate (RFC 5280 §4.1.2.5), for certificates that no authority vouches for.

use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

use crate::verify::unreadable;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Refuse a certificate before its first and after its last second.
pub fn check(certificate: &[u8], now: UnixTime) -> Result<(), Error> {
    let (first, last) = dates(certificate).ok_or_else(unreadable)?;
    match now.as_secs() {
        now if now < first => Err(CertificateError::NotValidYet.into()),
        now if now > last => Err(CertificateError::Expired.into()),
        _ => Ok(()),
    }
}

fn dates(certificate: &[u8]) -> Option<(u64, u64)> {
    let (SEQUENCE, body, _) = element(certificate)? else {
        return None;
    };
    let (SEQUENCE, mut rest, _) = element(body)? else {
        return None;
    };
    if let Some((VERSION, _, after)) = element(rest) {
        rest = after;
    }
    for _serial_signature_issuer in 0..3 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, validity, _) = element(rest)? else {
        return None;
    };
    let (kind, first, rest) = element(validity)?;
    let (kind_of_last, last, _) = element(rest)?;
    Some((seconds(kind, first)?, seconds(kind_of_last, last)?))
}

/// Tag, content, what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (size, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let size = digits
                .iter()
                .fold(0usize, |size, byte| size << 8 | usize::from(*byte));
            (size, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(size)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` as seconds since 1970; before that is 0.
fn seconds(kind: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match kind {
        UTC_TIME if digits.len() == 12 => {
            let short = number(&digits[..2])?;
            // RFC 5280 §4.1.2.5.1: 50 and above is the last century.
            (short + if short >= 50 { 1900 } else { 2000 }, &digits[2..])
        }
        GENERALIZED_TIME if digits.len() == 14 => (number(&digits[..4])?, &digits[4..]),
        _ => return None,
    };
    let field = |at: usize| number(&rest[2 * at..2 * at + 2]);
    let (month, day) = (field(0)?, field(1)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let time = field(2)? * 3600 + field(3)? * 60 + field(4)?;
    u64::try_from(days_since_1970(year, month, day) * 86400 + time).map_or(Some(0), Some)
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}

/// Days in the Gregorian calendar, counted in years that begin in March so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_dates() {
        assert_eq!(seconds(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, b"240229120000Z"), Some(1_709_208_000));
        assert_eq!(
            seconds(GENERALIZED_TIME, b"20500101000000Z"),
            Some(2_524_608_000)
        );
        assert_eq!(
            seconds(GENERALIZED_TIME, b"99991231235959Z"),
            Some(253_402_300_799)
        );
        assert_eq!(seconds(UTC_TIME, b"500101000000Z"), Some(0));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for bad in [
            &b"241301000000Z"[..],
            b"24010100000Z",
            b"240101000000",
            b"2401+1000000Z",
        ] {
            assert_eq!(seconds(UTC_TIME, bad), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_dates_or_none(bytes: Vec<u8>) {
            dates(&bytes);
        }
    }
}

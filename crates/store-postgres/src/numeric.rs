//! PostgreSQL's binary `numeric`, for whole numbers: a header of four 16-bit words and digits of base 10,000.

use bytes::{BufMut, BytesMut};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const BASE: u128 = 10_000;

/// Writes `minor` as a `numeric` without a fraction.
pub(crate) fn encode(minor: i128, out: &mut BytesMut) {
    // An i128 has at most 39 decimal digits: ten digits of base 10,000, the lowest first.
    let mut digits = [0_u16; 10];
    let mut count: u16 = 0;
    let mut rest = minor.unsigned_abs();
    for digit in &mut digits {
        if rest == 0 {
            break;
        }
        *digit = u16::try_from(rest % BASE).unwrap_or_default();
        rest /= BASE;
        count += 1;
    }
    let used = digits.get(..usize::from(count)).unwrap_or_default();
    let trailing_zeros = used.iter().take_while(|digit| **digit == 0).count();
    let stored = used.get(trailing_zeros..).unwrap_or_default();
    out.put_u16(u16::try_from(stored.len()).unwrap_or_default());
    out.put_u16(count.saturating_sub(1));
    out.put_u16(if minor < 0 { NEGATIVE } else { POSITIVE });
    out.put_u16(0);
    for digit in stored.iter().rev() {
        out.put_u16(*digit);
    }
}

/// Reads a `numeric`; `None` when it is no whole number, not a number, or more than an `i128` holds.
pub(crate) fn decode(raw: &[u8]) -> Option<i128> {
    let mut words = raw.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
    let count = words.next()?;
    let weight = i16::from_be_bytes(words.next()?.to_be_bytes());
    let sign = words.next()?;
    let _display_scale = words.next()?;
    if sign != POSITIVE && sign != NEGATIVE {
        return None;
    }
    let mut value: i128 = 0;
    let mut place = i32::from(weight);
    for _ in 0..count {
        let digit = i128::from(words.next()?);
        if place >= 0 {
            // Negative all the way, so that the least i128 can be read too.
            value = value.checked_mul(10_000)?.checked_sub(digit)?;
        } else if digit != 0 {
            return None;
        }
        place -= 1;
    }
    // Trailing digits of zero are not sent.
    while value != 0 && place >= 0 {
        value = value.checked_mul(10_000)?;
        place -= 1;
    }
    if sign == NEGATIVE { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(minor: i128) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode(minor, &mut out);
        out.to_vec()
    }

    #[test]
    fn every_kind_of_number_comes_back() {
        let limit = 10_i128.pow(38) - 1;
        let mut samples = vec![0, 1, -1, 9_999, 10_000, 10_001, 99_999_999, 100_000_000, limit, -limit];
        samples.extend([i128::MAX, i128::MIN, i128::MIN + 1, 120_000_000_000_000, -1_0000_0000_0000]);
        samples.extend((0..38).flat_map(|power| {
            let ten = 10_i128.pow(power);
            [ten, -ten, ten - 1, ten + 1, 7 * (ten / 3)]
        }));
        for minor in samples {
            assert_eq!(decode(&encoded(minor)), Some(minor), "{minor}");
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_server() {
        assert_eq!(encoded(0), [0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encoded(-12_345), [0, 2, 0, 1, 0x40, 0, 0, 0, 0, 1, 0x09, 0x29]);
        assert_eq!(encoded(50_000), [0, 1, 0, 1, 0, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn what_is_no_whole_number_is_refused() {
        assert_eq!(decode(&[0, 1, 0xff, 0xff, 0, 0, 0, 2, 0x13, 0x88]), None, "0.50");
        assert_eq!(decode(&[0, 0, 0, 0, 0xc0, 0, 0, 0]), None, "NaN");
        assert_eq!(decode(&[0, 1, 0, 11, 0, 0, 0, 0, 0, 1]), None, "10^44");
        assert_eq!(decode(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 1]), None, "cut off");
        assert_eq!(decode(&[0, 2, 0, 0, 0, 0, 0, 2, 0, 7, 0, 0]), Some(7), "7.00");
    }
}

//! Integers in as few bytes as they need: LEB128, the low seven bits first (DWARF 5, section 7.6); signed ones zigzag,
//! so that small figures below zero are short, too. Each number has one form.

/// Appends a number.
pub fn put_unsigned(out: &mut Vec<u8>, mut value: u128) {
    // The eighth bit says that more follow.
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

/// Appends a number that may be below zero.
pub fn put_signed(out: &mut Vec<u8>, value: i128) {
    put_unsigned(out, ((value << 1) ^ (value >> 127)).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a signed number back, by the definition.
    fn take_signed(bytes: &mut &[u8]) -> i128 {
        let (mut value, mut shift) = (0_u128, 0);
        loop {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u128::from(first & 0x7f) << shift;
            shift += 7;
            if first & 0x80 == 0 {
                break;
            }
        }
        let half = (value / 2).cast_signed();
        if value % 2 == 0 { half } else { -half - 1 }
    }

    proptest! {
        /// So no two rows of numbers have one form.
        #[test]
        fn numbers_are_read_back_whatever_follows(numbers in prop::collection::vec(any::<i128>(), 1..5)) {
            let mut out = Vec::new();
            for number in &numbers {
                put_signed(&mut out, *number);
                put_signed(&mut out, number % 100);
            }
            let mut rest = out.as_slice();
            for number in numbers {
                prop_assert_eq!((take_signed(&mut rest), take_signed(&mut rest)), (number, number % 100));
            }
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn small_figures_take_a_byte_and_the_widest_nineteen() {
        for (number, length) in [(0, 1), (-1, 1), (63, 1), (-64, 1), (64, 2), (i128::MAX, 19), (i128::MIN, 19)] {
            let mut out = Vec::new();
            put_signed(&mut out, number);
            assert_eq!(out.len(), length, "{number}");
        }
    }
}

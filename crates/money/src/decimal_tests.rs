//! Tables and properties of decimal text.

use proptest::prelude::*;

use super::ParseDecimalError::{Empty, NotANumber, TooLarge, TooPrecise};
use super::*;

#[test]
fn text_becomes_minor_units_exactly() {
    let table: &[(&str, u8, i128)] = &[
        ("1000", 2, 100_000),
        ("1000.00", 2, 100_000),
        ("0.05", 2, 5),
        ("-0.05", 2, -5),
        ("+0.05", 2, 5),
        ("-0", 2, 0),
        ("-0.00", 2, 0),
        (".5", 2, 50),
        ("-.5", 2, -50),
        ("5.", 2, 500),
        ("007", 0, 7),
        ("0000000000000000000000000000000000000000000000001", 0, 1),
        ("1.1e1", 0, 11),
        ("1.1E+1", 2, 1100),
        ("150e-2", 2, 150),
        ("15e-1", 2, 150),
        ("1e3", 2, 100_000),
        ("1e0", 0, 1),
        ("1e00000000000000000000000000000000000000002", 0, 100),
        ("0.001", 3, 1),
        ("0e999999999999999999999999", 2, 0),
        // Eighteen digits and more survive: no double is on the way.
        ("123456789012345678.91", 2, 12_345_678_901_234_567_891),
        ("99999999999999999999999999999999999999", 0, 10_i128.pow(38) - 1),
        ("-999999999999999999999999999999999999.99", 2, 1 - 10_i128.pow(38)),
        ("1e37", 0, 10_i128.pow(37)),
    ];
    for (text, exponent, minor) in table {
        assert_eq!(parse_minor(text, *exponent), Ok(*minor), "{text} with {exponent} places");
    }
}

#[test]
fn text_that_is_not_an_amount_is_refused_by_cause() {
    let table: &[(&str, u8, ParseDecimalError)] = &[
        ("", 2, Empty),
        ("1.000", 2, TooPrecise { allowed: 2 }),
        ("0.000", 2, TooPrecise { allowed: 2 }),
        ("1.001", 2, TooPrecise { allowed: 2 }),
        ("1e-3", 2, TooPrecise { allowed: 2 }),
        ("1000e-3", 2, TooPrecise { allowed: 2 }),
        ("1.0", 0, TooPrecise { allowed: 0 }),
        ("1e-99999999999999999999999999999999", 2, TooPrecise { allowed: 2 }),
        ("0e-3", 2, TooPrecise { allowed: 2 }),
        ("100000000000000000000000000000000000000", 0, TooLarge),
        ("1000000000000000000000000000000000000", 2, TooLarge),
        ("1e38", 0, TooLarge),
        ("1e999999999", 2, TooLarge),
        ("-1e9999999999999999999999999999999999999999", 2, TooLarge),
    ];
    for (text, exponent, error) in table {
        assert_eq!(parse_minor(text, *exponent), Err(*error), "{text:?} with {exponent} places");
    }
}

#[test]
fn what_is_not_a_number_is_refused_by_both_readers() {
    let words = ["NaN", "nan", "sNaN", "Infinity", "-inf", "null", "true", "ten"];
    let signs = ["-", "+", "--1", "+-1", "1-", ".", "-.", "e5", ".e5", "1e", "1e+", "1e1.5", "1e1e1", "1.2.3", "1..2"];
    let digits = ["1_000", "1,000", "1 000", " 1", "1 ", "1\n", "\u{a0}1", "１０", "٣", "1\0", "0x10", "1f", "$1", "½"];
    for text in words.into_iter().chain(signs).chain(digits) {
        assert_eq!(parse_minor(text, 2), Err(NotANumber), "{text:?}");
        assert_eq!(decimal_digits(text), Err(NotANumber), "{text:?}");
    }
    assert_eq!(decimal_digits(""), Err(Empty));
}

#[test]
fn digits_are_counted_as_python_counts_them() {
    // Text, then total, integer and fraction digits: taken from Python's `Decimal(text).as_tuple()`.
    let table: &[(&str, u32, u32, u32)] = &[
        ("0", 1, 1, 0),
        ("0.0", 1, 0, 1),
        ("0.00", 2, 0, 2),
        ("0e3", 4, 4, 0),
        ("1", 1, 1, 0),
        ("001", 1, 1, 0),
        ("1.000", 4, 1, 3),
        ("0.05", 2, 0, 2),
        ("0.001", 3, 0, 3),
        (".5", 1, 0, 1),
        ("5.", 1, 1, 0),
        ("12.34", 4, 2, 2),
        ("00012.34", 4, 2, 2),
        ("1e3", 4, 4, 0),
        ("1.5e3", 4, 4, 0),
        ("1.50e1", 3, 2, 1),
        ("1.1e1", 2, 2, 0),
        ("1e-3", 3, 0, 3),
        ("123e-2", 3, 1, 2),
        ("12e-2", 2, 0, 2),
        ("0.10e-1", 3, 0, 3),
        ("99999999999999999999999999999999999999999.5", 42, 41, 1),
    ];
    for (text, total, integer, fraction) in table {
        let digits = decimal_digits(text).unwrap();
        let counted = (digits.total_digits, digits.integer_digits, digits.fraction_digits);
        assert_eq!(counted, (*total, *integer, *fraction), "{text}");
    }
}

#[test]
fn signs_and_zeros_are_told() {
    for (text, negative, is_zero) in
        [("-0.00", true, true), ("0e5", false, true), ("-1", true, false), ("+0.001", false, false)]
    {
        let digits = decimal_digits(text).unwrap();
        assert_eq!((digits.negative, digits.is_zero), (negative, is_zero), "{text}");
    }
}

#[test]
fn counts_stop_instead_of_overflowing() {
    let large = decimal_digits("1e99999999999999999999999999").unwrap();
    assert_eq!((large.total_digits, large.integer_digits, large.fraction_digits), (u32::MAX, u32::MAX, 0));
    let small = decimal_digits("1.5e-99999999999999999999999999").unwrap();
    assert_eq!((small.total_digits, small.integer_digits, small.fraction_digits), (u32::MAX, 0, u32::MAX));
}

#[test]
fn minor_units_print_with_exactly_the_assets_places() {
    let table = [
        (100_000, 2, "1000.00"),
        (-5, 2, "-0.05"),
        (0, 2, "0.00"),
        (7, 0, "7"),
        (-7, 0, "-7"),
        (0, 0, "0"),
        (1, 3, "0.001"),
        (12_345, 4, "1.2345"),
        (1, 18, "0.000000000000000001"),
        (i128::MIN, 0, "-170141183460469231731687303715884105728"),
        (i128::MAX, 2, "1701411834604692317316873037158841057.27"),
    ];
    for (minor, exponent, text) in table {
        assert_eq!(format_minor(minor, exponent), text);
    }
    assert_eq!(format_minor(-1, u8::MAX).len(), "-0.".len() + 255);
}

/// Text that is nearly a number, for the parser to stumble over.
fn near_number() -> impl Strategy<Value = String> {
    "[-+]{0,2}[0-9]{0,45}[.]{0,2}[0-9]{0,25}([eE][-+]{0,2}[0-9]{0,25})?[ _a-z]?"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_printed_reads_back(minor in (1 - LIMIT_MINOR)..LIMIT_MINOR, exponent in 0_u8..=18) {
        prop_assert_eq!(parse_minor(&format_minor(minor, exponent), exponent), Ok(minor));
    }

    #[test]
    fn small_amounts_read_back_too(minor in -1000_i128..1000, exponent in 0_u8..=18) {
        prop_assert_eq!(parse_minor(&format_minor(minor, exponent), exponent), Ok(minor));
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in any::<String>(), exponent in any::<u8>()) {
        let _ = (parse_minor(&text, exponent), decimal_digits(&text));
    }

    #[test]
    fn near_numbers_are_read_within_bounds_or_refused(text in near_number(), exponent in any::<u8>()) {
        let digits = decimal_digits(&text);
        match parse_minor(&text, exponent) {
            Ok(minor) => {
                prop_assert!(is_within_max_digits(minor));
                let digits = digits.unwrap();
                prop_assert!(digits.fraction_digits <= u32::from(exponent));
                prop_assert_eq!(digits.is_zero, minor == 0);
                prop_assert!(minor == 0 || digits.negative == (minor < 0));
            }
            Err(TooPrecise { allowed }) => prop_assert!(digits.unwrap().fraction_digits > u32::from(allowed)),
            Err(TooLarge) => {
                prop_assert!(u64::from(digits.unwrap().integer_digits) + u64::from(exponent) > u64::from(MAX_DIGITS));
            }
            Err(error) => prop_assert_eq!(digits, Err(error)),
        }
    }

    #[test]
    fn a_moved_point_and_its_exponent_are_one_number(minor in -1_000_000_i128..1_000_000, moved in 0_u8..12) {
        let text = format!("{}e{moved}", format_minor(minor, moved + 2));
        prop_assert_eq!(parse_minor(&text, 2), Ok(minor));
        prop_assert_eq!(decimal_digits(&text).unwrap().fraction_digits, 2);
    }
}

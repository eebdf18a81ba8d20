//! What rows of CSV files are, and what is refused of them.

use super::*;
use crate::import::row::RowItem;

const WALLET: &str = "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11";
const NAMES: &str = "type,amount,wallet,reason\n";

/// Line numbers with amounts or refusals, and the place behind the last row.
fn rows(text: &[u8]) -> (Vec<String>, Place) {
    let (mut reader, mut place) = (text, (0, 1));
    let mut table = Table::open(&mut reader, &mut place).unwrap();
    let mut told = Vec::new();
    while let Some((line, row)) = table.next_row(&mut reader, &mut place).unwrap() {
        told.push(match row {
            Ok(RowItem { amount, .. }) => format!("{line} {amount}"),
            Err(refusal) => format!("{line} {}", refusal.detail),
        });
    }
    (told, place)
}

/// The file's rows behind the names, with the wallet's id in the place of `W`.
fn rows_of(text: &str) -> Vec<String> {
    let text = format!("{NAMES}{}", text.replace('W', WALLET));
    let (told, place) = rows(text.as_bytes());
    assert_eq!(place.0, text.len() as u64, "read to the end");
    told
}

#[test]
fn a_quote_that_is_never_closed_refuses_its_row_and_says_where() {
    let behind = "is never closed; nothing behind it was read.";
    for end in ["", "\n", "\r\n"] {
        let text = format!("DEPOSIT,5,W,\"oops\nDEPOSIT,6,W,\nDEPOSIT,7,W,{end}");
        let expected = format!("2 A quote opened on line 2 {behind}");
        assert_eq!(rows_of(&text), [expected], "{end:?}");
    }
    // The quote that is open, not the row's first one.
    let text = "DEPOSIT,1,W,\nDEPOSIT,\"2\n\",W,\"\nDEPOSIT,3,W,\n";
    assert_eq!(rows_of(text), ["2 1".to_owned(), format!("3 A quote opened on line 4 {behind}")]);
    assert_eq!(rows_of("DEPOSIT,1,W,\n\""), ["2 1".to_owned(), format!("3 A quote opened on line 3 {behind}")]);
}

#[test]
fn text_behind_a_closing_quote_refuses_the_row() {
    let text = "DEPOSIT,5,W,\"oops\nDEPOSIT,6,W,\"fine\"\nDEPOSIT,7,W,\"a \"\"b\"\"\" \r\nDEPOSIT,8,W,\"a\" \"b\"\n\
                DEPOSIT,9,W,5\" pipe\n";
    let broken =
        |from: u32, to: u32| format!("The quote opened on line {from} is closed on line {to} before its value");
    let told = rows_of(text);
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[0], format!("2 {} ends. The row is lines 2 to 3.", broken(2, 3)));
    assert_eq!(told[1], "4 7");
    assert_eq!(told[2], format!("5 {} ends.", broken(5, 5)));
    assert_eq!(told[3], "6 9");
}

#[test]
fn a_row_that_is_too_long_is_passed_over_whole() {
    let long = "x".repeat(70_000);
    // What stands on a line of its own inside the quotes is a text, however long it is.
    let inside = format!("DEPOSIT,1,W,\"{long}\nDEPOSIT,2,W,\n\"\nDEPOSIT,3,W,{long}\nDEPOSIT,4,W,\n");
    let expected = [
        "2 The row is longer than 65536 bytes. The row is lines 2 to 4.",
        "5 The row is longer than 65536 bytes.",
        "6 4",
    ];
    assert_eq!(rows_of(&inside), expected);
    let text = format!("{NAMES}DEPOSIT,1,{WALLET},\"{}", "DEPOSIT,1,,\n".repeat(100_000));
    let (mut reader, mut place) = (text.as_bytes(), (0, 1));
    let mut table = Table::open(&mut reader, &mut place).unwrap();
    let (line, row) = table.next_row(&mut reader, &mut place).unwrap().unwrap();
    assert!(line == 2 && row.unwrap_err().detail.contains("opened on line 2 is never closed"));
    let held = table.record.bytes.capacity() + 8 * table.record.ends.capacity();
    assert!(held < 1 << 20, "{held} bytes are held of a row of {}", text.len());
    // Exactly as long as it may be.
    let fits = format!("DEPOSIT,1,{WALLET},");
    let fits = format!("{fits}{}\n", "x".repeat(usize::try_from(LINE_MAX).unwrap() - fits.len()));
    assert_eq!(rows_of(&fits), ["2 reason is longer than 500 characters, or has a null."]);
}

#[test]
fn a_line_of_names_is_bounded_and_closes_its_quotes() {
    let open = |text: &[u8]| {
        let (mut reader, mut place) = (text, (0, 1));
        Table::open(&mut reader, &mut place).err().map(|error| error.to_string())
    };
    assert_eq!(open(b"\xef\xbb\xbf\"type\",\"amount\" ,\"wallet\"\r\n"), None);
    let said = open(format!("type,amount,wallet,{}", "x".repeat(70_000)).as_bytes()).unwrap();
    assert!(said.ends_with("The row is longer than 65536 bytes."), "{said}");
    let said = open(b"type,amount,\"wallet\nDEPOSIT,1,x\n").unwrap();
    assert!(said.contains("A quote opened on line 1 is never closed"), "{said}");
}

/// What a row is, by the `csv` crate: its values, trimmed; blank rows left out.
fn peer(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let terminator = csv::Terminator::Any(b'\n');
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).terminator(terminator).from_reader(text);
    let trimmed =
        |record: csv::ByteRecord| -> Vec<Vec<u8>> { record.iter().map(|value| value.trim_ascii().to_vec()).collect() };
    let rows = reader.byte_records().map(|record| trimmed(record.unwrap()));
    rows.filter(|row| row.len() > 1 || !row[0].is_empty()).collect()
}

proptest::proptest! {
    /// What is quoted as it should be is read as by the `csv` crate.
    #[test]
    fn rows_are_those_of_the_csv_crate(text in "[a\",\n\r ]{0,40}") {
        let (mut reader, mut place) = (text.as_bytes(), (0, 1));
        let (mut record, mut read, mut is_right) = (Record::default(), Vec::new(), true);
        while let Some((line, row)) = record.read(&mut reader, &mut place).unwrap() {
            is_right &= row.is_ok();
            read.push(record.values().map(|value| value.trim_ascii().to_vec()).collect::<Vec<_>>());
            let before = text.as_bytes()[..usize::try_from(place.0).unwrap()].iter().filter(|byte| **byte == b'\n');
            let behind = 1 + before.count() as u64;
            proptest::prop_assert!(place.1 == behind && line <= record.last_line && record.last_line <= behind);
        }
        if is_right {
            proptest::prop_assert_eq!(read, peer(text.as_bytes()));
        }
    }
}

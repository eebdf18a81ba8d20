//! The rows of a file, from any place that a former run came to.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ImportError, ImportFormat,
    row::{RowItem, RowTexts, invalid, without_idle_zeros},
    table::Table,
};
use crate::wallet::ItemRefusal;

/// Longest row, bytes: a line of a JSONL file, in CSV all lines of the row. Longer ones are refused and passed over.
pub(super) const LINE_MAX: u64 = 64 * 1024;

/// A place in the file: bytes from the start, and the number of the line there, from 1.
pub(super) type Place = (u64, u64);

/// One row: the number of its line, and the item or why it is none.
pub(super) type SourceRow = (u64, Result<RowItem, ItemRefusal>);

/// An open file of rows.
pub struct Source {
    reader: BufReader<File>,
    place: Place,
    form: Form,
}

enum Form {
    Csv(Table),
    /// With the line read last.
    Jsonl(Vec<u8>),
}

impl Source {
    /// Opens the file, and reads the names of its columns if it has such.
    ///
    /// # Errors
    /// [`ImportError::BadFile`] when it has no rows or not the columns it needs, [`ImportError::Failure`] when it
    /// cannot be read.
    pub fn open(path: &Path, format: ImportFormat) -> Result<Self, ImportError> {
        // Looked at before it is opened, as to open a pipe waits for its writer.
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            let text = "A regular file is needed: a pipe or a folder has no place to go on from.";
            return Err(ImportError::BadFile(text.to_owned()));
        }
        let file = File::open(path)?;
        if metadata.len() == 0 {
            return Err(ImportError::BadFile("The file is empty.".to_owned()));
        }
        let (mut reader, mut place) = (BufReader::new(file), (0, 1));
        let form = match format {
            ImportFormat::Csv => Form::Csv(Table::open(&mut reader, &mut place)?),
            ImportFormat::Jsonl => Form::Jsonl(Vec::new()),
        };
        Ok(Self { reader, place, form })
    }

    /// Goes on from a place that [`Source::place`] gave; place 0 is the first row.
    pub(super) fn go_to(&mut self, place: Place) -> io::Result<()> {
        if place.0 != 0 && place != self.place {
            self.reader.seek(SeekFrom::Start(place.0))?;
            self.place = place;
        }
        Ok(())
    }

    /// Where the next row begins.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The next row; none at the end.
    pub(super) fn next_row(&mut self) -> io::Result<Option<SourceRow>> {
        match &mut self.form {
            Form::Csv(table) => table.next_row(&mut self.reader, &mut self.place),
            Form::Jsonl(line) => next_line(&mut self.reader, &mut self.place, line),
        }
    }
}

fn next_line(reader: &mut BufReader<File>, place: &mut Place, line: &mut Vec<u8>) -> io::Result<Option<SourceRow>> {
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_MAX + 1).read_until(b'\n', line)?;
        if read == 0 {
            return Ok(None);
        }
        let number = place.1;
        let mut bytes = read as u64;
        let is_long = bytes > LINE_MAX && line.last() != Some(&b'\n');
        if is_long {
            bytes += skip_line(reader)?;
        }
        *place = (place.0 + bytes, number + 1);
        if is_long {
            return Ok(Some((number, Err(invalid(format!("The line is longer than {LINE_MAX} bytes."))))));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some((number, read_object(line))));
        }
    }
}

/// Passes over the rest of a line; gives how many bytes it was.
fn skip_line(reader: &mut BufReader<File>) -> io::Result<u64> {
    let mut passed = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(buffer.len(), |end| end + 1);
        let is_over = end.is_some() || buffer.is_empty();
        reader.consume(count);
        passed += count as u64;
        if is_over {
            return Ok(passed);
        }
    }
}

/// The members of a line. The amount is kept as it is written: a number or a string.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    wallet: Option<String>,
    from: Option<String>,
    to: Option<String>,
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    direction: Option<String>,
    reason: Option<String>,
}

fn read_object(line: &[u8]) -> Result<RowItem, ItemRefusal> {
    let text = std::str::from_utf8(line).map_err(|_| invalid("The line is not UTF-8.".to_owned()))?;
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    // A list of the members' values would be taken for an object.
    if !text.starts_with('{') {
        return Err(invalid("An object is required.".to_owned()));
    }
    let object: Object<'_> = serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        // Its line is the first one of this text, not the file's.
        let place = format!(" at line {} column {}", error.line(), error.column());
        invalid(format!("{}.", said.strip_suffix(&place).unwrap_or(&said)))
    })?;
    let amount = object.amount.map(|amount| read_amount_text(amount.get())).transpose()?;
    let members = [&object.kind, &object.wallet, &object.from, &object.to, &amount, &object.direction, &object.reason];
    RowTexts(members.map(Option::as_deref)).read()
}

/// The text of an amount: a string's, or a number as it is written.
fn read_amount_text(json: &str) -> Result<String, ItemRefusal> {
    if json.starts_with('"') {
        return serde_json::from_str(json).map_err(|_| invalid("amount is not a number.".to_owned()));
    }
    Ok(without_idle_zeros(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALLET: &str = "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11";

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        file
    }

    /// Line numbers with amounts or refusals.
    fn rows(source: &mut Source, most: usize) -> Vec<String> {
        let next = || source.next_row().unwrap();
        let told = |(line, row): SourceRow| match row {
            Ok(item) => format!("{line} {}", item.amount),
            Err(refusal) => format!("{line} {}", refusal.detail),
        };
        std::iter::from_fn(next).take(most).map(told).collect()
    }

    #[test]
    fn rows_of_csv_have_the_lines_they_begin_on() {
        let text = format!(
            "\u{feff}type, amount,wallet,reason\r\nDEPOSIT,1,{WALLET},\"two\nlines\"\nDEPOSIT, 2 ,{WALLET},\n\n\
             DEPOSIT,3\nDEPOSIT,4,x,\nDEPOSIT,5,{WALLET},\"a,\"\"b\"\"\"\n"
        );
        let file = file(text.as_bytes());
        let mut source = Source::open(file.path(), ImportFormat::Csv).unwrap();
        let expected = [
            "2 1",
            "4 2",
            "6 The row has 2 values where the first line names 4 columns.",
            "7 wallet is not a UUID.",
            "8 5",
        ];
        assert_eq!(rows(&mut source, 9), expected);
    }

    #[test]
    fn reading_goes_on_where_it_stopped() {
        let csv: String = (1..=9).map(|n| format!("DEPOSIT,{n},{WALLET},\"a\nb\"\n")).collect();
        let csv = format!("type,amount,wallet,reason\n{csv}");
        let jsonl: String =
            (1..=9).map(|n| format!("{{\"type\":\"DEPOSIT\",\"amount\":{n},\"wallet\":\"{WALLET}\"}}\n\n")).collect();
        for (text, format) in [(csv, ImportFormat::Csv), (jsonl, ImportFormat::Jsonl)] {
            let file = file(text.as_bytes());
            let whole = rows(&mut Source::open(file.path(), format).unwrap(), 99);
            assert_eq!(whole.len(), 9);
            for stop in 0..=9 {
                let mut first = Source::open(file.path(), format).unwrap();
                let mut read = rows(&mut first, stop);
                let mut second = Source::open(file.path(), format).unwrap();
                second.go_to(if stop == 0 { (0, 0) } else { first.place() }).unwrap();
                read.extend(rows(&mut second, 99));
                assert_eq!(read, whole, "{format:?} stopped after {stop}");
            }
        }
    }

    #[test]
    fn a_file_that_is_none_is_refused_whole() {
        let amount_only = "type,amount\n";
        for (bytes, said) in [
            (&b""[..], "The file is empty."),
            (b"a,b\n1,2\n", "names a column \"a\""),
            (b"type,type,amount,wallet\n", "type twice"),
            (amount_only.as_bytes(), "must name the columns"),
            (b"type,\xff,amount\n", "not UTF-8"),
        ] {
            let error = Source::open(file(bytes).path(), ImportFormat::Csv).err().unwrap();
            assert!(matches!(&error, ImportError::BadFile(text) if text.contains(said)), "{error}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for format in [ImportFormat::Csv, ImportFormat::Jsonl] {
            let error = Source::open(folder.path(), format).err().unwrap();
            assert!(matches!(&error, ImportError::BadFile(text) if text.contains("regular file")), "{error}");
        }
    }

    #[test]
    fn lines_that_are_no_rows_are_refused_one_by_one() {
        let mut text = format!(
            "{{\"type\":\"DEPOSIT\",\"amount\":\"1.50\",\"wallet\":\"{WALLET}\"}}\nnull\n\
             [\"DEPOSIT\",\"{WALLET}\",null,null,1,null,null]\n{{\n"
        );
        text.push_str(&format!("{{\"reason\":\"{}\"}}\n", "x".repeat(70_000)));
        text.push_str("{\"colour\":1}\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(b"\xff\xfe\n");
        bytes.extend_from_slice(format!("{{\"type\":\"DEPOSIT\",\"amount\":2,\"wallet\":\"{WALLET}\"}}").as_bytes());
        let file = file(&bytes);
        let rows = rows(&mut Source::open(file.path(), ImportFormat::Jsonl).unwrap(), 99);
        assert_eq!((rows.len(), rows[0].as_str(), rows[7].as_str()), (8, "1 1.50", "8 2"));
        assert_eq!(rows[4], "5 The line is longer than 65536 bytes.");
        assert_eq!(rows[6], "7 The line is not UTF-8.");
        assert_eq!((rows[1].as_str(), rows[2].as_str()), ("2 An object is required.", "3 An object is required."));
        assert_eq!(rows[3], "4 EOF while parsing an object.");
        let members = "`type`, `wallet`, `from`, `to`, `amount`, `direction`, `reason`";
        assert_eq!(rows[5], format!("6 unknown field `colour`, expected one of {members}."));
    }

    #[test]
    fn bytes_that_are_not_utf8_refuse_their_row_alone() {
        let mut bytes = b"type,amount,wallet,reason\nDEPOSIT,1,x,\xff\n".to_vec();
        bytes.extend_from_slice(format!("DEPOSIT,2,{WALLET},\n").as_bytes());
        let file = file(&bytes);
        let rows = rows(&mut Source::open(file.path(), ImportFormat::Csv).unwrap(), 9);
        assert_eq!(rows, ["2 reason is not UTF-8.", "3 2"]);
    }
}

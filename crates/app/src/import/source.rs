//! The rows of a file, from any place that a former run came to.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ImportError, ImportFormat,
    row::{MEMBERS, RowItem, RowTexts, invalid},
};
use crate::wallet::ItemRefusal;

/// Longest line of a JSONL file, bytes; longer ones are refused and passed over.
const LINE_MAX: u64 = 64 * 1024;

/// A place in the file: bytes from the start, and the number of the line there, from 1.
pub(super) type Place = (u64, u64);

/// One row: the number of its line, and the item or why it is none.
pub(super) type SourceRow = (u64, Result<RowItem, ItemRefusal>);

/// An open file of rows.
pub struct Source(Form);

enum Form {
    Csv(Box<Table>),
    Jsonl { reader: BufReader<File>, place: Place, line: Vec<u8> },
}

/// A CSV file.
struct Table {
    reader: csv::Reader<File>,
    /// For each column, the member it is.
    columns: Vec<usize>,
    record: csv::ByteRecord,
    /// Where a last line without an end ends.
    open_end: Option<u64>,
}

impl Source {
    /// Opens the file, and reads the names of its columns if it has such.
    ///
    /// # Errors
    /// [`ImportError::BadFile`] when it has no rows or not the columns it needs, [`ImportError::Failure`] when it
    /// cannot be read.
    pub fn open(path: &Path, format: ImportFormat) -> Result<Self, ImportError> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        if size == 0 {
            return Err(ImportError::BadFile("The file is empty.".to_owned()));
        }
        Ok(Self(match format {
            ImportFormat::Jsonl => Form::Jsonl { reader: BufReader::new(file), place: (0, 1), line: Vec::new() },
            ImportFormat::Csv => {
                let mut last = [0];
                file.seek(SeekFrom::Start(size - 1))?;
                file.read_exact(&mut last)?;
                file.rewind()?;
                let open_end = (last != *b"\n").then_some(size);
                // Only a line feed ends a row: then the place behind a row is the next line's start. A carriage return
                // before it is trimmed with the last value.
                let terminator = csv::Terminator::Any(b'\n');
                let mut reader = csv::ReaderBuilder::new().flexible(true).terminator(terminator).from_reader(file);
                let columns = read_columns(reader.headers().map_err(not_csv)?)?;
                Form::Csv(Box::new(Table { reader, columns, record: csv::ByteRecord::new(), open_end }))
            }
        }))
    }

    /// Goes on from a place that [`Source::place`] gave; place 0 is the first row.
    pub(super) fn go_to(&mut self, (position, line): Place) -> io::Result<()> {
        if position == 0 {
            return Ok(());
        }
        match &mut self.0 {
            Form::Csv(table) => {
                let mut place = csv::Position::new();
                place.set_byte(position).set_line(line);
                table.reader.seek(place).map_err(io::Error::other)
            }
            Form::Jsonl { reader, place, .. } => {
                reader.seek(SeekFrom::Start(position))?;
                *place = (position, line);
                Ok(())
            }
        }
    }

    /// Where the next row begins.
    pub(super) fn place(&self) -> Place {
        match &self.0 {
            Form::Csv(table) => (table.reader.position().byte(), table.reader.position().line()),
            Form::Jsonl { place, .. } => *place,
        }
    }

    /// The next row; none at the end.
    pub(super) fn next_row(&mut self) -> io::Result<Option<SourceRow>> {
        match &mut self.0 {
            Form::Csv(table) => table.next_row(),
            Form::Jsonl { reader, place, line } => next_line(reader, place, line),
        }
    }
}

impl Table {
    fn next_row(&mut self) -> io::Result<Option<SourceRow>> {
        loop {
            if !self.reader.read_byte_record(&mut self.record).map_err(io::Error::other)? {
                return Ok(None);
            }
            if self.record.len() > 1 || self.record.iter().any(|value| !value.trim_ascii().is_empty()) {
                return Ok(Some((self.line(), read_record(&self.record, &self.columns))));
            }
        }
    }

    /// The line that the row just read begins on: the reader only tells the one that it is at now.
    fn line(&self) -> u64 {
        let after = self.reader.position();
        let is_ended = self.open_end != Some(after.byte());
        let inside = self.record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        after.line().saturating_sub(inside + u64::from(is_ended))
    }
}

fn not_csv(error: csv::Error) -> ImportError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        csv::ErrorKind::Utf8 { .. } => ImportError::BadFile("The first line is not UTF-8.".to_owned()),
        _ => ImportError::BadFile("The first line cannot be read as CSV.".to_owned()),
    }
}

/// For each column, the member it is.
fn read_columns(names: &csv::StringRecord) -> Result<Vec<usize>, ImportError> {
    let known = MEMBERS.join(", ");
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        // Spreadsheets put a mark of the byte order first.
        let name = name.trim_start_matches('\u{feff}').trim();
        let member = MEMBERS.iter().position(|member| *member == name).ok_or_else(|| {
            let shown: String = name.chars().take(50).collect();
            ImportError::BadFile(format!("The first line names a column \"{shown}\". Columns are: {known}."))
        })?;
        if columns.contains(&member) {
            return Err(ImportError::BadFile(format!("The first line names the column {name} twice.")));
        }
        columns.push(member);
    }
    let has = |name: &str| columns.iter().any(|column| MEMBERS[*column] == name);
    if !has("type") || !has("amount") || !(has("wallet") || (has("from") && has("to"))) {
        let needed = "type, amount, and wallet (or from and to)";
        return Err(ImportError::BadFile(format!("The first line must name the columns {needed}, of: {known}.")));
    }
    Ok(columns)
}

fn read_record(record: &csv::ByteRecord, columns: &[usize]) -> Result<RowItem, ItemRefusal> {
    if record.len() != columns.len() {
        let (found, wanted) = (record.len(), columns.len());
        return Err(invalid(format!("The row has {found} values where the first line names {wanted} columns.")));
    }
    let mut texts = RowTexts::default();
    for (bytes, column) in record.iter().zip(columns) {
        let text = std::str::from_utf8(bytes).map_err(|_| invalid(format!("{} is not UTF-8.", MEMBERS[*column])))?;
        texts.0[*column] = Some(text.trim());
    }
    texts.read()
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
    let object: Object<'_> =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| invalid(format!("{error}.")))?;
    let amount = object.amount.map(|amount| {
        let text = amount.get();
        if text.starts_with('"') { serde_json::from_str(text).unwrap_or_default() } else { text.to_owned() }
    });
    let members = [&object.kind, &object.wallet, &object.from, &object.to, &amount, &object.direction, &object.reason];
    RowTexts(members.map(Option::as_deref)).read()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALLET: &str = "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11";

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
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
    fn lines_that_are_no_rows_are_refused_one_by_one() {
        let mut text = format!("{{\"type\":\"DEPOSIT\",\"amount\":\"1.50\",\"wallet\":\"{WALLET}\"}}\nnull\n[1]\n{{\n");
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
        assert!(rows[5].starts_with("6 unknown field `colour`"), "{}", rows[5]);
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

//! The rows of a CSV file, quoted as RFC 4180 says.

use std::io::{self, BufRead};

use super::{
    ImportError,
    row::{MEMBERS, RowItem, RowTexts, invalid},
    source::{LINE_MAX, Place, SourceRow},
};
use crate::wallet::ItemRefusal;

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What the columns of a file are, and the row read last.
pub(super) struct Table {
    /// For each column, the member it is.
    columns: Vec<usize>,
    record: Record,
}

impl Table {
    /// Reads the line of names.
    ///
    /// # Errors
    /// [`ImportError::BadFile`] when it does not name the columns, [`ImportError::Failure`] when it cannot be read.
    pub(super) fn open(reader: &mut impl BufRead, place: &mut Place) -> Result<Self, ImportError> {
        // Spreadsheets put a mark of the byte order first.
        if reader.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
            place.0 += BYTE_ORDER_MARK.len() as u64;
        }
        let mut record = Record::default();
        if let Some((_, Err(reason))) = record.read(reader, place)? {
            return Err(ImportError::BadFile(format!("The first line does not name the columns. {reason}")));
        }
        let mut names = Vec::new();
        for name in record.values() {
            let name = std::str::from_utf8(name);
            names.push(name.map_err(|_| ImportError::BadFile("The first line is not UTF-8.".to_owned()))?);
        }
        Ok(Self { columns: read_columns(&names)?, record })
    }

    /// The next row; none at the end.
    pub(super) fn next_row(&mut self, reader: &mut impl BufRead, place: &mut Place) -> io::Result<Option<SourceRow>> {
        let Some((line, record)) = self.record.read(reader, place)? else { return Ok(None) };
        let row = match record {
            Ok(()) => self.read_row(),
            Err(reason) => Err(invalid(reason)),
        };
        let (last, is_open) = (self.record.last_line, self.record.state == State::Quoted);
        let whole = |refusal: ItemRefusal| invalid(format!("{} The row is lines {line} to {last}.", refusal.detail));
        let row = if last > line && !is_open { row.map_err(whole) } else { row };
        Ok(Some((line, row)))
    }

    fn read_row(&self) -> Result<RowItem, ItemRefusal> {
        let (found, wanted) = (self.record.ends.len(), self.columns.len());
        if found != wanted {
            return Err(invalid(format!("The row has {found} values where the first line names {wanted} columns.")));
        }
        let mut texts = RowTexts::default();
        for (bytes, column) in self.record.values().zip(&self.columns) {
            let text =
                std::str::from_utf8(bytes).map_err(|_| invalid(format!("{} is not UTF-8.", MEMBERS[*column])))?;
            texts.0[*column] = Some(text.trim());
        }
        texts.read()
    }
}

/// For each column, the member it is.
fn read_columns(names: &[&str]) -> Result<Vec<usize>, ImportError> {
    let known = MEMBERS.join(", ");
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let name = name.trim();
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

/// Where in a record its next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// At the start of a value.
    #[default]
    Start,
    /// In a value without quotes, where a quote is a sign like any other.
    Bare,
    /// In a quoted value.
    Quoted,
    /// Behind a quote in a quoted value: the first of two that stand for one, or the closing one.
    Closing,
    /// Behind a closing quote and blanks.
    Closed,
}

/// The values of one row, in buffers that are used again. A row that is too long is passed over to its end, so that
/// nothing inside its quotes is taken for a row.
#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
    /// Where in `bytes` each value ends.
    ends: Vec<usize>,
    state: State,
    /// Bytes of the row in the file, without the line feed at its end.
    size: u64,
    /// The line that is read; behind the row's end, the last of its lines.
    last_line: u64,
    /// The line on which the quote read last was opened.
    opened_on: u64,
    /// Why this is no row.
    wrong: Option<String>,
}

impl Record {
    /// Reads the next row that is not blank: the line it begins on, and why it is none; nothing at the end.
    fn read(&mut self, reader: &mut impl BufRead, place: &mut Place) -> io::Result<Option<(u64, Result<(), String>)>> {
        loop {
            let line = place.1;
            if !self.read_any(reader, place)? {
                return Ok(None);
            }
            if let Some(reason) = self.wrong.take() {
                return Ok(Some((line, Err(reason))));
            }
            if self.ends.len() > 1 || !self.bytes.trim_ascii().is_empty() {
                return Ok(Some((line, Ok(()))));
            }
        }
    }

    /// Reads up to the line feed that ends the row, or to the end of the file; false when nothing was left.
    fn read_any(&mut self, reader: &mut impl BufRead, place: &mut Place) -> io::Result<bool> {
        self.bytes.clear();
        self.ends.clear();
        (self.state, self.size, self.last_line, self.wrong) = (State::Start, 0, place.1, None);
        loop {
            let buffer = reader.fill_buf()?;
            if buffer.is_empty() {
                let has_bytes = self.size > 0;
                if self.state == State::Quoted {
                    let line = self.opened_on;
                    self.wrong =
                        Some(format!("A quote opened on line {line} is never closed; nothing behind it was read."));
                }
                if has_bytes {
                    self.end_value();
                }
                return Ok(has_bytes);
            }
            let end = buffer.iter().position(|byte| self.is_ended_by(*byte));
            let count = end.map_or(buffer.len(), |end| end + 1);
            reader.consume(count);
            place.0 += count as u64;
            if end.is_some() {
                place.1 = self.last_line + 1;
                return Ok(true);
            }
            place.1 = self.last_line;
        }
    }

    /// Takes one byte; whether it is the line feed at the row's end.
    fn is_ended_by(&mut self, byte: u8) -> bool {
        if byte == b'\n' && self.state != State::Quoted {
            self.end_value();
            return true;
        }
        self.size += 1;
        if self.size > LINE_MAX && self.wrong.is_none() {
            self.wrong = Some(format!("The row is longer than {LINE_MAX} bytes."));
        }
        match (self.state, byte) {
            (State::Start, b'"') => (self.state, self.opened_on) = (State::Quoted, self.last_line),
            (State::Start | State::Bare | State::Closing | State::Closed, b',') => {
                self.end_value();
                self.state = State::Start;
            }
            (State::Start | State::Bare, _) => {
                self.state = State::Bare;
                self.keep(byte);
            }
            (State::Quoted, b'"') => self.state = State::Closing,
            (State::Quoted, _) => {
                self.last_line += u64::from(byte == b'\n');
                self.keep(byte);
            }
            (State::Closing, b'"') => {
                self.state = State::Quoted;
                self.keep(byte);
            }
            // Values are trimmed anyhow, and a carriage return may stand before the line feed.
            (State::Closing | State::Closed, b' ' | b'\t' | b'\r') => self.state = State::Closed,
            (State::Closing | State::Closed, _) => {
                self.state = State::Bare;
                let (from, to) = (self.opened_on, self.last_line);
                let reason = format!("The quote opened on line {from} is closed on line {to} before its value ends.");
                self.wrong.get_or_insert(reason);
            }
        }
        false
    }

    fn keep(&mut self, byte: u8) {
        if self.size <= LINE_MAX {
            self.bytes.push(byte);
        }
    }

    fn end_value(&mut self) {
        if self.size <= LINE_MAX {
            self.ends.push(self.bytes.len());
        }
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

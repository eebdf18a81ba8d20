//! The form of SQLite's write-ahead log (<https://www.sqlite.org/fileformat2.html#walformat>), read without SQLite.

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// The places, in bytes from the start, at which a commit ends: as far as checksums hold.
pub fn commit_ends(log: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    if log.len() < HEADER_BYTES {
        return ends;
    }
    let is_big_endian = word(log, 0, true) & 1 == 1;
    let page_bytes = usize::try_from(word(log, 8, true)).unwrap();
    let salts = &log[16..24];
    let mut sum = checksum((0, 0), &log[..24], is_big_endian);
    assert_eq!(sum, (word(log, 24, true), word(log, 28, true)), "the header's checksum");
    let mut start = HEADER_BYTES;
    while let Some(frame) = log.get(start..start + FRAME_HEADER_BYTES + page_bytes) {
        sum = checksum(sum, &frame[..8], is_big_endian);
        sum = checksum(sum, &frame[FRAME_HEADER_BYTES..], is_big_endian);
        if &frame[8..16] != salts || sum != (word(frame, 16, true), word(frame, 20, true)) {
            break;
        }
        start += frame.len();
        // The last frame of a commit tells the size of the database after it.
        if word(frame, 4, true) != 0 {
            ends.push(start);
        }
    }
    ends
}

fn checksum(before: (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    let (mut first, mut second) = before;
    for place in (0..bytes.len()).step_by(8) {
        first = first.wrapping_add(word(bytes, place, is_big_endian)).wrapping_add(second);
        second = second.wrapping_add(word(bytes, place + 4, is_big_endian)).wrapping_add(first);
    }
    (first, second)
}

fn word(bytes: &[u8], place: usize, is_big_endian: bool) -> u32 {
    let word: [u8; 4] = bytes[place..place + 4].try_into().unwrap();
    if is_big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

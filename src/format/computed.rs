//! Bytes that a formula gives: decimal numbers made of the content under them, and arithmetic
//! series of words. Both can be made or checked from any byte on, without memory of their own.

use super::content::{Source, compare};
use super::{Bytes, Segment};
use crate::data::Mismatch;

/// Bytes of a number: three digits and what separates it from the next.
pub const NUMBER_BYTES: u64 = 4;
/// Bytes of the length in front of a text.
pub const TEXT_HEAD_BYTES: u64 = 4;
/// The characters of texts: those of base 64 for URLs (RFC 4648, section 5).
pub static TEXT: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Bytes of a word.
pub const WORD_BYTES: u64 = 8;
/// Checked at a time, on the stack.
const SCRATCH_BYTES: usize = 2048;

/// Each byte as three decimal digits and a comma.
static NUMBERS: [[u8; NUMBER_BYTES as usize]; 256] = numbers();

const fn numbers() -> [[u8; NUMBER_BYTES as usize]; 256] {
    let mut table = [[b','; NUMBER_BYTES as usize]; 256];
    let mut value = 0;
    while value < 256 {
        table[value][0] = b'0' + (value / 100) as u8;
        table[value][1] = b'0' + (value / 10 % 10) as u8;
        table[value][2] = b'0' + (value % 10) as u8;
        value += 1;
    }
    table
}

/// Makes the bytes of a computed segment from its byte `skip` on. `out` holds the content of
/// `source` at that place.
///
/// Panics for a segment of another nature.
pub fn lay<S: Source>(source: &S, segment: &Segment<'_>, skip: u64, out: &mut [u8]) {
    match segment.bytes {
        Bytes::Numbers => lay_numbers(source, segment, skip, out),
        Bytes::Text { characters } => lay_text(characters, skip, out),
        Bytes::Words { first, step } => lay_words(first, step, skip, out),
        _ => unreachable!("only numbers, texts and words are computed"),
    }
}

fn lay_numbers<S: Source>(source: &S, segment: &Segment<'_>, skip: u64, out: &mut [u8]) {
    let lead = skip % NUMBER_BYTES;
    let len = out.len();
    let begun = if lead == 0 { 0 } else { len.min((NUMBER_BYTES - lead) as usize) };
    let (head, rest) = out.split_at_mut(begun);
    if begun > 0 {
        // The content byte of a number whose first digit lies before `out`.
        let mut byte = [0];
        source.fill(segment.start + skip - lead, &mut byte);
        head.copy_from_slice(&NUMBERS[usize::from(byte[0])][lead as usize..][..begun]);
    }
    let (whole, tail) = rest.as_chunks_mut();
    for number in whole {
        *number = NUMBERS[usize::from(number[0])];
    }
    if let Some(byte) = tail.first() {
        let number = NUMBERS[usize::from(*byte)];
        tail.copy_from_slice(&number[..tail.len()]);
    }
    if skip + len as u64 == segment.len
        && let Some(last) = out.last_mut()
    {
        *last = b'\n';
    }
}

fn lay_text(characters: u64, skip: u64, out: &mut [u8]) {
    let head = (characters as u32).to_le_bytes();
    let mut within = skip % (TEXT_HEAD_BYTES + characters);
    let mut rest = out;
    while !rest.is_empty() {
        let end = if within < TEXT_HEAD_BYTES { 0 } else { characters } + TEXT_HEAD_BYTES;
        let len = (end - within).min(rest.len() as u64) as usize;
        let (now, after) = rest.split_at_mut(len);
        if within < TEXT_HEAD_BYTES {
            now.copy_from_slice(&head[within as usize..][..len]);
        } else {
            now.iter_mut().for_each(|byte| *byte = TEXT[usize::from(*byte & 63)]);
        }
        within = (within + len as u64) % (TEXT_HEAD_BYTES + characters);
        rest = after;
    }
}

fn lay_words(first: u64, step: u64, skip: u64, out: &mut [u8]) {
    let mut place = skip;
    let mut rest = out;
    while !rest.is_empty() {
        let word = first.wrapping_add((place / WORD_BYTES).wrapping_mul(step)).to_le_bytes();
        let from = (place % WORD_BYTES) as usize;
        let len = (word.len() - from).min(rest.len());
        let (now, after) = rest.split_at_mut(len);
        now.copy_from_slice(&word[from..][..len]);
        place += len as u64;
        rest = after;
    }
}

/// Compares `found` with a computed segment from its byte `skip` on.
///
/// Errors: the first byte found wrong.
pub fn check<S: Source>(
    source: &S,
    segment: &Segment<'_>,
    skip: u64,
    found: &[u8],
) -> Result<(), Mismatch> {
    let mut scratch = [0; SCRATCH_BYTES];
    let mut skip = skip;
    for piece in found.chunks(SCRATCH_BYTES) {
        let expected = &mut scratch[..piece.len()];
        let offset = segment.start + skip;
        if !matches!(segment.bytes, Bytes::Words { .. }) {
            source.fill(offset, expected);
        }
        lay(source, segment, skip, expected);
        compare(offset, expected, piece)?;
        skip += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content: the low byte of the offset.
    struct Offsets;

    impl Source for Offsets {
        fn fill(&self, offset: u64, out: &mut [u8]) {
            out.iter_mut().zip(offset..).for_each(|(byte, at)| *byte = at as u8);
        }
        fn verify(&self, _offset: u64, _found: &[u8]) -> Result<(), Mismatch> {
            Ok(())
        }
    }

    fn made(segment: &Segment<'_>, skip: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        Offsets.fill(segment.start + skip, &mut out);
        lay(&Offsets, segment, skip, &mut out);
        out
    }

    fn segment(start: u64, len: u64, bytes: Bytes<'static>) -> Segment<'static> {
        Segment { start, len, bytes, resets: 0, feeds: 0 }
    }

    #[test]
    fn numbers_are_content_bytes_in_decimal() {
        let row = segment(240, 16, Bytes::Numbers);
        assert_eq!(made(&row, 0, 16), b"240,244,248,252\n");
        for from in 0..16 {
            for to in from..=16 {
                let part = made(&row, from as u64, to - from);
                assert_eq!(part, b"240,244,248,252\n"[from..to]);
                assert_eq!(check(&Offsets, &row, from as u64, &part), Ok(()));
            }
        }
    }

    #[test]
    fn texts_have_their_lengths_and_64_characters() {
        let text = segment(64, 14, Bytes::Text { characters: 3 });
        assert_eq!(made(&text, 0, 14), b"\x03\0\0\0EFG\x03\0\0\0LMN");
        for from in 0..14 {
            for to in from..=14 {
                let part = made(&text, from as u64, to - from);
                assert_eq!(part, b"\x03\0\0\0EFG\x03\0\0\0LMN"[from..to]);
                assert_eq!(check(&Offsets, &text, from as u64, &part), Ok(()));
            }
        }
        let mut wrong = made(&text, 3, 11);
        wrong[6] ^= 1;
        assert_eq!(check(&Offsets, &text, 3, &wrong).unwrap_err().offset, 73);
    }

    #[test]
    fn words_are_an_arithmetic_series() {
        let index = segment(0, 1 << 40, Bytes::Words { first: 5, step: 3_000_000_000 });
        assert_eq!(made(&index, 0, 16), [5u64, 3_000_000_005].map(u64::to_le_bytes).concat());
        let far = made(&index, 8 * 1_000_000 + 3, 5);
        let word = (5 + 3_000_000_000u64 * 1_000_000).to_le_bytes();
        assert_eq!(far, word[3..]);
        let mut wrong = made(&index, 3, 5000);
        wrong[4321] ^= 1;
        assert_eq!(check(&Offsets, &index, 3, &wrong).unwrap_err().offset, 4324);
    }
}

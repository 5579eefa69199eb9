//! `DATASUM` and `CHECKSUM`.
//!
//! # Source
//! FITS Standard 4.0, section 4.4.2.7 and appendix J.

use stillframe_image::Header;

use super::BLOCK;
use super::card::{self, CARD};

/// A 32-bit ones' complement sum of big-endian words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum(u32);

impl Sum {
    /// Adds the words of `bytes`, whose length is a multiple of 4.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        debug_assert_eq!(bytes.len() % 4, 0);
        // 2^31 words fit before the sum of 32-bit words can leave 64 bits.
        for part in bytes.chunks(1 << 30) {
            let words = part.as_chunks::<4>().0;
            let sum: u64 = words.iter().map(|w| u64::from(u32::from_be_bytes(*w))).sum();
            let mut total = u64::from(self.0) + sum;
            while total >> 32 != 0 {
                total = (total & 0xffff_ffff) + (total >> 32);
            }
            self.0 = total as u32;
        }
    }
}

const UNKNOWN: &str = "0000000000000000";
/// Columns of the value in a card with a string: after `KEYWORD = '`.
const TEXT_START: usize = 11;
/// Decimal digits of the largest sum.
const DATASUM_DIGITS: usize = 10;

/// The header of these records with room for both sums, `END` and the padding.
pub(super) fn with_room(mut records: Vec<u8>) -> Vec<u8> {
    let mut sums = Header::default();
    sums.push_text("DATASUM", &"0".repeat(DATASUM_DIGITS), "checksum of the data unit");
    sums.push_text("CHECKSUM", UNKNOWN, "checksum of the whole unit");
    for card in &sums.cards {
        card::format(card, &mut records).expect("a short text is a valid card");
    }
    records.extend_from_slice(b"END");
    records.resize(records.len().next_multiple_of(BLOCK as usize), b' ');
    records
}

/// Puts the sums into a header that [`with_room`] made.
pub(super) fn fill_in(header: &mut [u8], data: Sum) {
    let record = |header: &[u8], key: &[u8]| {
        header.chunks_exact(CARD).rposition(|r| r.starts_with(key)).map(|i| i * CARD + TEXT_START)
    };
    let digits = format!("{:0DATASUM_DIGITS$}", data.0);
    if let Some(at) = record(header, b"DATASUM = ") {
        header[at..at + DATASUM_DIGITS].copy_from_slice(digits.as_bytes());
    }
    let mut whole = data;
    whole.add(header);
    if let Some(at) = record(header, b"CHECKSUM= ") {
        header[at..at + UNKNOWN.len()].copy_from_slice(&encoded(!whole.0));
    }
}

/// The 16 characters that bring the sum of the unit to -0.
fn encoded(value: u32) -> [u8; 16] {
    let mut ascii = [0u8; 16];
    for (i, byte) in value.to_be_bytes().into_iter().enumerate() {
        let quotient = i32::from(byte / 4) + i32::from(b'0');
        let mut parts = [quotient; 4];
        parts[0] += i32::from(byte % 4);
        // Punctuation between digits and letters is avoided by moving pairs apart.
        let excluded = |c: i32| (0x3a..=0x40).contains(&c) || (0x5b..=0x60).contains(&c);
        while parts.iter().any(|&c| excluded(c)) {
            for pair in parts.chunks_exact_mut(2) {
                if excluded(pair[0]) || excluded(pair[1]) {
                    pair[0] += 1;
                    pair[1] -= 1;
                }
            }
        }
        for (j, part) in parts.into_iter().enumerate() {
            ascii[4 * j + i] = part as u8;
        }
    }
    // The string starts one column off a word boundary: rotate right by one.
    ascii.rotate_right(1);
    ascii
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_standard_is_encoded_as_there() {
        // Appendix J: the complement of the sum is encoded.
        assert_eq!(&encoded(!868229149), b"hcHjjc9ghcEghc9g");
    }

    proptest! {
        #[test]
        fn a_unit_sums_to_minus_zero(words in prop::collection::vec(any::<u32>(), 720)) {
            let data: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            let mut sum = Sum::default();
            sum.add(&data);
            let mut header = with_room(vec![b' '; 80 * 3]);
            fill_in(&mut header, sum);
            let mut whole = Sum::default();
            whole.add(&header);
            whole.add(&data);
            prop_assert!(whole.0 == u32::MAX || whole.0 == 0, "{}", whole.0);
            prop_assert!(header.is_ascii());
        }

        #[test]
        fn parts_sum_as_the_whole(words in prop::collection::vec(any::<u32>(), 1..50), at in 0usize..50) {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            let cut = 4 * at.min(words.len());
            let (mut parts, mut whole) = (Sum::default(), Sum::default());
            parts.add(&bytes[..cut]);
            parts.add(&bytes[cut..]);
            whole.add(&bytes);
            prop_assert_eq!(parts, whole);
        }
    }
}

//! Headers in plain text.

use stillframe_image::Header;

use super::card::{CARD, Parsed, parse};

/// The cards of a header in plain text: one card a line, or 80 characters each without line breaks;
/// up to `END`. Blanks before `=` may be missing. Structural cards are kept: nothing else says them.
///
/// Never fails: what has no sensible value becomes a card without one.
pub fn header_from_text(text: &str) -> Header {
    let mut header = Header::default();
    let lines: Vec<Vec<u8>> = if text.contains('\n') {
        text.lines().map(aligned).collect()
    } else {
        text.as_bytes().chunks(CARD).map(<[u8]>::to_vec).collect()
    };
    for line in lines {
        match parse(&line) {
            Parsed::Card(card) => header.cards.push(card),
            Parsed::Continue { .. } | Parsed::Blank => {}
            Parsed::End => break,
        }
    }
    header
}

/// The line with its `=` in column 9, where a card has it.
fn aligned(line: &str) -> Vec<u8> {
    let line = line.trim_end();
    match line.split_once('=') {
        Some((key, value)) if key.trim().len() <= 8 && !key.trim().contains(' ') => {
            format!("{:<8}= {}", key.trim(), value.trim_start()).into_bytes()
        }
        _ => line.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_card_images_give_the_same_header() {
        let lines =
            "SIMPLE  = T\nNAXIS1=12 / width\nCTYPE1  = 'RA---TAN'\nCOMMENT a = b\nEND\nX = 1\n";
        let cards: String = [
            "SIMPLE  =                    T",
            "NAXIS1  = 12 / width",
            "CTYPE1  = 'RA---TAN'",
            "COMMENT a = b",
            "END",
        ]
        .map(|c| format!("{c:<80}"))
        .concat();
        let header = header_from_text(lines);
        assert_eq!(header, header_from_text(&cards));
        assert_eq!(header.integer("NAXIS1"), Some(12));
        assert_eq!(header.text("CTYPE1"), Some("RA---TAN"));
        assert_eq!(header.card("X"), None);
    }
}

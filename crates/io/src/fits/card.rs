//! One 80-byte card: text to value and back.

use stillframe_image::{Card, Value};

use crate::error::WriteErrorKind;

/// Bytes of a card.
pub(crate) const CARD: usize = 80;

/// What one card says.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed {
    /// A keyword with a value, or a commentary card.
    Card(Card),
    /// More of the string in the card before.
    Continue { text: String, comment: String },
    /// Nothing at all.
    Blank,
    /// The end of the header.
    End,
}

/// Reads a card. Never fails: what has no sensible value becomes a card without one, which keeps
/// its text as the comment; bytes outside printable ASCII become `?`.
///
/// # Source
/// FITS Standard 4.0, sections 4.1 and 4.2; HIERARCH: the ESO convention in the FITS registry.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let text: String = bytes
        .iter()
        .map(|&b| if (b' '..=b'~').contains(&b) { char::from(b) } else { '?' })
        .collect();
    let (key, rest) = text.split_at(text.len().min(8));
    let key = key.trim_end();
    if let Some(field) = rest.strip_prefix("= ") {
        let (value, comment) = parse_value(field);
        return Parsed::Card(Card { key: key.to_ascii_uppercase(), value, comment });
    }
    match key {
        "END" if rest.trim().is_empty() => return Parsed::End,
        "CONTINUE" => {
            if let (Value::Text(text), comment) = parse_value(rest) {
                return Parsed::Continue { text, comment };
            }
        }
        "HIERARCH" => {
            if let Some((name, field)) = rest.split_once('=') {
                let (value, comment) = parse_value(field);
                let key = name.trim().to_ascii_uppercase();
                return Parsed::Card(Card { key, value, comment });
            }
        }
        "" if rest.trim().is_empty() => return Parsed::Blank,
        _ => {}
    }
    let comment = rest.trim_end().to_string();
    Parsed::Card(Card { key: key.to_ascii_uppercase(), value: Value::None, comment })
}

/// Value and comment of the field after `= `.
fn parse_value(field: &str) -> (Value, String) {
    let field = field.trim();
    if let Some(quoted) = field.strip_prefix('\'') {
        let (text, rest) = parse_string(quoted);
        return (Value::Text(text), comment_of(rest));
    }
    let (value, comment) = match field.split_once('/') {
        Some((value, comment)) => (value.trim(), comment.trim().to_string()),
        None => (field, String::new()),
    };
    let value = match value {
        "" => Value::None,
        "T" => Value::Logical(true),
        "F" => Value::Logical(false),
        number => parse_number(number).unwrap_or_else(|| Value::Text(number.to_string())),
    };
    (value, comment)
}

/// The string up to its closing quote, blanks at its end removed, and what follows the quote.
fn parse_string(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut rest = quoted;
    loop {
        let Some((part, after)) = rest.split_once('\'') else {
            // No closing quote: all of it is the string.
            text.push_str(rest);
            rest = "";
            break;
        };
        text.push_str(part);
        rest = after;
        let Some(after_pair) = rest.strip_prefix('\'') else { break };
        text.push('\'');
        rest = after_pair;
    }
    text.truncate(text.trim_end().len());
    (text, rest)
}

fn comment_of(rest: &str) -> String {
    rest.split_once('/').map_or_else(String::new, |(_, c)| c.trim().to_string())
}

fn parse_number(text: &str) -> Option<Value> {
    if let Ok(i) = text.parse::<i64>() {
        return Some(Value::Integer(i));
    }
    // Rust also reads "inf" and "nan", which are no FITS numbers. Some capture programs write the
    // decimal comma of their user's language.
    if !text.bytes().all(|b| b.is_ascii_digit() || b"+-.,EeDd".contains(&b)) {
        return None;
    }
    text.replace(['D', 'd'], "E")
        .replace(',', ".")
        .parse::<f64>()
        .ok()
        .filter(|v| v.is_finite())
        .map(Value::Real)
}

/// Appends the records of `cards` to `out`; where a string needs `CONTINUE`, they start with the card
/// that announces this (`LONGSTRN`, the OGIP convention of which the standard's is the heir).
///
/// # Errors
/// A card that FITS cannot hold.
pub(crate) fn format_all<'a>(
    cards: impl IntoIterator<Item = &'a Card>,
    out: &mut Vec<u8>,
) -> Result<(), WriteErrorKind> {
    let mut records = Vec::new();
    for card in cards {
        format(card, &mut records)
            .map_err(|reason| WriteErrorKind::BadCard { key: card.key.clone(), reason })?;
    }
    if records.chunks(CARD).any(|r| r.starts_with(b"CONTINUE")) {
        push_record("LONGSTRN= 'OGIP 1.0'           / long strings are continued", out);
    }
    out.append(&mut records);
    Ok(())
}

/// Why a card cannot be written.
type Refusal = &'static str;

/// Appends the 80-byte records of `card` to `out`: one, or several for long strings (`CONTINUE`)
/// and long `HISTORY` or `COMMENT` text. Characters outside printable ASCII become `?`.
///
/// # Errors
/// A keyword or a value that no FITS card can hold.
pub(super) fn format(card: &Card, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let key = card.key.trim().to_ascii_uppercase();
    let comment = printable(&card.comment);
    if matches!(key.as_str(), "HISTORY" | "COMMENT" | "") {
        for line in wrapped(comment.trim_end(), CARD - 8) {
            push_record(&format!("{key:<8}{line}"), out);
        }
        return Ok(());
    }
    let prefix = prefix(&key)?;
    let value = match &card.value {
        Value::Text(text) => return format_text(&prefix, &printable(text), &comment, out),
        Value::Logical(v) => if *v { "T" } else { "F" }.to_string(),
        Value::Integer(i) => i.to_string(),
        Value::Real(r) if r.is_finite() => real(*r),
        Value::Real(_) | Value::None => String::new(),
    };
    let fixed = if prefix.len() == 10 { format!("{prefix}{value:>20}") } else { prefix + &value };
    if fixed.len() > CARD {
        return Err("keyword and value are longer than a card");
    }
    push_with_comment(&fixed, &comment, out);
    Ok(())
}

/// `KEYWORD = ` or `HIERARCH LONG KEYWORD = `.
fn prefix(key: &str) -> Result<String, Refusal> {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if key.len() <= 8 && key.bytes().all(plain) {
        return Ok(format!("{key:<8}= "));
    }
    if key.bytes().all(|b| plain(b) || b == b' ' || b == b'.') && key.len() <= 60 {
        return Ok(format!("HIERARCH {key} = "));
    }
    Err("a keyword has letters, digits, - and _, and at most 60 of them")
}

/// The shortest text that reads back as `r`, with a decimal point.
fn real(r: f64) -> String {
    let plain = format!("{r:?}").to_ascii_uppercase();
    match plain.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => plain,
    }
}

/// A string card, cut into `CONTINUE` records if it is too long for one.
fn format_text(prefix: &str, text: &str, comment: &str, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let quoted = text.trim_end().replace('\'', "''");
    if prefix.len() + quoted.len() + 2 <= CARD {
        // Comments start in column 34, where other writers and readers put them too: some compute
        // CHECKSUM from cards that they have formatted anew.
        let value = format!("'{quoted:<8}'");
        push_with_comment(&format!("{prefix}{value:<20}"), comment, out);
        return Ok(());
    }
    if prefix.starts_with("HIERARCH") {
        return Err("a keyword of more than 8 characters cannot have a string longer than a card");
    }
    let mut rest = quoted.as_str();
    let mut start = prefix;
    loop {
        // 3 for the quotes and the ampersand.
        let room = CARD - start.len() - 3;
        if rest.len() <= room {
            push_with_comment(&format!("{start}'{rest}'"), comment, out);
            return Ok(());
        }
        let mut cut = room;
        // A doubled quote stays in one piece: an even number of quotes before the cut.
        if rest[..cut].bytes().rev().take_while(|&b| b == b'\'').count() % 2 == 1 {
            cut -= 1;
        }
        push_record(&format!("{start}'{}&'", &rest[..cut]), out);
        rest = &rest[cut..];
        start = "CONTINUE  ";
    }
}

/// One record; the comment is cut where the card ends.
fn push_with_comment(fixed: &str, comment: &str, out: &mut Vec<u8>) {
    // A string may fill the card to its last column, and a comment needs " / x".
    if comment.is_empty() || fixed.len() + 4 > CARD {
        return push_record(fixed, out);
    }
    let mut record = format!("{fixed} / {comment}");
    record.truncate(CARD);
    push_record(&record, out);
}

fn push_record(text: &str, out: &mut Vec<u8>) {
    debug_assert!(text.len() <= CARD && text.is_ascii());
    out.extend_from_slice(text.as_bytes());
    out.resize(out.len() + CARD - text.len(), b' ');
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect()
}

/// `text` in lines of at most `width`, cut at blanks where there are any; at least one line.
fn wrapped(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.len() > width {
        let cut = rest[..=width].rfind(' ').filter(|&c| c > 0).unwrap_or(width);
        lines.push(&rest[..cut]);
        rest = rest[cut..].strip_prefix(' ').unwrap_or(&rest[cut..]);
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read back from the records of `card`.
    fn round_trip(card: &Card) -> Card {
        let mut records = Vec::new();
        format(card, &mut records).unwrap();
        let mut records = records.chunks(CARD).map(parse);
        let Some(Parsed::Card(mut read)) = records.next() else { panic!("no card") };
        for record in records {
            let Parsed::Continue { text: more, comment } = record else { panic!("{record:?}") };
            let Value::Text(text) = &mut read.value else { panic!("{read:?}") };
            assert_eq!(text.pop(), Some('&'));
            text.push_str(&more);
            read.comment.push_str(&comment);
        }
        read
    }

    fn card(key: &str, value: Value) -> Card {
        Card { key: key.into(), value, comment: String::new() }
    }

    proptest! {
        #[test]
        fn values_come_back(i: i64, r in prop::num::f64::NORMAL | prop::num::f64::ZERO, b: bool) {
            for value in [Value::Integer(i), Value::Real(r), Value::Logical(b), Value::None] {
                for key in ["A", "KEYWORD8", "A-LONG_KEYWORD", "ESO DET CHIP"] {
                    let card = card(key, value.clone());
                    prop_assert_eq!(round_trip(&card), card);
                }
            }
        }

        #[test]
        fn texts_come_back(text in "[ -~]{0,300}", comment in "[a-z' ]{0,90}") {
            let text = text.trim_end().to_string();
            let mut card = card("TEXT", Value::Text(text));
            prop_assert_eq!(&round_trip(&card), &card);
            card.comment = comment;
            prop_assert_eq!(&round_trip(&card).value, &card.value);
        }

        #[test]
        fn any_record_is_read(record in prop::collection::vec(any::<u8>(), 80)) {
            let _ = parse(&record);
        }

        #[test]
        fn quotes_survive_every_cut(n in 60usize..80, m in 1usize..20) {
            let card = card("Q", Value::Text("x".repeat(n) + &"'".repeat(m) + "end"));
            prop_assert_eq!(&round_trip(&card), &card);
        }
    }

    #[test]
    fn records_have_the_form_of_the_standard() {
        let text = |card: &Card| {
            let mut records = Vec::new();
            format(card, &mut records).unwrap();
            String::from_utf8(records).unwrap()
        };
        let mut c = card("EXPTIME", Value::Real(10.0));
        c.comment = "seconds".into();
        assert_eq!(text(&c).trim_end(), "EXPTIME =                 10.0 / seconds");
        let c = card("X", Value::Real(1e-30));
        assert_eq!(text(&c).trim_end(), "X       =              1.0E-30");
        let c = card("BAYERPAT", Value::Text("RGGB".into()));
        assert_eq!(text(&c).trim_end(), "BAYERPAT= 'RGGB    '");
        let mut c = card("HISTORY", Value::None);
        c.comment = "word ".repeat(30);
        let records = text(&c);
        assert_eq!(records.len(), 3 * CARD);
        assert!(records[CARD..].starts_with("HISTORY word"));
        let mut c = card("OBJECT", Value::Text("Mü 1".into()));
        c.comment = "°".into();
        assert_eq!(text(&c).trim_end(), "OBJECT  = 'M? 1    '           / ?");
    }

    #[test]
    fn what_no_card_can_hold_is_refused() {
        let refused = |key: &str, value| format(&card(key, value), &mut Vec::new()).is_err();
        assert!(refused("KEY=", Value::Integer(1)));
        assert!(refused("A'B", Value::Integer(1)));
        assert!(refused(&"LONG".repeat(20), Value::Integer(1)));
        assert!(refused(&"LONG".repeat(15), Value::Real(-1.2345678901234567e-300)));
        assert!(refused("ESO LONG TEXT", Value::Text("x".repeat(80))));
    }

    #[test]
    fn a_decimal_comma_is_understood() {
        let record = format!("{:<80}", "EXPTIME =              6,4E-05 / Total Exposure Time (s)");
        let Parsed::Card(card) = parse(record.as_bytes()) else { panic!() };
        assert_eq!(card.value, Value::Real(6.4e-5));
    }
}

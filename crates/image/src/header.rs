//! Header cards: keyword, value, comment, in file order.

use serde::{Deserialize, Serialize};

/// Value of a card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `T` or `F`.
    Logical(bool),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// A string.
    Text(String),
    /// No value: `COMMENT`, `HISTORY` and blank cards keep their text in the comment.
    None,
}

/// One card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Keyword in capitals, without blanks at its end.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Comment, or the text of a card without value.
    pub comment: String,
}

/// Cards in file order. Structural cards (SIMPLE, BITPIX, NAXISn, BZERO, BSCALE, END) are not
/// among them: readers apply them, writers make their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The cards.
    pub cards: Vec<Card>,
}

impl Header {
    /// The first card with this keyword.
    pub fn card(&self, key: &str) -> Option<&Card> {
        self.cards.iter().find(|c| c.key == key)
    }

    /// Text of the first card with this keyword, blanks at its end removed.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.card(key)?.value {
            Value::Text(s) => Some(s.trim_end()),
            _ => None,
        }
    }

    /// Number of the first card with this keyword; text that reads as a number counts.
    pub fn real(&self, key: &str) -> Option<f64> {
        match &self.card(key)?.value {
            Value::Integer(i) => Some(*i as f64),
            Value::Real(r) => Some(*r),
            Value::Text(s) => s.trim().parse().ok(),
            _ => None,
        }
        .filter(|v| v.is_finite())
    }

    /// Whole number of the first card with this keyword.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match &self.card(key)?.value {
            Value::Integer(i) => Some(*i),
            Value::Real(r) if r.fract() == 0.0 => Some(*r as i64),
            Value::Text(s) => s.trim().parse().ok(),
            _ => None,
        }
    }

    /// Appends a card.
    pub fn push(&mut self, key: &str, value: Value, comment: &str) {
        self.cards.push(Card { key: key.into(), value, comment: comment.into() });
    }

    /// Appends a text card.
    pub fn push_text(&mut self, key: &str, value: &str, comment: &str) {
        self.push(key, Value::Text(value.into()), comment);
    }

    /// Appends a whole number.
    pub fn push_integer(&mut self, key: &str, value: i64, comment: &str) {
        self.push(key, Value::Integer(value), comment);
    }

    /// Appends a floating-point number.
    pub fn push_real(&mut self, key: &str, value: f64, comment: &str) {
        self.push(key, Value::Real(value), comment);
    }

    /// Appends a `HISTORY` card; long text is cut by the writer into several.
    pub fn push_history(&mut self, text: &str) {
        self.push("HISTORY", Value::None, text);
    }
}

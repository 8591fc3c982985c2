//! Header fields: folding, and text that is no syntax there (RFC 5322, RFC 2047).
//!
//! Text comes decoded from strangers. What is not plain words becomes encoded words as a whole, such
//! that a decoder gives back every character, blanks and line ends too. Encoded words hold nothing but
//! letters, digits and a few signs, so nothing in them ends a field, an address or a phrase.

use data_encoding::BASE64;

/// The longest line, if it can be folded: what RFC 2047 allows a line with encoded words.
const LINE: usize = 76;

/// The longest word that is made here: it fits behind the name of any field.
const WORD: usize = 67;

/// What stands around the text of an encoded word: `=?utf-8?Q?` and `?=`.
const AROUND: usize = 12;

/// A header field that is being written.
#[derive(Debug)]
pub(super) struct Field {
    line: String,
    column: usize,
    is_empty: bool,
}

impl Field {
    /// Begins a field.
    pub(super) fn new(name: &str) -> Self {
        Self {
            line: format!("{name}:"),
            column: name.len() + 1,
            is_empty: true,
        }
    }

    /// Appends a word behind a blank, on a line of its own if it does not fit on this one. The first
    /// word stays behind the name: some parsers take a field that begins with a fold for empty.
    pub(super) fn word(&mut self, word: &str) {
        if !self.is_empty && self.column + 1 + word.len() > LINE {
            self.line.push_str("\r\n");
            self.column = 0;
        }
        self.line.push(' ');
        self.line.push_str(word);
        self.column += 1 + word.len();
        self.is_empty = false;
    }

    /// Appends words.
    pub(super) fn words(&mut self, words: Vec<String>) {
        for word in words {
            self.word(&word);
        }
    }

    /// Returns the lines of the field.
    pub(super) fn finish(mut self) -> String {
        self.line.push_str("\r\n");
        self.line
    }
}

/// Returns a field of free text.
pub(super) fn unstructured(name: &str, text: &str) -> String {
    let mut field = Field::new(name);
    let words = plain_words(text, |octet| octet.is_ascii_graphic());
    if !text.is_empty() {
        field.words(words.unwrap_or_else(|| encoded_words(text)));
    }
    field.finish()
}

/// Returns the words of a display name, which is not empty.
pub(super) fn phrase(text: &str) -> Vec<String> {
    if let Some(words) = plain_words(text, is_atext) {
        return words;
    }
    // Poor parsers look for these in a quoted string, too.
    let is_quotable = |octet: u8| octet.is_ascii_graphic() && !b"\"\\<>".contains(&octet);
    if text.len() + 2 <= WORD && plain_words(text, is_quotable).is_some() {
        return vec![format!("\"{text}\"")];
    }
    encoded_words(text)
}

/// May it stand in an atom?
pub(super) fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

/// Returns the words of a text, if it is nothing but such words with one blank between them, and none
/// of them may be taken for an encoded word.
pub(super) fn plain_words(text: &str, is_plain: impl Fn(u8) -> bool) -> Option<Vec<String>> {
    let is_word =
        |word: &str| !word.is_empty() && word.len() <= WORD && word.bytes().all(&is_plain);
    let is_plain = !text.contains("=?") && text.split(' ').all(is_word);
    is_plain.then(|| text.split(' ').map(str::to_owned).collect())
}

/// Returns a text as encoded words, none of which cuts a character.
pub(super) fn encoded_words(text: &str) -> Vec<String> {
    let quoted: usize = text.chars().map(quoted_octets).sum();
    if quoted <= text.len().div_ceil(3) * 4 {
        let words = cut(text, WORD - AROUND, quoted_octets);
        words
            .map(|word| format!("=?utf-8?Q?{}?=", quote(word)))
            .collect()
    } else {
        let words = cut(text, (WORD - AROUND) / 4 * 3, char::len_utf8);
        words
            .map(|word| format!("=?utf-8?B?{}?=", BASE64.encode(word.as_bytes())))
            .collect()
    }
}

/// Cuts a text between characters, into pieces that measure at most so many octets.
pub(super) fn cut(
    text: &str,
    most: usize,
    measure: impl Fn(char) -> usize,
) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut octets = 0;
        let too_many = |c: char| {
            octets += measure(c);
            octets > most
        };
        let (piece, behind) = rest.split_at(rest.find(too_many).unwrap_or(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// How long a character is in an encoded word of the form Q.
fn quoted_octets(c: char) -> usize {
    if c == ' ' || is_literal(c) {
        1
    } else {
        c.len_utf8() * 3
    }
}

/// Stands it for itself in an encoded word, also in one that is in a phrase?
fn is_literal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!*+-/".contains(c)
}

fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for octet in text.bytes() {
        match char::from(octet) {
            ' ' => quoted.push('_'),
            c if is_literal(c) => quoted.push(c),
            _ => quoted.push_str(&format!("={octet:02X}")),
        }
    }
    quoted
}

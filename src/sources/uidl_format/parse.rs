//! Reading a format, of Dovecot 2.3 or 2.4.

use std::iter::Peekable;
use std::str::Chars;

use super::filter::Filter;
use super::{BadUidlFormat, Part, Variable};

/// The largest width: no unique-id is longer.
const MAX_WIDTH: i64 = 256;

/// The largest that is filled up from behind.
const MIN_WIDTH: i64 = -MAX_WIDTH;

/// The parts of a format.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, BadUidlFormat> {
    let mut parts = Vec::new();
    let mut chars = text.chars().peekable();
    let mut plain = String::new();
    while let Some(c) = chars.next() {
        if c != '%' {
            plain.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            plain.push('%');
            continue;
        }
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(if chars.next_if_eq(&'{').is_some() {
            in_braces(&mut chars)?
        } else {
            variable(&mut chars)?
        });
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// Parses the text behind a `%` in version 2.3: `[[-]OFFSET.][-]WIDTH`, modifiers and a variable.
fn variable(chars: &mut Peekable<Chars<'_>>) -> Result<Part, BadUidlFormat> {
    let is_from_end = chars.next_if_eq(&'-').is_some();
    let mut has_zeros = chars.peek() == Some(&'0');
    let mut width = number(chars);
    let mut part = None;
    if chars.next_if_eq(&'.').is_some() {
        let offset = if is_from_end { -width } else { width };
        has_zeros = chars.next_if_eq(&'0').is_some();
        let is_left_out = chars.next_if_eq(&'-').is_some();
        width = number(chars);
        width = if is_left_out { -width } else { width };
        part = (offset != 0).then_some(Filter::Part(offset, None));
    }
    let mut filters = Vec::new();
    let variable = loop {
        match chars.next().ok_or(BadUidlFormat::Unfinished)? {
            'X' => filters.push(Filter::Hex),
            'L' => filters.push(Filter::Lower),
            'U' => filters.push(Filter::Upper),
            'R' => filters.push(Filter::Reverse),
            'T' => filters.push(Filter::Trim),
            'M' => filters.extend([Filter::Md5, Filter::Hexlify]),
            'u' => break Variable::Uid,
            'v' => break Variable::UidValidity,
            'f' => break Variable::File,
            'g' => break Variable::Guid,
            other => return Err(BadUidlFormat::Unknown(other.to_string())),
        }
    };
    filters.extend(part);
    match usize::try_from(width) {
        Ok(0) => {}
        Ok(width) if has_zeros => filters.push(Filter::Zeros(width)),
        Ok(_) | Err(_) => filters.push(Filter::Part(0, Some(width))),
    }
    Ok(Part::Variable(variable, filters))
}

fn number(chars: &mut Peekable<Chars<'_>>) -> i64 {
    let mut number = 0;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        number = (number * 10 + i64::from(digit)).min(MAX_WIDTH);
    }
    number
}

/// Parses the text in braces in version 2.4: the name of a variable, and filters behind it.
fn in_braces(chars: &mut Peekable<Chars<'_>>) -> Result<Part, BadUidlFormat> {
    let text = up_to_brace(chars)?;
    let unknown = || BadUidlFormat::Unknown(format!("{{{text}}}"));
    let tokens = tokens(&text).ok_or_else(unknown)?;
    let mut calls = tokens.split(|token| *token == Token::Pipe);
    let variable = match calls.next() {
        Some([Token::Name(name)]) => match name.as_str() {
            "uid" => Variable::Uid,
            "uidvalidity" => Variable::UidValidity,
            "filename" => Variable::File,
            "guid" => Variable::Guid,
            _ => return Err(unknown()),
        },
        Some(_) | None => return Err(unknown()),
    };
    let mut filters = Vec::new();
    let mut kind = match variable {
        Variable::Uid | Variable::UidValidity => Kind::Number,
        Variable::File | Variable::Guid => Kind::Text,
    };
    for call in calls {
        let (name, arguments) = match call {
            [Token::Name(name)] => (name, Vec::new()),
            [Token::Name(name), Token::Open, arguments @ .., Token::Close] => {
                (name, values(arguments).ok_or_else(unknown)?)
            }
            _ => return Err(unknown()),
        };
        let (further, next) = filter(name, &arguments, kind).ok_or_else(|| refusal(name))?;
        filters.extend(further);
        kind = next;
    }
    Ok(Part::Variable(variable, filters))
}

/// The kind of value that a filter is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    /// A digest.
    Octets,
}

/// The argument in the parentheses of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Number(i64),
    Text(String),
}

/// The steps of a filter, and what comes out of it; none if it does not take this.
fn filter(name: &str, arguments: &[Value], kind: Kind) -> Option<(Vec<Filter>, Kind)> {
    use Value::{Number, Text};
    let is_text = kind != Kind::Octets;
    let width = |number: i64| usize::try_from(number).unwrap_or_default();
    Some(match (name, arguments) {
        ("md5", []) => (vec![Filter::Md5], Kind::Octets),
        ("sha256", []) => (vec![Filter::Sha256], Kind::Octets),
        ("sha512", []) => (vec![Filter::Sha512], Kind::Octets),
        ("base64", []) => (vec![Filter::Base64], Kind::Text),
        ("hexlify", []) => (vec![Filter::Hexlify], Kind::Text),
        ("hexlify", [Number(digits @ 1..=MAX_WIDTH)]) => {
            let zeros = Filter::Zeros(width(*digits));
            let first = Filter::Part(0, Some(*digits));
            (vec![Filter::Hexlify, zeros, first], Kind::Text)
        }
        ("truncate", [Number(octets @ 0..=MAX_WIDTH)]) => {
            (vec![Filter::Part(0, Some(*octets))], kind)
        }
        ("substr", [Number(from)]) => (vec![Filter::Part(*from, None)], kind),
        ("substr", [Number(from), Number(length)]) => {
            (vec![Filter::Part(*from, Some(*length))], kind)
        }
        ("hex", []) if kind == Kind::Number => (vec![Filter::Hex], Kind::Text),
        ("hex", [Number(digits @ 1..=MAX_WIDTH)]) if kind == Kind::Number => {
            let digits = width(*digits);
            let steps = vec![Filter::Hex, Filter::Zeros(digits), Filter::Last(digits)];
            (steps, Kind::Text)
        }
        ("hex", [Number(digits @ MIN_WIDTH..=-1)]) if kind == Kind::Number => {
            let zeros = Filter::FillRight(width(-digits), "0".to_owned());
            let first = Filter::Part(0, Some(-digits));
            (vec![Filter::Hex, zeros, first], Kind::Text)
        }
        ("lower", []) if is_text => (vec![Filter::Lower], kind),
        ("upper", []) if is_text => (vec![Filter::Upper], kind),
        ("reverse", []) if is_text => (vec![Filter::Reverse], kind),
        ("lfill", [Number(to @ 1..=MAX_WIDTH)]) if is_text => {
            (vec![Filter::Zeros(width(*to))], kind)
        }
        ("rfill", [Number(to @ 1..=MAX_WIDTH)]) if is_text => {
            let filler = "0".to_owned();
            (vec![Filter::FillRight(width(*to), filler)], kind)
        }
        ("lfill", [Number(to @ 1..=MAX_WIDTH), Text(with)]) if is_text && !with.is_empty() => {
            (vec![Filter::FillLeft(width(*to), with.clone())], Kind::Text)
        }
        ("rfill", [Number(to @ 1..=MAX_WIDTH), Text(with)]) if is_text && !with.is_empty() => (
            vec![Filter::FillRight(width(*to), with.clone())],
            Kind::Text,
        ),
        _ => return None,
    })
}

/// The reason why a filter is none, or does not take its argument.
fn refusal(name: &str) -> BadUidlFormat {
    let expected = match name {
        "md5" | "sha256" | "sha512" | "base64" => "nothing in parentheses",
        "hexlify" => "nothing or a width in parentheses, as in hexlify(32)",
        "truncate" => "what stays in parentheses, as in truncate(8)",
        "substr" => "a place and a length in parentheses, as in substr(0, 8)",
        "hex" => "a number, as uid is, and a width in parentheses, as in hex(8)",
        "lower" | "upper" | "reverse" => {
            "text, so that hexlify belongs before it, and nothing in parentheses"
        }
        "lfill" | "rfill" => "a width and what fills it up in parentheses, as in lfill(8, '0')",
        _ => return BadUidlFormat::UnknownFilter(name.to_owned()),
    };
    BadUidlFormat::BadArguments {
        filter: name.to_owned(),
        expected,
    }
}

/// A word of what stands in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    Value(Value),
    Pipe,
    Open,
    Close,
    Comma,
}

/// Takes everything up to the brace that closes, which may stand in quotes before.
fn up_to_brace(chars: &mut Peekable<Chars<'_>>) -> Result<String, BadUidlFormat> {
    let mut text = String::new();
    let mut quote = None;
    for c in chars {
        match (c, quote) {
            ('}', None) => return Ok(text),
            ('\'' | '"', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            (_, Some(_) | None) => {}
        }
        text.push(c);
    }
    Err(BadUidlFormat::Unfinished)
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || "_/;:.-".contains(c);
        let (token, octets) = match first {
            '|' => (Token::Pipe, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '\'' | '"' => {
                let (quoted, _) = rest.get(1..)?.split_once(first)?;
                (
                    Token::Value(Value::Text(quoted.to_owned())),
                    quoted.len() + 2,
                )
            }
            '-' | '0'..='9' => {
                let end = |c: char| !c.is_ascii_digit() && c != '-';
                let number = rest.get(..rest.find(end).unwrap_or(rest.len()))?;
                (
                    Token::Value(Value::Number(number.parse().ok()?)),
                    number.len(),
                )
            }
            _ if first.is_alphabetic() => {
                let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                (Token::Name(rest.get(..end)?.to_owned()), end)
            }
            _ => return None,
        };
        tokens.push(token);
        rest = rest.get(octets..)?.trim_start();
    }
    Some(tokens)
}

/// Values with commas between them.
fn values(tokens: &[Token]) -> Option<Vec<Value>> {
    let value = |tokens: &[Token]| match tokens {
        [Token::Value(value)] => Some(value.clone()),
        _ => None,
    };
    tokens
        .split(|token| *token == Token::Comma)
        .map(value)
        .collect()
}

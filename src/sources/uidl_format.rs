//! How Dovecot makes a unique-id: its setting `pop3_uidl_format`.

use thiserror::Error;

/// A pattern such as `%08Xu%08Xv`, which is Dovecot's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UidlFormat(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable, Shape),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    /// `%u`, the UID.
    Uid,
    /// `%v`, the UIDVALIDITY.
    UidValidity,
    /// `%f`, the name of the file.
    File,
    /// `%g`, the GUID: in a Maildir, the name of the file unless the list has another.
    Guid,
}

/// How a value is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shape {
    /// So many characters: filled up with zeros if `zeros`, else cut off.
    width: Option<usize>,
    zeros: bool,
    /// What is done to it, one after the other.
    modifiers: Vec<Modifier>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Modifier {
    /// `X`: the number in hexadecimal, in lower case.
    Hexadecimal,
    /// `L`
    Lower,
    /// `U`
    Upper,
}

/// What a unique-id is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) uid: u32,
    pub(super) uidvalidity: u32,
    /// Without its flags.
    pub(super) file: &'a str,
    pub(super) guid: Option<&'a str>,
}

/// Why a pattern can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadUidlFormat {
    /// A variable that nobody knows the value of.
    #[error(
        "%{0} is not known of a Maildir: what is, are %u (UID), %v (UIDVALIDITY), %f (file name) and \
         %g (GUID), each with L, U, X and a width, as in %08Xu"
    )]
    Unknown(char),
    /// It breaks off behind a `%`.
    #[error("the format ends in the middle of a variable")]
    Unfinished,
    /// All messages would have the same unique-id.
    #[error("the format has none of %u, %f and %g, so all messages would have the same unique-id")]
    Constant,
}

impl Default for UidlFormat {
    fn default() -> Self {
        let hexadecimal = Shape {
            width: Some(8),
            zeros: true,
            modifiers: vec![Modifier::Hexadecimal],
        };
        Self(vec![
            Part::Variable(Variable::Uid, hexadecimal.clone()),
            Part::Variable(Variable::UidValidity, hexadecimal),
        ])
    }
}

impl std::str::FromStr for UidlFormat {
    type Err = BadUidlFormat;

    fn from_str(text: &str) -> Result<Self, BadUidlFormat> {
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
            parts.push(variable(&mut chars)?);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        let tells_apart = |part: &Part| match part {
            Part::Variable(Variable::Uid | Variable::File | Variable::Guid, _) => true,
            Part::Text(_) | Part::Variable(Variable::UidValidity, _) => false,
        };
        if parts.iter().any(tells_apart) {
            Ok(Self(parts))
        } else {
            Err(BadUidlFormat::Constant)
        }
    }
}

/// What stands behind a `%`.
fn variable(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Part, BadUidlFormat> {
    let mut shape = Shape::default();
    loop {
        let variable = match chars.next().ok_or(BadUidlFormat::Unfinished)? {
            'u' => Variable::Uid,
            'v' => Variable::UidValidity,
            'f' => Variable::File,
            'g' => Variable::Guid,
            'X' => {
                shape.modifiers.push(Modifier::Hexadecimal);
                continue;
            }
            'L' => {
                shape.modifiers.push(Modifier::Lower);
                continue;
            }
            'U' => {
                shape.modifiers.push(Modifier::Upper);
                continue;
            }
            '0' if shape.width.is_none() => {
                (shape.zeros, shape.width) = (true, Some(0));
                continue;
            }
            digit if digit.is_ascii_digit() => {
                let digit = usize::try_from(digit.to_digit(10).unwrap_or_default());
                let width = shape.width.unwrap_or_default() * 10 + digit.unwrap_or_default();
                // No unique-id is longer than 200 octets, so no more than that counts.
                shape.width = Some(width.min(250));
                continue;
            }
            other => return Err(BadUidlFormat::Unknown(other)),
        };
        return Ok(Part::Variable(variable, shape));
    }
}

impl UidlFormat {
    /// Does it ask for what a message has only in a file of its own?
    pub(super) fn needs_file(&self) -> bool {
        let needs = |part: &Part| match part {
            Part::Variable(Variable::File | Variable::Guid, _) => true,
            Part::Text(_) | Part::Variable(Variable::Uid | Variable::UidValidity, _) => false,
        };
        self.0.iter().any(needs)
    }

    /// The unique-id of a message.
    pub(super) fn apply(&self, facts: &Facts<'_>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Variable(variable, shape) => {
                let value = match variable {
                    Variable::Uid => facts.uid.to_string(),
                    Variable::UidValidity => facts.uidvalidity.to_string(),
                    Variable::File => facts.file.to_owned(),
                    Variable::Guid => facts.guid.unwrap_or(facts.file).to_owned(),
                };
                shape.write(value)
            }
        };
        self.0.iter().map(part).collect()
    }
}

impl Shape {
    fn write(&self, mut value: String) -> String {
        for modifier in &self.modifiers {
            value = match modifier {
                // What is no number counts as 0, in Dovecot.
                Modifier::Hexadecimal => {
                    let number: u64 = value.parse().unwrap_or_default();
                    format!("{number:x}")
                }
                Modifier::Lower => value.to_ascii_lowercase(),
                Modifier::Upper => value.to_ascii_uppercase(),
            };
        }
        match self.width {
            Some(width) if self.zeros => format!("{value:0>width$}"),
            Some(width) => value.chars().take(width).collect(),
            None => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(format: &str) -> String {
        let format: UidlFormat = format.parse().unwrap();
        format.apply(&Facts {
            uid: 2,
            uidvalidity: 0x6b03_6933,
            file: "1700000000.M1P2.Host",
            guid: None,
        })
    }

    #[test]
    fn dovecot_s_formats_give_dovecot_s_unique_ids() {
        for (format, unique_id) in [
            ("%08Xu%08Xv", "000000026b036933"),
            ("%u.%v", "2.1795385651"),
            ("%v-%u", "1795385651-2"),
            ("UID%u-%v", "UID2-1795385651"),
            ("%Xv%Xu", "6b0369332"),
            ("%08UXv%08XUv%u", "6b0369336B0369332"),
            ("%f", "1700000000.M1P2.Host"),
            ("%Lf", "1700000000.m1p2.host"),
            ("%10g", "1700000000"),
            ("100%%%u", "100%2"),
        ] {
            assert_eq!(applied(format), unique_id, "{format}");
        }
        assert_eq!(UidlFormat::default(), "%08Xu%08Xv".parse().unwrap());
    }

    #[test]
    fn what_can_not_be_known_is_named() {
        let refused = |format: &str| format.parse::<UidlFormat>().unwrap_err();
        assert_eq!(refused("%m"), BadUidlFormat::Unknown('m'));
        assert_eq!(refused("%{uid}"), BadUidlFormat::Unknown('{'));
        assert_eq!(refused("%u%"), BadUidlFormat::Unfinished);
        assert_eq!(refused("%u%08"), BadUidlFormat::Unfinished);
        assert_eq!(refused("%v"), BadUidlFormat::Constant);
        assert_eq!(refused(""), BadUidlFormat::Constant);
    }
}

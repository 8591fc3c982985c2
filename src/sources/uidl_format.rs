//! Dovecot's setting `pop3_uidl_format`, by which it makes unique-ids.
//!
//! Up to version 2.3 it is a pattern like `%08Xu%08Xv`, from 2.4 on one like
//! `%{uid | hex(8)}%{uidvalidity | hex(8)}`. These two say the same, and are the defaults.

mod filter;
mod parse;

use thiserror::Error;

use filter::{Filter, Value};

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UidlFormat(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable, Vec<Filter>),
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

/// The values of a message that a unique-id is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) uid: u32,
    pub(super) uidvalidity: u32,
    /// Without its flags.
    pub(super) file: &'a str,
    pub(super) guid: Option<&'a str>,
}

/// Reasons why a pattern can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadUidlFormat {
    /// A variable that has no value here.
    #[error(
        "%{0} is not known of a Maildir: what is, are %u (UID), %v (UIDVALIDITY), %f (file name) and \
         %g (GUID), with L, U, X, M, R, T and a width, as in %08Xu, or %{{uid}}, %{{uidvalidity}}, \
         %{{filename}} and %{{guid}}, with filters, as in %{{uid | hex(8)}}"
    )]
    Unknown(String),
    /// A filter that is not known.
    #[error(
        "the filter {0} is not known here: what is, are lower, upper, hex, hexlify, lfill, rfill, \
         truncate, substr, reverse, md5, sha256, sha512 and base64"
    )]
    UnknownFilter(String),
    /// A filter that does not take what it is given.
    #[error("the filter {filter} takes {expected}")]
    BadArguments {
        /// The filter.
        filter: String,
        /// Its arguments.
        expected: &'static str,
    },
    /// It breaks off behind a `%`.
    #[error("the format ends in the middle of a variable")]
    Unfinished,
    /// All messages would have the same unique-id.
    #[error("the format has none of %u, %f and %g, so all messages would have the same unique-id")]
    Constant,
}

impl UidlFormat {
    fn new(parts: Vec<Part>) -> Result<Self, BadUidlFormat> {
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

    /// Returns whether it uses a value that only a message in a file of its own has.
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
            Part::Variable(variable, filters) => {
                let value = match variable {
                    Variable::Uid => facts.uid.to_string(),
                    Variable::UidValidity => facts.uidvalidity.to_string(),
                    Variable::File => facts.file.to_owned(),
                    Variable::Guid => facts.guid.unwrap_or(facts.file).to_owned(),
                };
                let value = Value::Text(value);
                let value = filters
                    .iter()
                    .fold(value, |value, filter| filter.apply(value));
                value.into_text()
            }
        };
        self.0.iter().map(part).collect()
    }
}

impl Default for UidlFormat {
    fn default() -> Self {
        let part = |variable| Part::Variable(variable, vec![Filter::Hex, Filter::Zeros(8)]);
        Self(vec![part(Variable::Uid), part(Variable::UidValidity)])
    }
}

impl std::str::FromStr for UidlFormat {
    type Err = BadUidlFormat;

    fn from_str(text: &str) -> Result<Self, BadUidlFormat> {
        Self::new(parse::parts(text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            ("%11.4f", "M1P2"),
            ("%-4.0f", "Host"),
            ("%-4.2f", "Ho"),
            ("%0.-5f", "1700000000.M1P2"),
            ("%Mf", "fde68cf260bddef67f2f860f6b9e4cd3"),
            ("%Rf", "tsoH.2P1M.0000000071"),
            ("%Xf%u", "02"),
            ("100%%%u", "100%2"),
        ] {
            assert_eq!(applied(format), unique_id, "{format}");
        }
    }

    #[test]
    fn the_formats_of_dovecot_2_4_give_its_unique_ids() {
        for (format, unique_id) in [
            ("%{uid | hex(8)}%{uidvalidity | hex(8)}", "000000026b036933"),
            ("%{uid|hex(8)}%{uidvalidity|hex(8)}", "000000026b036933"),
            (
                "%{ uid | hex ( 8 ) | upper }x%{uidvalidity | hex}",
                "00000002x6b036933",
            ),
            ("%{uidvalidity | hex(4)}%{uid}", "69332"),
            ("%{uidvalidity | hex(-10)}%{uid}", "6b036933002"),
            ("%{uid}.%{guid}", "2.1700000000.M1P2.Host"),
            ("%{filename | lower}", "1700000000.m1p2.host"),
            ("%{filename | truncate(10)}", "1700000000"),
            ("%{filename | substr(11, 4)}", "M1P2"),
            ("%{filename | substr(-4)}", "Host"),
            ("%{filename | substr(0, -5)}", "1700000000.M1P2"),
            ("%{uid | lfill(4)}", "0002"),
            ("%{uid | rfill(4, 'x')}", "2xxx"),
            (
                "%{filename | md5 | hexlify}",
                "fde68cf260bddef67f2f860f6b9e4cd3",
            ),
            ("%{filename | md5}", "fde68cf260bddef67f2f860f6b9e4cd3"),
            ("%{filename | md5 | hexlify(4)}", "fde6"),
            ("%{uid | sha256 | truncate(2)}", "d473"),
            ("%{uid | md5 | base64}", "yB5yjZ1ML2NvBn+JzBSGLA=="),
            ("%%{%{uid}", "%{2"),
        ] {
            assert_eq!(applied(format), unique_id, "{format}");
        }
        for default in ["%08Xu%08Xv", "%{uid | hex(8)}%{uidvalidity | hex(8)}"] {
            let facts = |uid, uidvalidity| Facts {
                uid,
                uidvalidity,
                file: "",
                guid: None,
            };
            let format: UidlFormat = default.parse().unwrap();
            for facts in [facts(1, 1), facts(u32::MAX, u32::MAX)] {
                assert_eq!(UidlFormat::default().apply(&facts), format.apply(&facts));
            }
        }
    }

    #[test]
    fn what_can_not_be_known_is_named() {
        let refused = |format: &str| format.parse::<UidlFormat>().unwrap_err();
        let unknown = |name: &str| BadUidlFormat::Unknown(name.to_owned());
        assert_eq!(refused("%m"), unknown("m"));
        assert_eq!(refused("%{md5}"), unknown("{md5}"));
        assert_eq!(refused("%{sha1:uid}"), unknown("{sha1:uid}"));
        assert_eq!(refused("%{user | lower}%u"), unknown("{user | lower}"));
        assert_eq!(refused("%{uid + 1}"), unknown("{uid + 1}"));
        assert_eq!(refused("%{}"), unknown("{}"));
        assert_eq!(refused("%Ef"), unknown("E"));
        assert_eq!(refused("%08X{uid}"), unknown("{"));
        for format in [
            "%u%",
            "%u%08",
            "%{uid",
            "%{uid | hex(",
            "%{",
            "%{'",
            "%{uid | lfill(2, 'x)}",
        ] {
            assert_eq!(refused(format), BadUidlFormat::Unfinished, "{format}");
        }
        assert_eq!(refused("%v"), BadUidlFormat::Constant);
        assert_eq!(refused("%{uidvalidity}"), BadUidlFormat::Constant);
        assert_eq!(refused(""), BadUidlFormat::Constant);
        let filter = BadUidlFormat::UnknownFilter("rot13".to_owned());
        assert_eq!(refused("%{uid | rot13}"), filter);
        for format in [
            "%{uid | hex(8, 9)}",
            "%{uid | hex('8')}",
            "%{uid | hex(900)}",
            "%{filename | hex(8)}",
            "%{uid | md5 | upper}",
            "%{uid | lower(1)}",
            "%{uid | lfill}",
            "%{uid | lfill(9, '')}",
            "%{uid | truncate(-1)}",
            "%{uid | substr}",
        ] {
            let refusal = refused(format);
            let is_named = matches!(refusal, BadUidlFormat::BadArguments { .. });
            assert!(is_named, "{format}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn no_format_makes_it_panic(format in "(%|\\{|\\}|\\(|\\)|\\||uid|filename|hex|substr|lfill|md5|[0-9.,'-]|[XLUMR]|[ufgv]|é){0,12}") {
            if let Ok(format) = format.parse::<UidlFormat>() {
                let facts = Facts { uid: 7, uidvalidity: 8, file: "é.x", guid: Some("") };
                format.apply(&facts);
            }
        }
    }
}

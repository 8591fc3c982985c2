//! Reads a line as a command (RFC 1939, RFC 2449, RFC 2595, RFC 5034).

use wire::Secret;

use crate::sasl::{self, Mechanism};
use crate::snapshot::MessageNumber;

/// A command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `AUTH mechanism [initial-response]`: prove who you are by SASL.
    Auth(Mechanism, Option<Secret>),
    /// `CAPA`: what can this server do?
    Capa,
    /// `DELE msg`: mark a message.
    Dele(MessageNumber),
    /// `LIST [msg]`: how many octets?
    List(Option<MessageNumber>),
    /// `AUTH` alone: which mechanisms are there?
    Mechanisms,
    /// `NOOP`.
    Noop,
    /// `PASS string`: the secret, which may contain spaces.
    Pass(Secret),
    /// `QUIT`.
    Quit,
    /// `RETR msg`: the whole message.
    Retr(MessageNumber),
    /// `RSET`: unmark all.
    Rset,
    /// `STAT`: how many messages and octets?
    Stat,
    /// `STLS`: go on inside TLS.
    Stls,
    /// `TOP msg n`: the header, the blank line and n lines of the body.
    Top(MessageNumber, u32),
    /// `UIDL [msg]`: what are the messages called?
    Uidl(Option<MessageNumber>),
    /// `USER name`.
    User(String),
}

/// The first word of a line, for metrics: every word that is no command counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the command of its name, see Command")]
pub enum Verb {
    Auth,
    Capa,
    Dele,
    List,
    Noop,
    Pass,
    Quit,
    Retr,
    Rset,
    Stat,
    Stls,
    Top,
    Uidl,
    User,
    /// Anything else.
    Unknown,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Auth,
        Self::Capa,
        Self::Dele,
        Self::List,
        Self::Noop,
        Self::Pass,
        Self::Quit,
        Self::Retr,
        Self::Rset,
        Self::Stat,
        Self::Stls,
        Self::Top,
        Self::Uidl,
        Self::User,
        Self::Unknown,
    ];

    /// The verb that a line begins with.
    pub fn of(line: &[u8]) -> Self {
        let word = line
            .split(|octet| *octet == b' ')
            .next()
            .unwrap_or_default();
        let named = |verb: &Self| word.eq_ignore_ascii_case(verb.as_str().as_bytes());
        Self::ALL.into_iter().find(named).unwrap_or(Self::Unknown)
    }

    /// Its name in capitals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "AUTH",
            Self::Capa => "CAPA",
            Self::Dele => "DELE",
            Self::List => "LIST",
            Self::Noop => "NOOP",
            Self::Pass => "PASS",
            Self::Quit => "QUIT",
            Self::Retr => "RETR",
            Self::Rset => "RSET",
            Self::Stat => "STAT",
            Self::Stls => "STLS",
            Self::Top => "TOP",
            Self::Uidl => "UIDL",
            Self::User => "USER",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// The first word is no command.
    #[error("unknown command")]
    UnknownCommand,
    /// The command takes no argument, and one was given.
    #[error("{0} takes no argument")]
    TakesNoArgument(&'static str),
    /// The arguments are missing, too many, or of the wrong form.
    #[error("the form is: {0}")]
    Form(&'static str),
    /// AUTH names no mechanism that there is.
    #[error("no such mechanism: AUTH alone lists those that can be used here")]
    NoSuchMechanism,
    /// A response of SASL is not in base64.
    #[error("a response is in base64 (RFC 4648, section 4), and an empty first one is =")]
    NotBase64,
    /// A number that no message has, such as 0.
    #[error("no such message")]
    NoSuchMessage,
}

impl Command {
    /// Reads a line that has lost its CRLF.
    ///
    /// Keywords may have any case. RFC 1939, section 3 separates arguments by single spaces; several
    /// of them, and some at the end of the line, are accepted too, since clients send them. The
    /// argument of PASS is all that follows its first space, as it is: a secret may contain spaces.
    ///
    /// # Errors
    /// If the word is no command or the arguments are not those that it takes.
    pub fn parse(line: &[u8]) -> Result<Self, SyntaxError> {
        let mut parts = line.splitn(2, |octet| *octet == b' ');
        parts.next();
        let as_it_is = parts.next();
        let rest = as_it_is.map(without_blanks).filter(|it| !it.is_empty());
        let verb = Verb::of(line);
        let alone = |command| match rest {
            None => Ok(command),
            Some(_) => Err(SyntaxError::TakesNoArgument(verb.as_str())),
        };
        match verb {
            Verb::Auth => rest.map_or(Ok(Self::Mechanisms), auth),
            Verb::Capa => alone(Self::Capa),
            Verb::Noop => alone(Self::Noop),
            Verb::Quit => alone(Self::Quit),
            Verb::Rset => alone(Self::Rset),
            Verb::Stat => alone(Self::Stat),
            Verb::Stls => alone(Self::Stls),
            Verb::Dele => Ok(Self::Dele(required_message(rest, "DELE message-number")?)),
            Verb::Retr => Ok(Self::Retr(required_message(rest, "RETR message-number")?)),
            Verb::List => Ok(Self::List(optional_message(rest, "LIST [message-number]")?)),
            Verb::Uidl => Ok(Self::Uidl(optional_message(rest, "UIDL [message-number]")?)),
            Verb::Top => top(rest),
            Verb::User => user(rest),
            Verb::Pass => as_it_is
                .map(|secret| Self::Pass(Secret::new(secret)))
                .ok_or(SyntaxError::Form("PASS secret")),
            Verb::Unknown => Err(SyntaxError::UnknownCommand),
        }
    }
}

fn required_message(rest: Option<&[u8]>, form: &'static str) -> Result<MessageNumber, SyntaxError> {
    let number = rest.and_then(number).ok_or(SyntaxError::Form(form))?;
    MessageNumber::new(number).ok_or(SyntaxError::NoSuchMessage)
}

fn optional_message(
    rest: Option<&[u8]>,
    form: &'static str,
) -> Result<Option<MessageNumber>, SyntaxError> {
    rest.map(|_| required_message(rest, form)).transpose()
}

fn top(rest: Option<&[u8]>) -> Result<Command, SyntaxError> {
    const FORM: &str = "TOP message-number number-of-lines";
    let (message, lines) = first_word(rest.unwrap_or_default());
    let lines = number(lines).ok_or(SyntaxError::Form(FORM))?;
    let message = required_message(Some(message), FORM)?;
    // More lines than a message can have means all of them.
    Ok(Command::Top(
        message,
        u32::try_from(lines).unwrap_or(u32::MAX),
    ))
}

fn auth(arguments: &[u8]) -> Result<Command, SyntaxError> {
    let (name, response) = first_word(arguments);
    let mechanism = Mechanism::named(name).ok_or(SyntaxError::NoSuchMechanism)?;
    let response = match response {
        b"" => None,
        b"=" => Some(Secret::new([])),
        response => Some(sasl::decode(response).ok_or(SyntaxError::NotBase64)?),
    };
    Ok(Command::Auth(mechanism, response))
}

fn user(rest: Option<&[u8]>) -> Result<Command, SyntaxError> {
    rest.and_then(sasl::name_of)
        .map(Command::User)
        .ok_or(SyntaxError::Form("USER address"))
}

/// The octets between the spaces around them.
pub(crate) fn without_blanks(octets: &[u8]) -> &[u8] {
    let is_blank = |octet: &u8| *octet == b' ';
    let start = octets.iter().take_while(|octet| is_blank(octet)).count();
    let octets = octets.get(start..).unwrap_or_default();
    let blanks = octets.iter().rev().take_while(|octet| is_blank(octet));
    let end = octets.len() - blanks.count();
    octets.get(..end).unwrap_or_default()
}

/// The first word, and what follows the spaces behind it; nothing if nothing does.
fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = text.splitn(2, |octet| *octet == b' ');
    let word = parts.next().unwrap_or_default();
    (word, parts.next().map(without_blanks).unwrap_or_default())
}

/// Digits and nothing else: no sign, no blank. A number too large to hold is the largest one.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, octet| {
        let digit = char::from(*octet).to_digit(10)?;
        Some(sum.saturating_mul(10).saturating_add(u64::from(digit)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(number: u64) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    #[test]
    fn keywords_have_any_case() {
        assert_eq!(Command::parse(b"nOoP"), Ok(Command::Noop));
        assert_eq!(Command::parse(b"retr 7"), Ok(Command::Retr(message(7))));
    }

    #[test]
    fn a_secret_may_contain_spaces_and_is_never_printed() {
        let Ok(Command::Pass(secret)) = Command::parse(b"PASS  two words ") else {
            panic!("no PASS");
        };
        assert_eq!(secret.expose(), b" two words ");
        assert_eq!(format!("{:?}", Command::Pass(secret)), "Pass(***)");
    }

    #[test]
    fn numbers_are_digits_only() {
        for bad in [
            "RETR",
            "RETR ",
            "RETR   ",
            "RETR +1",
            "RETR -1",
            "RETR 1 2",
            "RETR x",
            "RETR 1x",
            "RETR 1\t",
            "LIST 1 2",
            "LIST 1  2",
            "TOP 1",
            "TOP 1 ",
            "TOP 1 -1",
            "TOP 1 2 3",
            "RETR \u{661}",
        ] {
            let parsed = Command::parse(bad.as_bytes());
            assert!(
                matches!(parsed, Err(SyntaxError::Form(_))),
                "{bad:?}: {parsed:?}"
            );
        }
    }

    #[test]
    fn message_zero_and_huge_numbers_are_no_message() {
        for bad in [
            "RETR 0",
            "DELE 0",
            "TOP 0 1",
            "LIST 4294967296",
            "UIDL 99999999999999999999999",
        ] {
            assert_eq!(
                Command::parse(bad.as_bytes()),
                Err(SyntaxError::NoSuchMessage),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_huge_number_of_lines_means_all() {
        assert_eq!(
            Command::parse(b"TOP 1 99999999999999999999999"),
            Ok(Command::Top(message(1), u32::MAX))
        );
        assert_eq!(Command::parse(b"TOP 1 0"), Ok(Command::Top(message(1), 0)));
    }

    #[test]
    fn commands_without_arguments_refuse_one() {
        for word in ["CAPA", "NOOP", "QUIT", "RSET", "STAT", "STLS"] {
            for tail in [" x", "  x", " x "] {
                let line = format!("{word}{tail}");
                assert_eq!(
                    Command::parse(line.as_bytes()),
                    Err(SyntaxError::TakesNoArgument(word))
                );
            }
        }
    }

    #[test]
    fn spaces_at_the_end_and_several_between_words_are_no_fault() {
        for (line, tidy) in [
            ("CAPA ", "CAPA"),
            ("DELE 1 ", "DELE 1"),
            ("DELE  1", "DELE 1"),
            ("LIST ", "LIST"),
            ("LIST   ", "LIST"),
            ("LIST  1 ", "LIST 1"),
            ("NOOP  ", "NOOP"),
            ("QUIT ", "QUIT"),
            ("RETR   1  ", "RETR 1"),
            ("RSET ", "RSET"),
            ("STAT  ", "STAT"),
            ("STLS ", "STLS"),
            ("TOP  1   0 ", "TOP 1 0"),
            ("UIDL ", "UIDL"),
            ("UIDL  1 ", "UIDL 1"),
            ("USER  ada@example.com ", "USER ada@example.com"),
            // Those in the name of a key are a part of it.
            ("USER ada#My  Phone ", "USER ada#My  Phone"),
            ("AUTH ", "AUTH"),
            ("AUTH  PLAIN ", "AUTH PLAIN"),
            ("AUTH PLAIN  = ", "AUTH PLAIN ="),
            ("AUTH PLAIN  AGEAYg== ", "AUTH PLAIN AGEAYg=="),
        ] {
            let parsed = Command::parse(line.as_bytes());
            assert!(parsed.is_ok(), "{line:?}: {parsed:?}");
            assert_eq!(parsed, Command::parse(tidy.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn a_line_of_spaces_or_one_that_begins_with_one_is_no_command() {
        for line in ["", " ", "   ", " STAT", "  QUIT"] {
            let parsed = Command::parse(line.as_bytes());
            assert_eq!(parsed, Err(SyntaxError::UnknownCommand), "{line:?}");
        }
    }

    #[test]
    fn auth_names_a_mechanism_and_may_bring_a_response() {
        let plain = |response| Ok(Command::Auth(Mechanism::Plain, response));
        assert_eq!(Command::parse(b"AUTH"), Ok(Command::Mechanisms));
        assert_eq!(Command::parse(b"auth plain"), plain(None));
        assert_eq!(
            Command::parse(b"AUTH PLAIN ="),
            plain(Some(Secret::new([])))
        );
        assert_eq!(
            Command::parse(b"AUTH PLAIN AGEAYg=="),
            plain(Some(Secret::new(*b"\0a\0b")))
        );
        for bad in [
            "AUTH PLAIN AGEAYg",
            "AUTH PLAIN AGEA Yg==",
            "AUTH PLAIN AGEAYg== x",
            "AUTH PLAIN AGEAYg==\t",
            "AUTH PLAIN !",
            "AUTH PLAIN ==",
        ] {
            let refused = Command::parse(bad.as_bytes());
            assert_eq!(refused, Err(SyntaxError::NotBase64), "{bad}");
        }
        for bad in ["AUTH PLAI", "AUTH PLAIN-PLUS x", "AUTH CRAM-MD5"] {
            let refused = Command::parse(bad.as_bytes());
            assert_eq!(refused, Err(SyntaxError::NoSuchMechanism), "{bad}");
        }
    }

    #[test]
    fn a_name_is_one_word_of_text() {
        assert_eq!(
            Command::parse("USER jürgen@example.com".as_bytes()),
            Ok(Command::User("jürgen@example.com".into()))
        );
        for bad in [
            &b"USER"[..],
            b"USER ",
            b"USER a b",
            b"USER \xff",
            b"USER a\0",
        ] {
            assert!(Command::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_refused(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Command::parse(&line);
        }

        #[test]
        fn every_number_is_read_as_it_is_written(n in 1u32.., k in any::<u32>()) {
            prop_assert_eq!(
                Command::parse(format!("TOP {n} {k}").as_bytes()),
                Ok(Command::Top(message(n.into()), k))
            );
        }
    }
}

//! Reads a line as a command (RFC 1939, RFC 2449, RFC 2595, RFC 5034).

use wire::Secret;

use crate::sasl::{self, Mechanism};
use crate::snapshot::MessageNumber;

/// A command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `AUTH mechanism [initial-response]`: log in by SASL.
    Auth(Mechanism, Option<Secret>),
    /// `CAPA`: list the capabilities.
    Capa,
    /// `DELE msg`: mark a message.
    Dele(MessageNumber),
    /// `LIST [msg]`: the octets of each message.
    List(Option<MessageNumber>),
    /// `AUTH` alone: list the mechanisms.
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
    /// `STAT`: the number of messages and their octets.
    Stat,
    /// `STLS`: go on inside TLS.
    Stls,
    /// `TOP msg n`: the header, the blank line and n lines of the body.
    Top(MessageNumber, u32),
    /// `UIDL [msg]`: the unique-id of each message.
    Uidl(Option<MessageNumber>),
    /// `USER name`.
    User(String),
}

/// The first word of a line, for metrics; all unknown words are one.
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
    #[error("usage: {0}")]
    Form(&'static str),
    /// AUTH names an unknown mechanism.
    #[error("unknown mechanism: send AUTH alone for a list")]
    NoSuchMechanism,
    /// A response of SASL is not in base64.
    #[error("invalid base64 (send = for an empty initial response)")]
    NotBase64,
    /// A number that no message has, such as 0.
    #[error("no such message")]
    NoSuchMessage,
    /// The line has more octets than this, and was skipped.
    #[error("line too long: at most {0} octets")]
    TooLong(usize),
}

impl SyntaxError {
    /// Whether the line counts as a bad command, of which a limited number may follow each other.
    pub(crate) fn counts(self) -> bool {
        match self {
            Self::NoSuchMessage => false,
            Self::UnknownCommand
            | Self::TakesNoArgument(_)
            | Self::Form(_)
            | Self::NoSuchMechanism
            | Self::NotBase64
            | Self::TooLong(_) => true,
        }
    }
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
mod tests;

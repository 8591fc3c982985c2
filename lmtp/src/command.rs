//! Command lines and what they mean (RFC 5321, section 4.1; RFC 2033; RFC 3030).

use crate::address::{Mailbox, Path, is_address_literal, path};
use crate::reply::Reply;

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// The name that the client gives itself.
    Lhlo(String),
    Mail(Mail),
    /// None is `<Postmaster>`.
    Rcpt(Option<Mailbox>),
    Data,
    Bdat(Size),
    Rset,
    Noop,
    Help,
    Quit,
}

/// Who sends a message, and what is said of it beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    /// None is `<>`.
    pub(crate) sender: Option<Mailbox>,
    /// How many octets it will have, about (RFC 1870).
    pub(crate) octets: Option<u64>,
    /// May addresses hold more than ASCII (RFC 6531)?
    pub(crate) utf8: bool,
}

/// How many octets follow BDAT, and whether they are the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) octets: u64,
    pub(crate) last: bool,
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Reply(Reply),
    /// Nobody knows how many octets of message follow, so no further command can be found.
    Lost(Reply),
}

impl Command {
    pub(crate) fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(refuse(500, "5.5.2", "a command is in ASCII or UTF-8"));
        };
        let (keyword, arguments) = match line.split_once(' ') {
            Some((keyword, arguments)) => (keyword, Some(arguments)),
            None => (line, None),
        };
        let without_arguments = |command: Self| match arguments.map(str::trim_ascii) {
            None | Some("") => Ok(command),
            Some(_) => Err(refuse(501, "5.5.4", format!("{keyword} takes no argument"))),
        };
        match keyword.to_ascii_uppercase().as_str() {
            "LHLO" => lhlo(arguments.unwrap_or_default()),
            "MAIL" => mail(arguments.unwrap_or_default()),
            "RCPT" => rcpt(arguments.unwrap_or_default()),
            "DATA" => without_arguments(Self::Data),
            "BDAT" => bdat(arguments.unwrap_or_default()),
            "RSET" => without_arguments(Self::Rset),
            "QUIT" => without_arguments(Self::Quit),
            // Both may have an argument (RFC 5321, sections 4.1.1.8 and 4.1.1.9).
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "HELO" | "EHLO" => Err(refuse(500, "5.5.1", "this is LMTP: say LHLO")),
            "VRFY" | "EXPN" => Err(refuse(
                502,
                "5.5.1",
                "addresses are not told: RCPT says whether there is such a user",
            )),
            "STARTTLS" | "AUTH" | "TURN" | "ETRN" | "SEND" | "SOML" | "SAML" => {
                Err(refuse(502, "5.5.1", format!("there is no {keyword} here")))
            }
            _ => Err(refuse(500, "5.5.1", "no such command")),
        }
    }
}

fn refuse(code: u16, status: &'static str, text: impl Into<String>) -> Refusal {
    Refusal::Reply(Reply::new(code, status, text))
}

fn lhlo(arguments: &str) -> Result<Command, Refusal> {
    let name = arguments.trim_ascii();
    // Many a machine calls itself by something that is no domain; only the log and Received tell it.
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let is_word = (1..=255).contains(&name.len()) && name.chars().all(is_name);
    if is_word || is_address_literal(name) {
        return Ok(Command::Lhlo(name.to_owned()));
    }
    Err(refuse(
        501,
        "5.5.4",
        "LHLO needs the client's name, such as mx.example.org or [192.0.2.1]",
    ))
}

/// What stands behind `FROM:` or `TO:`.
fn after<'a>(keyword: &str, arguments: &'a str) -> Option<&'a str> {
    let (found, rest) = arguments.split_at_checked(keyword.len())?;
    found.eq_ignore_ascii_case(keyword).then_some(rest)
}

fn mail(arguments: &str) -> Result<Command, Refusal> {
    let form = || refuse(501, "5.5.4", "the form is MAIL FROM:<sender>");
    let rest = after("FROM:", arguments).ok_or_else(form)?;
    if !rest.starts_with('<') {
        return Err(form());
    }
    let (sender, parameters) = match path(rest) {
        Some((Path::Null, parameters)) => (None, parameters),
        Some((Path::Mailbox(mailbox), parameters)) => (Some(mailbox), parameters),
        Some((Path::Postmaster, _)) | None => {
            return Err(refuse(501, "5.1.7", "the sender is no address"));
        }
    };
    let mut mail = Mail {
        sender,
        octets: None,
        utf8: false,
    };
    let mut seen = Vec::new();
    for parameter in parameters_of(parameters)? {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.to_ascii_uppercase(), Some(value)),
            None => (parameter.to_ascii_uppercase(), None),
        };
        if seen.contains(&name) {
            return Err(refuse(501, "5.5.4", format!("{name} is there twice")));
        }
        match (name.as_str(), value) {
            ("SIZE", Some(octets)) => mail.octets = Some(size(octets)?),
            ("BODY", Some(body))
                if body.eq_ignore_ascii_case("7BIT") || body.eq_ignore_ascii_case("8BITMIME") => {}
            ("BODY", _) => {
                return Err(refuse(501, "5.5.4", "BODY is 7BIT or 8BITMIME"));
            }
            ("SMTPUTF8", None) => mail.utf8 = true,
            ("SIZE" | "SMTPUTF8", _) => {
                return Err(refuse(501, "5.5.4", format!("{name} has not this form")));
            }
            _ => {
                return Err(refuse(
                    555,
                    "5.5.4",
                    "MAIL has SIZE, BODY and SMTPUTF8 only",
                ));
            }
        }
        seen.push(name);
    }
    match &mail.sender {
        Some(sender) if !mail.utf8 && !sender.as_written().is_ascii() => Err(needs_utf8()),
        Some(_) | None => Ok(Command::Mail(mail)),
    }
}

/// The refusal of an address that needs SMTPUTF8 and does not have it (RFC 6531, section 3.5).
pub(crate) fn needs_utf8() -> Refusal {
    refuse(553, "5.6.7", "an address that is not ASCII needs SMTPUTF8")
}

fn rcpt(arguments: &str) -> Result<Command, Refusal> {
    let form = || refuse(501, "5.5.4", "the form is RCPT TO:<recipient>");
    let rest = after("TO:", arguments).ok_or_else(form)?;
    if !rest.starts_with('<') {
        return Err(form());
    }
    let (recipient, parameters) = match path(rest) {
        Some((Path::Mailbox(mailbox), parameters)) => (Some(mailbox), parameters),
        Some((Path::Postmaster, parameters)) => (None, parameters),
        Some((Path::Null, _)) | None => {
            return Err(refuse(501, "5.1.3", "the recipient is no address"));
        }
    };
    if parameters_of(parameters)?.next().is_some() {
        return Err(refuse(555, "5.5.4", "RCPT has no parameters"));
    }
    Ok(Command::Rcpt(recipient))
}

/// The words behind a path.
fn parameters_of(text: &str) -> Result<impl Iterator<Item = &str>, Refusal> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(refuse(
            501,
            "5.5.4",
            "there is something behind the address",
        ));
    }
    Ok(text.split_ascii_whitespace())
}

/// RFC 1870, section 4: up to 20 digits.
fn size(text: &str) -> Result<u64, Refusal> {
    let is_number = (1..=20).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    if !is_number {
        return Err(refuse(501, "5.5.4", "SIZE is a number of octets"));
    }
    // What no number here can hold is too large all the same.
    Ok(text.parse().unwrap_or(u64::MAX))
}

fn bdat(arguments: &str) -> Result<Command, Refusal> {
    let mut words = arguments.split_ascii_whitespace();
    let octets = words
        .next()
        .filter(|word| word.bytes().all(|c| c.is_ascii_digit()))
        .and_then(|word| word.parse().ok());
    let last = match (words.next(), words.next()) {
        (None, None) => Some(false),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => Some(true),
        (_, _) => None,
    };
    match (octets, last) {
        (Some(octets), Some(last)) => Ok(Command::Bdat(Size { octets, last })),
        _ => Err(Refusal::Lost(Reply::new(
            501,
            "5.5.4",
            "the form is BDAT octets [LAST]; what follows can't be told apart, good-bye",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> u16 {
        match Command::parse(line.as_bytes()) {
            Ok(_) => 250,
            Err(Refusal::Reply(reply)) => reply.code(),
            Err(Refusal::Lost(reply)) => 1000 + reply.code(),
        }
    }

    fn parsed(line: &str) -> Command {
        Command::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn keywords_have_any_case() {
        assert_eq!(
            parsed("lhlo mx.example.org"),
            Command::Lhlo("mx.example.org".into())
        );
        assert_eq!(parsed("Data"), Command::Data);
        assert_eq!(parsed("quit "), Command::Quit);
        assert_eq!(
            parsed("bdat 5 last"),
            Command::Bdat(Size {
                octets: 5,
                last: true
            })
        );
        assert!(matches!(
            parsed("mail from:<a@b> size=7 body=8bitmime smtputf8"),
            Command::Mail(Mail {
                octets: Some(7),
                utf8: true,
                ..
            })
        ));
        assert!(matches!(parsed("rcpt to:<a@b>"), Command::Rcpt(Some(_))));
        assert_eq!(parsed("RCPT TO:<postmaster>"), Command::Rcpt(None));
    }

    #[test]
    fn what_is_no_command_is_refused_by_its_kind() {
        for (line, expected) in [
            ("", 500),
            ("FOO", 500),
            (" NOOP", 500),
            ("EHLO mx.example.org", 500),
            ("HELO mx.example.org", 500),
            ("VRFY ada", 502),
            ("EXPN list", 502),
            ("STARTTLS", 502),
            ("LHLO", 501),
            ("LHLO a b", 501),
            ("LHLO a_b", 250),
            ("LHLO a;b", 501),
            ("LHLO [192.0.2.1]", 250),
            ("DATA now", 501),
            ("RSET now", 501),
            ("NOOP now", 250),
            ("HELP MAIL", 250),
            ("MAIL", 501),
            ("MAIL TO:<a@b>", 501),
            ("MAIL FROM:a@b", 501),
            ("MAIL FROM: <a@b>", 501),
            ("MAIL FROM:<>", 250),
            ("MAIL FROM:<postmaster>", 501),
            ("MAIL FROM:<a@b>SIZE=1", 501),
            ("MAIL FROM:<a@b> SIZE", 501),
            ("MAIL FROM:<a@b> SIZE=", 501),
            ("MAIL FROM:<a@b> SIZE=-1", 501),
            ("MAIL FROM:<a@b> SIZE=99999999999999999999", 250),
            ("MAIL FROM:<a@b> SIZE=999999999999999999999", 501),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", 501),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", 501),
            ("MAIL FROM:<a@b> SMTPUTF8=yes", 501),
            ("MAIL FROM:<a@b> RET=FULL", 555),
            ("MAIL FROM:<ä@b>", 553),
            ("MAIL FROM:<ä@b> SMTPUTF8", 250),
            ("RCPT TO:<>", 501),
            ("RCPT TO:<ada>", 501),
            ("RCPT TO:<a@b> NOTIFY=NEVER", 555),
            ("BDAT 0", 250),
            ("BDAT", 1501),
            ("BDAT -5", 1501),
            ("BDAT +5", 1501),
            ("BDAT five", 1501),
            ("BDAT 5 FIRST", 1501),
            ("BDAT 5 LAST LAST", 1501),
            ("BDAT 99999999999999999999 LAST", 1501),
        ] {
            assert_eq!(code(line), expected, "{line:?}");
        }
        assert!(Command::parse(b"NOOP \xff").is_err());
    }
}

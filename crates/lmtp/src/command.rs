//! Command lines (RFC 5321, section 4.1; RFC 2033; RFC 3030).

use crate::address::{
    Address, PathError, ReversePath, is_address_literal, recipient, reverse_path,
};
use crate::reply::Reply;

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// The name that the client gives itself; none if it has not the form of a host's.
    Lhlo(Option<String>),
    Mail(Mail),
    Rcpt(Result<Address, BadRecipient>),
    Data,
    Bdat(Size),
    Rset,
    Noop,
    Help,
    Quit,
}

/// The sender of a message, and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    /// None is `<>`.
    pub(crate) sender: Option<ReversePath>,
    /// The approximate size in octets (RFC 1870).
    pub(crate) octets: Option<u64>,
    /// True if addresses and header may hold more than ASCII (RFC 6531).
    pub(crate) utf8: bool,
}

/// A recipient that can't be a user's address. It refuses this recipient, not the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadRecipient;

/// The octets behind BDAT, and whether they are the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) octets: u64,
    pub(crate) last: bool,
}

/// The longest name of a client that Received tells, in octets.
const MAX_NAME_OCTETS: usize = 255;

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Reply(Reply),
    /// The length of the chunk is unknown, so the next command can't be found.
    Lost(Reply),
}

/// Parameters of MAIL that are taken although LHLO announces none of them, since they ask nothing of
/// a server that stores at once: those of DSN (RFC 3461), and others that MTAs pass on.
const IGNORED_OF_MAIL: [&str; 9] = [
    "AUTH",
    "BY",
    "ENVID",
    "MT-PRIORITY",
    "MTRK",
    "REQUIRETLS",
    "RET",
    "SOLICIT",
    "SUBMITTER",
];

/// The same of RCPT.
const IGNORED_OF_RCPT: [&str; 3] = ["NOTIFY", "ORCPT", "RRVS"];

impl Command {
    pub(crate) fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let end = line.iter().position(|octet| *octet == b' ');
        let (keyword, arguments) = line.split_at(end.unwrap_or(line.len()));
        let keyword = String::from_utf8_lossy(keyword).to_ascii_uppercase();
        let arguments = arguments.trim_ascii();
        match keyword.as_str() {
            "LHLO" => lhlo(arguments),
            "MAIL" => mail(arguments),
            "RCPT" => rcpt(arguments),
            "BDAT" => bdat(&String::from_utf8_lossy(arguments)),
            // Both may have an argument (RFC 5321, sections 4.1.1.8 and 4.1.1.9).
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "DATA" => alone(Self::Data, &keyword, arguments),
            "RSET" => alone(Self::Rset, &keyword, arguments),
            "QUIT" => alone(Self::Quit, &keyword, arguments),
            "HELO" | "EHLO" => Err(refuse(500, "5.5.1", "this is LMTP: send LHLO")),
            "VRFY" | "EXPN" => Err(refuse(502, "5.5.1", "VRFY and EXPN are disabled: use RCPT")),
            "STARTTLS" | "AUTH" | "TURN" | "ETRN" | "SEND" | "SOML" | "SAML" => {
                Err(refuse(502, "5.5.1", format!("{keyword} is not available")))
            }
            _ => Err(refuse(500, "5.5.1", "unknown command")),
        }
    }
}

fn refuse(code: u16, status: &'static str, text: impl Into<String>) -> Refusal {
    Refusal::Reply(Reply::new(code, status, text))
}

fn alone(command: Command, keyword: &str, arguments: &[u8]) -> Result<Command, Refusal> {
    if arguments.is_empty() {
        return Ok(command);
    }
    Err(refuse(501, "5.5.4", format!("{keyword} takes no argument")))
}

fn lhlo(arguments: &[u8]) -> Result<Command, Refusal> {
    if arguments.is_empty() {
        return Err(refuse(
            501,
            "5.5.4",
            "LHLO needs the client's name, such as mx.example.org or [192.0.2.1]",
        ));
    }
    // Many a machine calls itself by something that is no domain. Only Received tells it, so a name
    // of any other form is left out there rather than refused with all its mail.
    let name = String::from_utf8_lossy(arguments);
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let is_word = name.len() <= MAX_NAME_OCTETS && name.chars().all(is_name);
    let name = (is_word || is_address_literal(&name)).then(|| name.into_owned());
    Ok(Command::Lhlo(name))
}

/// The text behind `FROM:` or `TO:`.
fn after<'a>(keyword: &str, arguments: &'a [u8]) -> Option<&'a [u8]> {
    let (found, rest) = arguments.split_at_checked(keyword.len())?;
    found
        .eq_ignore_ascii_case(keyword.as_bytes())
        .then_some(rest)
}

fn mail(arguments: &[u8]) -> Result<Command, Refusal> {
    let form = || refuse(501, "5.5.4", "usage: MAIL FROM:<sender>");
    let path = after("FROM:", arguments).ok_or_else(form)?;
    let (sender, rest) = reverse_path(path).map_err(|why| match why {
        PathError::Missing => form(),
        PathError::Unclosed => refuse(501, "5.1.7", "unbalanced < and > around the sender"),
        PathError::ControlCharacter => refuse(501, "5.1.7", "control character in the sender"),
    })?;
    let mut mail = Mail {
        sender,
        octets: None,
        utf8: false,
    };
    let mut seen = Vec::new();
    for (name, value) in parameters(rest)? {
        if seen.contains(&name) {
            return Err(refuse(501, "5.5.4", format!("duplicate parameter {name}")));
        }
        match (name.as_str(), value.as_deref()) {
            ("SIZE", Some(octets)) => mail.octets = Some(size(octets)?),
            ("BODY", Some(body))
                if body.eq_ignore_ascii_case("7BIT") || body.eq_ignore_ascii_case("8BITMIME") => {}
            ("BODY", _) => {
                return Err(refuse(501, "5.5.4", "BODY must be 7BIT or 8BITMIME"));
            }
            ("SMTPUTF8", None) => mail.utf8 = true,
            ("SIZE" | "SMTPUTF8", _) => {
                return Err(refuse(501, "5.5.4", format!("malformed parameter {name}")));
            }
            (name, _) if IGNORED_OF_MAIL.contains(&name) => {}
            _ => {
                let text = "unknown parameter: MAIL takes SIZE, BODY and SMTPUTF8";
                return Err(refuse(555, "5.5.4", text));
            }
        }
        seen.push(name);
    }
    Ok(Command::Mail(mail))
}

fn rcpt(arguments: &[u8]) -> Result<Command, Refusal> {
    let form = || refuse(501, "5.5.4", "usage: RCPT TO:<recipient>");
    let path = after("TO:", arguments).filter(|path| !path.trim_ascii().is_empty());
    let Ok((recipient, rest)) = recipient(path.ok_or_else(form)?) else {
        return Ok(Command::Rcpt(Err(BadRecipient)));
    };
    if !rest.is_empty() && !starts_with_blank(rest) {
        return Ok(Command::Rcpt(Err(BadRecipient)));
    }
    let known = |name: &str| IGNORED_OF_RCPT.contains(&name);
    if parameters(rest)?.iter().any(|(name, _)| !known(name)) {
        return Err(refuse(555, "5.5.4", "unknown parameter: RCPT takes none"));
    }
    Ok(Command::Rcpt(Ok(recipient)))
}

fn starts_with_blank(text: &[u8]) -> bool {
    text.starts_with(b" ") || text.starts_with(b"\t")
}

/// The words behind a path: each a name in capitals, and its value if it has one.
fn parameters(text: &[u8]) -> Result<Vec<(String, Option<String>)>, Refusal> {
    if !text.is_empty() && !starts_with_blank(text) {
        return Err(refuse(501, "5.5.4", "unexpected text behind the address"));
    }
    let text = String::from_utf8_lossy(text);
    let parameter = |word: &str| match word.split_once('=') {
        Some((name, value)) => (name.to_ascii_uppercase(), Some(value.to_owned())),
        None => (word.to_ascii_uppercase(), None),
    };
    Ok(text.split_ascii_whitespace().map(parameter).collect())
}

/// RFC 1870, section 4: up to 20 digits.
fn size(text: &str) -> Result<u64, Refusal> {
    let is_number = (1..=20).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    if !is_number {
        return Err(refuse(501, "5.5.4", "SIZE must be a number of octets"));
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
            "usage: BDAT octets [LAST]; closing connection",
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
            Command::Lhlo(Some("mx.example.org".into()))
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
        assert!(matches!(parsed("rcpt to:<a@b>"), Command::Rcpt(Ok(_))));
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
            ("LHLO ", 501),
            ("LHLO a_b", 250),
            ("LHLO [192.0.2.1]", 250),
            ("DATA now", 501),
            ("RSET now", 501),
            ("NOOP now", 250),
            ("HELP MAIL", 250),
            ("MAIL", 501),
            ("MAIL TO:<a@b>", 501),
            ("MAIL FROM:", 501),
            ("MAIL FROM:a@b", 250),
            ("MAIL FROM: <a@b>", 250),
            ("MAIL FROM:<a@b", 501),
            ("MAIL FROM:a@b>", 501),
            ("MAIL FROM:<<a@b>>", 501),
            ("MAIL FROM:<a\tb@c>", 501),
            ("MAIL FROM:<>", 250),
            ("MAIL FROM:<postmaster>", 250),
            ("MAIL FROM:<a@b>SIZE=1", 501),
            ("MAIL FROM:<a@b>\t SIZE=1 ", 250),
            ("MAIL FROM:<a@b> SIZE", 501),
            ("MAIL FROM:<a@b> SIZE=", 501),
            ("MAIL FROM:<a@b> SIZE=-1", 501),
            ("MAIL FROM:<a@b> SIZE=99999999999999999999", 250),
            ("MAIL FROM:<a@b> SIZE=999999999999999999999", 501),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", 501),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", 501),
            ("MAIL FROM:<a@b> SMTPUTF8=yes", 501),
            ("MAIL FROM:<a@b> RET=FULL ENVID=x AUTH=<>", 250),
            ("MAIL FROM:<a@b> FOO=bar", 555),
            ("MAIL FROM:<ä@b>", 250),
            ("MAIL FROM:<ä@b> SMTPUTF8", 250),
            ("RCPT", 501),
            ("RCPT <a@b>", 501),
            ("RCPT TO:", 501),
            ("RCPT TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a@b", 250),
            ("RCPT TO:<a@b> FOO=bar", 555),
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
        assert!(Command::parse(b"NO\xffOP").is_err());
        assert!(Command::parse(b"MAIL FROM:<\xe4@b>").is_ok());
        assert!(Command::parse(b"MAIL FROM:<a@b> \xe4=1").is_err());
    }

    #[test]
    fn a_client_may_call_itself_anything() {
        let name = |line: &[u8]| match Command::parse(line) {
            Ok(Command::Lhlo(name)) => name,
            other => panic!("{other:?}"),
        };
        for known in [
            "mx.example.org",
            "a_b",
            "-",
            "[192.0.2.1]",
            "[IPv6:2001:db8::1]",
        ] {
            let line = format!("LHLO {known}");
            assert_eq!(name(line.as_bytes()).as_deref(), Some(known));
        }
        let long = format!("LHLO {}", "x".repeat(256));
        for odd in [
            &b"LHLO a b"[..],
            b"LHLO a;b",
            b"LHLO (x)",
            b"LHLO \xe4.example",
            b"LHLO [IPv6:fe80::1%eth0]",
            b"LHLO a\tb",
            long.as_bytes(),
        ] {
            assert_eq!(name(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_recipient_that_can_be_nobody_is_no_mistake_of_the_command() {
        for odd in [
            &b"RCPT TO:<>"[..],
            b"RCPT TO:<a@b",
            b"RCPT TO:<<a@b>>",
            b"RCPT TO:<a\x01@b>",
            b"RCPT TO:<a@b>NOTIFY=NEVER",
            b"RCPT TO:\"Ada\" <a@b>",
        ] {
            let command = Command::parse(odd);
            assert_eq!(command, Ok(Command::Rcpt(Err(BadRecipient))), "{odd:?}");
        }
    }
}

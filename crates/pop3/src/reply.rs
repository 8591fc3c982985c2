//! Replies of the server. Nothing else writes `+OK` and `-ERR`.

use std::fmt::Display;

/// A response code: the reason of a refusal for programs (RFC 2449, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseCode {
    /// `[AUTH]`: wrong credentials (RFC 3206, section 5).
    Auth,
    /// `[IN-USE]`: too many sessions have this maildrop open (RFC 2449, section 8.1.2).
    InUse,
    /// `[SYS/TEMP]`: a temporary system failure (RFC 3206, section 4).
    SysTemp,
    /// `[SYS/PERM]`: a permanent system failure (RFC 3206, section 4).
    SysPerm,
}

impl ResponseCode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "[AUTH]",
            Self::InUse => "[IN-USE]",
            Self::SysTemp => "[SYS/TEMP]",
            Self::SysPerm => "[SYS/PERM]",
        }
    }
}

/// A complete reply as it goes over the wire: one line, or several with their final dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(String);

impl Reply {
    /// The longest first line of a reply with its CRLF, in octets (RFC 2449, section 4).
    pub const MAX_LINE_OCTETS: usize = 512;

    /// `+OK text`.
    pub fn ok(text: impl Display) -> Self {
        Self(format!("+OK {text}\r\n"))
    }

    /// `-ERR text`.
    pub fn err(text: impl Display) -> Self {
        Self(format!("-ERR {text}\r\n"))
    }

    /// `-ERR [CODE] text`.
    pub fn coded(code: ResponseCode, text: impl Display) -> Self {
        Self(format!("-ERR {} {text}\r\n", code.as_str()))
    }

    /// `+OK text`, the lines, and the final dot. No line may begin with a dot.
    pub(crate) fn lines(text: impl Display, lines: impl IntoIterator<Item = impl Display>) -> Self {
        let mut reply = Self::ok(text);
        for line in lines {
            reply.0.push_str(&format!("{line}\r\n"));
        }
        reply.0.push_str(".\r\n");
        reply
    }

    /// `+ challenge`, in base64, which asks for the client's next response (RFC 5034, section 4).
    pub(crate) fn challenge(base64: &str) -> Self {
        Self(format!("+ {base64}\r\n"))
    }

    /// The greeting of a new connection (RFC 1939, section 4).
    pub fn greeting(server_name: &str) -> Self {
        Self::ok(format_args!("{server_name} POP3 server ready"))
    }

    pub(crate) fn too_many_bad_commands() -> Self {
        Self::err("too many bad commands, goodbye")
    }

    /// Returns the octets to send.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Returns true if it begins with `+OK`.
    pub fn is_ok(&self) -> bool {
        self.0.starts_with("+OK")
    }
}

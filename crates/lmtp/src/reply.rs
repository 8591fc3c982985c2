//! Replies of the server.

use std::fmt;

/// A reply: a code, an enhanced status code (RFC 2034, RFC 3463) and a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: &'static str,
    text: String,
    /// Further lines, as those of LHLO; they have no status.
    more: Vec<String>,
}

impl Reply {
    pub(crate) fn new(code: u16, status: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            status,
            text: text.into(),
            more: Vec::new(),
        }
    }

    /// The greeting of a new connection.
    pub fn greeting(server_name: &str) -> Self {
        Self::new(220, "", format!("{server_name} LMTP server ready"))
    }

    pub(crate) fn capabilities(server_name: &str, more: Vec<String>) -> Self {
        Self {
            code: 250,
            status: "",
            text: server_name.to_owned(),
            more,
        }
    }

    /// The reply to a refused connection, and to all sessions when the server stops.
    pub fn closing(server_name: &str, why: &str) -> Self {
        Self::new(
            421,
            "4.3.2",
            format!("{server_name} {why}, try again later"),
        )
    }

    /// The reply to a client that was silent for too long.
    pub fn timed_out(server_name: &str) -> Self {
        let text = format!("{server_name} idle for too long, closing connection");
        Self::new(421, "4.4.2", text)
    }

    /// Its code, such as 250.
    pub fn code(&self) -> u16 {
        self.code
    }
}

/// All lines with their CRLF.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            status,
            text,
            more,
        } = self;
        let separator = if more.is_empty() { ' ' } else { '-' };
        let space = if status.is_empty() { "" } else { " " };
        write!(f, "{code}{separator}{status}{space}{text}\r\n")?;
        for (at, line) in more.iter().enumerate() {
            let separator = if at + 1 == more.len() { ' ' } else { '-' };
            write!(f, "{code}{separator}{line}\r\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_the_code_and_only_the_last_a_space_behind_it() {
        let reply = Reply::new(250, "2.1.0", "sender");
        assert_eq!(reply.to_string(), "250 2.1.0 sender\r\n");
        assert_eq!(
            Reply::capabilities("a.example", vec!["SIZE 1".into(), "CHUNKING".into()]).to_string(),
            "250-a.example\r\n250-SIZE 1\r\n250 CHUNKING\r\n"
        );
    }
}

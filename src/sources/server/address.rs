//! Addresses of other POP3 servers, as an operator writes them.

use std::path::PathBuf;

use url::Url;

use super::ServerError;

/// The address of a maildrop, with its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    /// True if TLS begins with the first octet.
    pub(super) tls: bool,
    pub(super) user: String,
    pub(super) host: String,
    pub(super) port: u16,
}

/// The ways to reach a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerAccess {
    /// The file with a private authority that certifies it.
    pub authority: Option<PathBuf>,
    /// True if the password may go in clear to another machine.
    pub in_clear: bool,
}

impl ServerAddress {
    /// Reads an address, if it is one of POP3.
    ///
    /// # Errors
    /// If it is one and can't be used.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, ServerError>> {
        let scheme = text.split_once("://")?.0.to_ascii_lowercase();
        let tls = match scheme.as_str() {
            "pop3" => false,
            "pop3s" => true,
            _ => return None,
        };
        Some(Self::of(text, tls))
    }

    fn of(text: &str, tls: bool) -> Result<Self, ServerError> {
        let malformed = || ServerError::NotAnAddress(text.to_owned());
        let url = Url::parse(text).map_err(|_| malformed())?;
        if url.password().is_some() {
            return Err(ServerError::PasswordInAddress);
        }
        let user = percent_encoding::percent_decode_str(url.username());
        let user = user.decode_utf8().map_err(|_| malformed())?.into_owned();
        let host = url.host_str().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let path_is_empty = matches!(url.path(), "" | "/");
        if user.is_empty() || user.contains(['\r', '\n']) || host.is_empty() || !path_is_empty {
            return Err(malformed());
        }
        let port = url.port().unwrap_or(if tls { 995 } else { 110 });
        Ok(Self {
            tls,
            user,
            host,
            port,
        })
    }

    /// Returns the user.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Host and port.
    pub(super) fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

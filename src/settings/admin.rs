//! The settings of the admin endpoint.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use anyhow::Context;

use super::section::section;
use super::types::SecretText;

section! {
    /// The HTTP endpoint for operators.
    pub struct AdminSettings in "admin" {
        /// The address to listen on.
        restart bind_address: IpAddr = Ipv4Addr::LOCALHOST.into();
        /// The port to listen on; 0 is off.
        restart port: u16 = 8110;
        /// The token that a caller must present.
        restart token: Option<SecretText> = None;
        /// The file that holds the token, instead of [`AdminSettings::token`].
        restart token_path: Option<PathBuf> = None;
    }
}

impl AdminSettings {
    /// Returns the token that a caller must present, read from its file if it is in one.
    ///
    /// # Errors
    /// If the token is given twice, the file can't be read, or it is empty.
    pub fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_path else {
            return Ok(self.token.as_ref().map(|token| token.expose().to_owned()));
        };
        anyhow::ensure!(
            self.token.is_none(),
            "both Admin__Token and Admin__TokenPath are set; keep one of them"
        );
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {} (Admin__TokenPath)", path.display()))?;
        let token = text.trim();
        anyhow::ensure!(!token.is_empty(), "there is no token in {}", path.display());
        Ok(Some(token.to_owned()))
    }
}

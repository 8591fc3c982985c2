//! Asks the running server, through its admin endpoint.
//!
//! ureq works without TLS and without a runtime of its own, which is enough for a few requests to
//! this machine, or to another over a network that is as safe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Response, StatusCode};

use crate::admin::token::{self, Token};
use crate::settings::Config;

/// Timeout of an answer: longer than the server's own checks.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Maximum size of an answer, in octets.
const MAX_ANSWER_OCTETS: u64 = 64 * 1024 * 1024;

/// The admin endpoint of the server that the settings describe.
pub(super) struct Endpoint {
    agent: Agent,
    address: SocketAddr,
    authorization: Option<String>,
}

/// An answer of the server.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Endpoint {
    /// Finds the endpoint by the settings of its server.
    ///
    /// # Errors
    /// If it is off, or the token can't be read.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let token = token::of_command(config)?;
        Self::shown(config, token.as_ref().map(Token::text))
    }

    /// Finds the endpoint for requests that need no token.
    ///
    /// # Errors
    /// If it is off.
    pub(super) fn without_token(config: &Config) -> anyhow::Result<Self> {
        Self::shown(config, None)
    }

    fn shown(config: &Config, token: Option<&str>) -> anyhow::Result<Self> {
        let settings = &config.admin;
        anyhow::ensure!(
            settings.port != 0,
            "the admin endpoint is off: set Admin__Port for the server and for this command"
        );
        let here = match settings.bind_address {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .build();
        Ok(Self {
            agent: agent.into(),
            address: SocketAddr::new(here, settings.port),
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    /// Sends a GET request for a path.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let request = self.agent.get(self.url(path));
        self.answer(request.header("Authorization", self.shown_token()).call())
    }

    /// Sends a DELETE request for a path.
    pub(super) fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        let request = self.agent.delete(self.url(path));
        self.answer(request.header("Authorization", self.shown_token()).call())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn shown_token(&self) -> &str {
        self.authorization.as_deref().unwrap_or_default()
    }

    fn answer(
        &self,
        answered: Result<Response<ureq::Body>, ureq::Error>,
    ) -> anyhow::Result<Answer> {
        let no_answer = || {
            format!(
                "no answer from the admin endpoint at {} (is the server running, with the same \
                 Admin__BindAddress and Admin__Port?)",
                self.address
            )
        };
        let mut response = answered.with_context(no_answer)?;
        let status = response.status();
        anyhow::ensure!(
            status != StatusCode::UNAUTHORIZED,
            "the admin endpoint at {} wants its token: set Admin__Token or Admin__TokenPath, or run \
             this with the settings of the server, which say where its token is",
            self.address
        );
        let body = response.body_mut().with_config().limit(MAX_ANSWER_OCTETS);
        let text = body.read_to_string().with_context(no_answer)?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }
}

impl Answer {
    /// Returns the error that the server describes.
    pub(super) fn problem(&self) -> anyhow::Error {
        let detail = self.body.get("detail").and_then(Value::as_str);
        anyhow::anyhow!("{}", detail.unwrap_or(self.status.as_str()))
    }
}

//! A client that logs in by SCRAM, by the library of others, which checks the server's own proof too.

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS};
use rsasl::prelude::*;
use rsasl::property::{AuthId, AuthzId, Password};

use crate::served::Wire;

const PLUS: &str = "SCRAM-SHA-256-PLUS";
const UNBOUND: &str = "SCRAM-SHA-256";

static MECHANISMS: [Mechanism; 2] = [SCRAM_SHA256_PLUS, SCRAM_SHA256];

/// How a client logs in by SCRAM.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    name: String,
    identity: Option<String>,
    key: String,
    /// What it knows of its TLS connection, if it binds the login to that.
    channel: Option<Vec<u8>>,
}

impl Client {
    pub(crate) fn new(name: &str, key: &str) -> Self {
        Self {
            name: name.into(),
            identity: None,
            key: key.into(),
            channel: None,
        }
    }

    pub(crate) fn acting_as(mut self, identity: &str) -> Self {
        self.identity = Some(identity.into());
        self
    }

    pub(crate) fn bound_to(mut self, channel: Vec<u8>) -> Self {
        self.channel = Some(channel);
        self
    }

    /// Logs in by sending lines and getting one for each; the reply that ends the exchange.
    pub(crate) fn log_in(
        &self,
        mut say: impl FnMut(&str) -> Result<String, String>,
    ) -> Result<String, String> {
        let registry = Registry::with_mechanisms(&MECHANISMS);
        let config = SASLConfig::builder().with_registry(registry);
        let config = config.with_callback(self.clone()).unwrap();
        let channel = Channel(self.channel.clone().unwrap_or_default());
        let client = SASLClient::with_cb(config, channel);
        let mechanism = if self.channel.is_some() {
            PLUS
        } else {
            UNBOUND
        };
        let mechanism = Mechname::parse(mechanism.as_bytes()).unwrap();
        let mut session = client.start_suggested(&[mechanism]).unwrap();
        let reply = say(&format!("AUTH {}", mechanism.as_str()))?;
        if reply != "+ " {
            return Ok(reply);
        }
        let mut challenge: Option<String> = None;
        loop {
            let mut response = Vec::new();
            let said = challenge.as_ref().map(String::as_bytes);
            let state = session.step64(said, &mut response);
            let state = state.map_err(|error| error.to_string())?;
            let reply = say(std::str::from_utf8(&response).unwrap())?;
            match reply.strip_prefix("+ ") {
                Some(next) => challenge = Some(next.into()),
                None if matches!(state, State::Finished(_)) == reply.starts_with("+OK") => {
                    return Ok(reply);
                }
                None => return Err(format!("the client has not ended at {reply}")),
            }
        }
    }

    /// Logs in on this connection; the reply that ends the exchange.
    pub(crate) fn log_in_on(&self, wire: &mut Wire) -> String {
        self.log_in(|line| Ok(wire.command(line))).unwrap()
    }
}

impl SessionCallback for Client {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        request
            .satisfy::<AuthId>(&self.name)?
            .satisfy::<Password>(self.key.as_bytes())?;
        if let Some(identity) = &self.identity {
            request.satisfy::<AuthzId>(identity)?;
        }
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.channel.is_some()
    }
}

/// What the client knows of its TLS connection.
struct Channel(Vec<u8>);

impl ChannelBindingCallback for Channel {
    fn get_cb_data(&self, kind: &str) -> Option<&[u8]> {
        (kind == "tls-exporter").then_some(&self.0)
    }
}

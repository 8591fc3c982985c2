//! AUTHORIZATION: from the greeting to the login (RFC 1939, section 4).

use super::challenge::Challenge;
use super::login::{Credentials, Login, MAX_LOGIN_FAILURES};
use super::{Policy, Session, Step};
use crate::capability::capabilities;
use crate::command::Command;
use crate::reply::{Reply, ResponseCode};
use crate::sasl::Mechanism;
use wire::Secret;

/// AUTHORIZATION: the client has yet to say who it is.
#[derive(Debug)]
pub struct Authorization {
    pub(super) policy: Policy,
    pub(super) user: Option<String>,
    pub(super) login_failures: u32,
    /// How many verifiers were looked up: each costs a query, and leads to a login or to nothing.
    pub(super) lookups: u32,
    pub(super) bad_commands: u32,
}

impl Authorization {
    /// A fresh state.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            user: None,
            login_failures: 0,
            lookups: 0,
            bad_commands: 0,
        }
    }

    pub(super) fn receive(mut self, line: &[u8]) -> Step {
        // PASS counts only right after USER (RFC 1939, section 7), so any other line forgets it.
        let user = self.user.take();
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => return Session::Authorization(self).syntax_error(error),
        };
        match command {
            Command::User(_) | Command::Pass(_) if !self.policy.secrets_allowed => {
                let refusal = self.no_secrets();
                self.reply(refusal)
            }
            Command::User(address) => {
                self.user = Some(address);
                self.reply(Reply::ok("now the key, with PASS"))
            }
            Command::Pass(secret) => match user {
                Some(name) => {
                    let credentials = Credentials::Secret {
                        name,
                        identity: None,
                        secret,
                    };
                    Step::Login(Login::new(credentials, self))
                }
                None => self.bad(Reply::err("PASS comes right after USER")),
            },
            Command::Auth(mechanism, response) => self.auth(mechanism, response),
            Command::Mechanisms => {
                let mechanisms = Mechanism::announced(&self.policy);
                let reply = Reply::lines("mechanisms follow", mechanisms);
                self.reply(reply)
            }
            Command::Capa => {
                let capabilities = capabilities(&self.policy, true);
                self.reply(capabilities)
            }
            Command::Quit => Step::Close(Reply::ok("goodbye")),
            Command::Stls if self.policy.stls_offered => {
                Step::StartTls(Reply::ok("begin TLS now"), self)
            }
            Command::Stls => self.bad(Reply::err("STLS is not possible here")),
            Command::Dele(_)
            | Command::List(_)
            | Command::Noop
            | Command::Retr(_)
            | Command::Rset
            | Command::Stat
            | Command::Top(..)
            | Command::Uidl(_) => self.bad(Reply::err("log in first")),
        }
    }

    fn auth(self, mechanism: Mechanism, response: Option<Secret>) -> Step {
        if !mechanism.is_accepted(&self.policy) {
            let refusal = self.not_accepted(mechanism);
            return self.bad(refusal);
        }
        if self.lookups >= MAX_LOGIN_FAILURES {
            return Step::Close(Reply::err(
                "too many logins were begun and not ended, goodbye",
            ));
        }
        let challenge = Challenge::new(mechanism, self);
        match response {
            Some(response) => challenge.answer(&response),
            None => challenge.ask(mechanism.first_challenge()),
        }
    }

    fn not_accepted(&self, mechanism: Mechanism) -> Reply {
        if !self.policy.allows(mechanism) {
            let name = mechanism.as_str();
            return Reply::err(format_args!(
                "{name} is switched off here: AUTH alone lists what can be used"
            ));
        }
        match mechanism {
            Mechanism::Plain | Mechanism::Login => self.no_secrets(),
            Mechanism::External => {
                Reply::err("no certificate with an address of yours was shown in TLS")
            }
            Mechanism::ScramSha256Plus if self.policy.scram_offered => {
                Reply::err("there is nothing to bind to on this connection")
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                Reply::err("SCRAM is not possible here")
            }
        }
    }

    fn no_secrets(&self) -> Reply {
        let way_out = if self.policy.stls_offered {
            "use STLS first, or the TLS port"
        } else {
            "connect to the TLS port"
        };
        Reply::coded(
            ResponseCode::Auth,
            format_args!("a key is not accepted in clear text here: {way_out}"),
        )
    }

    fn reply(mut self, reply: Reply) -> Step {
        self.bad_commands = 0;
        Step::Reply(reply, Session::Authorization(self))
    }

    pub(super) fn bad(self, reply: Reply) -> Step {
        Session::Authorization(self).bad(reply)
    }
}

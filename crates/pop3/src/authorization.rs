//! AUTHORIZATION: from the greeting to the login (RFC 1939, section 4).

mod exchange;
mod login;

use wire::{Line, Secret};

use crate::capability::capabilities;
use crate::command::{Command, SyntaxError};
use crate::policy::Policy;
use crate::reply::{Reply, ResponseCode};
use crate::sasl::{MAX_RESPONSE_OCTETS, Mechanism};
use exchange::Exchange;

pub use exchange::VerifierLookup;
pub use login::{Access, Credentials, Login, LoginRefusal, MAX_LOGIN_FAILURES};

/// AUTHORIZATION: the client has yet to log in.
#[derive(Debug)]
pub struct Authorization {
    policy: Policy,
    expected: Expected,
    login_failures: u32,
    /// The number of verifiers that were looked up; each costs a query.
    lookups: u32,
    bad_commands: u32,
}

/// The meaning of the next line.
#[derive(Debug)]
enum Expected {
    /// A command.
    Command,
    /// PASS for this user, or another command.
    Pass { user: String },
    /// The response to a challenge of AUTH, which is no command.
    Response(Exchange),
}

/// The step to take after a line in AUTHORIZATION.
#[derive(Debug)]
#[must_use = "a step has to be taken, or the client waits without an answer"]
pub enum AuthorizationStep {
    /// Send this and read on.
    Reply(Reply, Authorization),
    /// Verify the credentials and open the maildrop; then [`Login::granted`] or [`Login::refused`].
    Login(Login),
    /// Look up the verifiers of a user; then [`VerifierLookup::found`] or
    /// [`VerifierLookup::unavailable`].
    Verifier(VerifierLookup),
    /// Send this, shake hands, and go on with a new [`Authorization`].
    ///
    /// The old one is gone: anyone on the path could have sent what came in clear.
    StartTls(Reply),
    /// QUIT: send this and close.
    Quit(Reply),
    /// The client is refused: send this and close.
    Close(Reply),
}

impl Authorization {
    /// The state of a session whose client has just been greeted, or is new inside TLS.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            expected: Expected::Command,
            login_failures: 0,
            lookups: 0,
            bad_commands: 0,
        }
    }

    /// The longest next line in octets, with its CRLF.
    pub fn max_line_octets(&self) -> usize {
        let limit = self.policy.limits.line_octets;
        match self.expected {
            Expected::Command | Expected::Pass { .. } => limit,
            Expected::Response(_) => limit.max(MAX_RESPONSE_OCTETS),
        }
    }

    /// Returns true if the next line is a response of AUTH rather than a command.
    pub fn expects_response(&self) -> bool {
        matches!(self.expected, Expected::Response(_))
    }

    /// Takes the next line.
    pub fn receive(mut self, line: Line<'_>) -> AuthorizationStep {
        let max_octets = self.max_line_octets();
        // PASS counts only right after USER (RFC 1939, section 7), so any other line forgets it.
        let expected = std::mem::replace(&mut self.expected, Expected::Command);
        match (expected, line) {
            (_, Line::TooLong) => self.bad(SyntaxError::TooLong(max_octets)),
            (Expected::Command, Line::Text(text)) => self.receive_command(text, None),
            (Expected::Pass { user }, Line::Text(text)) => self.receive_command(text, Some(user)),
            (Expected::Response(exchange), Line::Text(text)) => exchange.receive(text, self),
        }
    }

    fn receive_command(self, line: &[u8], user: Option<String>) -> AuthorizationStep {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => return self.syntax_error(error),
        };
        match command {
            Command::User(_) | Command::Pass(_) if !self.policy.secrets_allowed => {
                let refusal = self.plaintext_refusal();
                self.reply(refusal)
            }
            Command::User(user) => self.expect(Reply::ok("send PASS"), Expected::Pass { user }),
            Command::Pass(secret) => match user {
                Some(name) => self.log_in(Credentials::Secret {
                    name,
                    identity: None,
                    secret,
                }),
                None => self.bad("send USER first"),
            },
            Command::Auth(mechanism, response) => self.authenticate(mechanism, response),
            Command::Mechanisms => {
                let mechanisms = Mechanism::announced(&self.policy);
                let reply = Reply::lines("mechanism list follows", mechanisms);
                self.reply(reply)
            }
            Command::Capa => {
                let reply = capabilities(&self.policy, true);
                self.reply(reply)
            }
            Command::Quit => AuthorizationStep::Quit(Reply::ok("goodbye")),
            Command::Stls if self.policy.stls_offered => {
                AuthorizationStep::StartTls(Reply::ok("begin TLS now"))
            }
            Command::Stls => self.bad("STLS is not available"),
            Command::Dele(_)
            | Command::List(_)
            | Command::Noop
            | Command::Retr(_)
            | Command::Rset
            | Command::Stat
            | Command::Top(..)
            | Command::Uidl(_) => self.bad("log in first"),
        }
    }

    fn authenticate(self, mechanism: Mechanism, response: Option<Secret>) -> AuthorizationStep {
        if !mechanism.is_accepted(&self.policy) {
            let refusal = self.mechanism_refusal(mechanism);
            return self.bad_reply(refusal);
        }
        if self.lookups >= MAX_LOGIN_FAILURES {
            return AuthorizationStep::Close(Reply::err("too many unfinished logins, goodbye"));
        }
        let exchange = Exchange::new(mechanism);
        match response {
            Some(response) => exchange.answer(&response, self),
            None => self.challenge(mechanism.first_challenge(), exchange),
        }
    }

    fn mechanism_refusal(&self, mechanism: Mechanism) -> Reply {
        if !self.policy.allows(mechanism) {
            let name = mechanism.as_str();
            return Reply::err(format_args!(
                "{name} is disabled: send AUTH alone for a list of mechanisms"
            ));
        }
        match mechanism {
            Mechanism::Plain | Mechanism::Login => self.plaintext_refusal(),
            Mechanism::External => {
                Reply::err("no client certificate with an address was presented")
            }
            Mechanism::ScramSha256Plus if self.policy.scram_offered => {
                Reply::err("channel binding is not available on this connection")
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                Reply::err("SCRAM is not available")
            }
        }
    }

    fn plaintext_refusal(&self) -> Reply {
        let fix = if self.policy.stls_offered {
            "use STLS or the TLS port"
        } else {
            "use the TLS port"
        };
        Reply::coded(
            ResponseCode::Auth,
            format_args!("plaintext login is disabled on this connection: {fix}"),
        )
    }

    /// Sends a challenge in base64 and waits for its response.
    fn challenge(self, base64: &str, exchange: Exchange) -> AuthorizationStep {
        let expected = Expected::Response(exchange);
        AuthorizationStep::Reply(Reply::challenge(base64), Self { expected, ..self })
    }

    fn log_in(mut self, credentials: Credentials) -> AuthorizationStep {
        self.bad_commands = 0;
        AuthorizationStep::Login(Login::new(credentials, self))
    }

    /// Answers a good command, after which a certain line is expected.
    fn expect(self, reply: Reply, expected: Expected) -> AuthorizationStep {
        let state = Self {
            expected,
            bad_commands: 0,
            ..self
        };
        AuthorizationStep::Reply(reply, state)
    }

    fn reply(self, reply: Reply) -> AuthorizationStep {
        self.expect(reply, Expected::Command)
    }

    fn syntax_error(self, error: SyntaxError) -> AuthorizationStep {
        if error.counts() {
            self.bad(error)
        } else {
            AuthorizationStep::Reply(Reply::err(error), self)
        }
    }

    fn bad(self, text: impl std::fmt::Display) -> AuthorizationStep {
        self.bad_reply(Reply::err(text))
    }

    /// Refuses a bad command, and ends the session after too many in a row.
    fn bad_reply(self, reply: Reply) -> AuthorizationStep {
        match self.after_bad(reply) {
            (reply, Some(state)) => AuthorizationStep::Reply(reply, state),
            (reply, None) => AuthorizationStep::Close(reply),
        }
    }

    fn after_bad(mut self, reply: Reply) -> (Reply, Option<Self>) {
        self.bad_commands += 1;
        if self.policy.limits.are_exceeded_by(self.bad_commands) {
            return (Reply::too_many_bad_commands(), None);
        }
        (reply, Some(self))
    }
}

#[cfg(test)]
mod sasl_tests;
#[cfg(test)]
mod scram_tests;
#[cfg(test)]
mod tests;

//! AUTH: one exchange of SASL, whichever the mechanism (RFC 5034, section 4).

use super::authorization::Authorization;
use super::login::{Credentials, Login, unavailable};
use super::{Session, Step};
use crate::command::{SyntaxError, without_blanks};
use crate::reply::{Reply, ResponseCode};
use crate::sasl::{
    Acknowledged, Candidates, ClientFirst, Mechanism, PROMPT_FOR_SECRET, Plain, Proving,
    ScramError, decode, encode, name_of, plain, text,
};
use wire::Secret;

/// AUTH waits for a response.
#[derive(Debug)]
pub struct Challenge {
    expected: Expected,
    pub(super) authorization: Authorization,
}

/// What the next response is.
#[derive(Debug)]
enum Expected {
    /// Identity, name and secret.
    Plain,
    /// LOGIN's name.
    LoginName,
    /// LOGIN's secret.
    LoginSecret { name: String },
    /// Which of the certificate's addresses is meant.
    External,
    /// Who it is and how the channel is bound.
    ScramFirst(Mechanism),
    /// The proof.
    ScramFinal(Box<Proving>),
    /// Nothing, in answer to the server's own proof.
    ScramEnd(Acknowledged),
}

impl Challenge {
    pub(super) fn new(mechanism: Mechanism, authorization: Authorization) -> Self {
        let expected = match mechanism {
            Mechanism::Plain => Expected::Plain,
            Mechanism::Login => Expected::LoginName,
            Mechanism::External => Expected::External,
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => Expected::ScramFirst(mechanism),
        };
        Self {
            expected,
            authorization,
        }
    }

    /// Asks for the response that is expected.
    pub(super) fn ask(self, base64: &str) -> Step {
        Step::Reply(Reply::challenge(base64), Session::Challenge(self))
    }

    pub(super) fn receive(self, line: &[u8]) -> Step {
        // As in a command: base64 has no spaces, so those around it mean nothing.
        let line = without_blanks(line);
        if line == b"*" {
            let cancelled = Reply::err("AUTH is cancelled");
            return Step::Reply(cancelled, Session::Authorization(self.authorization));
        }
        match decode(line) {
            Some(response) => self.answer(&response),
            None => self.ended().bad(Reply::err(SyntaxError::NotBase64)),
        }
    }

    /// The exchange is over, and nobody is logged in.
    pub(super) fn ended(self) -> Authorization {
        self.authorization
    }

    /// Takes the response that was expected.
    pub(super) fn answer(self, response: &Secret) -> Step {
        let authorization = self.authorization;
        match self.expected {
            Expected::Plain => answer_plain(authorization, response),
            Expected::LoginName => match name_of(response.expose()) {
                Some(name) => expect(
                    authorization,
                    Expected::LoginSecret { name },
                    PROMPT_FOR_SECRET,
                ),
                None => authorization.bad(Reply::err("LOGIN takes a user's address")),
            },
            Expected::LoginSecret { name } => {
                let credentials = Credentials::Secret {
                    name,
                    identity: None,
                    secret: response.clone(),
                };
                log_in(authorization, credentials)
            }
            Expected::External => match text(without_blanks(response.expose())) {
                Some(name) => {
                    let name = Some(name).filter(|name| !name.is_empty());
                    log_in(authorization, Credentials::Certificate { name })
                }
                None => authorization.bad(Reply::err("EXTERNAL takes a user's address or =")),
            },
            Expected::ScramFirst(mechanism) => begin_scram(authorization, mechanism, response),
            Expected::ScramFinal(proving) => end_scram(authorization, *proving, response),
            Expected::ScramEnd(Acknowledged { name, key }) => {
                if response.expose().is_empty() {
                    log_in(authorization, Credentials::Proven { name, key })
                } else {
                    refused(authorization, ScramError::Form)
                }
            }
        }
    }
}

fn expect(authorization: Authorization, expected: Expected, base64: &str) -> Step {
    let challenge = Challenge {
        expected,
        authorization,
    };
    challenge.ask(base64)
}

fn log_in(authorization: Authorization, credentials: Credentials) -> Step {
    Step::Login(Login::new(credentials, authorization))
}

fn answer_plain(authorization: Authorization, response: &Secret) -> Step {
    match plain(response) {
        Ok(Plain {
            identity,
            name,
            secret,
        }) => {
            let credentials = Credentials::Secret {
                name,
                identity,
                secret,
            };
            log_in(authorization, credentials)
        }
        Err(form) => authorization.bad(Reply::err(form)),
    }
}

fn begin_scram(mut authorization: Authorization, mechanism: Mechanism, response: &Secret) -> Step {
    let announces_binding = authorization.policy.announces_binding();
    match ClientFirst::read(response, mechanism, announces_binding) {
        Ok(first) => {
            authorization.lookups += 1;
            Step::Verifier(VerifierLookup {
                first,
                authorization,
            })
        }
        Err(why) => refused(authorization, why),
    }
}

fn end_scram(authorization: Authorization, proving: Proving, response: &Secret) -> Step {
    match proving.verify(response) {
        Ok(Some((proof, acknowledged))) => expect(
            authorization,
            Expected::ScramEnd(acknowledged),
            &encode(&proof),
        ),
        Ok(None) => log_in(authorization, Credentials::Disproven { name: proving.name }),
        Err(why) => refused(authorization, why),
    }
}

fn refused(authorization: Authorization, why: ScramError) -> Step {
    authorization.bad(refusal(why))
}

fn refusal(why: ScramError) -> Reply {
    match why {
        ScramError::Downgrade => Reply::coded(ResponseCode::Auth, why),
        ScramError::Form
        | ScramError::Extension
        | ScramError::Binding
        | ScramError::BindingKind => Reply::err(why),
    }
}

/// A client says who it is, and will prove it once it is asked to.
#[derive(Debug)]
pub struct VerifierLookup {
    first: ClientFirst,
    authorization: Authorization,
}

impl VerifierLookup {
    /// The user, and after a `#` the name of the key if it is told.
    pub fn name(&self) -> &str {
        &self.first.name
    }

    /// An address of the user whose maildrop is to be opened, if it is told.
    pub fn identity(&self) -> Option<&str> {
        self.first.identity.as_deref()
    }

    /// The kind of channel binding that the client uses, such as `tls-exporter`.
    pub fn binding(&self) -> Option<&str> {
        self.first.binding.as_deref()
    }

    /// Asks the client for a proof that fits one of these keys.
    ///
    /// If there is none, they have the same salt and iterations as others, so that the client learns
    /// nothing. `nonce` must never have been used before; it has no comma. `channel` has the octets of the
    /// [`binding`](Self::binding), none if the connection has no such binding.
    pub fn found(
        self,
        candidates: Candidates,
        nonce: &str,
        channel: Option<&[u8]>,
    ) -> (Reply, Option<Session>) {
        if self.first.binding.is_some() && channel.is_none() {
            let refusal = refusal(ScramError::BindingKind);
            return Session::Authorization(self.authorization).after_bad(refusal);
        }
        let channel = channel.unwrap_or_default();
        let (challenge, proving) = self.first.challenge(candidates, nonce, channel);
        let challenging = Challenge {
            expected: Expected::ScramFinal(Box::new(proving)),
            authorization: self.authorization,
        };
        let reply = Reply::challenge(&encode(&challenge));
        (reply, Some(Session::Challenge(challenging)))
    }

    /// It could not be found out.
    pub fn unavailable(self) -> (Reply, Option<Session>) {
        (
            unavailable(),
            Some(Session::Authorization(self.authorization)),
        )
    }
}

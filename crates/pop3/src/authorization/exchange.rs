//! AUTH: one exchange of SASL (RFC 5034, section 4).

use wire::Secret;

use super::login::{Credentials, unavailable};
use super::{Authorization, AuthorizationStep, Expected};
use crate::command::{SyntaxError, without_blanks};
use crate::reply::{Reply, ResponseCode};
use crate::sasl::{
    Acknowledged, Candidates, ClientFirst, Mechanism, PROMPT_FOR_SECRET, Plain, Proving,
    ScramError, decode, encode, name_of, plain, text,
};

/// An exchange whose client owes a response.
#[derive(Debug)]
pub(super) enum Exchange {
    /// PLAIN: identity, name and secret.
    Plain,
    /// LOGIN's name.
    LoginName,
    /// LOGIN's secret.
    LoginSecret { name: String },
    /// EXTERNAL: an address of the certificate, or nothing.
    External,
    /// SCRAM's first message: the user and how the channel is bound.
    ScramFirst(Mechanism),
    /// SCRAM's proof.
    ScramFinal(Box<Proving>),
    /// The empty response to the server's own proof.
    ScramEnd(Acknowledged),
}

impl Exchange {
    /// The exchange of a mechanism, before the client's first response.
    pub(super) fn new(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::Login => Self::LoginName,
            Mechanism::External => Self::External,
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => Self::ScramFirst(mechanism),
        }
    }

    /// Takes the line that answers the last challenge.
    pub(super) fn receive(self, line: &[u8], state: Authorization) -> AuthorizationStep {
        // As in a command: base64 has no spaces, so those around it mean nothing.
        let line = without_blanks(line);
        if line == b"*" {
            return AuthorizationStep::Reply(Reply::err("AUTH cancelled"), state);
        }
        match decode(line) {
            Some(response) => self.answer(&response, state),
            None => state.bad(SyntaxError::NotBase64),
        }
    }

    /// Takes the expected response.
    pub(super) fn answer(self, response: &Secret, state: Authorization) -> AuthorizationStep {
        match self {
            Self::Plain => answer_plain(response, state),
            Self::LoginName => match name_of(response.expose()) {
                Some(name) => state.challenge(PROMPT_FOR_SECRET, Self::LoginSecret { name }),
                None => state.bad("LOGIN needs a user's address"),
            },
            Self::LoginSecret { name } => state.log_in(Credentials::Secret {
                name,
                identity: None,
                secret: response.clone(),
            }),
            Self::External => match text(without_blanks(response.expose())) {
                Some(name) => {
                    let name = Some(name).filter(|name| !name.is_empty());
                    state.log_in(Credentials::Certificate { name })
                }
                None => state.bad("EXTERNAL needs a user's address or ="),
            },
            Self::ScramFirst(mechanism) => begin_scram(mechanism, response, state),
            Self::ScramFinal(proving) => end_scram(&proving, response, state),
            Self::ScramEnd(Acknowledged { name, key }) if response.expose().is_empty() => {
                state.log_in(Credentials::Proven { name, key })
            }
            Self::ScramEnd(_) => state.bad(ScramError::Form),
        }
    }
}

fn answer_plain(response: &Secret, state: Authorization) -> AuthorizationStep {
    match plain(response) {
        Ok(Plain {
            identity,
            name,
            secret,
        }) => state.log_in(Credentials::Secret {
            name,
            identity,
            secret,
        }),
        Err(form) => state.bad(form),
    }
}

fn begin_scram(
    mechanism: Mechanism,
    response: &Secret,
    mut state: Authorization,
) -> AuthorizationStep {
    match ClientFirst::read(response, mechanism, state.policy.announces_binding()) {
        Ok(first) => {
            state.lookups += 1;
            AuthorizationStep::Verifier(VerifierLookup { first, state })
        }
        Err(why) => state.bad_reply(refusal(why)),
    }
}

fn end_scram(proving: &Proving, response: &Secret, state: Authorization) -> AuthorizationStep {
    match proving.verify(response) {
        Ok(Some((proof, acknowledged))) => {
            state.challenge(&encode(&proof), Exchange::ScramEnd(acknowledged))
        }
        Ok(None) => state.log_in(Credentials::Disproven {
            name: proving.name.clone(),
        }),
        Err(why) => state.bad_reply(refusal(why)),
    }
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

/// A client that has named a user and will prove its key once it is challenged.
#[derive(Debug)]
#[must_use = "the client waits for its challenge"]
pub struct VerifierLookup {
    first: ClientFirst,
    state: Authorization,
}

impl VerifierLookup {
    /// The user, and after a `#` the name of the key if it is given.
    pub fn name(&self) -> &str {
        &self.first.name
    }

    /// The address of the user whose maildrop is to be opened, if it is given.
    pub fn identity(&self) -> Option<&str> {
        self.first.identity.as_deref()
    }

    /// The kind of channel binding that the client uses, such as `tls-exporter`.
    pub fn binding(&self) -> Option<&str> {
        self.first.binding.as_deref()
    }

    /// Challenges the client to prove one of these keys.
    ///
    /// Without keys, they have the same salt and iterations as others, so that the client learns
    /// nothing. `nonce` must never have been used before; it has no comma. `channel` has the octets
    /// of the [`binding`](Self::binding), `None` if the connection has no such binding.
    pub fn found(
        self,
        candidates: Candidates,
        nonce: &str,
        channel: Option<&[u8]>,
    ) -> (Reply, Option<Authorization>) {
        if self.first.binding.is_some() && channel.is_none() {
            return self.state.after_bad(refusal(ScramError::BindingKind));
        }
        let channel = channel.unwrap_or_default();
        let (challenge, proving) = self.first.challenge(candidates, nonce, channel);
        let state = Authorization {
            expected: Expected::Response(Exchange::ScramFinal(Box::new(proving))),
            ..self.state
        };
        (Reply::challenge(&encode(&challenge)), Some(state))
    }

    /// The verifiers could not be looked up; the session goes on.
    pub fn unavailable(self) -> (Reply, Authorization) {
        (unavailable(), self.state)
    }
}

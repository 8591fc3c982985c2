//! AUTHORIZATION: from the greeting to the login (RFC 1939, section 4).

use std::sync::Arc;

use super::transaction::Transaction;
use super::{Policy, Session, Step};
use crate::capability::capabilities;
use crate::command::{Command, Secret};
use crate::reply::{Reply, ResponseCode};
use crate::snapshot::Snapshot;

/// After so many wrong credentials the session ends.
pub const MAX_LOGIN_FAILURES: u32 = 3;

/// AUTHORIZATION: the client has yet to say who it is.
#[derive(Debug)]
pub struct Authorization {
    policy: Policy,
    pub(super) user: Option<String>,
    login_failures: u32,
    pub(super) bad_commands: u32,
}

impl Authorization {
    /// A fresh state.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            user: None,
            login_failures: 0,
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
                Some(address) => {
                    self.bad_commands = 0;
                    Step::Login(Login {
                        address,
                        secret,
                        authorization: self,
                    })
                }
                None => self.bad(Reply::err("PASS comes right after USER")),
            },
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

    fn bad(self, reply: Reply) -> Step {
        Session::Authorization(self).bad(reply)
    }
}

/// A USER and PASS that wait for an answer.
#[derive(Debug)]
pub struct Login {
    address: String,
    secret: Secret,
    authorization: Authorization,
}

/// Why a login is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginRefusal {
    /// No such user, or not their key: which of them is not told.
    Credentials,
    /// As many sessions as allowed have this maildrop open.
    TooManySessions,
    /// It could not be found out.
    Unavailable,
}

impl Login {
    /// What USER said.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What PASS said.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The maildrop is open: TRANSACTION begins.
    pub fn granted(self, snapshot: Arc<Snapshot>) -> (Reply, Session) {
        let transaction = Transaction::new(self.authorization.policy, snapshot);
        let (messages, octets) = transaction.unmarked();
        let reply = Reply::ok(format_args!(
            "your maildrop has {messages} messages ({octets} octets)"
        ));
        (reply, Session::Transaction(transaction))
    }

    /// The session stays in AUTHORIZATION, or there is none any more after too many wrong keys.
    pub fn refused(self, why: LoginRefusal) -> (Reply, Option<Session>) {
        let mut authorization = self.authorization;
        let reply = match why {
            LoginRefusal::Credentials => {
                authorization.login_failures += 1;
                Reply::coded(ResponseCode::Auth, "no such user, or not a key of theirs")
            }
            LoginRefusal::TooManySessions => Reply::coded(
                ResponseCode::InUse,
                "too many sessions have this maildrop open, close one or try again later",
            ),
            LoginRefusal::Unavailable => Reply::coded(
                ResponseCode::SysTemp,
                "the maildrop can't be opened now, try again later",
            ),
        };
        let goes_on = authorization.login_failures < MAX_LOGIN_FAILURES;
        let session = goes_on.then_some(Session::Authorization(authorization));
        (reply, session)
    }
}

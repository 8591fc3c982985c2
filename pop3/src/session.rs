//! The states of a session and what each line does in them (RFC 1939, sections 3 to 6).

use std::sync::Arc;

use crate::capability::capabilities;
use crate::command::{Command, Secret, SyntaxError};
use crate::line::{Line, MAX_LINE_OCTETS};
use crate::listing::{Listing, ListingKind};
use crate::reply::{Reply, ResponseCode};
use crate::snapshot::{Marks, MessageNumber, Snapshot};

/// After so many lines in a row that are no command here, the session ends.
pub const MAX_BAD_COMMANDS: u32 = 20;

/// After so many wrong credentials the session ends.
pub const MAX_LOGIN_FAILURES: u32 = 3;

/// What the session may offer, as its listener and its connection have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Is STLS possible: is there a certificate, and no TLS yet?
    pub stls_offered: bool,
    /// May a client send its secret: is there TLS, or may it go in clear?
    pub secrets_allowed: bool,
}

/// The state of a session between two lines.
#[derive(Debug)]
pub enum Session {
    /// Who are you? No maildrop is open yet.
    Authorization(Authorization),
    /// One snapshot, and the marks of DELE.
    Transaction(Transaction),
}

/// What is to be done about a line.
#[derive(Debug)]
pub enum Step {
    /// Send this and read on.
    Reply(Reply, Session),
    /// Look up who this is and open the maildrop; then [`Login::granted`] or [`Login::refused`].
    Login(Login),
    /// Send the listing piece by piece; then [`Listing::finish`].
    List(Listing),
    /// Find the message; then [`Retrieve::found`] or [`Retrieve::refused`].
    Retrieve(Retrieve),
    /// Send this, shake hands, and go on with a fresh state.
    StartTls(Reply, Authorization),
    /// UPDATE: delete all or none; then [`Commit::done`] or [`Commit::failed`], and close.
    Commit(Commit),
    /// Send this and close.
    Close(Reply),
}

impl Session {
    /// A session that has just been greeted.
    pub fn new(policy: Policy) -> Self {
        Self::Authorization(Authorization::new(policy))
    }

    /// Takes the next line.
    pub fn receive(self, line: Line<'_>) -> Step {
        match (self, line) {
            (Self::Authorization(state), Line::Text(text)) => state.receive(text),
            (Self::Transaction(state), Line::Text(text)) => state.receive(text),
            (mut session, Line::TooLong) => {
                if let Self::Authorization(state) = &mut session {
                    state.user = None;
                }
                session.bad(Reply::err(format_args!(
                    "a line has at most {MAX_LINE_OCTETS} octets, this one was skipped"
                )))
            }
        }
    }

    /// Refuses what is no command here, and ends the session when that keeps happening.
    fn bad(mut self, reply: Reply) -> Step {
        let bad_commands = match &mut self {
            Self::Authorization(state) => &mut state.bad_commands,
            Self::Transaction(state) => &mut state.bad_commands,
        };
        *bad_commands += 1;
        if *bad_commands >= MAX_BAD_COMMANDS {
            Step::Close(Reply::err("too many bad commands in a row, goodbye"))
        } else {
            Step::Reply(reply, self)
        }
    }

    fn syntax_error(self, error: SyntaxError) -> Step {
        match error {
            SyntaxError::NoSuchMessage => Step::Reply(Reply::err(error), self),
            SyntaxError::UnknownCommand
            | SyntaxError::TakesNoArgument(_)
            | SyntaxError::Form(_) => self.bad(Reply::err(error)),
        }
    }
}

/// AUTHORIZATION: the client has yet to say who it is.
#[derive(Debug)]
pub struct Authorization {
    policy: Policy,
    user: Option<String>,
    login_failures: u32,
    bad_commands: u32,
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

    fn receive(mut self, line: &[u8]) -> Step {
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

/// TRANSACTION: a maildrop is open.
#[derive(Debug)]
pub struct Transaction {
    policy: Policy,
    snapshot: Arc<Snapshot>,
    marks: Marks,
    marked_octets: u64,
    bad_commands: u32,
}

impl Transaction {
    fn new(policy: Policy, snapshot: Arc<Snapshot>) -> Self {
        Self {
            policy,
            snapshot,
            marks: Marks::default(),
            marked_octets: 0,
            bad_commands: 0,
        }
    }

    /// The maildrop as it was at login.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What DELE has marked.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The number of messages that are not marked, and their octets.
    pub fn unmarked(&self) -> (usize, u64) {
        let messages = self.snapshot.len() - self.marks.len();
        (messages, self.snapshot.octets() - self.marked_octets)
    }

    fn receive(mut self, line: &[u8]) -> Step {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => return Session::Transaction(self).syntax_error(error),
        };
        match command {
            Command::Capa => {
                let capabilities = capabilities(&self.policy, false);
                self.reply(capabilities)
            }
            Command::Dele(number) => match self.message(number) {
                Ok(octets) => {
                    self.marks.insert(number);
                    self.marked_octets += octets;
                    self.reply(Reply::ok(format_args!(
                        "message {number} will be deleted at QUIT"
                    )))
                }
                Err(reply) => self.reply(reply),
            },
            Command::List(None) => self.list(ListingKind::Octets),
            Command::List(Some(number)) => {
                let reply = match self.message(number) {
                    Ok(octets) => Reply::ok(format_args!("{number} {octets}")),
                    Err(reply) => reply,
                };
                self.reply(reply)
            }
            Command::Noop => self.reply(Reply::ok("")),
            Command::Quit => self.quit(),
            Command::Retr(number) => self.retrieve(number, Part::Whole),
            Command::Rset => {
                self.marks.clear();
                self.marked_octets = 0;
                let (messages, octets) = self.unmarked();
                self.reply(Reply::ok(format_args!(
                    "{messages} messages ({octets} octets)"
                )))
            }
            Command::Stat => {
                let (messages, octets) = self.unmarked();
                self.reply(Reply::ok(format_args!("{messages} {octets}")))
            }
            Command::Top(number, lines) => self.retrieve(number, Part::Top(lines)),
            Command::Uidl(None) => self.list(ListingKind::UniqueIds),
            Command::Uidl(Some(number)) => {
                let unique_id = self.snapshot.unique_id_of(number).unwrap_or_default();
                let reply = match self.message(number) {
                    Ok(_) => Reply::ok(format_args!("{number} {unique_id}")),
                    Err(reply) => reply,
                };
                self.reply(reply)
            }
            Command::Stls => self.bad(Reply::err("STLS comes before login")),
            Command::Pass(_) | Command::User(_) => self.bad(Reply::err("you are logged in")),
        }
    }

    /// The one door to a message: its octets, or the reply that there is none.
    fn message(&self, number: MessageNumber) -> Result<u64, Reply> {
        if self.marks.contains(number) {
            return Err(Reply::err(format_args!(
                "message {number} is marked as deleted"
            )));
        }
        self.snapshot
            .octets_of(number)
            .ok_or_else(|| Reply::err(format_args!("no such message {number}")))
    }

    fn list(mut self, kind: ListingKind) -> Step {
        self.bad_commands = 0;
        Step::List(Listing::new(kind, self))
    }

    fn retrieve(mut self, number: MessageNumber, part: Part) -> Step {
        match self.message(number) {
            Ok(octets) => {
                self.bad_commands = 0;
                Step::Retrieve(Retrieve {
                    number,
                    part,
                    octets,
                    transaction: self,
                })
            }
            Err(reply) => self.reply(reply),
        }
    }

    fn quit(self) -> Step {
        if self.marks.is_empty() {
            Step::Close(Reply::ok("goodbye"))
        } else {
            Step::Commit(Commit { transaction: self })
        }
    }

    fn reply(mut self, reply: Reply) -> Step {
        self.bad_commands = 0;
        Step::Reply(reply, Session::Transaction(self))
    }

    fn bad(self, reply: Reply) -> Step {
        Session::Transaction(self).bad(reply)
    }
}

/// How much of a message is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// RETR: all of it.
    Whole,
    /// TOP: the header, the blank line and so many lines of the body.
    Top(u32),
}

/// A RETR or TOP that waits for its message.
#[derive(Debug)]
pub struct Retrieve {
    number: MessageNumber,
    part: Part,
    octets: u64,
    transaction: Transaction,
}

/// Why a message can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetrieveRefusal {
    /// It is no longer stored.
    Gone,
    /// It could not be read.
    Unavailable,
}

impl Retrieve {
    /// The message that is wanted.
    pub fn number(&self) -> MessageNumber {
        self.number
    }

    /// How much of it.
    pub fn part(&self) -> Part {
        self.part
    }

    /// How many octets the whole message has.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The reply that comes before the message itself, and the session that goes on after it.
    pub fn found(self) -> (Reply, Session) {
        let reply = match self.part {
            Part::Whole => Reply::ok(format_args!("{} octets", self.octets)),
            Part::Top(_) => Reply::ok("top of message follows"),
        };
        (reply, Session::Transaction(self.transaction))
    }

    /// The message can't be sent; the session goes on.
    pub fn refused(self, why: RetrieveRefusal) -> (Reply, Session) {
        let number = self.number;
        let reply = match why {
            RetrieveRefusal::Gone => Reply::coded(
                ResponseCode::SysPerm,
                format_args!("message {number} is no longer stored, log in again to see what is"),
            ),
            RetrieveRefusal::Unavailable => Reply::coded(
                ResponseCode::SysTemp,
                format_args!("message {number} can't be read now, try again later"),
            ),
        };
        (reply, Session::Transaction(self.transaction))
    }
}

/// UPDATE: a QUIT whose deletions wait to be committed. The session ends either way.
#[derive(Debug)]
pub struct Commit {
    transaction: Transaction,
}

impl Commit {
    /// The messages to delete, in order.
    pub fn marked(&self) -> impl Iterator<Item = MessageNumber> + '_ {
        self.transaction.marks.iter()
    }

    /// They are deleted for good.
    pub fn done(self) -> Reply {
        let (left, octets) = self.transaction.unmarked();
        Reply::ok(format_args!(
            "{} messages deleted, {left} left ({octets} octets)",
            self.transaction.marks.len()
        ))
    }

    /// None is deleted.
    pub fn failed(self) -> Reply {
        Reply::coded(
            ResponseCode::SysTemp,
            "nothing was deleted, try again later",
        )
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

//! The states of a session, and the steps of each command (RFC 2033, RFC 5321).

mod envelope;
mod pending;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use wire::Line;

use crate::address::Address;
use crate::command::{BadRecipient, Command, Mail, Refusal, Size};
use crate::reply::Reply;
use envelope::about;

pub use envelope::{Answer, Envelope, MAX_RECIPIENT_OCTETS, MAX_RECIPIENTS};

/// The longest command line with its line end, in octets.
///
/// RFC 5321 asks for 512, but MTAs relay longer lines: Postfix takes 2048 from its clients, and
/// forwarders (SRS) and lists (VERP) make an address longer at each hop.
pub const MAX_LINE_OCTETS: usize = 8192;

/// The name in Received of a client whose own name is malformed.
const UNNAMED: &str = "unknown";

/// The number of consecutive bad commands that ends a session.
const MAX_BAD_COMMANDS: u32 = 20;

/// The rules of all sessions of a server.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The server's name.
    pub server_name: String,
    /// The largest message in octets, before stuffing.
    pub max_octets: u64,
}

/// The state of a session. `R` is the caller's data about a recipient.
#[derive(Debug)]
pub struct Session<R> {
    rules: Arc<Rules>,
    bad_commands: u32,
    state: State<R>,
}

#[derive(Debug)]
enum State<R> {
    /// LHLO is missing.
    Greeted,
    /// No transaction has begun.
    Ready { client: String },
    /// MAIL has named a sender; recipients may follow.
    Envelope(Envelope<R>),
    /// BDAT has brought a part of the message.
    Chunks(Envelope<R>),
}

/// The step to take after a line.
#[derive(Debug)]
#[must_use = "a step has to be taken, or the client waits without an answer"]
pub enum Step<R> {
    /// Send this and read on.
    Reply(Reply, Session<R>),
    /// Look up a recipient, then hand the result to the step.
    Lookup(Lookup<R>),
    /// Send this, receive the message by [`wire::Unstuffing`], then hand the result to the step.
    Receive(Reply, Incoming<R>),
    /// Receive the octets of a chunk, then hand the result to the step.
    Chunk(Chunk<R>),
    /// Read and discard this number of octets, then send the reply and read on.
    Skip(u64, Reply, Session<R>),
    /// Send this and close.
    Close(Reply),
}

/// A recipient that must be looked up.
#[derive(Debug)]
pub struct Lookup<R> {
    session: Session<R>,
    recipient: Address,
}

/// A message that comes by DATA.
#[derive(Debug)]
pub struct Incoming<R> {
    session: Session<R>,
    envelope: Envelope<R>,
}

/// A part of a message, that comes by BDAT.
#[derive(Debug)]
pub struct Chunk<R> {
    session: Session<R>,
    envelope: Envelope<R>,
    size: Size,
    first: bool,
}

impl<R> Session<R> {
    /// Returns a session that has just been greeted.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self {
            rules,
            bad_commands: 0,
            state: State::Greeted,
        }
    }

    /// Returns true if a transaction has begun.
    pub fn is_in_transaction(&self) -> bool {
        match self.state {
            State::Greeted | State::Ready { .. } => false,
            State::Envelope(_) | State::Chunks(_) => true,
        }
    }

    /// Refuses a line that ends with LF alone (RFC 5321, section 2.3.8). If they were accepted,
    /// LF.CRLF could end a message.
    pub fn refuse_bare_line_feed(self) -> Step<R> {
        self.bad(Reply::new(500, "5.5.2", "lines must end with CRLF"))
    }

    /// Takes a line from the client.
    pub fn receive(mut self, line: Line<'_>) -> Step<R> {
        let command = match line {
            Line::Text(text) => Command::parse(text),
            Line::TooLong => {
                let reply = Reply::new(500, "5.5.6", "line too long");
                Err(Refusal::Reply(reply))
            }
        };
        match command {
            Ok(Command::Lhlo(client)) => self.lhlo(client),
            Ok(Command::Mail(mail)) => self.mail(mail),
            Ok(Command::Rcpt(recipient)) => self.rcpt(recipient),
            Ok(Command::Data) => self.data(),
            Ok(Command::Bdat(size)) => self.bdat(size),
            Ok(Command::Rset) => {
                self.forget_message();
                self.good(Reply::new(250, "2.0.0", "reset"))
            }
            Ok(Command::Noop) => self.good(Reply::new(250, "2.0.0", "still here")),
            Ok(Command::Help) => {
                let text = "LHLO MAIL RCPT DATA BDAT RSET NOOP HELP QUIT; see RFC 2033";
                self.good(Reply::new(214, "2.0.0", text))
            }
            Ok(Command::Quit) => {
                let text = format!("{} goodbye", self.rules.server_name);
                Step::Close(Reply::new(221, "2.0.0", text))
            }
            Err(Refusal::Reply(reply)) => self.bad(reply),
            Err(Refusal::Lost(reply)) => Step::Close(reply),
        }
    }

    fn lhlo(mut self, client: Option<String>) -> Step<R> {
        self.state = State::Ready {
            client: client.unwrap_or_else(|| UNNAMED.to_owned()),
        };
        let capabilities = vec![
            "PIPELINING".into(),
            format!("SIZE {}", self.rules.max_octets),
            "8BITMIME".into(),
            "SMTPUTF8".into(),
            "ENHANCEDSTATUSCODES".into(),
            "CHUNKING".into(),
        ];
        let reply = Reply::capabilities(&self.rules.server_name, capabilities);
        self.good(reply)
    }

    fn mail(mut self, mail: Mail) -> Step<R> {
        let client = match self.state {
            State::Greeted => return self.bad(out_of_order("send LHLO first")),
            State::Ready { ref client } => client.clone(),
            State::Envelope(_) | State::Chunks(_) => {
                return self.bad(out_of_order("nested MAIL: send RSET first"));
            }
        };
        if mail
            .octets
            .is_some_and(|octets| octets > self.rules.max_octets)
        {
            let reply = self.too_large();
            return self.good(reply);
        }
        self.state = State::Envelope(Envelope {
            client,
            sender: mail.sender,
            octets: mail.octets,
            utf8: mail.utf8,
            recipients: Vec::new(),
        });
        self.good(Reply::new(250, "2.1.0", "sender accepted"))
    }

    fn rcpt(self, recipient: Result<Address, BadRecipient>) -> Step<R> {
        let State::Envelope(envelope) = &self.state else {
            return self.bad(out_of_order("need MAIL before RCPT"));
        };
        // It may be one recipient of many, so it does not count as a bad command.
        let Ok(recipient) = recipient else {
            let text = "invalid recipient address";
            return self.good(Reply::new(550, "5.1.3", text));
        };
        if !envelope.has_room_for(&recipient) {
            let text = format!(
                "too many recipients: at most {MAX_RECIPIENTS}, send it again for the others"
            );
            return self.good(Reply::new(452, "4.5.3", text));
        }
        Step::Lookup(Lookup {
            session: self,
            recipient,
        })
    }

    fn data(mut self) -> Step<R> {
        match self.take_envelope() {
            Ok((envelope, true)) => Step::Receive(
                Reply::new(354, "", "send the message, end with a line of one dot"),
                Incoming {
                    session: self,
                    envelope,
                },
            ),
            Ok((envelope, false)) => {
                self.state = State::Chunks(envelope);
                self.bad(out_of_order("DATA after BDAT: send RSET first"))
            }
            Err(reply) => self.bad(reply),
        }
    }

    fn bdat(mut self, size: Size) -> Step<R> {
        match self.take_envelope() {
            Ok((envelope, first)) => Step::Chunk(Chunk {
                session: self,
                envelope,
                size,
                first,
            }),
            // The client sends the octets even so (RFC 3030, section 2).
            Err(reply) => {
                self.bad_commands = self.bad_commands.saturating_add(1);
                if self.bad_commands < MAX_BAD_COMMANDS {
                    Step::Skip(size.octets, reply, self)
                } else {
                    Step::Close(self.too_many_bad_commands())
                }
            }
        }
    }

    /// Takes the envelope for the message that follows; the bool is true if the message begins now.
    /// The state is then `Ready`: the transaction is over unless the caller sets another state.
    fn take_envelope(&mut self) -> Result<(Envelope<R>, bool), Reply> {
        match &self.state {
            State::Greeted | State::Ready { .. } => Err(out_of_order("need MAIL and RCPT first")),
            State::Envelope(envelope) if envelope.recipients.is_empty() => {
                Err(Reply::new(503, "5.5.1", "no valid recipients"))
            }
            State::Envelope(Envelope { client, .. }) | State::Chunks(Envelope { client, .. }) => {
                let ready = State::Ready {
                    client: client.clone(),
                };
                match std::mem::replace(&mut self.state, ready) {
                    State::Envelope(envelope) => Ok((envelope, true)),
                    State::Chunks(envelope) => Ok((envelope, false)),
                    State::Greeted | State::Ready { .. } => Err(out_of_order("need MAIL first")),
                }
            }
        }
    }

    fn forget_message(&mut self) {
        if let State::Envelope(envelope) | State::Chunks(envelope) = &mut self.state {
            self.state = State::Ready {
                client: std::mem::take(&mut envelope.client),
            };
        }
    }

    fn good(mut self, reply: Reply) -> Step<R> {
        self.bad_commands = 0;
        Step::Reply(reply, self)
    }

    fn bad(mut self, reply: Reply) -> Step<R> {
        self.bad_commands = self.bad_commands.saturating_add(1);
        if self.bad_commands < MAX_BAD_COMMANDS {
            return Step::Reply(reply, self);
        }
        Step::Close(self.too_many_bad_commands())
    }

    fn too_many_bad_commands(&self) -> Reply {
        let text = format!("{} too many bad commands", self.rules.server_name);
        Reply::new(421, "4.7.0", text)
    }

    fn too_large(&self) -> Reply {
        let text = format!(
            "message too large: at most {} octets",
            self.rules.max_octets
        );
        Reply::new(552, "5.3.4", text)
    }

    /// Returns one reply for each recipient, in the order of RCPT (RFC 2033, section 4.2).
    fn replies(&self, envelope: &Envelope<R>, answers: &[Answer]) -> Vec<Reply> {
        let answers = answers
            .iter()
            .copied()
            .chain(std::iter::repeat(Answer::Unavailable));
        let reply = |((recipient, _), answer): (&(Address, R), Answer)| {
            let (code, status, text) = match answer {
                Answer::Stored => (250, "2.0.0", "stored"),
                Answer::OverQuota => (552, "5.2.2", FULL),
                Answer::NoSuchUser => (550, "5.1.1", UNKNOWN),
                Answer::TooLarge => return self.too_large(),
                // RFC 5321, section 4.2.3, and RFC 3463, section 3.4.
                Answer::NoSpace => (452, "4.3.1", NO_SPACE),
                Answer::Locked => (451, "4.2.0", "maildrop locked, try again later"),
                Answer::Unavailable => (
                    451,
                    "4.3.0",
                    "cannot store the message now, try again later",
                ),
            };
            about(recipient, envelope.utf8, code, status, text)
        };
        envelope.recipients.iter().zip(answers).map(reply).collect()
    }
}

/// The reply about an unknown recipient.
const UNKNOWN: &str = "No such user";

/// The reply while the disk is full.
const NO_SPACE: &str = "the server's disk is full, try again later";

/// The reply about a full maildrop.
const FULL: &str = "the maildrop is full";

fn out_of_order(text: &'static str) -> Reply {
    Reply::new(503, "5.5.1", text)
}

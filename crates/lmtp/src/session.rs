//! What may be said when, and what it leads to.

mod pending;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use wire::Line;

use crate::address::{Address, ReversePath};
use crate::command::{BadRecipient, Command, Mail, Refusal, Size};
use crate::reply::Reply;

/// The longest command line with its line end, in octets.
///
/// RFC 5321 asks for 512, and MTAs hand on more: Postfix takes 2048 from its clients, and what
/// forwarders (SRS) and lists (VERP) put into an address grows with each of them.
pub const MAX_LINE_OCTETS: usize = 8192;

/// How many recipients a message may have; a client sends it again for the others. RFC 5321,
/// section 4.5.3.1.8 asks for 100.
pub const MAX_RECIPIENTS: usize = 1000;

/// How many octets the recipients of a message may have together; a client sends it again for the
/// others. It is what so many recipients of the usual lengths have, and bounds what a session holds.
pub const MAX_RECIPIENT_OCTETS: usize = MAX_RECIPIENTS * 256;

/// How much of an address a reply repeats, in octets: a reply has at most 512 (RFC 5321, section
/// 4.5.3.1.5).
const MAX_SHOWN_OCTETS: usize = 320;

/// What stands in Received for a client whose name has not the form of a host's.
const UNNAMED: &str = "unknown";

/// So many bad commands in a row end the session.
const MAX_BAD_COMMANDS: u32 = 20;

/// What holds for all sessions of a server.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The server's name.
    pub server_name: String,
    /// The largest message, in octets, before dots are put in.
    pub max_octets: u64,
}

/// The state of one conversation. `R` is what the caller knows of a recipient.
#[derive(Debug)]
pub struct Session<R> {
    rules: Arc<Rules>,
    bad_commands: u32,
    state: State<R>,
}

#[derive(Debug)]
enum State<R> {
    /// Who are you?
    Greeted,
    /// No message is under way.
    Ready { client: String },
    /// MAIL has named a sender; recipients may follow.
    Envelope(Envelope<R>),
    /// BDAT has brought a part of the message.
    Chunks(Envelope<R>),
}

/// Who sends a message, and to whom.
#[derive(Debug)]
pub struct Envelope<R> {
    /// How the client called itself.
    pub client: String,
    /// None for `<>`.
    pub sender: Option<ReversePath>,
    /// How many octets the client says that it has, about (SIZE).
    pub octets: Option<u64>,
    /// May it hold more than ASCII in addresses and header (SMTPUTF8)?
    pub utf8: bool,
    /// The recipients that were accepted, in their order.
    pub recipients: Vec<(Address, R)>,
}

/// What to do about a line.
#[derive(Debug)]
pub enum Step<R> {
    /// Send this and read on.
    Reply(Reply, Session<R>),
    /// Look a recipient up, then tell the step.
    Lookup(Lookup<R>),
    /// Send this, take the message in by [`crate::Unstuffing`], then tell the step.
    Receive(Reply, Incoming<R>),
    /// Take so many octets in, then tell the step.
    Chunk(Chunk<R>),
    /// Read so many octets and throw them away, then send this and read on.
    Skip(u64, Reply, Session<R>),
    /// Send this and close.
    Close(Reply),
}

/// What became of a recipient's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is stored durably.
    Stored,
    /// The maildrop is full.
    OverQuota,
    /// The user has been removed since RCPT.
    NoSuchUser,
    /// The message is larger than is allowed.
    TooLarge,
    /// There is no room for it on the server's disk.
    NoSpace,
    /// Somebody else keeps the maildrop locked.
    Locked,
    /// It could not be stored now.
    Unavailable,
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
    /// A session that has just been greeted.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self {
            rules,
            bad_commands: 0,
            state: State::Greeted,
        }
    }

    /// Is a message under way?
    pub fn is_in_transaction(&self) -> bool {
        match self.state {
            State::Greeted | State::Ready { .. } => false,
            State::Envelope(_) | State::Chunks(_) => true,
        }
    }

    /// Refuses a line that ends with LF alone, whatever it says (RFC 5321, section 2.3.8). If it
    /// were taken, LF.CRLF behind it could end a message.
    pub fn refuse_bare_line_feed(self) -> Step<R> {
        self.bad(Reply::new(500, "5.5.2", "a line ends with CR and LF"))
    }

    /// Takes a line from the client.
    pub fn receive(mut self, line: Line<'_>) -> Step<R> {
        let command = match line {
            Line::Text(text) => Command::parse(text),
            Line::TooLong => {
                let reply = Reply::new(500, "5.5.6", "the line is too long");
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
                self.good(Reply::new(250, "2.0.0", "forgotten"))
            }
            Ok(Command::Noop) => self.good(Reply::new(250, "2.0.0", "still here")),
            Ok(Command::Help) => {
                let text = "LHLO MAIL RCPT DATA BDAT RSET NOOP HELP QUIT; see RFC 2033";
                self.good(Reply::new(214, "2.0.0", text))
            }
            Ok(Command::Quit) => {
                let text = format!("{} good-bye", self.rules.server_name);
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
            State::Greeted => return self.bad(out_of_order("say LHLO first")),
            State::Ready { ref client } => client.clone(),
            State::Envelope(_) | State::Chunks(_) => {
                return self.bad(out_of_order("a message is under way: RSET forgets it"));
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
        // It is one recipient of perhaps many, so it spoils neither the session nor the others.
        let Ok(recipient) = recipient else {
            let text = "that is not the address of a user";
            return self.good(Reply::new(550, "5.1.3", text));
        };
        if !envelope.has_room_for(&recipient) {
            let text = format!("a message may have {MAX_RECIPIENTS} recipients, send it again");
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
                Reply::new(
                    354,
                    "",
                    "send the message, and end it with a line of one dot",
                ),
                Incoming {
                    session: self,
                    envelope,
                },
            ),
            Ok((envelope, false)) => {
                self.state = State::Chunks(envelope);
                self.bad(out_of_order("the message has begun by BDAT"))
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
            // The octets come all the same (RFC 3030, section 2).
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

    /// The envelope of the message that comes now, and whether nothing of it is here yet. The
    /// state is that of no message then.
    fn take_envelope(&mut self) -> Result<(Envelope<R>, bool), Reply> {
        match &self.state {
            State::Greeted | State::Ready { .. } => Err(out_of_order("MAIL and RCPT come first")),
            State::Envelope(envelope) if envelope.recipients.is_empty() => {
                Err(Reply::new(503, "5.5.1", "there is no valid recipient"))
            }
            State::Envelope(Envelope { client, .. }) | State::Chunks(Envelope { client, .. }) => {
                let ready = State::Ready {
                    client: client.clone(),
                };
                match std::mem::replace(&mut self.state, ready) {
                    State::Envelope(envelope) => Ok((envelope, true)),
                    State::Chunks(envelope) => Ok((envelope, false)),
                    State::Greeted | State::Ready { .. } => Err(out_of_order("MAIL comes first")),
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
        let text = format!("a message may have {} octets", self.rules.max_octets);
        Reply::new(552, "5.3.4", text)
    }

    /// One reply for each recipient, in the order of RCPT (RFC 2033, section 4.2).
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
                Answer::Locked => (451, "4.2.0", "the maildrop is in use, try again later"),
                Answer::Unavailable => (451, "4.3.0", "can't be stored now, try again later"),
            };
            about(recipient, envelope.utf8, code, status, text)
        };
        envelope.recipients.iter().zip(answers).map(reply).collect()
    }
}

/// What is said of a recipient whom nobody here is.
const UNKNOWN: &str = "No such user";

/// What is said while the disk has no room.
const NO_SPACE: &str = "the server's disk is full, try again later";

/// What is said of a maildrop that takes no more.
const FULL: &str = "the maildrop is full";

impl<R> Envelope<R> {
    /// May the message have this recipient too?
    fn has_room_for(&self, recipient: &Address) -> bool {
        let octets = |(recipient, _): &(Address, R)| recipient.as_bytes().len();
        let before: usize = self.recipients.iter().map(octets).sum();
        self.recipients.len() < MAX_RECIPIENTS
            && before + recipient.as_bytes().len() <= MAX_RECIPIENT_OCTETS
    }
}

/// A reply about one recipient, which it names.
fn about(recipient: &Address, utf8: bool, code: u16, status: &'static str, text: &str) -> Reply {
    let name = shown(recipient.as_bytes(), utf8);
    Reply::new(code, status, format!("<{name}> {text}"))
}

/// An address as a reply repeats it: not all of a very long one, and in ASCII unless the client has
/// said that it reads more (RFC 6531, section 3.7.4).
fn shown(address: &[u8], utf8: bool) -> String {
    let mut shown = String::new();
    for c in String::from_utf8_lossy(address).chars() {
        if shown.len() >= MAX_SHOWN_OCTETS {
            shown.push_str("...");
            break;
        }
        shown.push(if utf8 || c.is_ascii() { c } else { '?' });
    }
    shown
}

fn out_of_order(text: &'static str) -> Reply {
    Reply::new(503, "5.5.1", text)
}

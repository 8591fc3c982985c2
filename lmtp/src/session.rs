//! What may be said when, and what it leads to.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use pop3::Line;

use crate::address::Mailbox;
use crate::command::{Command, Mail, Refusal, Size, needs_utf8};
use crate::reply::Reply;

/// The longest command line with its line end, in octets: the 512 of RFC 5321, section 4.5.3.1.4,
/// and ample room for what SIZE, BODY and SMTPUTF8 add.
pub const MAX_LINE_OCTETS: usize = 1024;

/// How many recipients a message may have; a client sends it again for the others. RFC 5321,
/// section 4.5.3.1.8 asks for 100.
pub const MAX_RECIPIENTS: usize = 1000;

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
    pub sender: Option<Mailbox>,
    /// May it hold more than ASCII in addresses and header (SMTPUTF8)?
    pub utf8: bool,
    /// The recipients that were accepted, in their order.
    pub recipients: Vec<(Mailbox, R)>,
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
    /// Somebody else keeps the maildrop locked.
    Locked,
    /// It could not be stored now.
    Unavailable,
}

/// A recipient that must be looked up.
#[derive(Debug)]
pub struct Lookup<R> {
    session: Session<R>,
    recipient: Mailbox,
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

    fn lhlo(mut self, client: String) -> Step<R> {
        self.state = State::Ready { client };
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
            utf8: mail.utf8,
            recipients: Vec::new(),
        });
        self.good(Reply::new(250, "2.1.0", "sender accepted"))
    }

    fn rcpt(self, recipient: Option<Mailbox>) -> Step<R> {
        let State::Envelope(envelope) = &self.state else {
            return self.bad(out_of_order("RCPT comes behind MAIL"));
        };
        let Some(recipient) = recipient else {
            return self.good(unknown_user("Postmaster"));
        };
        if !envelope.utf8 && !recipient.as_written().is_ascii() {
            return match needs_utf8() {
                Refusal::Reply(reply) | Refusal::Lost(reply) => self.good(reply),
            };
        }
        if envelope.recipients.len() >= MAX_RECIPIENTS {
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
        let reply = |((recipient, _), answer): (&(Mailbox, R), Answer)| match answer {
            Answer::Stored => Reply::new(250, "2.0.0", format!("<{recipient}> stored")),
            Answer::OverQuota => {
                Reply::new(552, "5.2.2", format!("<{recipient}> the maildrop is full"))
            }
            Answer::NoSuchUser => unknown_user(recipient.as_written()),
            Answer::TooLarge => self.too_large(),
            Answer::Locked => Reply::new(
                451,
                "4.2.0",
                format!("<{recipient}> the maildrop is in use, try again later"),
            ),
            Answer::Unavailable => Reply::new(
                451,
                "4.3.0",
                format!("<{recipient}> can't be stored now, try again later"),
            ),
        };
        envelope.recipients.iter().zip(answers).map(reply).collect()
    }
}

fn out_of_order(text: &'static str) -> Reply {
    Reply::new(503, "5.5.1", text)
}

fn unknown_user(address: &str) -> Reply {
    Reply::new(550, "5.1.1", format!("<{address}> there is no such user"))
}

impl<R> Lookup<R> {
    /// The address to look for.
    pub fn address(&self) -> &str {
        self.recipient.address()
    }

    /// There is such a user.
    pub fn found(mut self, known: R) -> (Reply, Session<R>) {
        let reply = Reply::new(250, "2.1.5", format!("<{}> accepted", self.recipient));
        if let State::Envelope(envelope) = &mut self.session.state {
            envelope.recipients.push((self.recipient.clone(), known));
        }
        self.say(reply)
    }

    /// Nobody has this address.
    pub fn unknown(self) -> (Reply, Session<R>) {
        let reply = unknown_user(self.recipient.as_written());
        self.say(reply)
    }

    /// Nobody can say now.
    pub fn failed(self) -> (Reply, Session<R>) {
        let text = format!(
            "<{}> can't be looked up now, try again later",
            self.recipient
        );
        self.say(Reply::new(451, "4.3.0", text))
    }

    fn say(mut self, reply: Reply) -> (Reply, Session<R>) {
        self.session.bad_commands = 0;
        (reply, self.session)
    }
}

impl<R> Incoming<R> {
    /// Who sends it, and to whom.
    pub fn envelope(&self) -> &Envelope<R> {
        &self.envelope
    }

    /// It has come to its end, and this became of each recipient's copy, in their order.
    pub fn answered(self, answers: &[Answer]) -> (Vec<Reply>, Session<R>) {
        let replies = self.session.replies(&self.envelope, answers);
        (replies, self.session)
    }
}

impl<R> Chunk<R> {
    /// Who sends the message, and to whom.
    pub fn envelope(&self) -> &Envelope<R> {
        &self.envelope
    }

    /// How many octets the chunk has.
    pub fn octets(&self) -> u64 {
        self.size.octets
    }

    /// Does the message begin with it?
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// Does the message end with it?
    pub fn is_last(&self) -> bool {
        self.size.last
    }

    /// It is here, and more is to come.
    pub fn taken(mut self) -> (Reply, Session<R>) {
        let text = format!("{} octets taken", self.size.octets);
        self.session.bad_commands = 0;
        self.session.state = State::Chunks(self.envelope);
        (Reply::new(250, "2.0.0", text), self.session)
    }

    /// The message can't be taken; what comes of it from now on is thrown away.
    pub fn refused(self, why: Answer) -> (Vec<Reply>, Session<R>) {
        let mut replies = self
            .session
            .replies(&self.envelope, &vec![why; self.envelope.recipients.len()]);
        if !self.size.last {
            // It answers a command, not the recipients.
            replies.truncate(1);
        }
        (replies, self.session)
    }

    /// The message is here, and this became of each recipient's copy, in their order.
    pub fn answered(self, answers: &[Answer]) -> (Vec<Reply>, Session<R>) {
        let replies = self.session.replies(&self.envelope, answers);
        (replies, self.session)
    }
}

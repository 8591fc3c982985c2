//! The protocol by itself, with a maildrop in memory.

use std::num::NonZeroU32;
use std::sync::Arc;

use pop3::{
    Access, Authorization, AuthorizationStep, Candidates, ChannelBinding, Credentials, Limits,
    LoginRefusal, Mechanisms, Part, Policy, Reply, Retrieve, RetrieveRefusal, Snapshot, Top,
    Transaction, TransactionStep, Verifier,
};
use wire::{Canonical, LineBuffer, Secret, Stuffing};

use super::transcript::{Network, Transcript};
use super::{Player, Storage, nothing_more, unique_id};

/// The protocol by itself, with a maildrop in memory.
pub(crate) struct Pure {
    messages: Vec<Vec<u8>>,
    ids: Vec<String>,
    session: Option<Session>,
    received: LineBuffer,
    out: Vec<u8>,
    storage: Storage,
    deleted: Vec<usize>,
}

/// The phase of a session.
enum Session {
    Authorization(Authorization),
    Transaction(Transaction),
}

impl Session {
    fn max_line_octets(&self) -> usize {
        match self {
            Self::Authorization(state) => state.max_line_octets(),
            Self::Transaction(state) => state.max_line_octets(),
        }
    }
}

impl Pure {
    const ADDRESS: &str = "ada@example.com";
    const KEY: &str = "rst_Key";
    const SECOND_KEY: &str = "rst_second";

    pub(crate) fn new(transcript: &Transcript) -> Self {
        let in_clear = transcript.network != Some(Network::Tls);
        let never = ("Pop3__PlaintextAuth".to_owned(), "never".to_owned());
        let secrets_allowed = !(in_clear && transcript.settings.contains(&never));
        let known = transcript.settings.iter().all(|setting| *setting == never);
        assert!(known, "{}.txt: over the wire only", transcript.name);
        let policy = Policy {
            stls_offered: in_clear && transcript.certificate,
            secrets_allowed,
            scram_offered: true,
            channel_bound: !in_clear,
            mechanisms: Mechanisms::ALL,
            channel_binding: ChannelBinding::Auto,
            certified: false,
            expire_days: None,
            limits: Limits {
                bad_commands: 20,
                line_octets: 255,
            },
        };
        let messages: Vec<Vec<u8>> = transcript.given.iter().map(|m| canonical(m)).collect();
        let mut pure = Self {
            ids: (1..=messages.len()).map(|n| format!("id-{n}")).collect(),
            messages,
            session: Some(Session::Authorization(Authorization::new(policy))),
            received: LineBuffer::default(),
            out: Vec::new(),
            storage: Storage::Works,
            deleted: Vec::new(),
        };
        if transcript.logged_in {
            let login = format!("USER {}\r\nPASS {}\r\n", Self::ADDRESS, Self::KEY);
            pure.receive(login.as_bytes());
            assert!(pure.out.starts_with(b"+OK"), "{:?}", pure.out);
            pure.out.clear();
        } else {
            pure.say(&Reply::greeting("localhost"));
        }
        pure
    }

    fn receive(&mut self, octets: &[u8]) {
        let mut received = std::mem::take(&mut self.received);
        received.push(octets);
        while let Some(session) = self.session.take() {
            let Some(line) = received.next_line(session.max_line_octets()) else {
                self.session = Some(session);
                break;
            };
            self.session = match session {
                Session::Authorization(state) => self.authorization(state.receive(line)),
                Session::Transaction(state) => self.transaction(state.receive(line)),
            };
        }
        self.received = received;
    }

    fn authorization(&mut self, step: AuthorizationStep) -> Option<Session> {
        let (reply, state) = match step {
            AuthorizationStep::Reply(reply, state) => (reply, Some(state)),
            AuthorizationStep::Quit(reply) | AuthorizationStep::Close(reply) => (reply, None),
            AuthorizationStep::Login(login) => match self.verdict(login.credentials()) {
                Ok(()) => {
                    let (reply, state) = login.granted(self.snapshot(), Access::Full);
                    self.say(&reply);
                    return Some(Session::Transaction(state));
                }
                Err(why) => login.refused(why),
            },
            AuthorizationStep::Verifier(lookup) => {
                let mut candidates = Candidates::new(b"salt", NonZeroU32::MIN);
                if lookup.name() == Self::ADDRESS && lookup.identity().is_none() {
                    for (key, secret) in (1..).zip([Self::KEY, Self::SECOND_KEY]) {
                        let secret = Secret::new(secret);
                        candidates.add(key, Verifier::new(&secret, b"salt", NonZeroU32::MIN));
                    }
                }
                lookup.found(candidates, "server-nonce", None)
            }
            AuthorizationStep::StartTls(_) => panic!("STLS is over the wire only"),
        };
        self.say(&reply);
        state.map(Session::Authorization)
    }

    fn transaction(&mut self, step: TransactionStep) -> Option<Session> {
        let (reply, state) = match step {
            TransactionStep::Reply(reply, state) => (reply, Some(state)),
            TransactionStep::Quit(reply) | TransactionStep::Close(reply) => (reply, None),
            TransactionStep::List(mut listing) => {
                while !listing.write(&mut self.out, usize::MAX) {}
                return Some(Session::Transaction(listing.finish()));
            }
            TransactionStep::Retrieve(retrieve) => {
                return Some(Session::Transaction(self.retrieve(retrieve)));
            }
            TransactionStep::Commit(commit) if self.storage == Storage::Fails => {
                (commit.failed(), None)
            }
            TransactionStep::Commit(commit) => {
                self.deleted = commit.marked().map(|n| n.index() + 1).collect();
                (commit.done(self.deleted.len()), None)
            }
        };
        self.say(&reply);
        state.map(Session::Transaction)
    }

    fn retrieve(&mut self, retrieve: Retrieve) -> Transaction {
        let refusal = match self.storage {
            Storage::Works => None,
            Storage::HasLostTheMessages => Some(RetrieveRefusal::Gone),
            Storage::Fails => Some(RetrieveRefusal::Unavailable),
        };
        if let Some(why) = refusal {
            let (reply, state) = retrieve.refused(why);
            self.say(&reply);
            return state;
        }
        let message = self.messages[retrieve.number().index()].clone();
        let part = match retrieve.part() {
            Part::Whole => message.as_slice(),
            Part::Top(lines) => Top::new(lines).take(&message),
        };
        let (reply, state) = retrieve.found();
        self.say(&reply);
        let mut stuffing = Stuffing::default();
        self.out.extend(stuffing.pieces(part).flatten());
        self.out.extend(stuffing.finish());
        state
    }

    fn verdict(&self, credentials: &Credentials) -> Result<(), LoginRefusal> {
        if self.storage == Storage::Fails {
            return Err(LoginRefusal::Unavailable);
        }
        let right = Self::are_right(credentials);
        right.then_some(()).ok_or(LoginRefusal::Credentials)
    }

    fn are_right(credentials: &Credentials) -> bool {
        let own = |identity: &String| identity.eq_ignore_ascii_case(Self::ADDRESS);
        match credentials {
            Credentials::Secret {
                name,
                identity,
                secret,
            } => {
                let keys = [Self::KEY, Self::SECOND_KEY].map(Secret::new);
                name == Self::ADDRESS && keys.contains(secret) && identity.iter().all(own)
            }
            Credentials::Proven { .. } => true,
            Credentials::Disproven { .. } | Credentials::Certificate { .. } => false,
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        let mut snapshot = Snapshot::default();
        for (message, id) in self.messages.iter().zip(&self.ids) {
            snapshot.push(message.len() as u64, id).unwrap();
        }
        Arc::new(snapshot)
    }

    fn say(&mut self, reply: &Reply) {
        self.out.extend_from_slice(reply.as_bytes());
    }
}

fn canonical(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut canonical = Canonical::default();
    canonical.push(message, &mut out);
    canonical.finish(&mut out);
    out
}

impl Player for Pure {
    fn value(&self, name: &str) -> Option<String> {
        match name {
            "address" => Some(Self::ADDRESS.into()),
            "ADDRESS" => Some(Self::ADDRESS.to_uppercase()),
            "key" => Some(Self::KEY.into()),
            "second key" => Some(Self::SECOND_KEY.into()),
            "another key" => Some("rst_another".into()),
            "KEY" => Some(Self::KEY.to_uppercase()),
            _ => unique_id(&self.ids, name),
        }
    }

    fn send(&mut self, _: usize, octets: &[u8]) -> Result<(), String> {
        self.receive(octets);
        Ok(())
    }

    fn line(&mut self, _: usize) -> Result<Vec<u8>, String> {
        let end = self.out.iter().position(|octet| *octet == b'\n');
        let end = end.ok_or("the server says nothing")?;
        Ok(self.out.drain(..=end).collect())
    }

    fn octets(&mut self, _: usize, count: usize) -> Result<Vec<u8>, String> {
        Ok(self.out.drain(..count.min(self.out.len())).collect())
    }

    fn end(&mut self, _: usize) -> Result<(), String> {
        nothing_more(&self.out)?;
        let over = self.session.is_none();
        over.then_some(())
            .ok_or_else(|| "the session goes on".into())
    }

    fn start_tls(&mut self, _: usize) -> Result<(), String> {
        Err("TLS is over the wire only".into())
    }

    fn deliver(&mut self, _: &[u8]) -> Result<(), String> {
        Err("deliver is over the wire only".into())
    }

    fn storage(&mut self, storage: Storage) -> Result<(), String> {
        self.storage = storage;
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<usize>, String> {
        nothing_more(&self.out)?;
        Ok(self.deleted.clone())
    }
}

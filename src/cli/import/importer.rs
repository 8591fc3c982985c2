//! Takes the messages of a source in, one by one.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use indicatif::ProgressBar;
use pop3::UniqueId;

use super::super::output;
use super::super::room::ensure_room_for;
use super::Tally;
use super::reading::{Unread, read, usable};
use crate::sources::{self, Item, OldId, Source};
use crate::store::{
    Database, Import as Message, ImportHistory, Match, MessageWriter, Rename, StagedMessage, UserId,
};

/// Messages of one transaction: each costs a wait for the disk.
const MESSAGES_AT_ONCE: usize = 200;

/// Octets of messages that wait in memory to be stored.
const OCTETS_AT_ONCE: u64 = 8 * 1024 * 1024;

/// Maximum wait of messages to be stored, when they come slowly.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The error of an import that the database does not take to its end.
const STOPPED: &str = "the import stopped; what was imported before stays, run it again to go on";

/// Imports one source into one maildrop.
pub(super) struct Importer {
    database: Database,
    user: UserId,
    dry_run: bool,
    began: SystemTime,
    known: ImportHistory,
    /// The names that the source has for its messages.
    in_source: HashSet<String>,
    /// Those of them that were met. Who has one of them again is another message.
    met: HashSet<String>,
    /// True if the source has the order in which its server had the messages.
    ordered: bool,
    /// True if the source itself lists their unique-ids.
    has_uid_list: bool,
    /// The time of the last message, which the next one's is not before if there is an order.
    last_received_at: Option<SystemTime>,
    stored_at: Instant,
    waiting: Vec<Message>,
    /// The names that known messages get, since the last batch.
    renames: Vec<Rename>,
    waiting_octets: u64,
    tally: Tally,
    progress: ProgressBar,
}

/// A message of a source that has been read to its end.
struct Arrived {
    message: StagedMessage,
    /// Its first piece.
    beginning: Vec<u8>,
    /// Its identity, without what another server has put in front of it.
    identity: [u8; 32],
}

/// The decision on an arrived message.
enum Verdict {
    /// It was imported before.
    Known,
    /// It is new, with the unique-id that the old server had for it, if that can be used.
    New(Option<String>),
}

impl Importer {
    /// Imports what this source holds into a user's maildrop; if `dry_run`, only counts it.
    pub(super) async fn new(
        database: Database,
        user: UserId,
        source: &Source,
        dry_run: bool,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            known: database.known(user).await?,
            database,
            user,
            dry_run,
            began: SystemTime::now(),
            in_source: source.old_ids().into_iter().collect(),
            met: HashSet::new(),
            ordered: source.is_ordered(),
            has_uid_list: source.has_uid_list(),
            last_received_at: None,
            stored_at: Instant::now(),
            waiting: Vec::new(),
            renames: Vec::new(),
            waiting_octets: 0,
            tally: Tally {
                expunged: source.expunged(),
                ..Tally::default()
            },
            progress: output::progress_bar(source.total_octets()),
        })
    }

    /// Takes all items of the source, and stores them.
    pub(super) async fn run(mut self, source: &mut Source) -> anyhow::Result<Tally> {
        while let Some(item) = source.next_item() {
            match item {
                Item::Message {
                    name,
                    received_at,
                    old_id,
                    octets,
                } => {
                    self.take(source, &name, received_at, old_id, octets)
                        .await?;
                }
                Item::Skipped { name, reason } => self.skip(&name, &reason),
            }
            self.progress.set_position(source.octets_read());
        }
        self.store().await?;
        self.progress.finish_and_clear();
        Ok(self.tally)
    }

    async fn take(
        &mut self,
        source: &mut Source,
        name: &str,
        received_at: Option<SystemTime>,
        old_id: OldId,
        octets: Option<u64>,
    ) -> anyhow::Result<()> {
        let served = old_id != OldId::NeverServed;
        self.tally.unseen += usize::from(!served);
        let (mut id, mut unusable) = usable(old_id.told().map(str::to_owned), UniqueId::imported);
        // What has this name and as many octets need not be fetched over the network.
        if let (Some(name), Some(octets)) = (&id, octets)
            && self.known.has_octets(name, octets)
            && self.is_known_by(&mut id)
        {
            return Ok(());
        }
        let Some(arrived) = self.read(source, name).await? else {
            return Ok(());
        };
        // Where there is a list, the server took no notice of the field.
        if old_id == OldId::Unknown && !self.has_uid_list {
            // Its sender may have written it, so it has the bounds of those that are made here.
            (id, unusable) = usable(sources::x_uidl(&arrived.beginning), UniqueId::new);
        }
        let octets = arrived.message.octets();
        let known = &mut self.known;
        self.database
            .look_behind_trace_headers(known, octets)
            .await?;
        let id = match self.judge(name, &arrived, id, unusable, served) {
            Verdict::Known => return Ok(self.database.abandon(&arrived.message).await?),
            Verdict::New(id) => id,
        };
        let received_at = self.time(received_at, &arrived.beginning, served);
        self.add(name, arrived, received_at, id, served);
        if self.is_batch_full() {
            self.store().await?;
        }
        Ok(())
    }

    /// Reads the current message of the source; none if it was skipped.
    async fn read(&mut self, source: &mut Source, name: &str) -> anyhow::Result<Option<Arrived>> {
        let mut writer = if self.dry_run {
            MessageWriter::measuring()
        } else {
            MessageWriter::new(self.database.clone())
        };
        let room_of = (!self.dry_run).then_some(&self.database);
        let (beginning, identity) = match read(source, room_of, &mut writer).await {
            Ok(read) => read,
            Err(Unread::Source(error)) => {
                self.skip(name, &format!("it could not be read: {error}"));
                self.database.abandon(&writer.finish()).await?;
                return Ok(None);
            }
            Err(Unread::Storage(error)) => {
                let _ = self.database.abandon(&writer.finish()).await;
                return Err(error.context(STOPPED));
            }
        };
        let message = writer.finish();
        if message.octets() == 0 {
            self.skip(name, "it is empty");
            return Ok(None);
        }
        if let Some(remark) = source.remark() {
            self.say(name, &remark);
        }
        Ok(Some(Arrived {
            message,
            beginning,
            identity,
        }))
    }

    /// Finds out whether a message is known, by the unique-id of the old server or by its octets.
    fn judge(
        &mut self,
        name: &str,
        arrived: &Arrived,
        mut id: Option<String>,
        unusable: bool,
        served: bool,
    ) -> Verdict {
        let Arrived {
            message, identity, ..
        } = arrived;
        let mut why_new = unusable.then_some("POP3 does not allow its unique-id");
        // A sender may have written the field, so it never keeps a message out.
        if self.has_name_of_another(&id, message, identity) {
            why_new = Some("a known message with other octets has its unique-id");
            id = None;
        }
        let had_id = id.is_some();
        if self.is_known_by(&mut id) {
            return Verdict::Known;
        }
        if had_id && id.is_none() {
            why_new = Some("another message of the source has its unique-id");
        }
        if let Some(met) = self.known.by_octets(message, identity, &self.in_source) {
            self.rename(&met, id.as_deref());
            self.note_known(met, id.as_deref(), served);
            return Verdict::Known;
        }
        if let Some(why) = why_new {
            self.say(name, &format!("{why}, so it gets a new one"));
        }
        Verdict::New(id)
    }

    fn is_batch_full(&self) -> bool {
        self.waiting.len() >= MESSAGES_AT_ONCE
            || self.renames.len() >= MESSAGES_AT_ONCE
            || self.waiting_octets >= OCTETS_AT_ONCE
            || self.stored_at.elapsed() >= LONGEST_WAIT
    }

    /// Returns whether a known message of this name is another one than this, and has not been met
    /// yet.
    fn has_name_of_another(
        &self,
        id: &Option<String>,
        message: &StagedMessage,
        identity: &[u8; 32],
    ) -> bool {
        id.as_ref()
            .is_some_and(|id| !self.met.contains(id) && self.known.differs(id, message, identity))
    }

    /// Gives a message that was imported without a name the one that is known now: the old server
    /// had not listed it yet.
    fn rename(&mut self, met: &Match, id: Option<&str>) {
        let (Match::There(there), Some(Ok(to))) = (met, id.map(UniqueId::imported)) else {
            return;
        };
        if there.is_unnamed && self.known.take_unique_id(&to) {
            self.renames.push(Rename {
                from: there.unique_id.clone(),
                to,
            });
        }
    }

    /// Returns whether the message of this name is known. A name that another message had before is
    /// taken away.
    fn is_known_by(&mut self, id: &mut Option<String>) -> bool {
        let Some(name) = id.clone() else {
            return false;
        };
        if !self.met.insert(name.clone()) {
            *id = None;
            return false;
        }
        let met = self.known.by_id(&name);
        let is_known = met.is_some();
        if let Some(met) = met {
            self.note_known(met, Some(&name), true);
        }
        is_known
    }

    fn note_known(&mut self, met: Match, id: Option<&str>, served: bool) {
        match met {
            Match::There(there) => {
                self.tally.known += 1;
                let renamed = self.renames.iter().any(|it| it.from == there.unique_id);
                let has_its_name = renamed || id == Some(there.unique_id.as_str());
                self.tally.again += usize::from(served && !has_its_name);
                if served {
                    self.last_received_at = self.last_received_at.max(Some(there.received_at));
                }
            }
            Match::Deleted => self.tally.deleted += 1,
        }
    }

    /// Returns the time of receipt. If the source has an order, each is as late as the one before
    /// it, so that they stay in the order in which the old server had them.
    fn time(
        &mut self,
        received_at: Option<SystemTime>,
        beginning: &[u8],
        served: bool,
    ) -> SystemTime {
        let said = received_at.or_else(|| sources::received_at(beginning));
        let said = said.map(|at| at.min(self.began));
        if !self.ordered || !served {
            return said.unwrap_or(self.began);
        }
        let time = said.max(self.last_received_at).unwrap_or(self.began);
        self.last_received_at = Some(time);
        time
    }

    fn add(
        &mut self,
        name: &str,
        arrived: Arrived,
        received_at: SystemTime,
        old_id: Option<String>,
        served: bool,
    ) {
        let old_id = old_id.and_then(|id| UniqueId::imported(id).ok());
        let unique_id = old_id.clone();
        let unique_id = unique_id.filter(|unique_id| {
            let free = self.known.take_unique_id(unique_id);
            if !free {
                self.say(
                    name,
                    "another message has its unique-id, so it gets a new one",
                );
            }
            free
        });
        self.tally.imported += 1;
        self.tally.again += usize::from(served && unique_id.is_none());
        let Arrived {
            message, identity, ..
        } = arrived;
        self.waiting_octets += message.octets();
        if !self.dry_run {
            self.waiting.push(Message {
                message,
                identity,
                received_at,
                old_id,
                unique_id,
            });
        }
    }

    async fn store(&mut self) -> anyhow::Result<()> {
        let octets = std::mem::take(&mut self.waiting_octets);
        self.stored_at = Instant::now();
        let waiting = std::mem::take(&mut self.waiting);
        let renames = std::mem::take(&mut self.renames);
        if self.dry_run || (waiting.is_empty() && renames.is_empty()) {
            return Ok(());
        }
        if !waiting.is_empty() {
            // SQLite writes it to its log first, and to the database then.
            let room = ensure_room_for(&self.database, 2 * octets).await;
            if let Err(error) = room {
                for message in &waiting {
                    let _ = self.database.abandon(&message.message).await;
                }
                return Err(error.context(STOPPED));
            }
        }
        let known = &mut self.known;
        let stored = self
            .database
            .import(self.user, known, &waiting, &renames)
            .await;
        stored.context(STOPPED)
    }

    fn skip(&mut self, name: &str, reason: &str) {
        self.tally.skipped += 1;
        self.say(&format!("skipped {name}"), reason);
    }

    fn say(&self, name: &str, what: &str) {
        // Names of files may hold anything; a terminal is not to obey it.
        let line = format!("{}: {what}", name.escape_debug());
        self.progress.suspend(|| eprintln!("{line}"));
    }
}

//! `restante import`: brings mail of another system in.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use indicatif::ProgressBar;
use pop3::{InvalidUniqueId, UniqueId};

use super::output;
use super::room::{RoomCheck, ensure_room_for};
use super::serve::Signals;
use crate::accounts::Accounts;
use crate::sources::{
    self, Access, Address, Elsewhere, Folders, Identity, Item, OldId, Source, SourceError,
    UidlFormat,
};
use crate::store::{
    Database, Import as Message, ImportHistory, Match, MessageWriter, Rename, StagedMessage, UserId,
};

/// How many messages one transaction stores: each costs a wait for the disk.
const MESSAGES_AT_ONCE: usize = 200;

/// How many octets of messages wait in memory to be stored.
const OCTETS_AT_ONCE: u64 = 8 * 1024 * 1024;

/// How long messages wait to be stored, when they come slowly.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often a locked mbox is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// What is said of an import that the database does not take to its end.
const STOPPED: &str = "the import stopped; what was imported before stays, run it again to go on";

/// Where the password for another server is.
const PASSWORD: &str = "RESTANTE_IMPORT_PASSWORD";

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// Any address of the user whose maildrop the mail goes to.
    address: String,
    /// An mbox file, a Maildir, an .eml file or a folder of them, or a server:
    /// pop3s://USER@HOST:PORT.
    source: String,
    /// Only tell what would be imported, and how much of it clients would fetch again.
    #[arg(long)]
    dry_run: bool,
    /// How Dovecot made unique-ids: its setting `pop3_uidl_format`, such as %08Xu%08Xv or
    /// %{uid | hex(8)}%{uidvalidity | hex(8)}.
    #[arg(long, value_name = "FORMAT")]
    uidl_format: Option<UidlFormat>,
    /// Which folders of a Maildir to import.
    #[arg(long, value_enum, default_value_t)]
    folders: Folders,
    /// How long to wait for an mbox that another program has locked.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    lock_wait: u64,
    /// The file with the private authority that certifies the server (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Send the password in clear to a server without TLS.
    #[arg(long)]
    plaintext: bool,
}

/// What happened to the messages of a source.
#[derive(Debug, Default)]
struct Tally {
    imported: usize,
    known: usize,
    deleted: usize,
    skipped: usize,
    /// How many of them a client of the old server would fetch again.
    again: usize,
    /// How many of them no client has seen, because they were in subfolders.
    unseen: usize,
    /// How many more there are that their user has deleted in Thunderbird.
    expunged: usize,
}

struct Importer {
    database: Database,
    user: UserId,
    dry_run: bool,
    began: SystemTime,
    known: ImportHistory,
    /// The names that the source has for its messages.
    in_source: HashSet<String>,
    /// Those of them that were met. Who has one of them again is another message.
    met: HashSet<String>,
    /// Does the source tell the order in which its server had the messages?
    ordered: bool,
    /// Does the source itself tell what UIDL called them?
    has_uid_list: bool,
    /// The time of the last message, which the next one's is not before if there is an order.
    last_received_at: Option<SystemTime>,
    stored_at: Instant,
    waiting: Vec<Message>,
    /// The names that known messages get, since the last batch.
    adoptions: Vec<Rename>,
    waiting_octets: u64,
    tally: Tally,
    progress: ProgressBar,
}

pub(super) async fn run(command: Import, database: Database) -> anyhow::Result<ExitCode> {
    let imported = import_unless_interrupted(command, database.clone()).await;
    // Also when it has failed: on a disk with little room no log is to be left beside the database.
    let closed = database.close().await;
    let status = imported?;
    closed?;
    Ok(status)
}

async fn import_unless_interrupted(
    command: Import,
    database: Database,
) -> anyhow::Result<ExitCode> {
    if Address::parse(&command.source).is_some() {
        return import(command, database).await;
    }
    let mut signals = Signals::new()?;
    tokio::select! {
        imported = import(command, database) => imported,
        // The lock of an mbox has been given up with the source, which has been dropped here.
        () = signals.next() => anyhow::bail!(
            "the import was interrupted; what was imported before stays, run it again to go on"
        ),
    }
}

async fn import(command: Import, database: Database) -> anyhow::Result<ExitCode> {
    let user = Accounts::new(database.clone())
        .find(&command.address)
        .await?;
    let mut source = open(&command).await?;
    let in_source = source.old_ids().into_iter().collect();
    let mut importer = Importer {
        known: database.known(user).await?,
        database,
        user,
        dry_run: command.dry_run,
        began: SystemTime::now(),
        in_source,
        met: HashSet::new(),
        ordered: source.is_ordered(),
        has_uid_list: source.has_uid_list(),
        last_received_at: None,
        stored_at: Instant::now(),
        waiting: Vec::new(),
        adoptions: Vec::new(),
        waiting_octets: 0,
        tally: Tally {
            expunged: source.expunged(),
            ..Tally::default()
        },
        progress: output::progress_bar(source.total_octets()),
    };
    while let Some(item) = source.next_item() {
        match item {
            Item::Message {
                name,
                received_at,
                old_id,
                octets,
            } => {
                importer
                    .take(&mut source, &name, received_at, old_id, octets)
                    .await?;
            }
            Item::Skipped { name, reason } => importer.skip(&name, &reason),
        }
        importer.progress.set_position(source.octets_read());
    }
    importer.store().await?;
    importer.progress.finish_and_clear();
    summary(&importer.tally, source.elsewhere(), command.dry_run)?;
    Ok(if importer.tally.skipped == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(super::FAILED)
    })
}

fn summary(tally: &Tally, elsewhere: Elsewhere, dry_run: bool) -> std::io::Result<()> {
    let Tally {
        imported,
        known,
        deleted,
        skipped,
        again,
        unseen,
        expunged,
    } = tally;
    let imported_word = if dry_run {
        "to be imported"
    } else {
        "imported"
    };
    output::print(&format!(
        "{imported} messages {imported_word}, {known} already there, \
         {deleted} deleted since, {skipped} skipped"
    ))?;
    let would = if dry_run { "would" } else { "will" };
    output::print(&format!(
        "{again} messages {would} be fetched again by clients of the old server"
    ))?;
    if *unseen > 0 {
        output::print(&format!(
            "{unseen} messages were in subfolders: they are new to clients of POP3"
        ))?;
    }
    if *expunged > 0 {
        output::print(&format!(
            "{expunged} messages were deleted in Thunderbird: they stay away"
        ))?;
    }
    let Elsewhere { messages, folders } = elsewhere;
    if messages > 0 {
        output::print(&format!(
            "{messages} messages in {folders} other folders were left out: \
             import them with --folders all"
        ))?;
    }
    Ok(())
}

/// Opens the source, wherever it is.
async fn open(command: &Import) -> anyhow::Result<Source> {
    let format = command.uidl_format.clone();
    if let Some(address) = Address::parse(&command.source) {
        let address = address?;
        anyhow::ensure!(
            format.is_none(),
            "--uidl-format is for a Maildir of Dovecot; a server tells its unique-ids itself"
        );
        anyhow::ensure!(
            command.folders == Folders::Inbox,
            "--folders all is for a Maildir; a POP3 server has the inbox alone"
        );
        let access = Access {
            authority: command.ca.clone(),
            in_clear: command.plaintext,
        };
        return Ok(Source::connect(&address, &access, &password(&address)?)?);
    }
    anyhow::ensure!(
        command.ca.is_none() && !command.plaintext,
        "--ca and --plaintext are for a server: pop3s://USER@HOST"
    );
    let path = Path::new(&command.source);
    let source = open_path(path, command).await?;
    anyhow::ensure!(
        format.is_none() || source.has_uid_list(),
        "--uidl-format says how Dovecot made unique-ids, and {} has no dovecot-uidlist \
         (an mbox: no X-IMAPbase)",
        path.display()
    );
    Ok(source)
}

/// Opens a file or a folder; if another program has locked it, it may take a while.
async fn open_path(path: &Path, command: &Import) -> anyhow::Result<Source> {
    let format = command.uidl_format.clone().unwrap_or_default();
    let (began, wait) = (Instant::now(), Duration::from_secs(command.lock_wait));
    loop {
        match Source::open(path, &format, command.folders) {
            Err(SourceError::Locked { .. }) if began.elapsed() < wait => {
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Err(error @ SourceError::Locked { .. }) => {
                let waited = format!("gave up after {} s of waiting for the mbox", wait.as_secs());
                return Err(anyhow::Error::new(error).context(waited));
            }
            opened => return Ok(opened?),
        }
    }
}

/// The password for another server: from the environment, or asked for.
fn password(address: &Address) -> anyhow::Result<String> {
    if let Ok(password) = std::env::var(PASSWORD) {
        return Ok(password);
    }
    let prompt = format!("Password of {}: ", address.user().escape_debug());
    rpassword::prompt_password(prompt)
        .with_context(|| format!("there is no terminal to ask for the password: set {PASSWORD}"))
}

impl Importer {
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
        let mut delivery = if self.dry_run {
            MessageWriter::measuring()
        } else {
            MessageWriter::new(self.database.clone())
        };
        let room_of = (!self.dry_run).then_some(&self.database);
        let (beginning, identity) = match read(source, room_of, &mut delivery).await {
            Ok(read) => read,
            Err(Unread::Source(error)) => {
                self.skip(name, &format!("it could not be read: {error}"));
                return Ok(self.database.abandon(&delivery.finish()).await?);
            }
            Err(Unread::Storage(error)) => {
                let _ = self.database.abandon(&delivery.finish()).await;
                return Err(error.context(STOPPED));
            }
        };
        let message = delivery.finish();
        if message.octets() == 0 {
            self.skip(name, "it is empty");
            return Ok(());
        }
        if let Some(remark) = source.remark() {
            self.say(name, &remark);
        }
        // Where there is a list, the server took no notice of the field.
        let is_field = old_id == OldId::Unknown && !self.has_uid_list;
        if is_field {
            // Its sender may have written it, so it is bound as those that are made here.
            (id, unusable) = usable(sources::x_uidl(&beginning), UniqueId::new);
        }
        self.database
            .look_behind_heads(&mut self.known, message.octets())
            .await?;
        let mut why_new = unusable.then_some("its unique-id is none that POP3 allows");
        // Anybody may have written a field: it never keeps a message out.
        if self.has_name_of_another(&id, &message, &identity) {
            why_new = Some("a message that is known has its unique-id and says something else");
            id = None;
        }
        let had_id = id.is_some();
        if self.is_known_by(&mut id) {
            return Ok(self.database.abandon(&message).await?);
        }
        if had_id && id.is_none() {
            why_new = Some("another message of the source has its unique-id");
        }
        if let Some(met) = self.known.by_octets(&message, &identity, &self.in_source) {
            self.adopt(&met, id.as_deref());
            self.note_known(met, id.as_deref(), served);
            return Ok(self.database.abandon(&message).await?);
        }
        if let Some(why) = why_new {
            self.say(name, &format!("{why}, so it gets a new one"));
        }
        let received_at = self.time(received_at, &beginning, served);
        self.add(name, (message, identity), received_at, id, served);
        if self.waiting.len() >= MESSAGES_AT_ONCE
            || self.adoptions.len() >= MESSAGES_AT_ONCE
            || self.waiting_octets >= OCTETS_AT_ONCE
            || self.stored_at.elapsed() >= LONGEST_WAIT
        {
            self.store().await?;
        }
        Ok(())
    }

    /// Is a known message of this name another one than this, which has not been met yet?
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
    fn adopt(&mut self, met: &Match, id: Option<&str>) {
        let (Match::There(there), Some(Ok(to))) = (met, id.map(UniqueId::imported)) else {
            return;
        };
        if there.is_unnamed && self.known.take_unique_id(&to) {
            self.adoptions.push(Rename {
                from: there.unique_id.clone(),
                to,
            });
        }
    }

    /// Is the message of this name known? A name that another message had before is taken away.
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
                let adopted = self.adoptions.iter().any(|it| it.from == there.unique_id);
                let has_its_name = adopted || id == Some(there.unique_id.as_str());
                self.tally.again += usize::from(served && !has_its_name);
                if served {
                    self.last_received_at = self.last_received_at.max(Some(there.received_at));
                }
            }
            Match::Deleted => self.tally.deleted += 1,
        }
    }

    /// When a message was received. If the source tells an order, each is as late as the one before
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
        (message, identity): (StagedMessage, [u8; 32]),
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
        let adoptions = std::mem::take(&mut self.adoptions);
        if self.dry_run || (waiting.is_empty() && adoptions.is_empty()) {
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
            .import(self.user, known, &waiting, &adoptions)
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

/// The name of a message if it passes the check, and whether there is one that does not.
fn usable(
    id: Option<String>,
    check: fn(String) -> Result<UniqueId, InvalidUniqueId>,
) -> (Option<String>, bool) {
    let usable = id.clone().filter(|id| check(id.clone()).is_ok());
    let unusable = usable.is_none() && id.is_some();
    (usable, unusable)
}

/// Why a message was not read to its end.
enum Unread {
    Source(std::io::Error),
    Storage(anyhow::Error),
}

/// Reads the current message of a source; returns its first piece, and what it is known by.
async fn read(
    source: &mut Source,
    room_of: Option<&Database>,
    delivery: &mut MessageWriter,
) -> Result<(Vec<u8>, [u8; 32]), Unread> {
    let mut room = RoomCheck::default();
    let mut beginning = Vec::new();
    let mut identity = Identity::default();
    let mut piece = Vec::new();
    while source.read(&mut piece).map_err(Unread::Source)? {
        identity.push(&piece);
        if let Some(database) = room_of {
            let counted = room.count(database, piece.len()).await;
            counted.map_err(Unread::Storage)?;
        }
        let written = delivery.write(&piece).await;
        written.map_err(|error| Unread::Storage(error.into()))?;
        if beginning.is_empty() {
            beginning = std::mem::take(&mut piece);
        }
        piece.clear();
    }
    Ok((beginning, identity.finish()))
}

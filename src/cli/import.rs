//! `restante import`: brings mail of another system in.

mod importer;
mod reading;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::output;
use super::serve::Signals;
use crate::accounts::Accounts;
use crate::sources::{
    Elsewhere, Folders, ServerAccess, ServerAddress, Source, SourceError, UidlFormat,
};
use crate::store::Database;
use importer::Importer;

/// Interval between attempts to read a locked mbox.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// The environment variable with the password for another server.
const PASSWORD: &str = "RESTANTE_IMPORT_PASSWORD";

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// Any address of the user whose maildrop the mail goes to.
    address: String,
    /// An mbox file, a Maildir, an .eml file or a folder of them, or a server:
    /// pop3s://USER@HOST:PORT.
    source: String,
    /// Only show what would be imported, and how much of it clients would fetch again.
    #[arg(long)]
    dry_run: bool,
    /// Dovecot's setting `pop3_uidl_format`, by which it made unique-ids, such as %08Xu%08Xv or
    /// %{uid | hex(8)}%{uidvalidity | hex(8)}.
    #[arg(long, value_name = "FORMAT")]
    uidl_format: Option<UidlFormat>,
    /// The folders of a Maildir to import.
    #[arg(long, value_enum, default_value_t)]
    folders: Folders,
    /// Seconds to wait for an mbox that another program has locked.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    lock_wait: u64,
    /// The file with the private authority that certifies the server (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Send the password in clear to a server without TLS.
    #[arg(long)]
    plaintext: bool,
}

/// Counts of the messages of a source.
#[derive(Debug, Default)]
pub(super) struct Tally {
    imported: usize,
    known: usize,
    deleted: usize,
    skipped: usize,
    /// Messages that a client of the old server would fetch again.
    again: usize,
    /// Messages that no client has seen, because they were in subfolders.
    unseen: usize,
    /// Further messages that their user has deleted in Thunderbird.
    expunged: usize,
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
    if ServerAddress::parse(&command.source).is_some() {
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
    let importer = Importer::new(database, user, &source, command.dry_run).await?;
    let tally = importer.run(&mut source).await?;
    summary(&tally, source.elsewhere(), command.dry_run)?;
    Ok(if tally.skipped == 0 {
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

/// Opens the source: a path or a server.
async fn open(command: &Import) -> anyhow::Result<Source> {
    let format = command.uidl_format.clone();
    if let Some(address) = ServerAddress::parse(&command.source) {
        let address = address?;
        anyhow::ensure!(
            format.is_none(),
            "--uidl-format is for a Maildir of Dovecot; a server tells its unique-ids itself"
        );
        anyhow::ensure!(
            command.folders == Folders::Inbox,
            "--folders all is for a Maildir; a POP3 server has the inbox alone"
        );
        let access = ServerAccess {
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
fn password(address: &ServerAddress) -> anyhow::Result<String> {
    if let Ok(password) = std::env::var(PASSWORD) {
        return Ok(password);
    }
    let prompt = format!("Password of {}: ", address.user().escape_debug());
    rpassword::prompt_password(prompt)
        .with_context(|| format!("there is no terminal to ask for the password: set {PASSWORD}"))
}

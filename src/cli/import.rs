//! `restante import`: brings mail of another system in.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use indicatif::ProgressBar;

use super::output;
use crate::accounts::Accounts;
use crate::sources::{Item, Source};
use crate::store::{Database, Delivery, Prepared, UserId};

/// How many messages one transaction stores: each costs a wait for the disk.
const MESSAGES_AT_ONCE: usize = 200;

/// How many octets of messages wait in memory to be stored.
const OCTETS_AT_ONCE: u64 = 8 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// Any address of the user whose maildrop the mail goes to.
    address: String,
    /// An mbox file, a Maildir, an .eml file or a folder of them.
    source: PathBuf,
    /// Only tell what would be imported.
    #[arg(long)]
    dry_run: bool,
}

/// What happened to the messages of a source.
#[derive(Debug, Default)]
struct Tally {
    imported: usize,
    known: usize,
    skipped: usize,
}

struct Importer {
    database: Database,
    user: UserId,
    dry_run: bool,
    /// How often each message is in the maildrop and has not been met in the source yet.
    known: HashMap<Vec<u8>, usize>,
    waiting: Vec<(Prepared, SystemTime)>,
    waiting_octets: u64,
    tally: Tally,
    progress: ProgressBar,
}

pub(super) async fn run(command: Import, database: Database) -> anyhow::Result<ExitCode> {
    let user = Accounts::new(database.clone())
        .find(&command.address)
        .await?;
    let text = command.source.to_string_lossy();
    anyhow::ensure!(
        !text.starts_with("pop3://") && !text.starts_with("pop3s://"),
        "import from a POP3 server is not possible yet; fetch the mail into a Maildir or mbox first"
    );
    let mut source = Source::open(&command.source)?;
    let mut importer = Importer {
        known: database.digests(user).await?,
        database,
        user,
        dry_run: command.dry_run,
        waiting: Vec::new(),
        waiting_octets: 0,
        tally: Tally::default(),
        progress: output::progress_bar(source.total_octets()),
    };
    while let Some(item) = source.next_item() {
        match item {
            Item::Message { name, received_at } => {
                importer.take(&mut source, &name, received_at).await?;
            }
            Item::Skipped { name, reason } => importer.skip(&name, &reason),
        }
        importer.progress.set_position(source.octets_read());
    }
    importer.store().await?;
    importer.progress.finish_and_clear();
    importer.database.close().await?;
    let Tally {
        imported,
        known,
        skipped,
    } = importer.tally;
    let imported_word = if command.dry_run {
        "to be imported"
    } else {
        "imported"
    };
    output::print(&format!(
        "{imported} messages {imported_word}, {known} already there, {skipped} skipped"
    ))?;
    Ok(if skipped == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(super::FAILED)
    })
}

impl Importer {
    async fn take(
        &mut self,
        source: &mut Source,
        name: &str,
        received_at: SystemTime,
    ) -> anyhow::Result<()> {
        let mut delivery = if self.dry_run {
            Delivery::measuring()
        } else {
            Delivery::new(self.database.clone())
        };
        let mut piece = Vec::new();
        loop {
            piece.clear();
            match source.read(&mut piece) {
                Ok(true) => {
                    if let Err(error) = delivery.write(&piece).await {
                        let _ = self.database.abandon(&delivery.finish()).await;
                        return Err(error.into());
                    }
                }
                Ok(false) => break,
                Err(error) => {
                    self.skip(name, &format!("it could not be read: {error}"));
                    return Ok(self.database.abandon(&delivery.finish()).await?);
                }
            }
        }
        let message = delivery.finish();
        if message.octets() == 0 {
            self.skip(name, "it is empty");
            return Ok(());
        }
        if let Some(times) = self
            .known
            .get_mut(message.digest().as_slice())
            .filter(|n| **n > 0)
        {
            *times -= 1;
            self.tally.known += 1;
            return Ok(self.database.abandon(&message).await?);
        }
        self.tally.imported += 1;
        self.waiting_octets += message.octets();
        if !self.dry_run {
            self.waiting.push((message, received_at));
        }
        if self.waiting.len() >= MESSAGES_AT_ONCE || self.waiting_octets >= OCTETS_AT_ONCE {
            self.store().await?;
        }
        Ok(())
    }

    async fn store(&mut self) -> anyhow::Result<()> {
        self.waiting_octets = 0;
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        let stored = self.database.store(&[self.user], waiting).await;
        stored.context("the import stopped; what was imported before stays, run it again to go on")
    }

    fn skip(&mut self, name: &str, reason: &str) {
        self.tally.skipped += 1;
        // Names of files may hold anything; a terminal is not to obey it.
        let line = format!("skipped {}: {reason}", name.escape_debug());
        self.progress.suspend(|| eprintln!("{line}"));
    }
}

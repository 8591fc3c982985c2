//! `restante export`: takes a maildrop out.

mod relate;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::database::Opened;
use super::output;
use super::serve::Signals;
use crate::accounts::Accounts;
use crate::exports::{About, Destination, Format};
use crate::store::{Database, ExportedMessage, Reading};

/// The beginning of the header that LMTP puts in front of a message, and of many others.
const RETURN_PATH: &[u8] = b"Return-Path: <";

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// Any address of the user whose mail it is.
    address: String,
    /// The file or folder to write; it must not exist.
    path: PathBuf,
    /// In which form.
    #[arg(long, value_enum, default_value = "mbox")]
    format: Format,
}

pub(super) async fn run(command: Export, opened: Opened) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let export = async {
        match opened {
            Opened::Own(database) => export_all(command, database).await,
            Opened::Relate(store) => relate::export_all(command, store).await,
        }
    };
    tokio::select! {
        exported = export => exported,
        // What has been written is removed with the destination, which has been dropped here.
        () = signals.next() => anyhow::bail!("the export was interrupted, and nothing is left of it"),
    }
}

async fn export_all(command: Export, database: Database) -> anyhow::Result<ExitCode> {
    let user = Accounts::new(database.clone())
        .find(&command.address)
        .await?;
    let mut destination = Destination::new(&command.path, command.format)?;
    let reading = database.reading().await?;
    let (count, octets) = reading.size(user).await?;
    let progress = output::progress_bar(octets);
    let mut last: Option<ExportedMessage> = None;
    loop {
        let messages = reading.messages_after(user, last.as_ref()).await?;
        for message in &messages {
            export(&reading, message, &mut destination)
                .await
                .with_context(|| format!("while exporting message {}", message.unique_id))?;
            progress.inc(message.octets);
        }
        match messages.into_iter().next_back() {
            Some(message) => last = Some(message),
            None => break,
        }
    }
    destination.finish()?;
    progress.finish_and_clear();
    drop(reading);
    database.close().await?;
    output::print(&format!("{count} messages exported"))?;
    Ok(ExitCode::SUCCESS)
}

async fn export(
    reading: &Reading,
    message: &ExportedMessage,
    destination: &mut Destination,
) -> anyhow::Result<()> {
    let head = reading.piece(message, 0).await?.unwrap_or_default();
    let first = reading.piece(message, 1).await?.unwrap_or_default();
    let beginning = if head.is_empty() { &first } else { &head };
    destination.begin(&About {
        received_at: message.received_at(),
        unique_id: message.unique_id.clone(),
        sender: sender(beginning),
    })?;
    let mut octets = (head.len() + first.len()) as u64;
    destination.write(&head)?;
    destination.write(&first)?;
    let mut at = 2;
    while octets < message.octets {
        let piece = reading.piece(message, at).await?;
        let piece = piece.context("its octets are not all in the database")?;
        octets += piece.len() as u64;
        destination.write(&piece)?;
        at += 1;
    }
    Ok(destination.end()?)
}

/// Returns the sender of a message that begins with its Return-Path.
fn sender(beginning: &[u8]) -> Option<String> {
    let rest = beginning.strip_prefix(RETURN_PATH)?;
    let end = rest.iter().position(|octet| b">\r\n".contains(octet))?;
    let sender = std::str::from_utf8(rest.get(..end)?).ok()?;
    Some(sender.to_owned())
}

//! Exports a maildrop of Relate Mail: the messages as sessions see them.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use pop3::MessageNumber;

use super::super::database::Opened;
use super::super::output;
use super::Export;
use crate::exports::{About, Destination};
use crate::store::relate::RelateStore;
use crate::store::{Cursor, Maildrop};

/// The octets of a message that are read at once.
const READ_OCTETS: u32 = 256 * 1024;

pub(super) async fn export_all(command: Export, store: RelateStore) -> anyhow::Result<ExitCode> {
    let opened = Opened::Relate(store.clone());
    let user = opened.directory().find(&command.address).await?;
    let mut destination = Destination::new(&command.path, command.format)?;
    let maildrop = store.open_all(user).await?;
    let times = store.received_at(&maildrop).await?;
    let snapshot = maildrop.snapshot();
    let progress = output::progress_bar(snapshot.octets());
    let numbers = (1..=snapshot.len() as u64).filter_map(MessageNumber::new);
    for (number, received_at) in numbers.zip(times) {
        let unique_id = snapshot.unique_id_of(number).unwrap_or_default().to_owned();
        let about = About {
            received_at: SystemTime::UNIX_EPOCH + Duration::from_secs(received_at),
            unique_id: unique_id.clone(),
            sender: None,
        };
        let octets = snapshot.octets_of(number).unwrap_or_default();
        export(&maildrop, number, octets, about, &mut destination)
            .await
            .with_context(|| format!("while exporting message {unique_id}"))?;
        progress.inc(octets);
    }
    destination.finish()?;
    progress.finish_and_clear();
    let count = snapshot.len();
    store.database().clone().close().await?;
    output::print(&format!("{count} messages exported"))?;
    Ok(ExitCode::SUCCESS)
}

async fn export(
    maildrop: &impl Maildrop,
    number: MessageNumber,
    octets: u64,
    about: About,
    destination: &mut Destination,
) -> anyhow::Result<()> {
    destination.begin(&about)?;
    let (mut written, mut from) = (0, Cursor::START);
    while written < octets {
        let piece = maildrop.read(number, from, READ_OCTETS).await?;
        anyhow::ensure!(!piece.is_empty(), "its octets are not all in the database");
        for octets in &piece.octets {
            destination.write(octets)?;
        }
        written += piece.len();
        from = piece.next;
    }
    Ok(destination.end()?)
}

//! Reads one message of a source to its end.

use pop3::{InvalidUniqueId, UniqueId};

use super::super::room::RoomCheck;
use crate::sources::{Identity, Source};
use crate::store::{Database, MessageWriter};

/// The name of a message if it passes the check, and whether there is one that does not.
pub(super) fn usable(
    id: Option<String>,
    check: fn(String) -> Result<UniqueId, InvalidUniqueId>,
) -> (Option<String>, bool) {
    let usable = id.clone().filter(|id| check(id.clone()).is_ok());
    let unusable = usable.is_none() && id.is_some();
    (usable, unusable)
}

/// Reasons why a message was not read to its end.
pub(super) enum Unread {
    Source(std::io::Error),
    Storage(anyhow::Error),
}

/// Reads the current message of a source; returns its first piece, and what it is known by.
pub(super) async fn read(
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

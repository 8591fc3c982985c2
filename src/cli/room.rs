//! Room on the disk of the database for mail that a command takes in.

use crate::store::Database;

/// Octets of a message after which the disk is looked at again.
const LOOK_AGAIN_OCTETS: usize = 1 << 20;

/// Looks at the disk while a message is read, since it is not known how large the message is.
#[derive(Debug, Default)]
pub(super) struct RoomCheck {
    octets: usize,
}

impl RoomCheck {
    /// Counts octets that have been read.
    ///
    /// # Errors
    /// If there is no room for more of them.
    pub(super) async fn count(&mut self, database: &Database, octets: usize) -> anyhow::Result<()> {
        self.octets += octets;
        if self.octets < LOOK_AGAIN_OCTETS {
            return Ok(());
        }
        self.octets = 0;
        ensure_room_for(database, 0).await
    }
}

/// Makes sure that there is room for mail of so many octets.
///
/// # Errors
/// If there is not.
pub(super) async fn ensure_room_for(database: &Database, octets: u64) -> anyhow::Result<()> {
    anyhow::ensure!(
        database.has_room_for(octets).await,
        "there is too little room on the disk of the database: make room there \
         (Database__MinFreeSpace says how much is to stay free)"
    );
    Ok(())
}

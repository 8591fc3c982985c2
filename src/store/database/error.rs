//! Why the database can't be opened.

use std::path::PathBuf;

use sea_orm::DbErr;

use super::super::postgres;

/// Why the database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no database that we know.
    #[error("Database__Url must begin with sqlite:// or postgres://, not {0:?}")]
    UnknownKind(String),
    /// The URL can't be read.
    #[error(
        "Database__Url can't be read: {0} (characters such as # or @ in a password are written %23, %40)"
    )]
    Malformed(url::ParseError),
    /// A database in memory would differ for every connection.
    #[error("Database__Url names no file; write for example sqlite://data/restante.db")]
    NoFile,
    /// The folder of the file can't be made.
    #[error("the folder {} of the database can't be made: {reason}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The file can't be kept from other users.
    #[error("the database {} can't be made for this user alone: {reason}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The database did not let us in.
    #[error(
        "the database can't be opened: {0} (check Database__Url, and that this user may write there)"
    )]
    Connect(DbErr),
    /// There is no room for what SQLite has beside the database while it is open.
    #[error("the disk of the database is full: make room there ({0})")]
    DiskFull(DbErr),
    /// What tells which tables there are is damaged.
    #[error(
        "the database is damaged where it can't be opened without: restore a backup, or recover what \
         can be read (docs/OPERATING.md): {0}"
    )]
    Damaged(DbErr),
    /// The schema can't be brought up to date.
    #[error("the database's schema can't be brought up to date: {0}")]
    Migrate(DbErr),
    /// The database is in use by another program.
    #[error(
        "the database holds tables of another program ({0}), and nothing was changed: set \
         Database__Url to a database of its own, or Database__Schema=own if Restante's tables are \
         to be made beside them"
    )]
    ForeignTables(String),
    /// The database is one of Relate Mail, of another version.
    #[error(
        "this looks like a database of Relate Mail, but not like one that this version knows: it has \
         {0}, and known are the four changes from 20260131230315_InitialCreate to \
         20260209000000_AddOutboundEmailTables; nothing was changed. Bring the suite to that version, \
         or set Database__Schema=own if Restante's own tables are to be made there"
    )]
    UnknownRelate(String),
    /// The role may not read the history of Relate Mail's schema.
    #[error(
        "the database looks like one of Relate Mail, and this role may not read its history; the \
         owner of the tables grants it: {0}"
    )]
    HistoryDenied(String),
    /// The database is not one of Relate Mail.
    #[error(
        "Database__Schema is relate, but the schema public of the database has {0}; nothing was changed"
    )]
    NotRelate(String),
}

impl OpenError {
    /// Is the database only away, so that it may be there a little later? A wrong password or URL is
    /// for an operator to set right.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Connect(error) | Self::Migrate(error) => postgres::is_away(error),
            Self::UnknownKind(_)
            | Self::Malformed(_)
            | Self::NoFile
            | Self::Folder { .. }
            | Self::File { .. }
            | Self::DiskFull(_)
            | Self::Damaged(_)
            | Self::ForeignTables(_)
            | Self::UnknownRelate(_)
            | Self::HistoryDenied(_)
            | Self::NotRelate(_) => false,
        }
    }
}

//! SQLite's files, and what a disk does to them.

mod damage;
mod files;
mod full;
mod log;

use std::path::{Path, PathBuf};

use crate::support::place::Place;

/// The database of a place.
fn database(place: &Place) -> PathBuf {
    place.url.strip_prefix("sqlite://").unwrap().into()
}

/// The file beside a database that has this further name.
fn beside(database: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", database.display()).into()
}

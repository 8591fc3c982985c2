//! Is the database there, may we write to it, and is its schema up to date?

use std::path::Path;

use super::Finding;
use crate::settings::Database as Settings;
use crate::store::{Database, open_to_others, sqlite_file};

const ABOUT: &str = "database";

pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![usable(settings).await];
    if let Ok(Some(file)) = sqlite_file(&settings.url) {
        findings.extend(open_files(&file));
    }
    findings
}

async fn usable(settings: &Settings) -> Finding {
    let shown = settings.shown();
    match sqlite_file(&settings.url) {
        // To open it would make it.
        Ok(Some(file)) if !file.exists() => return not_made_yet(&file),
        // To open it would write the first page.
        Ok(Some(file)) if is_empty(&file) => return empty(&file),
        Ok(_) => {}
        Err(error) => return Finding::problem(ABOUT, error.to_string(), "set Database__Url"),
    }
    let database = match Database::open(&settings.url).await {
        Ok(database) => database,
        Err(error) => {
            let fix = "set Database__Url, start the database, or let this user in";
            return Finding::problem(ABOUT, format!("{shown}: {error}"), fix);
        }
    };
    let pending = database.pending_migrations().await;
    // Nothing was written, so nothing can get lost by it.
    let _ = database.close().await;
    match pending {
        Ok(0) => Finding::ok(
            ABOUT,
            format!("{shown} can be written to, and is up to date"),
        ),
        Ok(pending) => Finding::warning(
            ABOUT,
            format!("{shown} can be written to, and lacks {pending} changes of its schema"),
            "back it up and run `restante migrate`; `restante serve` does it too",
        ),
        Err(error) => Finding::problem(
            ABOUT,
            format!("{shown}: {error}"),
            "let this user write there, or run the version that wrote it",
        ),
    }
}

/// Mail and the hashes of keys are for the server's user alone. What exists is left as it is: that
/// others may read it can be on purpose.
fn open_files(file: &Path) -> Option<Finding> {
    let open = open_to_others(file);
    let shown: Vec<_> = open.iter().map(|it| it.display().to_string()).collect();
    let (names, arguments) = (shown.join(", "), shown.join(" "));
    (!open.is_empty()).then(|| {
        let message = format!("other users of this machine may get at mail: {names}");
        Finding::warning(ABOUT, message, format!("chmod go= {arguments}"))
    })
}

fn is_empty(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.len() == 0)
}

/// An empty file is a database without tables.
fn empty(file: &Path) -> Finding {
    let shown = file.display();
    match std::fs::OpenOptions::new().write(true).open(file) {
        Ok(_) => Finding::ok(
            ABOUT,
            format!("{shown} is empty; its tables will be made at the first start"),
        ),
        Err(error) => Finding::problem(
            ABOUT,
            format!("{shown} can't be written to: {error}"),
            "let this user write there, or set Database__Url",
        ),
    }
}

/// The file and its folder are made at the first start, if they can be.
fn not_made_yet(file: &Path) -> Finding {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = absolute.ancestors().skip(1).find(|folder| folder.exists());
    let folder = folder.unwrap_or_else(|| Path::new("/"));
    let shown = file.display();
    match tempfile::tempfile_in(folder) {
        Ok(_) => Finding::ok(ABOUT, format!("{shown} will be made at the first start")),
        Err(error) => Finding::problem(
            ABOUT,
            format!("{shown} can't be made: {}: {error}", folder.display()),
            "make its folder and let this user write there, or set Database__Url",
        ),
    }
}

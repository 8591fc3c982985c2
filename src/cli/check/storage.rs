//! Checks that the database can be opened and written to, and that its schema is up to date.

use std::path::Path;

use super::Finding;
use crate::settings::DatabaseSettings;
use crate::store::{Database, SchemaKind, open_to_others, sqlite_file};

const ABOUT: &str = "database";

pub(super) async fn check(settings: &DatabaseSettings) -> Vec<Finding> {
    let mut findings = usable(settings).await;
    if let Ok(Some(file)) = sqlite_file(&settings.url) {
        findings.extend(open_files(&file));
    }
    findings
}

async fn usable(settings: &DatabaseSettings) -> Vec<Finding> {
    let shown = settings.url.redacted();
    match sqlite_file(&settings.url) {
        // Opening it would create it.
        Ok(Some(file)) if !file.exists() => return vec![not_made_yet(&file)],
        // Opening it would write the first page.
        Ok(Some(file)) if is_empty(&file) => return vec![empty(&file)],
        Ok(_) => {}
        Err(error) => {
            return vec![Finding::problem(
                ABOUT,
                error.to_string(),
                "set Database__Url",
            )];
        }
    }
    let database = match Database::open(&settings.url).await {
        Ok(database) => database,
        Err(error) => {
            let fix = "set Database__Url, start the database, or let this user in";
            return vec![Finding::problem(ABOUT, format!("{shown}: {error}"), fix)];
        }
    };
    let kind = match database.recognize(settings.schema).await {
        Ok(kind) => kind,
        Err(error) => {
            let _ = database.close().await;
            let fix = "set Database__Url or Database__Schema";
            return vec![Finding::problem(ABOUT, format!("{shown}: {error}"), fix)];
        }
    };
    if kind == SchemaKind::Relate {
        let findings = relate(&shown.to_string(), &database).await;
        let _ = database.close().await;
        return findings;
    }
    let pending = database.pending_migrations().await;
    // Nothing was written, so a failure to close loses nothing.
    let _ = database.close().await;
    vec![match pending {
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
    }]
}

/// Checks a database of Relate Mail: the role's privileges, and the schema beside theirs.
async fn relate(shown: &str, database: &Database) -> Vec<Finding> {
    let missing = match database.missing_grants().await {
        Ok(missing) => missing,
        Err(error) => {
            let fix = "let this role connect and read the system catalogs";
            return vec![Finding::problem(ABOUT, format!("{shown}: {error}"), fix)];
        }
    };
    let pending = database.pending_beside_relate().await;
    let mut findings = vec![match pending {
        Ok(0) => Finding::ok(
            ABOUT,
            format!("{shown} is a database of Relate Mail, and is served"),
        ),
        Ok(_) => Finding::warning(
            ABOUT,
            format!("{shown} is a database of Relate Mail; the schema restante is not up to date"),
            "run `restante migrate`; `restante serve` does it too",
        ),
        Err(error) => Finding::problem(
            ABOUT,
            format!("{shown}: {error}"),
            "run the version that wrote the schema restante, or grant this role its use",
        ),
    }];
    findings.extend(missing.into_iter().map(|grant| {
        let lacks = format!("{shown}: the role lacks a privilege on Relate Mail's tables");
        Finding::problem(ABOUT, lacks, grant)
    }));
    findings
}

/// Checks that only the server's user can read mail and hashes of keys. Permissions stay as they are:
/// they may be on purpose.
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

/// Checks an empty file, which is a database without tables.
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

/// Checks that the file and its folder can be created at the first start.
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

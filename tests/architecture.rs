//! The parts of the server that may not know each other.

use std::fs;
use std::path::{Path, PathBuf};

/// The names by which our own schema is reached past the mailbox.
const SCHEMA: [&str; 4] = ["sea_orm", "Database", "SqlStore", "Accounts"];

/// A rule: files that begin with this path name none of these.
struct Rule {
    files: &'static str,
    forbidden: &'static [&'static str],
    reason: &'static str,
}

const RULES: [Rule; 15] = [
    Rule {
        files: "src/metrics",
        forbidden: &["crate::store", "crate::mailbox", "crate::accounts"],
        reason: "metrics are given numbers and functions, and know no store",
    },
    Rule {
        files: "src/registry",
        forbidden: &["crate::mailbox", "crate::session", "crate::lmtp"],
        reason: "the registry counts sessions, and asks no mailbox",
    },
    Rule {
        files: "src/net",
        forbidden: &[
            "crate::store",
            "crate::mailbox",
            "crate::accounts",
            "crate::session::",
            "crate::lmtp",
            "pop3::",
            "lmtp::",
        ],
        reason: "the skeleton serves any protocol",
    },
    Rule {
        files: "crates/lmtp",
        forbidden: &[
            "pop3::",
            "pop3.workspace",
            "pop3 =",
            "tokio",
            "actix",
            "TcpStream",
        ],
        reason: "LMTP is a value that knows neither POP3 nor I/O",
    },
    Rule {
        files: "crates/pop3",
        forbidden: &[
            "lmtp::",
            "lmtp.workspace",
            "lmtp =",
            "tokio",
            "actix",
            "TcpStream",
        ],
        reason: "POP3 is a value that knows neither LMTP nor I/O",
    },
    Rule {
        files: "crates/wire",
        forbidden: &[
            "pop3::",
            "lmtp::",
            "tokio",
            "actix",
            "TcpStream",
            "std::time",
        ],
        reason: "both protocols build on it",
    },
    Rule {
        files: "src/sources",
        forbidden: &["lmtp::", "use lmtp"],
        reason: "an import reads POP3 and receives no mail",
    },
    Rule {
        files: "src/session",
        forbidden: &["crate::lmtp", "crate::admin", "crate::server"],
        reason: "POP3 is one of two protocols",
    },
    Rule {
        files: "src/lmtp",
        forbidden: &[
            "crate::session",
            "crate::admin",
            "crate::server",
            "crate::accounts",
            "MailStore",
            "Maildrop",
        ],
        reason: "LMTP opens no maildrop, and is one of two protocols",
    },
    Rule {
        files: "src/admin",
        forbidden: &["crate::session", "crate::lmtp", "crate::server"],
        reason: "the endpoint asks the registry and the mailbox",
    },
    Rule {
        files: "src/mailbox",
        forbidden: &[
            "crate::session",
            "crate::lmtp",
            "crate::net",
            "crate::registry",
            "crate::admin",
            "crate::server",
        ],
        reason: "the mailbox knows who asks as little as where the answer goes",
    },
    Rule {
        files: "src/revocation.rs",
        forbidden: &["crate::session", "crate::lmtp", "crate::net"],
        reason: "the watch knows keys and handles of sessions",
    },
    Rule {
        files: "src/maintenance.rs",
        forbidden: &["crate::session", "crate::lmtp", "crate::net"],
        reason: "maintenance knows no session",
    },
    Rule {
        files: "src/store",
        forbidden: &[
            "crate::session",
            "crate::lmtp",
            "crate::net",
            "crate::registry",
            "crate::mailbox",
            "crate::admin",
            "crate::server",
            "crate::metrics",
            "crate::supervision",
            "lmtp::",
        ],
        reason: "the store knows no connection, no reply and no actor",
    },
    Rule {
        files: "src/store/traits.rs",
        forbidden: &[
            "sea_orm",
            "entity",
            "Database",
            "SqlStore",
            "ContentId",
            "MessageId",
            "MaildropVersion",
            "hot",
            "raw",
        ],
        reason: "another store has other rows",
    },
];

/// What reaches the store through the mailbox alone.
const ASKERS: [&str; 6] = [
    "src/session",
    "src/lmtp",
    "src/admin",
    "src/mailbox",
    "src/revocation.rs",
    "src/maintenance.rs",
];

#[test]
fn no_part_knows_what_it_must_not_know() {
    let through_the_mailbox = ASKERS.map(|files| Rule {
        files,
        forbidden: &SCHEMA,
        reason: "the store is asked through the mailbox, by its traits",
    });
    let mut broken = Vec::new();
    for Rule {
        files,
        forbidden,
        reason,
    } in RULES.into_iter().chain(through_the_mailbox)
    {
        let files = files_of(files);
        assert!(!files.is_empty(), "no file of a rule: {reason}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let (code, _) = text
                .split_once("#[cfg(test)]\nmod tests {")
                .unwrap_or((&text, ""));
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for (line, word) in code.flat_map(|line| forbidden.iter().map(move |it| (line, it))) {
                if names(line, word) {
                    broken.push(format!("{}: `{}` ({reason})", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Returns true if a line of code names this, as a whole word. That of a crate may be the beginning of one.
fn names(line: &str, name: &str) -> bool {
    // This is a variant of an error.
    let line = line.replace("Error::Database", "Error::");
    let is_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let is_crate = name.starts_with(char::is_lowercase) && !name.contains("::");
    let may_go_on = is_crate || name.ends_with(':');
    line.match_indices(name).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        !before.ends_with(is_of_word) && (may_go_on || !after.starts_with(is_of_word))
    })
}

#[test]
fn a_name_is_found_in_a_list_and_not_in_another_name() {
    for (line, name, is_named) in [
        ("use crate::store::{Cursor, Database};", "Database", true),
        ("use crate::store::Database;", "Database", true),
        (
            "fn send(transaction: &DatabaseTransaction) {",
            "Database",
            false,
        ),
        ("Err(StoreError::Database(error)) => {", "Database", false),
        ("use sea_orm::DbErr;", "sea_orm", true),
        ("use sea_orm_migration::MigratorTrait;", "sea_orm", true),
        ("use actix_rt::Arbiter;", "actix", true),
        ("use crate::net;", "crate::net", true),
        ("use crate::networks::Networks;", "crate::net", false),
        ("fn of(lookup: &lmtp::Lookup) {", "lmtp::", true),
        ("let Pop3Settings { port, .. } = pop3;", "pop3::", false),
    ] {
        assert_eq!(names(line, name), is_named, "{name} in {line}");
    }
}

/// The Rust files and manifests of a module or a crate.
fn files_of(path: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut files = Vec::new();
    let module = root.with_extension("rs");
    if module.is_file() {
        files.push(module);
    }
    if root.is_dir() {
        collect(&root, &mut files);
    }
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|it| it.to_str());
        if path.is_dir() {
            collect(&path, files);
        } else if matches!(extension, Some("rs" | "toml")) && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

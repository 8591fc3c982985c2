//! The parts of the server that may not know each other.

use std::fs;
use std::path::{Path, PathBuf};

/// A rule: files that begin with this path have none of these words.
struct Rule {
    files: &'static str,
    forbidden: &'static [&'static str],
    reason: &'static str,
}

const RULES: [Rule; 8] = [
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
        forbidden: &["crate::lmtp", "sea_orm", "store::Database", "SqlStore"],
        reason: "sessions ask the mailbox",
    },
];

#[test]
fn no_part_knows_what_it_must_not_know() {
    let mut broken = Vec::new();
    for Rule {
        files,
        forbidden,
        reason,
    } in RULES
    {
        let files = files_of(files);
        assert!(!files.is_empty(), "no file of a rule: {reason}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for (line, word) in code.flat_map(|line| forbidden.iter().map(move |it| (line, it))) {
                if line.contains(word) {
                    broken.push(format!("{}: `{}` ({reason})", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The Rust files and manifests of a module or a crate.
fn files_of(path: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut files = Vec::new();
    let module = root.with_extension("rs");
    if module.is_file() {
        files.push(module);
    }
    collect(&root, &mut files);
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|it| it.to_str());
        if path.is_dir() {
            collect(&path, files);
        } else if matches!(extension, Some("rs" | "toml")) {
            files.push(path);
        }
    }
}

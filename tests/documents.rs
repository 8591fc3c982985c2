//! The documents say nothing that the repository contradicts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines();
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn every_transcript_stands_in_the_table_of_the_protocol() {
    let table = read("docs/PROTOCOL.md");
    let in_table: BTreeSet<&str> = quoted(&table)
        .filter_map(|it| it.strip_suffix(".txt"))
        .collect();
    let files = std::fs::read_dir(root().join("tests/transcripts")).unwrap();
    let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    let names: BTreeSet<&str> = files
        .iter()
        .map(|file| file.file_stem().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(in_table, names);
}

#[test]
fn every_file_that_a_document_for_developers_names_exists() {
    let names = file_names(root());
    for document in ["CONTRIBUTING.md", "SECURITY.md", "docs/ARCHITECTURE.md"] {
        let text = read(document);
        let missing: Vec<&str> = quoted(&text)
            .filter(|name| is_file_name(name))
            .filter(|name| {
                let in_a_folder = [root().join(name), root().join("src").join(name)];
                !in_a_folder.iter().any(|file| file.exists()) && !names.contains(*name)
            })
            .collect();
        assert!(
            missing.is_empty(),
            "{document} names what is not there: {missing:?}"
        );
    }
}

#[test]
fn every_link_in_a_document_leads_to_a_file() {
    let mut documents: Vec<PathBuf> = ["docs", "docs/decisions"]
        .iter()
        .flat_map(|folder| markdown(&root().join(folder)))
        .collect();
    documents.extend(markdown(root()));
    documents.push(root().join("benches/README.md"));
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            let is_elsewhere = link.is_empty() || link.contains(':');
            let file = document.parent().unwrap().join(link);
            assert!(
                is_elsewhere || file.exists(),
                "{}: {link}",
                document.display()
            );
        }
    }
}

/// Is it the name of a file or folder of the repository?
fn is_file_name(quoted: &str) -> bool {
    const FOLDERS: [&str; 9] = [
        "src/",
        "crates/",
        "tests/",
        "docs/",
        "entity/",
        "migration/",
        "fuzz/",
        "benches/",
        "packaging/",
    ];
    const KINDS: [&str; 5] = [".rs", ".toml", ".md", ".html", ".yaml"];
    let is_one_word = !quoted.contains([' ', '*', '$', '<', '=']);
    is_one_word
        && (FOLDERS.iter().any(|folder| quoted.starts_with(folder))
            || KINDS.iter().any(|kind| quoted.ends_with(kind)))
}

/// The names, without their folders, of all files that are written by people.
fn file_names(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            names.extend(file_names(&path));
        } else if path.is_file() {
            names.insert(name.to_owned());
        }
    }
    names
}

fn markdown(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|kind| kind == "md"))
        .collect()
}

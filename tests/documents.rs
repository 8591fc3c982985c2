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

//! The blocks of `docs/MTA.md`.

const PAGE: &str = include_str!("../../docs/MTA.md");

/// The block whose first line is a comment with this title, without that line.
pub(super) fn recipe(title: &str) -> String {
    let marker = format!("\n# {title}\n");
    let (_, behind) = PAGE.split_once(&marker).expect(title);
    let (block, _) = behind.split_once("\n```").expect(title);
    format!("{block}\n")
}

/// Replaces what must be there, so that no test goes on with a port of the real world.
pub(super) fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old} is not in: {text}");
    text.replace(old, new)
}

//! Prints results, and lists for people, to stdout.

use std::io::{self, ErrorKind, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// Prints a text and ends its line. A reader that has seen enough and closed is no fault.
///
/// # Errors
/// If stdout can't be written to.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Prints a heading and rows, in columns as wide as what stands in them.
///
/// # Errors
/// If stdout can't be written to.
pub(super) fn print_table<const N: usize>(
    heading: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = heading.map(|title| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut lines = vec![line(&widths, heading.iter().copied())];
    lines.extend(
        rows.iter()
            .map(|row| line(&widths, row.iter().map(String::as_str))),
    );
    print(&lines.join("\n"))
}

fn line<'a>(widths: &[usize], cells: impl Iterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    cells.join("  ").trim_end().to_owned()
}

/// A bar with rate and time left, where there is a terminal to draw it on.
pub(super) fn progress_bar(octets: u64) -> ProgressBar {
    const TEMPLATE: &str = "{bar:40} {percent}% {binary_bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(TEMPLATE);
    ProgressBar::new(octets).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

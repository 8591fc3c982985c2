//! The last fields of a header, among them Content-Length.

use super::header::{self, Facts};

/// The fields at the end of a header that programs write beside Content-Length. If the length is
/// among them and is right, one program has written them all.
#[derive(Default)]
pub(super) struct LastFields {
    from: Option<u64>,
    lengths_before: usize,
}

impl LastFields {
    /// Takes in the next line, which begins at `at`, and what was known before it.
    pub(super) fn take(&mut self, line: &[u8], at: u64, facts: &Facts) {
        let is_end = line.starts_with(b"\n") || line.starts_with(b"\r\n") || line.is_empty();
        if is_end || line.starts_with(b" ") || line.starts_with(b"\t") {
            return;
        }
        if !header::is_beside_length(line) {
            self.from = None;
        } else if self.from.is_none() {
            (self.from, self.lengths_before) = (Some(at), facts.lengths.len());
        }
    }

    /// From where on they stand, if this Content-Length field is one of them.
    pub(super) fn of_length(&self, field: u8) -> u64 {
        let is_one = usize::from(field) > self.lengths_before;
        self.from.filter(|_| is_one).unwrap_or(u64::MAX)
    }
}

//! Cuts octets as a network might, for the tests.

/// The octets in pieces of these lengths, and the rest.
pub(crate) fn cut<'a>(octets: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts = Vec::new();
    let mut rest = octets;
    for length in lengths {
        let (cut, after) = rest.split_at((*length).min(rest.len()));
        cuts.push(cut);
        rest = after;
    }
    cuts.push(rest);
    cuts
}

//! The UIDs that Dovecot and UW-IMAP have given to the messages of an mbox.

use super::header::Base;
use super::index::IndexedMessage;

/// Replaces what the messages say with what a server makes of it: UIDs grow from message to
/// message, and none is beyond the last that was given. A sender may have written the others.
///
/// Messages at the end that have none yet get the next ones in order, as they do when their server
/// looks at them. One in the middle has lost its own, and stays without.
pub(super) fn assign(base: Base, messages: &mut [IndexedMessage]) {
    let mut last = 0;
    let mut next = u64::from(base.last_uid) + 1;
    let mut behind_last = 0;
    for (at, message) in messages.iter_mut().enumerate() {
        let uid = u64::from(message.uid);
        if uid > last && uid <= next {
            last = uid;
            next = next.max(uid + 1);
            behind_last = at + 1;
        } else {
            message.uid = 0;
        }
    }
    for message in messages.iter_mut().skip(behind_last) {
        message.uid = u32::try_from(next).unwrap_or_default();
        next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned<const N: usize>(last_uid: u32, uids: [u32; N]) -> [u32; N] {
        let base = Base {
            uidvalidity: 1,
            last_uid,
        };
        let mut messages = uids.map(|uid| IndexedMessage {
            from: 0,
            start: 0,
            end: 0,
            uid,
            length_field: 0,
            stores_from: u64::MAX,
            is_quoted: false,
            is_mozilla: false,
        });
        assign(base, &mut messages);
        messages.map(|message| message.uid)
    }

    #[test]
    fn uids_that_grow_are_kept_and_what_comes_behind_gets_the_next() {
        assert_eq!(assigned(9, [2, 5, 9]), [2, 5, 9]);
        assert_eq!(assigned(9, [2, 5, 0, 0]), [2, 5, 10, 11]);
        assert_eq!(assigned(9, [0, 0]), [10, 11]);
        // The server has written it, and not yet counted it.
        assert_eq!(assigned(9, [9, 10, 0]), [9, 10, 11]);
    }

    #[test]
    fn a_uid_that_no_server_has_given_is_none() {
        assert_eq!(assigned(9, [2, 0, 5]), [2, 0, 5]);
        assert_eq!(assigned(9, [2, 2, 1, 5]), [2, 0, 0, 5]);
        assert_eq!(assigned(9, [2, 4_000_000_000, 0]), [2, 10, 11]);
        assert_eq!(assigned(u32::MAX, [0, 0]), [0, 0]);
    }
}

//! Doors to private parsers, for the targets in `fuzz/` and for tests. They are no part of the product.
//!
//! Each reads octets that a stranger has made, and panics where what must always be true is not.

use crate::net::proxy;
use crate::sources::{mbox, uidlist};

/// Reads what a connection begins with as a header of the PROXY protocol.
pub fn proxy_header(octets: &[u8]) {
    proxy::read_any(octets);
}

/// Reads a file as an mbox.
pub fn mbox(octets: &[u8]) {
    mbox::read_any(octets);
}

/// Reads a file as a list of unique-ids.
pub fn uid_list(octets: &[u8]) {
    uidlist::read_any(octets);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_octets_may_stand_where_a_header_of_the_proxy_protocol_is_expected(
            begin in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 192.0.2.1 ", b"\r\n\r\n\0\r\nQUIT\n"]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            proxy_header(&[begin, &rest].concat());
        }

        #[test]
        fn any_octets_may_stand_in_an_mbox(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "From a@b Mon Mar  4 00:00:00 2024\n", "From ", ">From x\n", "\n", "\r\n", "Content-Length: 3\n",
                    "X-UID: 7\n", "X-IMAPbase: 1 9\n", "Status: RO\n", "body\n", "\u{feff}", "\0", " folded\n",
                ]),
                0..30,
            ),
        ) {
            mbox(lines.concat().as_bytes());
        }

        #[test]
        fn any_octets_may_stand_in_a_list_of_unique_ids(
            header in prop::sample::select(vec!["3 V1 N4 G00\n", "1 1 4\n", "/2 4 1\n", "/3 4 1\n", ""]),
            lines in prop::collection::vec("[0-9]{0,3} ?[POG:]?[a-b]{0,2} :?[a-b]{1,2} ?[0-9]{0,2}:?[0-9]{0,2}", 0..20),
        ) {
            uid_list(format!("{header}{}", lines.join("\n")).as_bytes());
        }
    }
}

//! Octets that are hard to carry come out as they went in.

use super::exim::Exim;
use super::postfix::Postfix;
use super::site::{BOTH_WAYS, Site};
use super::smtp::Smtp;
use crate::support::mail::{ADA, message};

/// What a mail server would add if it were missing.
const HEAD: &str = "From: stranger@example.net\r\nTo: ada@example.com\r\n\
                    Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n";

/// Messages in canonical form, each with a trap. No bare CR: both mail servers fix it.
pub(super) fn messages() -> Vec<Vec<u8>> {
    let bodies: [Vec<u8>; 7] = [
        b".\r\n..\r\n...\r\n.first\r\n\r\n.\r\n".to_vec(),
        b"a NUL \0 and \x01\x7f\x80\xff\xfe\r\n".to_vec(),
        [vec![b'x'; 100_000], b"\r\n".to_vec()].concat(),
        [vec![b'.'; 3000], b"\r\n.\r\n".to_vec()].concat(),
        b"\r\n\r\n\r\n".to_vec(),
        b"From here on\r\n>From there\r\n".to_vec(),
        message(1, 300_000),
    ];
    let whole = |body: Vec<u8>| [HEAD.as_bytes(), b"Subject: octets\r\n\r\n", &body].concat();
    bodies.map(whole).to_vec()
}

/// Each arrives with nothing but header lines in front of it.
fn check(site: &Site, port: u16, log: impl Fn() -> String) {
    let mut smtp = Smtp::hello(port);
    for (index, message) in messages().into_iter().enumerate() {
        smtp.submit("stranger@example.net", &[ADA], &message);
        // One after the other, for their order is nothing that a mail server keeps.
        let arrived = site.wait_for(ADA, index + 1).pop().unwrap();
        assert!(arrived.ends_with(&message), "message {index}: {}", log());
        let added = &arrived[..arrived.len() - message.len()];
        let added = String::from_utf8(added.to_vec()).unwrap();
        assert!(!added.contains("\r\n\r\n"), "message {index}: {added}");
    }
}

#[test]
fn nasty_messages_pass_through_postfix_octet_for_octet() {
    if !Postfix::is_there() {
        return;
    }
    for way in BOTH_WAYS {
        let site = Site::open(&[ADA], Some("postfix"));
        let postfix = Postfix::start(&site, way, "");
        check(&site, postfix.port, || postfix.log());
    }
}

#[test]
fn nasty_messages_pass_through_exim_octet_for_octet() {
    if !Exim::is_there() {
        return;
    }
    for way in BOTH_WAYS {
        let site = Site::open(&[ADA], Some("Debian-exim"));
        let exim = Exim::start(&site, way);
        check(&site, exim.port, || exim.log());
    }
}

//! Delivery by swaks, a test client for mail servers.

use std::path::Path;
use std::process::Command;

use super::nasty;
use super::site::{BOTH_WAYS, Site, Way};
use super::smtp::stuffed;
use crate::support::mail::{ADA, BOB};

const SWAKS: &str = "/usr/bin/swaks";

/// Runs swaks and returns the conversation that it prints.
fn swaks(site: &Site, way: Way, arguments: &[&str]) -> String {
    let mut swaks = Command::new(SWAKS);
    swaks.args(["--protocol", "LMTP", "--from", "stranger@example.net"]);
    match way {
        Way::Tcp => swaks.args(["--server", &format!("127.0.0.1:{}", site.port)]),
        Way::Socket => swaks.arg("--socket").arg(site.socket()),
    };
    let outcome = swaks.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert!(outcome.status.success(), "{said}\n{outcome:?}");
    said
}

#[test]
fn swaks_delivers_with_and_without_pipelining() {
    if !super::is_there(Path::new(SWAKS)) {
        return;
    }
    for way in BOTH_WAYS {
        let site = Site::open(&[ADA, BOB], None);
        for further in [&[][..], &["--pipeline"]] {
            let to = format!("{ADA},{BOB}");
            let said = swaks(&site, way, &[&["--to", &to], further].concat());
            assert!(said.matches("<-  250 2.").count() >= 2, "{said}");
        }
        for user in [ADA, BOB] {
            let messages = site.messages(user);
            assert_eq!(messages.len(), 2, "{way:?}");
            for message in messages {
                let text = String::from_utf8_lossy(&message).into_owned();
                assert!(
                    text.contains(&format!("\r\nDelivered-To: {user}\r\n")),
                    "{text}"
                );
                assert!(text.contains("This is a test mailing\r\n"), "{text}");
            }
        }
    }
}

#[test]
fn swaks_delivers_nasty_messages_octet_for_octet() {
    if !super::is_there(Path::new(SWAKS)) {
        return;
    }
    let site = Site::open(&[ADA], None);
    let file = site.folder.path().join("message");
    let mut messages = nasty::messages();
    let last = b"Subject: a bare CR\r\n\r\n\r one \r two\r\r\nthree\r\n".to_vec();
    messages.push(last);
    for message in &messages {
        // Stuffed here, since swaks loses a last line of one dot.
        std::fs::write(&file, stuffed(message)).unwrap();
        let data = format!("@{}", file.display());
        let raw = ["--to", ADA, "--no-data-fixup", "--data", &data];
        swaks(&site, Way::Tcp, &[&raw[..], &["--pipeline"]].concat());
    }
    for (sent, arrived) in messages.iter().zip(site.messages(ADA)) {
        let shown = (arrived.escape_ascii(), sent.escape_ascii());
        assert!(arrived.ends_with(sent), "{} for {}", shown.0, shown.1);
    }
}

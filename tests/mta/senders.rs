//! Senders of every form arrive, and stand in Return-Path as the mail server hands them on.

use super::exim::Exim;
use super::postfix::Postfix;
use super::site::{BOTH_WAYS, Site, Way};
use super::smtp::Smtp;
use crate::support::mail::ADA;

/// With all that a mail server would add if it were missing.
const LETTER: &[u8] = b"From: stranger@example.net\r\nTo: ada@example.com\r\n\
    Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n\
    Subject: hello\r\n\r\nHow are you?\r\n";

/// Senders as they come in, and as Return-Path shows them.
fn senders() -> Vec<(String, String)> {
    let detail = "1234567-".repeat(30);
    let label = "label-of-a-domain.".repeat(10);
    let same = [
        "SRS0=fGv9=BC=mail.sender.example=bounce-4IDNASXYtY_FG21s4IoV1XzCfCtHkb2@relay.example"
            .to_owned(),
        format!("bounces+{detail}ada=example.org@em.sender.example"),
        format!("bounce-{detail}@{label}example"),
        "bounce@mail_server.example.com".to_owned(),
        "\"a b\"@example.com".to_owned(),
        "\"a>b\"@example.com".to_owned(),
        "prvs=0123456789=ada@example.com".to_owned(),
        "o'brien@example.com".to_owned(),
        "ada@[192.0.2.1]".to_owned(),
        "\u{e4}da@b\u{fc}cher.example".to_owned(),
        String::new(),
    ];
    same.into_iter()
        .map(|sender| (sender.clone(), sender))
        .collect()
}

fn check(site: &Site, port: u16, senders: &[(String, String)], log: impl Fn() -> String) {
    let mut smtp = Smtp::hello(port);
    for (count, (sender, shown)) in senders.iter().enumerate() {
        let parameters = if sender.is_ascii() { "" } else { " SMTPUTF8" };
        let reply = smtp
            .ask(&format!("MAIL FROM:<{sender}>{parameters}"))
            .unwrap();
        assert!(reply.starts_with("250"), "{sender}: {reply}");
        smtp.expect(&format!("RCPT TO:<{ADA}>"), "250");
        smtp.expect("DATA", "354");
        smtp.write(LETTER).unwrap();
        smtp.expect(".", "250");
        let arrived = site.wait_for(ADA, count + 1).pop().unwrap();
        let line = format!("Return-Path: <{shown}>\r\nDelivered-To: {ADA}\r\n");
        let arrived = String::from_utf8(arrived).unwrap();
        assert!(arrived.starts_with(&line), "{arrived} {}", log());
    }
}

#[test]
fn senders_of_every_form_arrive_by_postfix() {
    if !Postfix::is_there() {
        return;
    }
    for way in BOTH_WAYS {
        let site = Site::open(&[ADA], Some("postfix"));
        let postfix = Postfix::start(&site, way, "");
        let mut senders = senders();
        // It quotes what is no dot-string.
        for (sender, shown) in [
            ("a..b@example.com", "\"a..b\"@example.com"),
            ("ab.@example.com", "\"ab.\"@example.com"),
            (".ab@example.com", "\".ab\"@example.com"),
        ] {
            senders.push((sender.to_owned(), shown.to_owned()));
        }
        let long = format!("{}@example.com", "v".repeat(1500));
        senders.push((long.clone(), long));
        check(&site, postfix.port, &senders, || postfix.log());
    }
}

#[test]
fn senders_of_every_form_arrive_by_exim() {
    if !Exim::is_there() {
        return;
    }
    let site = Site::open(&[ADA], Some("Debian-exim"));
    let exim = Exim::start(&site, Way::Tcp);
    // By itself it takes no longer ones, no underscore in a domain and no address of a machine.
    let mut senders = senders();
    senders.retain(|(sender, _)| {
        sender.len() <= 254 && !sender.contains("mail_server") && !sender.contains('[')
    });
    check(&site, exim.port, &senders, || exim.log());
}

//! Undeliverable mail is returned or deferred, and each recipient has their own headers.

use restante::accounts::{Accounts, Quota};
use restante::store::Database;

use super::exim::Exim;
use super::postfix::Postfix;
use super::recipes::{recipe, with};
use super::site::{BOTH_WAYS, Site, Way};
use super::smtp::{Smtp, stuffed};
use crate::support::mail::{ADA, BOB};
use crate::support::{eventually, place::Place, run};

/// A message with every header that a mail server would add if it were missing.
const LETTER: &[u8] = b"From: ada@example.com\r\nTo: bob@example.com\r\n\
    Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\
    Subject: hello\r\n\r\nHow are you?\r\n";

/// Limits a user to this number of messages.
fn allow(place: &Place, address: &str, messages: u64) {
    run(async || {
        let accounts = Accounts::new(Database::open(&place.url).await.unwrap());
        let quota = Quota {
            octets: None,
            messages: Some(messages),
        };
        accounts.set_quota(address, quota.into()).await.unwrap();
    });
}

/// Returns the recipe's settings of this time for Postfix, shortened to one second.
fn sooner(time: &str) -> String {
    let recipe = recipe("main.cf: the domains, and who exists in them");
    let lines = recipe
        .lines()
        .filter(|line| line.ends_with(&format!(" = {time}")));
    lines.map(|line| with(line, time, "1s") + "\n").collect()
}

fn text(message: &[u8]) -> String {
    String::from_utf8_lossy(message).into_owned()
}

#[test]
fn strangers_learn_at_once_who_does_not_exist() {
    let check = |port| {
        let mut smtp = Smtp::hello(port);
        smtp.expect("MAIL FROM:<stranger@example.net>", "250");
        let refusal = smtp.expect("RCPT TO:<nobody@example.com>", "550");
        assert!(refusal.contains("No such user"), "{refusal}");
        smtp.expect("RCPT TO:<Ada+news@Example.com>", "250");
        smtp.expect("RCPT TO:<somebody@example.org>", "55");
        smtp.expect("QUIT", "221");
    };
    if Postfix::is_there() {
        for way in BOTH_WAYS {
            let site = Site::open(&[ADA], Some("postfix"));
            check(Postfix::start(&site, way, "").port);
        }
    }
    if Exim::is_there() {
        let site = Site::open(&[ADA], Some("Debian-exim"));
        check(Exim::start(&site, Way::Tcp).port);
    }
}

#[test]
fn a_user_who_has_been_added_gets_mail_as_soon_as_postfix_asks_again() {
    if !Postfix::is_there() {
        return;
    }
    let site = Site::open(&[ADA], Some("postfix"));
    let postfix = Postfix::start(&site, Way::Tcp, &sooner("1m"));
    let mut smtp = Smtp::hello(postfix.port);
    smtp.expect("MAIL FROM:<stranger@example.net>", "250");
    smtp.expect(&format!("RCPT TO:<{BOB}>"), "550");
    crate::support::mail::fill(&site.place.url, BOB, &[]);
    eventually("the new user to be known", || {
        let reply = smtp.ask(&format!("RCPT TO:<{BOB}>")).unwrap();
        reply.starts_with("250").then_some(())
    });
}

#[test]
fn postfix_sends_back_what_is_for_nobody() {
    if !Postfix::is_there() {
        return;
    }
    for way in BOTH_WAYS {
        let site = Site::open(&[ADA, BOB], Some("postfix"));
        let postfix = Postfix::start(&site, way, "");
        let mut smtp = Smtp::hello(postfix.unchecked_port);
        smtp.submit(ADA, &["nobody@example.com", BOB], LETTER);
        assert_eq!(site.wait_for(BOB, 1).len(), 1);
        let bounce = text(&site.wait_for(ADA, 1)[0]);
        assert!(bounce.contains("Status: 5.1.1"), "{bounce}");
        assert!(bounce.contains("rfc822; nobody@example.com"), "{bounce}");
        assert!(bounce.contains("Return-Path: <>\r\n"), "{bounce}");
    }
}

#[test]
fn exim_sends_back_what_is_for_nobody() {
    if !Exim::is_there() {
        return;
    }
    // Over the socket, Exim can't check recipients in advance.
    let site = Site::open(&[ADA, BOB], Some("Debian-exim"));
    let exim = Exim::start(&site, Way::Socket);
    let mut smtp = Smtp::hello(exim.port);
    smtp.submit(ADA, &["nobody@example.com", BOB], LETTER);
    assert_eq!(site.wait_for(BOB, 1).len(), 1);
    let bounce = text(&site.wait_for(ADA, 1)[0]);
    assert!(bounce.contains("5.1.1"), "{bounce}");
    assert!(bounce.contains("nobody@example.com"), "{bounce}");
}

#[test]
fn strangers_learn_at_once_that_a_maildrop_is_full() {
    let check = |site: &Site, port| {
        allow(&site.place, BOB, 0);
        let ask = || {
            let mut smtp = Smtp::hello(port);
            smtp.expect("MAIL FROM:<stranger@example.net>", "250");
            smtp.ask(&format!("RCPT TO:<{BOB}>")).unwrap()
        };
        let refusal = ask();
        let told = refusal.starts_with("550") && refusal.contains("the maildrop is full");
        assert!(told, "{refusal}");
        allow(&site.place, BOB, 1);
        eventually("the maildrop to have room", || {
            let reply = ask();
            reply.starts_with("250").then_some(())
        });
    };
    if Postfix::is_there() {
        let site = Site::open(&[ADA, BOB], Some("postfix"));
        check(&site, Postfix::start(&site, Way::Tcp, &sooner("1m")).port);
    }
    if Exim::is_there() {
        let site = Site::open(&[ADA, BOB], Some("Debian-exim"));
        check(&site, Exim::start(&site, Way::Tcp).port);
    }
}

#[test]
fn a_maildrop_that_has_become_full_is_known_to_postfix_when_it_asks_again() {
    if !Postfix::is_there() {
        return;
    }
    let site = Site::open(&[ADA, BOB], Some("postfix"));
    let postfix = Postfix::start(&site, Way::Tcp, &sooner("1h"));
    allow(&site.place, BOB, 1);
    let mut smtp = Smtp::hello(postfix.port);
    smtp.submit("stranger@example.net", &[BOB], LETTER);
    site.wait_for(BOB, 1);
    let refusal = eventually("the full maildrop to be known", || {
        let mut smtp = Smtp::hello(postfix.port);
        smtp.expect("MAIL FROM:<stranger@example.net>", "250");
        let reply = smtp.ask(&format!("RCPT TO:<{BOB}>")).unwrap();
        reply.starts_with("550").then_some(reply)
    });
    assert!(refusal.contains("the maildrop is full"), "{refusal}");
}

#[test]
fn what_does_not_fit_into_a_maildrop_is_sent_back() {
    let check = |site: &Site, port| {
        allow(&site.place, BOB, 1);
        let mut smtp = Smtp::hello(port);
        smtp.submit(ADA, &[BOB], LETTER);
        site.wait_for(BOB, 1);
        smtp.submit(ADA, &[BOB], LETTER);
        let bounce = text(&site.wait_for(ADA, 1)[0]);
        assert!(bounce.contains("5.2.2"), "{bounce}");
        assert_eq!(site.messages(BOB).len(), 1);
    };
    if Postfix::is_there() {
        let site = Site::open(&[ADA, BOB], Some("postfix"));
        check(&site, Postfix::start(&site, Way::Tcp, "").unchecked_port);
    }
    if Exim::is_there() {
        // Over the socket, Exim can't check recipients in advance.
        let site = Site::open(&[ADA, BOB], Some("Debian-exim"));
        check(&site, Exim::start(&site, Way::Socket).port);
    }
}

#[test]
fn what_does_not_fit_may_wait_in_postfix_instead() {
    if !Postfix::is_there() {
        return;
    }
    let site = Site::open(&[ADA, BOB], Some("postfix"));
    let file = site.folder.path().join("lmtp_status");
    std::fs::write(&file, recipe("/etc/postfix/lmtp_status")).unwrap();
    let filter = recipe("main.cf: a full maildrop is tried again");
    let filter = with(&filter, "/etc/postfix/lmtp_status", file.to_str().unwrap());
    let postfix = Postfix::start(&site, Way::Tcp, &filter);
    allow(&site.place, BOB, 0);
    Smtp::hello(postfix.unchecked_port).submit(ADA, &[BOB], LETTER);
    postfix.wait_for_log("status=deferred");
    allow(&site.place, BOB, 1);
    postfix.flush_until("the mail", || site.come(BOB, 1));
    assert_eq!(site.messages(ADA).len(), 0, "nothing was sent back");
}

#[test]
fn what_the_database_can_not_take_now_waits_in_postfix() {
    if !Postfix::is_there() {
        return;
    }
    let site = Site::open(&[ADA, BOB], Some("postfix"));
    let postfix = Postfix::start(&site, Way::Socket, "");
    run(async || {
        let sql = site.place.sql().await;
        sql.refuse("INSERT", "messages", "octets > 0").await;
    });
    Smtp::hello(postfix.port).submit(ADA, &[BOB], LETTER);
    postfix.wait_for_log("status=deferred");
    assert!(postfix.log().contains("451 4.3.0"), "{}", postfix.log());
    run(async || site.place.sql().await.allow("messages").await);
    postfix.flush_until("the mail", || site.come(BOB, 1));
    assert_eq!(site.messages(ADA).len(), 0, "nothing was sent back");
}

#[test]
fn what_the_database_can_not_take_now_waits_in_exim() {
    if !Exim::is_there() {
        return;
    }
    for way in BOTH_WAYS {
        let site = Site::open(&[ADA, BOB], Some("Debian-exim"));
        let exim = Exim::start(&site, way);
        run(async || {
            let sql = site.place.sql().await;
            sql.refuse("INSERT", "messages", "octets > 0").await;
        });
        Smtp::hello(exim.port).submit(ADA, &[BOB], LETTER);
        exim.wait_for_log("451 4.3.0");
        run(async || site.place.sql().await.allow("messages").await);
        exim.flush_until("the mail", || site.come(BOB, 1));
        assert_eq!(site.messages(ADA).len(), 0, "nothing was sent back");
    }
}

#[test]
fn each_recipient_of_a_message_has_their_own_delivered_to() {
    let check = |site: &Site, port| {
        let recipients = ["ADA@example.com", "bob+news@example.com"];
        Smtp::hello(port).submit("stranger@example.net", &recipients, LETTER);
        for user in [ADA, BOB] {
            let message = text(&site.wait_for(user, 1)[0]);
            let headers =
                format!("Return-Path: <stranger@example.net>\r\nDelivered-To: {user}\r\n");
            assert!(message.starts_with(&headers), "{message}");
            assert_eq!(message.matches("Delivered-To:").count(), 1, "{message}");
            assert!(message.ends_with(&text(LETTER)), "{message}");
        }
    };
    for way in BOTH_WAYS {
        if Postfix::is_there() {
            let site = Site::open(&[ADA, BOB], Some("postfix"));
            check(&site, Postfix::start(&site, way, "").port);
        }
        if Exim::is_there() {
            let site = Site::open(&[ADA, BOB], Some("Debian-exim"));
            check(&site, Exim::start(&site, way).port);
        }
    }
}

#[test]
fn what_comes_while_all_sessions_are_taken_waits_and_arrives() {
    if !Postfix::is_there() {
        return;
    }
    let few = [("Lmtp__MaxConnections", "2")];
    let site = Site::open_with(&[ADA], Some("postfix"), &few);
    let postfix = Postfix::start(&site, Way::Tcp, "");
    let mut held = Smtp::lmtp(site.port).unwrap();
    let mut also = Smtp::lmtp(site.port).unwrap();
    Smtp::hello(postfix.unchecked_port).submit(BOB, &[ADA], LETTER);
    postfix.wait_for_log("status=deferred");
    held.expect("QUIT", "221");
    also.expect("QUIT", "221");
    postfix.flush_until("the mail", || site.come(ADA, 1));
}

#[test]
fn an_address_beyond_ascii_gets_mail() {
    let user = "δοκιμή@example.com";
    let check = |site: &Site, port| {
        let mut smtp = Smtp::hello(port);
        smtp.expect(
            "MAIL FROM:<δοκιμή@example.net> BODY=8BITMIME SMTPUTF8",
            "250",
        );
        smtp.expect(&format!("RCPT TO:<{user}>"), "250");
        smtp.expect("DATA", "354");
        smtp.write(&stuffed("Subject: καλημέρα\r\n\r\nγεια\r\n".as_bytes()))
            .unwrap();
        assert!(smtp.reply().unwrap().starts_with("250"));
        let message = text(&site.wait_for(user, 1)[0]);
        assert!(
            message.contains(&format!("Delivered-To: {user}\r\n")),
            "{message}"
        );
        assert!(message.contains("Subject: καλημέρα\r\n"), "{message}");
    };
    if Postfix::is_there() {
        let site = Site::open(&[user], Some("postfix"));
        check(&site, Postfix::start(&site, Way::Tcp, "").port);
    }
    if Exim::is_there() {
        let site = Site::open(&[user], Some("Debian-exim"));
        check(&site, Exim::start(&site, Way::Tcp).port);
    }
}

//! No message is lost, and none is delivered twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::postfix::Postfix;
use super::site::{BOTH_WAYS, Site, Way};
use super::smtp::{Smtp, stuffed};
use crate::support::{DEADLINE, eventually, pause};

/// Number of messages that a Postfix delivers while clients delete them.
const MESSAGES: usize = 1000;

/// Number of sessions that submit them.
const SENDERS: usize = 4;

const USERS: [&str; 4] = [
    "ada@example.com",
    "bob@example.com",
    "cyd@example.com",
    "dan@example.com",
];

/// Returns a message with its number in it.
fn numbered(number: usize) -> Vec<u8> {
    let body = ".a line with a dot\r\n".repeat(number % 50);
    format!("Subject: {number}\r\nX-Token: token-{number}-\r\n\r\n{body}").into_bytes()
}

/// Returns the recipient of a message. Each sender has messages for each user.
fn owner_of(number: usize) -> &'static str {
    USERS[(number / SENDERS) % USERS.len()]
}

/// Returns the number of a message.
fn number_of(message: &[u8]) -> usize {
    let text = String::from_utf8_lossy(message);
    let (_, behind) = text.split_once("X-Token: token-").unwrap();
    let (number, _) = behind.split_once('-').unwrap();
    let number = number.parse().unwrap();
    assert_eq!(
        body(message),
        body(&numbered(number)),
        "of message {number}"
    );
    number
}

/// Returns the body below the header.
fn body(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}

/// Downloads and deletes until all mail has come; returns how often each message came.
///
/// Each session deletes what it has read, so that nothing is read twice unless it is there twice.
fn take_away(site: &Site, user: &str, expected: usize) -> BTreeMap<usize, usize> {
    let until = Instant::now() + DEADLINE;
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut all = 0;
    while all < expected {
        assert!(Instant::now() < until, "{user} got {all} of {expected}");
        let mut client = site.login(user);
        let stat = client.ok("STAT");
        let count: usize = stat.split(' ').nth(1).unwrap().parse().unwrap();
        for number in 1..=count {
            let message = client.body(&format!("RETR {number}"));
            *seen.entry(number_of(&message)).or_default() += 1;
            client.ok(&format!("DELE {number}"));
        }
        client.ok("QUIT");
        all += count;
    }
    seen
}

#[test]
fn a_thousand_messages_by_postfix_arrive_exactly_once_while_clients_take_them_away() {
    if !Postfix::is_there() {
        return;
    }
    let site = Site::open(&USERS, Some("postfix"));
    let postfix = Postfix::start(&site, Way::Tcp, "");
    let mine = |user| (0..MESSAGES).filter(move |number| owner_of(*number) == user);
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let postfix = &postfix;
            scope.spawn(move || {
                let mut smtp = Smtp::hello(postfix.port);
                for number in (sender..MESSAGES).step_by(SENDERS) {
                    smtp.submit("sender@example.net", &[owner_of(number)], &numbered(number));
                }
                smtp.expect("QUIT", "221");
            });
        }
        let clients = USERS.map(|user| {
            let site = &site;
            let expected = mine(user).count();
            (user, scope.spawn(move || take_away(site, user, expected)))
        });
        for (user, client) in clients {
            let once: BTreeMap<_, _> = mine(user).map(|number| (number, 1)).collect();
            assert_eq!(client.join().unwrap(), once, "{user}");
        }
    });
    eventually("an empty queue", || (postfix.waiting() == 0).then_some(()));
    for user in USERS {
        assert_eq!(site.messages(user).len(), 0, "{user} has more");
    }
}

#[test]
fn what_a_killed_server_has_not_taken_comes_again_and_nothing_is_lost() {
    if !Postfix::is_there() {
        return;
    }
    const MESSAGES: usize = 400;
    const KILLS: usize = 3;
    for way in BOTH_WAYS {
        let mut site = Site::open(&USERS, Some("postfix"));
        let postfix = Postfix::start(&site, way, "");
        for user in USERS {
            // Postfix then knows that they exist, also while the server is down.
            let mut smtp = Smtp::hello(postfix.port);
            smtp.expect("MAIL FROM:<sender@example.net>", "250");
            smtp.expect(&format!("RCPT TO:<{user}>"), "250");
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut smtp = Smtp::hello(postfix.port);
                for number in 0..MESSAGES {
                    smtp.submit("sender@example.net", &[owner_of(number)], &numbered(number));
                }
            });
            for kill in 1..=KILLS {
                // In the middle of the mail, not before and not after it.
                let so_many = MESSAGES * kill / (KILLS + 1) / 2;
                postfix.flush_until("some mail", || {
                    let sent = postfix.log().matches("status=sent").count();
                    (sent >= so_many).then_some(())
                });
                site.kill();
                site.start();
            }
        });
        postfix.flush_until("an empty queue", || (postfix.waiting() == 0).then_some(()));
        // A message that was stored by a server that died before it replied is delivered again.
        let mut doubles = 0;
        let mut seen = BTreeSet::new();
        for user in USERS {
            for message in site.messages(user) {
                let number = number_of(&message);
                assert_eq!(owner_of(number), user);
                doubles += usize::from(!seen.insert(number));
            }
        }
        assert_eq!(seen, (0..MESSAGES).collect(), "{way:?}: mail is lost");
        // Each of these lines is a message whose reply Postfix did not get.
        let log = postfix.log();
        let is_uncertain = |line: &&str| {
            line.contains("postfix/lmtp[") && line.contains("message may be sent more than once")
        };
        let uncertain = log.lines().filter(is_uncertain).count();
        let said = format!("{way:?}: {doubles} doubles of {uncertain} possible ones");
        assert!(doubles <= uncertain, "{said}");
        super::tell(&said);
        assert!(!postfix.log().contains("status=bounced"), "{way:?}");
    }
}

#[test]
fn what_a_killed_server_has_answered_250_is_there_and_nothing_is_half_there() {
    let mut site = Site::open(&USERS, None);
    let promised = std::sync::Mutex::new(BTreeSet::new());
    let mut next = 0;
    for _ in 0..5 {
        let begun = AtomicBool::new(false);
        let (port, first) = (site.port, next);
        next += 4 * 1000;
        std::thread::scope(|scope| {
            for sender in 0..4 {
                let (promised, begun) = (&promised, &begun);
                scope.spawn(move || {
                    let mut lmtp = Smtp::lmtp(port).unwrap();
                    for number in first + sender * 1000..first + sender * 1000 + 1000 {
                        let Ok(answer) = deliver(&mut lmtp, owner_of(number), &numbered(number))
                        else {
                            return;
                        };
                        assert!(answer.starts_with("250"), "{answer}");
                        promised.lock().unwrap().insert(number);
                        begun.store(
                            sender == 3 || begun.load(Ordering::Relaxed),
                            Ordering::Relaxed,
                        );
                    }
                });
            }
            eventually("the first mail", || {
                begun.load(Ordering::Relaxed).then_some(())
            });
            pause(std::time::Duration::from_millis(20));
            site.kill();
        });
        site.start();
    }
    let promised = promised.into_inner().unwrap();
    let mut found = BTreeSet::new();
    for user in USERS {
        for message in site.messages(user) {
            // This also checks that the message is complete.
            assert!(found.insert(number_of(&message)), "it is there twice");
        }
    }
    assert!(promised.is_subset(&found), "a promise is broken");
    // Four deliveries were under way at each kill.
    assert!(found.len() <= promised.len() + 5 * 4);
}

fn deliver(lmtp: &mut Smtp, user: &str, message: &[u8]) -> std::io::Result<String> {
    lmtp.ask("MAIL FROM:<sender@example.net>")?;
    lmtp.ask(&format!("RCPT TO:<{user}>"))?;
    lmtp.ask("DATA")?;
    lmtp.write(&stuffed(message))?;
    lmtp.reply()
}

//! Senders and recipients of every form that MTAs pass on.

use super::{Mta, Office, accounts};
use crate::support::mail::{ADA, BOB, fill, key};
use crate::support::place::{Place, on_each_blocking, sqlite};
use crate::support::run;

/// Return paths that Postfix, Exim or Dovecot take, as they stand between the angle brackets.
fn return_paths() -> Vec<Vec<u8>> {
    let mut paths: Vec<Vec<u8>> = [
        "SRS0=fGv9=BC=mail.sender.example=bounce-4IDNASXYtY_FG21s4IoV1XzCfCtHkb2@relay.example",
        "bounces+1234567-1234567-1234567-1234567-1234567-1234567-1234567-1234567-ada=example.org@em.sender.example",
        "bounce@mail_server.example.com",
        "a..b@example.com",
        ".ab@example.com",
        "ab.@example.com",
        "a@example.com.",
        "a@-x.example",
        "root",
        "MAILER-DAEMON",
        "postmaster",
        "\"a b\"@example.com",
        "\"a>b\"@example.com",
        "\"a\\\"b\"@example.com",
        "a b@example.com",
        "a,b@example.com",
        "a\"b@example.com",
        "a@b@example.com",
        "o'brien@example.com",
        "prvs=0123456789=ada@example.com",
        "root@[192.0.2]",
        "root@[IPv6:fe80::1%eth0]",
        "host!user",
        "ä@bücher.example",
    ]
    .map(|path| path.as_bytes().to_vec())
    .to_vec();
    paths.push(b"\xe4da@example.com".to_vec());
    paths.push([&b"v".repeat(300)[..], b"@example.com"].concat());
    paths.push(
        [
            &b"v".repeat(4000)[..],
            b"@",
            &b"d.".repeat(1000),
            b"example",
        ]
        .concat(),
    );
    paths
}

#[test]
fn every_return_path_that_is_a_line_is_written_down() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        let mut mta = office.mta();
        for path in return_paths() {
            mta.send(&[b"MAIL FROM:<", &path[..], b"> SIZE=100 BODY=8BITMIME\r\n"].concat());
            let reply = mta.read();
            assert!(
                reply.starts_with("250 2.1.0"),
                "{}: {reply}",
                path.escape_ascii()
            );
            mta.expect("RCPT TO:<ada@example.com>", "250");
            assert!(mta.data(b"Subject: hi\r\n\r\nhi\r\n", 1)[0].starts_with("250"));
        }
        let messages = office.received_with_trace_headers(0);
        assert_eq!(messages.len(), return_paths().len());
        for (message, path) in messages.iter().zip(return_paths()) {
            let line = [b"Return-Path: <", &path[..], b">\r\nDelivered-To: "].concat();
            assert!(message.starts_with(&line), "{}", message.escape_ascii());
            assert!(message.ends_with(b"\r\nSubject: hi\r\n\r\nhi\r\n"));
        }
    });
}

#[test]
fn a_return_path_may_be_written_in_other_ways() {
    let place = sqlite();
    let office = Office::open(&place);
    let mut mta = office.mta();
    for (written, path) in [
        ("FROM: <bob@example.net>", "bob@example.net"),
        ("from:bob@example.net", "bob@example.net"),
        (
            "FROM:<@relay.example,@x:bob@example.net>",
            "bob@example.net",
        ),
        (
            "FROM:<bob@example.net> RET=HDRS ENVID=QQ314159",
            "bob@example.net",
        ),
        ("FROM:<bob@example.net> AUTH=<> SMTPUTF8", "bob@example.net"),
        ("FROM:< >", ""),
    ] {
        mta.expect(&format!("MAIL {written}"), "250");
        mta.expect(
            "RCPT TO:<ada@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;ada@example.com",
            "250",
        );
        assert!(mta.data(b"hi\r\n", 1)[0].starts_with("250"));
        let message = office.received_with_trace_headers(0).pop().unwrap();
        let line = format!("Return-Path: <{path}>\r\nDelivered-To: ");
        assert!(message.starts_with(line.as_bytes()), "{written}");
    }
}

#[test]
fn no_sender_or_recipient_writes_a_line_of_its_own() {
    let place = sqlite();
    let office = Office::open(&place);
    let mut mta = office.mta();
    let separators = [
        &b"\r"[..],
        b"\0",
        b"\t",
        b"\x0b",
        b"\x1b",
        b"\x7f",
        "\u{85}".as_bytes(),
        "\u{2028}".as_bytes(),
    ];
    for separator in separators {
        mta.send(&[b"MAIL FROM:<a", separator, b"X-Evil: yes@example.com>\r\n"].concat());
        let reply = mta.read();
        assert!(reply.starts_with("501 5.1.7"), "{reply}");
        mta.expect("MAIL FROM:<a@b>", "250");
        mta.send(&[b"RCPT TO:<ada+", separator, b"X-Evil: yes@example.com>\r\n"].concat());
        let reply = mta.read();
        assert!(reply.starts_with("550 5.1.3"), "{reply}");
        mta.expect("RCPT TO:<ada@example.com>", "250");
        assert!(mta.data(b"hi\r\n", 1)[0].starts_with("250"));
    }
    let messages = office.received_with_trace_headers(0);
    assert_eq!(messages.len(), separators.len());
    for message in messages {
        assert!(!String::from_utf8(message).unwrap().contains("X-Evil"));
    }
    for unbalanced in ["<a@b", "a@b>", "<<a@b>>", "<a>b@c>"] {
        mta.expect(&format!("MAIL FROM:{unbalanced}"), "501 5");
    }
}

#[test]
fn a_line_beyond_the_limit_is_refused_and_the_session_goes_on() {
    let place = sqlite();
    let office = Office::open(&place);
    let mut mta = office.mta();
    let line = |octets: usize| format!("MAIL FROM:<{}@b>", "a".repeat(octets - 16));
    mta.expect(&line(8192 + 1), "500 5.5.6");
    mta.expect(&line(8192), "250 2.1.0");
    mta.expect("RSET", "250");
}

#[test]
fn each_recipient_is_answered_by_itself() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        let mut mta = office.mta();
        let detail = |octets: usize| "d".repeat(octets);
        mta.expect("MAIL FROM:<>", "250");
        let mut accepted = 0;
        for (recipient, reply) in [
            (&b"<ada@example.com>"[..], "250 2.1.5"),
            (b"<>", "550 5.1.3"),
            (b"< >", "550 5.1.3"),
            (b"<ada", "550 5.1.3"),
            (b"<<ada@example.com>>", "550 5.1.3"),
            (b"<a b@example.com>", "550 5.1.1"),
            (b"<ada..x@example.com>", "550 5.1.1"),
            (b"<@example.com>", "550 5.1.1"),
            (b"<ada@>", "550 5.1.1"),
            (b"<ada@exam_ple.com>", "550 5.1.1"),
            (b"<\xe4da@example.com>", "550 5.1.1"),
            ("<äda@example.com>".as_bytes(), "550 5.1.1"),
            (b"<ada>", "550 5.1.1"),
            (b"<postmaster>", "550 5.1.1"),
            (
                format!("<{}@example.com>", detail(5000)).as_bytes(),
                "550 5.1.1",
            ),
            (
                format!("<ada+{}@example.com>", detail(200)).as_bytes(),
                "250 2.1.5",
            ),
            (
                format!("<ada+{}@example.com>", detail(5000)).as_bytes(),
                "250 2.1.5",
            ),
            (b"<ada+\xe4@example.com>", "250 2.1.5"),
            ("<ada+ä@example.com>".as_bytes(), "250 2.1.5"),
            (b"<\"ada+a b\"@example.com>", "250 2.1.5"),
            (b"<\"ada\"@example.com>", "250 2.1.5"),
            (b"<@relay.example:ada@example.com>", "250 2.1.5"),
            (b"<ada@example.com.>", "250 2.1.5"),
            (b" <ada@example.com>", "250 2.1.5"),
            (b"< ada@example.com >", "250 2.1.5"),
            (b"ada@example.com", "250 2.1.5"),
            (b"<bob@example.com>", "250 2.1.5"),
        ] {
            mta.send(&[b"RCPT TO:", recipient, b"\r\n"].concat());
            let got = mta.read();
            assert!(
                got.starts_with(reply),
                "{}: {got}",
                recipient.escape_ascii()
            );
            accepted += usize::from(got.starts_with("250"));
        }
        let replies = mta.data(b"hi\r\n", accepted);
        assert!(replies.iter().all(|reply| reply.starts_with("250 2.0.0 <")));
        mta.expect("NOOP", "250");
        assert_eq!((office.received(0).len(), office.received(1).len()), (1, 1));
    });
}

#[test]
fn a_list_full_of_bad_recipients_ends_no_session() {
    let place = sqlite();
    let office = Office::open(&place);
    let mut mta = office.mta();
    mta.expect("MAIL FROM:<a@b>", "250");
    for _ in 0..100 {
        mta.expect("RCPT TO:<a\u{1}b@example.com>", "550 5.1.3");
        mta.expect("RCPT TO:<a..b@example.com>", "550 5.1.1");
    }
    mta.expect("RCPT TO:<ada@example.com>", "250");
    assert!(mta.data(b"hi\r\n", 1)[0].starts_with("250"));
}

#[test]
fn a_client_that_calls_itself_something_odd_is_let_in() {
    let place = sqlite();
    let office = Office::open(&place);
    for name in [
        "a b",
        "mx;1",
        "(x)",
        "\u{e4}.example",
        "[IPv6:fe80::1%eth0]",
    ] {
        let mut mta = Mta::connect(office.port);
        mta.expect(&format!("LHLO {name}"), "250-");
        while !mta.read().starts_with("250 ") {}
        mta.to(&[ADA]);
        assert!(mta.data(b"hi\r\n", 1)[0].starts_with("250"));
    }
    for message in office.received_with_trace_headers(0) {
        let text = String::from_utf8(message).unwrap();
        assert!(
            text.contains("\r\nReceived: from unknown ([127.0.0.1])\r\n"),
            "{text}"
        );
    }
}

#[test]
fn postmaster_without_a_domain_is_the_one_of_this_server() {
    for (settings, user) in [
        (
            &[("Pop3__ServerName", "pop.example.com")][..],
            "postmaster@example.com",
        ),
        (
            &[("Pop3__ServerName", "example.com")],
            "postmaster@example.com",
        ),
        (
            &[
                ("Pop3__ServerName", "pop.example.net"),
                ("Pop3__DefaultDomain", "Example.COM"),
            ],
            "Postmaster@example.com",
        ),
    ] {
        let place = sqlite();
        let office = Office::open_with(&place, settings);
        let mut mta = office.mta();
        mta.expect("MAIL FROM:<a@b>", "250");
        let refused = mta.expect("RCPT TO:<postmaster>", "550 5.1.1");
        assert!(refused.contains("domain"), "{refused}");
        let key = fill(&place.url, user, &[]);
        mta.expect("RCPT TO:<PostMaster>", "250");
        assert!(mta.data(b"hi\r\n", 1)[0].starts_with("250"));
        let mut client = office.daemon.login(user, &key);
        assert!(client.ok("STAT").starts_with("+OK 1 "));
    }
}

#[test]
fn a_local_user_is_in_the_default_domain() {
    let place = sqlite();
    let office = Office::open_with(&place, &[("Pop3__DefaultDomain", "example.com")]);
    let mut mta = office.mta();
    mta.expect("MAIL FROM:<root>", "250");
    for (recipient, reply) in [
        ("ada", "250"),
        ("Ada+lists", "250"),
        ("bob@example.com", "250"),
        ("eve", "550 5.1.1"),
        ("ada@example.net", "550 5.1.1"),
    ] {
        mta.expect(&format!("RCPT TO:<{recipient}>"), reply);
    }
    let replies = mta.data(b"hi\r\n", 3);
    assert!(
        replies.iter().all(|reply| reply.starts_with("250")),
        "{replies:?}"
    );
    assert_eq!((office.received(0).len(), office.received(1).len()), (1, 1));
}

/// The spellings of one address: capitals, `xn--`, NFD.
const SPELLINGS: [&str; 5] = [
    "jos\u{e9}@b\u{fc}cher.example",
    "JOSE\u{301}@bu\u{308}cher.EXAMPLE",
    "jos\u{e9}@xn--bcher-kva.example",
    "Jose\u{301}@XN--BCHER-KVA.example.",
    "jos\u{c9}+tag@b\u{fc}cher.example",
];

#[test]
fn mail_to_every_spelling_of_an_address_arrives_and_a_login_by_each_works() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        for (at, added) in SPELLINGS[..4].iter().enumerate() {
            let key = fill(&place.url, added, &[]);
            check_spellings(&office, &key, added);
            let removed = format!("user {at}: {added}");
            run(async || accounts(place).await.remove(added).await.expect(&removed));
        }
    });
}

#[test]
fn a_row_that_was_written_in_another_spelling_is_still_reached_by_all() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        for old in [
            "jose\u{301}@b\u{fc}cher.example",
            "jos\u{e9}@bu\u{308}cher.example",
            "jos\u{e9}@xn--bcher-kva.example",
            "jose\u{301}@xn--bcher-kva.example",
        ] {
            let key = add_as_before(place, old);
            check_spellings(&office, &key, old);
            run(async || {
                let accounts = accounts(place).await;
                // Nobody else gets it, in no spelling.
                for spelling in SPELLINGS {
                    if !spelling.contains('+') {
                        assert!(accounts.add(spelling, &[]).await.is_err(), "{spelling}");
                    }
                }
                accounts.remove(SPELLINGS[3]).await.unwrap();
            });
        }
    });
}

/// Adds a user as it was done before addresses had one form; returns a key.
fn add_as_before(place: &Place, address: &str) -> String {
    const PLAIN: &str = "to-be-renamed@example.com";
    run(async || {
        let database = place.open().await;
        let user = accounts(place).await.add(PLAIN, &[]).await.unwrap();
        let key = key(&database, PLAIN).await;
        let sql = place.sql().await;
        let id = user.row();
        sql.run(&format!(
            "UPDATE addresses SET address = '{address}' WHERE user_id = {id}"
        ))
        .await;
        sql.run(&format!(
            "UPDATE users SET address = '{address}' WHERE id = {id}"
        ))
        .await;
        sql.close().await;
        key
    })
}

fn check_spellings(office: &Office, key: &str, added: &str) {
    let mut mta = office.mta();
    for (count, spelling) in SPELLINGS.iter().enumerate() {
        mta.expect("MAIL FROM:<eve@example.net> SMTPUTF8", "250");
        mta.expect(&format!("RCPT TO:<{spelling}>"), "250");
        assert!(mta.data(b"hi\r\n", 1)[0].starts_with("250"));
        let login = spelling.replace("+tag", "");
        let stat = office.daemon.login(&login, key).ok("STAT");
        let expected = format!("+OK {} ", count + 1);
        assert!(stat.starts_with(&expected), "{added} as {spelling}: {stat}");
    }
}

/// Addresses that somebody may want to add.
const WANTED: &[&str] = &[
    "a..b@example.com",
    ".ab@example.com",
    "ab.@example.com",
    "a+b@example.com",
    "+@example.com",
    "a@my_host.example",
    "a@localhost",
    "a@example.com.",
    "a@[192.0.2.1]",
    "a@[IPv6:2001:db8::1]",
    "a@[192.0.2]",
    "a@-x.example",
    "a@x..example",
    "a@.example",
    "a@b@example.com",
    "@a:b@example.com",
    "a b@example.com",
    "\"a b\"@example.com",
    "\"a\"@example.net",
    "a\"b@example.com",
    "a\\b@example.com",
    "a<b@example.com",
    "a>b@example.com",
    "<a@example.com>",
    "a,b@example.com",
    "a(b)@example.com",
    "a;b@example.com",
    "a:b@example.com",
    "!#$%&'*+-/=?^_`{|}~@example.com",
    "\u{e4}@\u{fc}.example",
    "a@xn--zz.example",
    "a@xn--bcher-kva.example",
    "a\u{200b}@example.com",
    "a@exa\u{200b}mple.com",
    "a\u{202e}@example.com",
];

#[test]
fn whoever_can_be_added_can_be_reached_and_log_in() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        let wide = format!("{}@example.com", "w".repeat(236));
        let label = format!("a@{}.example", "l".repeat(64));
        let mut added = Vec::new();
        run(async || {
            let database = place.open().await;
            let accounts = accounts(place).await;
            for address in WANTED.iter().copied().chain([&wide[..], &label]) {
                match accounts.add(address, &[]).await {
                    Ok(_) => added.push((address, key(&database, address).await)),
                    Err(error) => assert!(error.to_string().contains(" is no address: ")),
                }
            }
        });
        assert!(added.len() > 12, "{added:?}");
        for (address, key) in added {
            let mut mta = office.mta();
            mta.expect("MAIL FROM:<eve@example.net> SMTPUTF8", "250");
            mta.expect(&format!("RCPT TO:<{address}>"), "250");
            assert!(mta.data(b"hi\r\n", 1)[0].starts_with("250"), "{address}");
            let stat = office.daemon.login(address, &key).ok("STAT");
            assert!(stat.starts_with("+OK 1 "), "{address}: {stat}");
        }
        assert_eq!(office.received(1).len(), 0, "{BOB} gets nobody else's mail");
    });
}

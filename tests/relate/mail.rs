//! Maildrops: what is in them, and their octets.

use super::{
    ALICE, ALICE_ID, ALICES_KEY, BOB, BOB_ID, BOBS_KEY, Site, sizes, try_login, unique_ids,
};

#[test]
fn sizes_are_those_of_retr_and_two_servers_serve_the_same() {
    let Some(site) = Site::new() else { return };
    let servers = [site.serve(), site.serve()];
    let seen = servers.each_ref().map(|server| {
        let (mut alice, reply) = try_login(server, ALICE, ALICES_KEY);
        assert!(reply.starts_with("+OK"), "{reply}");
        let bodies: Vec<_> = (1..=3).map(|n| alice.body(&format!("RETR {n}"))).collect();
        let lengths: Vec<_> = bodies.iter().map(Vec::len).collect();
        assert_eq!(sizes(&mut alice), lengths);
        (unique_ids(&mut alice), bodies)
    });
    assert_eq!(seen[0], seen[1]);
    let first = String::from_utf8(seen[0].1[0].clone()).unwrap();
    for line in [
        "From: Carol <carol@sender.example>\r\n",
        "To: Alice <Alice@Example.com>\r\n",
        "Subject: Dots\r\n",
        "Message-ID: <m1@sender.example>\r\n",
        "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n",
        "\r\n\r\nfirst\r\n.\r\n..two\r\nlast\r\n",
    ] {
        assert!(first.contains(line), "{line:?}: {first}");
    }
    let third = String::from_utf8(seen[0].1[2].clone()).unwrap();
    assert!(!third.contains(ALICE), "Bcc: {third}");
    assert!(third.contains("AP8KLg=="), "{third}");
}

#[test]
fn two_servers_that_see_mail_first_at_the_same_moment_agree() {
    let Some(site) = Site::new() else { return };
    for number in 0..60 {
        let id = format!("57777777-7777-4777-8777-7777777777{number:02}");
        let message_id = format!("m{}@x", number / 2);
        site.add_mail(
            &id,
            &message_id,
            &[("To", ALICE, Some(ALICE_ID)), ("Cc", BOB, Some(BOB_ID))],
        );
    }
    let servers = [site.serve(), site.serve()];
    let look = |server: usize, user: &str, key: &str| {
        let (mut client, _) = try_login(&servers[server], user, key);
        (unique_ids(&mut client), sizes(&mut client))
    };
    let seen: Vec<_> = std::thread::scope(|scope| {
        let logins =
            [0, 1, 0, 1].map(|server| scope.spawn(move || look(server, ALICE, ALICES_KEY)));
        logins
            .into_iter()
            .map(|login| login.join().unwrap())
            .collect()
    });
    assert!(seen.iter().all(|it| *it == seen[0]));
    assert_eq!(seen[0].0.len(), 63);
    assert_eq!(look(0, BOB, BOBS_KEY), look(1, BOB, BOBS_KEY));
}

#[test]
fn a_session_sees_the_newest_thousand_unless_a_setting_says_otherwise() {
    let Some(site) = Site::new() else { return };
    site.sql(&format!(
        "INSERT INTO \"Emails\" (\"Id\", \"MessageId\", \"FromAddress\", \"Subject\", \"TextBody\", \
         \"ReceivedAt\", \"SizeBytes\") SELECT ('58888888-8888-4888-8888-' || lpad(n::text, 12, '0'))::uuid, \
         'n' || n || '@x', '', 's', 't', '2026-02-01'::timestamptz + n * interval '1 second', 1 \
         FROM generate_series(1, 1010) n; \
         INSERT INTO \"EmailRecipients\" (\"Id\", \"EmailId\", \"Address\", \"Type\", \"UserId\", \"IsRead\") \
         SELECT gen_random_uuid(), \"Id\", 'bob@example.com', 'To', '{BOB_ID}', false FROM \"Emails\" \
         WHERE \"MessageId\" LIKE 'n%'"
    ));
    let daemon = site.serve();
    let (mut bob, reply) = try_login(&daemon, BOB, BOBS_KEY);
    assert!(reply.contains("11"), "{reply}");
    let ids = unique_ids(&mut bob);
    assert_eq!(
        (ids.len(), ids[0].as_str(), ids[999].as_str()),
        (1000, "n11@x", "n1010@x")
    );
    let all = site.serve_with(&[("Pop3__MaxMessagesPerSession", "0")]);
    let (mut bob, _) = try_login(&all, BOB, BOBS_KEY);
    assert_eq!(unique_ids(&mut bob).len(), 1011);
}

#[test]
fn mail_to_an_address_before_it_was_a_users_is_linked_at_the_login() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve();
    let spellings = [
        "bob@example.com",
        "BOB@EXAMPLE.COM",
        "Bob@example.com",
        "bOb@eXample.com",
    ];
    for (number, address) in spellings.iter().enumerate() {
        let id = format!("59999999-9999-4999-8999-99999999999{number}");
        site.add_mail(&id, &format!("old{number}@x"), &[("To", address, None)]);
    }
    let (mut bob, _) = try_login(&daemon, BOB, BOBS_KEY);
    assert!(bob.ok("STAT").starts_with("+OK 5 "));
    bob.ok("QUIT");
    for (number, address) in spellings.iter().enumerate() {
        let id = format!("5aaaaaaa-9999-4999-8999-99999999999{number}");
        site.add_mail(&id, &format!("new{number}@x"), &[("To", address, None)]);
    }
    crate::support::eventually("the link", || {
        let (mut bob, _) = try_login(&daemon, BOB, BOBS_KEY);
        bob.ok("STAT").starts_with("+OK 9 ").then_some(())
    });
}

#[test]
fn a_large_attachment_comes_whole_in_pieces() {
    let Some(site) = Site::new() else { return };
    site.sql(
        "UPDATE \"EmailAttachments\" SET \"Content\" = decode(repeat('00ff0a2e7f', 1000003), 'hex')",
    );
    let daemon = site.serve();
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    let body = alice.body("RETR 3");
    assert_eq!(sizes(&mut alice)[2], body.len());
    let text = String::from_utf8(body).unwrap();
    let (_, encoded) = text.rsplit_once("\r\n\r\n").unwrap();
    let encoded: String = encoded
        .lines()
        .take_while(|line| !line.starts_with("--"))
        .collect();
    let decoded = data_encoding::BASE64.decode(encoded.as_bytes()).unwrap();
    assert!(decoded == [0x00, 0xff, 0x0a, 0x2e, 0x7f].repeat(1_000_003));
}

//! Logins with the keys of the suite.

use super::{ALICE, ALICE_ID, ALICES_KEY, BOB, BOB_ID, BOBS_KEY, Site, try_login};
use crate::support::eventually;

const OTHER_KEY: &str = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=";

#[test]
fn the_suites_keys_open_their_users_maildrops_and_nothing_else_does() {
    let Some(site) = Site::new() else { return };
    site.add_key(ALICE_ID, "mail out", OTHER_KEY, r#"["smtp"]"#);
    let daemon = site.serve_with(&[("Pop3__AuthFailureDelay", "0")]);
    for (name, key) in [
        (ALICE, ALICES_KEY),
        // The second time by the verifier that was stored.
        ("ALICE@example.COM", ALICES_KEY),
        ("alice@example.com#Thunderbird", ALICES_KEY),
        (BOB, BOBS_KEY),
    ] {
        let (mut client, reply) = try_login(&daemon, name, key);
        assert!(reply.starts_with("+OK"), "{name}: {reply}");
        client.ok("QUIT");
    }
    let wrong = format!("{}x", &ALICES_KEY[..43]);
    for (name, key) in [
        (ALICE, wrong.as_str()),
        (ALICE, BOBS_KEY),
        (ALICE, OTHER_KEY),
        ("alias@example.com", ALICES_KEY),
        ("alice@example.com#Phone", ALICES_KEY),
        ("nobody@example.com", ALICES_KEY),
    ] {
        let (_, reply) = try_login(&daemon, name, key);
        assert!(reply.starts_with("-ERR [AUTH]"), "{name}: {reply}");
    }
    let stored = "SELECT count(*) FROM restante.key_verifiers";
    assert_eq!(site.text(stored), "2");
    let secret = format!(
        "SELECT count(*) FROM restante.key_verifiers v WHERE v::text LIKE '%{ALICES_KEY}%'"
    );
    assert_eq!(site.text(&secret), "0");
}

#[test]
fn keys_without_a_prefix_are_tried_and_two_users_of_one_address_told_apart_by_their_keys() {
    let Some(site) = Site::new() else { return };
    site.sql("UPDATE \"SmtpApiKeys\" SET \"KeyPrefix\" = NULL");
    site.sql("UPDATE \"Users\" SET \"Email\" = 'Alice@Example.com'");
    let daemon = site.serve();
    let (mut alice, reply) = try_login(&daemon, ALICE, ALICES_KEY);
    assert!(reply.starts_with("+OK"), "{reply}");
    assert!(alice.ok("STAT").starts_with("+OK 3 "));
    let (mut bob, reply) = try_login(&daemon, ALICE, BOBS_KEY);
    assert!(reply.starts_with("+OK"), "{reply}");
    assert!(bob.ok("STAT").starts_with("+OK 1 "));
}

#[test]
fn a_key_that_is_revoked_or_changed_opens_nothing_and_ends_its_sessions() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve_with(&[("Pop3__AuthFailureDelay", "0")]);
    let (mut session, _) = try_login(&daemon, BOB, BOBS_KEY);
    session.ok("NOOP");
    site.sql(&format!(
        "UPDATE \"SmtpApiKeys\" SET \"RevokedAt\" = now() WHERE \"UserId\" = '{BOB_ID}'"
    ));
    let (_, reply) = try_login(&daemon, BOB, BOBS_KEY);
    assert!(reply.starts_with("-ERR [AUTH]"), "{reply}");
    assert!(session.read_to_end().is_empty());
    // A key's verifier is of the hash that it was verified by.
    let (_, reply) = try_login(&daemon, ALICE, ALICES_KEY);
    assert!(reply.starts_with("+OK"), "{reply}");
    let hash = bcrypt::hash(OTHER_KEY, 4).unwrap();
    site.sql(&format!(
        "UPDATE \"SmtpApiKeys\" SET \"KeyHash\" = '{hash}' WHERE \"UserId\" = '{ALICE_ID}'"
    ));
    let (_, reply) = try_login(&daemon, ALICE, ALICES_KEY);
    assert!(reply.starts_with("-ERR [AUTH]"), "{reply}");
}

#[test]
fn a_users_last_use_of_a_key_is_noted_and_never_goes_back() {
    let Some(site) = Site::new() else { return };
    let used =
        format!("SELECT max(\"LastUsedAt\") FROM \"SmtpApiKeys\" WHERE \"UserId\" = '{BOB_ID}'");
    site.sql(&format!(
        "UPDATE \"SmtpApiKeys\" SET \"LastUsedAt\" = '2099-01-01' WHERE \"UserId\" = '{ALICE_ID}'"
    ));
    let mut daemon = site.serve();
    for (name, key) in [(ALICE, ALICES_KEY), (BOB, BOBS_KEY)] {
        try_login(&daemon, name, key).0.ok("QUIT");
    }
    // What is known is written when the server stops.
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    eventually("the last use", || {
        (!site.text(&used).is_empty()).then_some(())
    });
    let years = "SELECT max(extract(year FROM \"LastUsedAt\")) FROM \"SmtpApiKeys\"";
    assert_eq!(site.text(years), "2099");
}

#[test]
fn scram_works_once_a_key_has_been_verified() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve();
    try_login(&daemon, BOB, BOBS_KEY).0.ok("QUIT");
    let verifier = site.text("SELECT verifier FROM restante.key_verifiers");
    assert!(verifier.starts_with("SCRAM-SHA-256$4096:"), "{verifier}");
    let mut client = daemon.connect();
    let scram = crate::scram::Client::new(BOB, BOBS_KEY);
    let proven = scram.log_in(|line| Ok(client.command(line)));
    assert!(proven.unwrap().starts_with("+OK"));
}

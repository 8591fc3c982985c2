//! QUIT: the user's own copy goes, and what others have stays the same.

use super::{
    ALICE, ALICE_ID, ALICES_KEY, BOB, BOB_ID, BOBS_KEY, DOTS, LONG_ID, SAME_ID, Site, hex, sizes,
    try_login, unique_ids,
};
use crate::support::cli::Cli;
use crate::support::eventually;

/// Counts the rows of a table that a condition holds for.
fn count(site: &Site, table: &str, condition: &str) -> String {
    site.text(&format!("SELECT count(*) FROM {table} WHERE {condition}"))
}

#[test]
fn quit_removes_the_users_copy_and_the_last_one_takes_the_mail_with_it() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve();
    let (mut bob, _) = try_login(&daemon, BOB, BOBS_KEY);
    let before = bob.body("RETR 1");
    bob.ok("QUIT");
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    for number in 1..=3 {
        alice.ok(&format!("DELE {number}"));
    }
    assert!(alice.ok("QUIT").contains("3 messages"));
    // Bob has the first one still, to the octet, and the others are gone with their attachments.
    assert_eq!(
        site.text("SELECT string_agg(\"Id\"::text, ' ') FROM \"Emails\""),
        DOTS
    );
    assert_eq!(count(&site, "\"EmailAttachments\"", "true"), "0");
    assert_eq!(count(&site, "\"EmailRecipients\"", "true"), "1");
    let (mut bob, _) = try_login(&daemon, BOB, BOBS_KEY);
    assert_eq!(sizes(&mut bob), [before.len()]);
    assert_eq!(unique_ids(&mut bob), ["m1@sender.example"]);
    assert_eq!(bob.body("RETR 1"), before);
    assert!(
        String::from_utf8(before)
            .unwrap()
            .contains("Alice@Example.com")
    );
    bob.ok("DELE 1");
    bob.ok("QUIT");
    assert_eq!(count(&site, "\"Emails\"", "true"), "0");
}

#[test]
fn what_its_sender_or_a_user_who_is_not_linked_yet_may_see_stays() {
    let Some(site) = Site::new() else { return };
    let sent = "54444444-4444-4444-8444-444444444444";
    let unlinked = "55555555-5555-4555-8555-555555555555";
    site.add_mail(sent, "sent@x", &[("To", ALICE, Some(ALICE_ID))]);
    site.sql(&format!(
        "UPDATE \"Emails\" SET \"SentByUserId\" = '{BOB_ID}' WHERE \"Id\" = '{sent}'"
    ));
    let recipients = [
        ("To", ALICE, Some(ALICE_ID)),
        ("Cc", "BOB@example.com", None),
    ];
    site.add_mail(unlinked, "unlinked@x", &recipients);
    let daemon = site.serve();
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    for number in 1..=5 {
        alice.ok(&format!("DELE {number}"));
    }
    alice.ok("QUIT");
    for id in [DOTS, sent, unlinked] {
        assert_eq!(
            count(&site, "\"Emails\"", &format!("\"Id\" = '{id}'")),
            "1",
            "{id}"
        );
    }
    for id in [SAME_ID, LONG_ID] {
        assert_eq!(
            count(&site, "\"Emails\"", &format!("\"Id\" = '{id}'")),
            "0",
            "{id}"
        );
    }
    let (mut bob, _) = try_login(&daemon, BOB, BOBS_KEY);
    assert!(bob.ok("STAT").starts_with("+OK 2 "));
}

#[test]
fn hidden_mail_is_gone_for_its_user_alone_and_restore_brings_it_back() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve_with(&[("Relate__Delete", "hide")]);
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    let before = unique_ids(&mut alice);
    alice.ok("DELE 1");
    alice.ok("DELE 2");
    assert!(alice.ok("QUIT").contains("2 messages"));
    assert_eq!(count(&site, "\"EmailRecipients\"", "true"), "6");
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    assert_eq!(unique_ids(&mut alice), before[2..]);
    alice.ok("QUIT");
    let (mut bob, _) = try_login(&daemon, BOB, BOBS_KEY);
    assert!(bob.ok("STAT").starts_with("+OK 1 "));
    let hide = |words: &str| {
        let cli = Cli::new(&site.url).env("Relate__Delete", "hide");
        cli.args(words.split(' ')).run().ok()
    };
    let listed = hide(&format!("restore {ALICE} --list --json"));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["messages"], 2);
    let session = listed[0]["session"].as_str().unwrap();
    let restored = hide(&format!("restore {ALICE} --session {session}"));
    assert!(restored.contains("2 messages restored"), "{restored}");
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    assert_eq!(unique_ids(&mut alice), before);
}

#[test]
fn mail_that_the_web_has_deleted_is_told_and_the_session_goes_on() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve();
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    site.sql(&format!("DELETE FROM \"Emails\" WHERE \"Id\" = '{DOTS}'"));
    assert!(alice.command("RETR 1").starts_with("-ERR [SYS/PERM]"));
    alice.ok("RETR 2");
    alice.read_body();
    alice.ok("DELE 1");
    alice.ok("DELE 2");
    assert!(alice.ok("QUIT").starts_with("+OK 1 message"));
}

#[test]
fn nothing_is_deleted_if_the_database_refuses() {
    let Some(site) = Site::new() else { return };
    site.sql(
        "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'injected fault'; END $$; \
         CREATE TRIGGER fault BEFORE DELETE ON \"Emails\" FOR EACH ROW EXECUTE FUNCTION fault()",
    );
    let daemon = site.serve();
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    alice.ok("DELE 1");
    alice.ok("DELE 3");
    assert!(alice.command("QUIT").starts_with("-ERR [SYS/TEMP]"));
    assert_eq!(count(&site, "\"EmailRecipients\"", "true"), "6");
}

#[test]
fn retr_marks_mail_as_read_for_its_user_and_top_does_not() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve();
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    alice.body("TOP 2 10");
    alice.body("RETR 1");
    let read = format!("\"IsRead\" AND \"UserId\" = '{ALICE_ID}'");
    eventually("the mark", || {
        (count(&site, "\"EmailRecipients\"", &read) == "2").then_some(())
    });
    alice.ok("QUIT");
    assert_eq!(count(&site, "\"EmailRecipients\"", "\"IsRead\""), "2");
}

#[test]
fn a_unique_id_is_never_given_twice() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve();
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    let ids = ["m1@sender.example".to_owned(), hex(SAME_ID), hex(LONG_ID)];
    assert_eq!(unique_ids(&mut alice), ids);
    alice.ok("DELE 1");
    alice.ok("QUIT");
    let again = "56666666-6666-4666-8666-666666666666";
    site.add_mail(again, "m1@sender.example", &[("To", ALICE, Some(ALICE_ID))]);
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    assert_eq!(
        unique_ids(&mut alice),
        [hex(SAME_ID), hex(LONG_ID), hex(again)]
    );
}

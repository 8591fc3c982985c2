//! Faults, and others who write while sessions read and delete.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{ALICE, ALICE_ID, ALICES_KEY, BOB, BOB_ID, BOBS_KEY, LONG_ID, Site, try_login};
use crate::support::eventually;
use crate::support::psql::Psql;

/// The recipients of Alice.
const OF_ALICE: &str = "SELECT count(*) FROM \"EmailRecipients\" WHERE \"UserId\" = \
    '11111111-1111-4111-8111-111111111111'";

#[test]
fn mail_that_goes_in_the_middle_of_retr_is_not_passed_for_whole() {
    let Some(site) = Site::new() else { return };
    site.sql(
        "UPDATE \"EmailAttachments\" SET \"Content\" = decode(repeat('00ff0a2e', 8000000), 'hex')",
    );
    let daemon = site.serve();
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    alice.ok("RETR 3");
    site.sql(&format!(
        "DELETE FROM \"Emails\" WHERE \"Id\" = '{LONG_ID}'"
    ));
    let rest = alice.read_to_end();
    assert!(
        rest.len() > 100_000 && rest.len() < 43_000_000,
        "{}",
        rest.len()
    );
    assert!(!rest.ends_with(b"\r\n.\r\n"));
    daemon.wait_for_log("ending=\"storage");
}

#[test]
fn a_server_that_is_killed_in_quit_has_deleted_all_or_nothing() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve();
    let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
    for number in 1..=3 {
        alice.ok(&format!("DELE {number}"));
    }
    // The deletion waits for this lock, in the middle of its transaction.
    let mut holder = Psql::open(&site.url);
    holder.run("BEGIN");
    holder.run(&format!(
        "SELECT 1 FROM \"Emails\" WHERE \"Id\" = '{LONG_ID}' FOR UPDATE"
    ));
    alice.send("QUIT");
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    eventually("the lock", || (site.text(waiting) != "0").then_some(()));
    daemon.kill();
    holder.run("ROLLBACK");
    // Its transaction is either undone or was committed as a whole.
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'restante' \
        AND datname = current_database() AND state <> 'idle'";
    eventually("the end of its transaction", || {
        (site.text(sessions) == "0").then_some(())
    });
    assert_eq!(site.text(OF_ALICE), "4");
}

#[test]
fn the_web_is_not_disturbed_and_disturbs_no_session() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve_with(&[("Pop3__MaxConnectionsPerUser", "20")]);
    let ended = AtomicBool::new(false);
    let id = |number: usize| format!("5bbbbbbb-0000-4000-8000-{number:012}");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..60 {
                let recipients = [("To", ALICE, Some(ALICE_ID)), ("Cc", BOB, Some(BOB_ID))];
                site.add_mail(&id(number), &format!("w{number}@x"), &recipients);
                if number % 5 == 4 {
                    // As the web deletes: for everybody.
                    site.sql(&format!(
                        "DELETE FROM \"Emails\" WHERE \"Id\" = '{}'",
                        id(number - 2)
                    ));
                }
                if number % 20 == 0 {
                    site.add_key(ALICE_ID, &format!("k{number}"), BOBS_KEY, r#"["smtp"]"#);
                    site.sql(
                        "UPDATE \"SmtpApiKeys\" SET \"RevokedAt\" = now() WHERE \"Name\" LIKE 'k%'",
                    );
                }
            }
            ended.store(true, Ordering::Relaxed);
        });
        for (user, key) in [(ALICE, ALICES_KEY), (BOB, BOBS_KEY), (ALICE, ALICES_KEY)] {
            let (ended, daemon) = (&ended, &daemon);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let (mut client, reply) = try_login(daemon, user, key);
                    assert!(reply.starts_with("+OK"), "{reply}");
                    let sizes = super::sizes(&mut client);
                    for (number, size) in (1..).zip(sizes).take(5) {
                        let reply = client.command(&format!("RETR {number}"));
                        if reply.starts_with("+OK") {
                            assert_eq!(client.read_body().len(), size);
                        } else {
                            assert!(reply.starts_with("-ERR [SYS/PERM]"), "{reply}");
                        }
                    }
                    client.command("DELE 1");
                    client.ok("QUIT");
                }
            });
        }
        writer.join().unwrap();
    });
    let orphans = "SELECT count(*) FROM \"Emails\" e WHERE NOT EXISTS \
        (SELECT FROM \"EmailRecipients\" r WHERE r.\"EmailId\" = e.\"Id\" AND r.\"UserId\" IS NOT NULL)";
    assert_eq!(site.text(orphans), "0");
}

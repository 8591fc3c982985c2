//! Transactions that the database aborts in favour of others.

use super::{Psql, Site};
use crate::support::mail::message;
use crate::support::{cli, eventually};

#[test]
fn a_deletion_that_loses_a_deadlock_is_tried_again() {
    let Some(site) = Site::on_postgres(1, 2) else {
        return;
    };
    let node = site.start(&[]);
    let mut client = site.login(&node, 0);
    client.ok("DELE 1");
    client.ok("DELE 2");
    let mut psql = site.psql();
    // So the database aborts the other side of the deadlock.
    psql.run("SET deadlock_timeout = '10min'");
    psql.lock("contents", "true");
    client.send("QUIT");
    site.wait_for_waiting(&mut site.psql(), 1);
    psql.run("SELECT 1 FROM users FOR UPDATE");
    psql.run("COMMIT");
    let reply = client.read_line();
    assert!(reply.starts_with("+OK"), "{reply}");
    assert_eq!(site.count(&node, 0), 0);
}

/// Aborts the next transaction that does this, and no other.
fn break_off_once(psql: &mut Psql, event: &str, table: &str, code: &str) {
    let row = if event == "DELETE" { "OLD" } else { "NEW" };
    psql.run(&format!(
        "DROP SEQUENCE IF EXISTS tries; CREATE SEQUENCE tries; \
         CREATE OR REPLACE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           IF nextval('tries') = 1 THEN RAISE EXCEPTION 'broken off' USING ERRCODE = '{code}'; \
           END IF; RETURN {row}; END $$; \
         CREATE TRIGGER break_off BEFORE {event} ON {table} FOR EACH ROW \
           EXECUTE FUNCTION break_off()"
    ));
}

#[test]
fn whatever_is_broken_off_for_others_is_done_all_the_same() {
    let Some(site) = Site::on_postgres(1, 3) else {
        return;
    };
    let retention = ("Pop3__DeletedRetention", "1d");
    let node = site.start(&[retention]);
    let mut psql = site.psql();
    let file = site.place.folder.path().join("one.eml");
    std::fs::write(&file, "Subject: imported\r\n\r\n").unwrap();
    let import = format!("import u0@example.com {}", file.display());
    for code in ["40001", "40P01"] {
        for (event, table, what) in [
            ("INSERT", "messages", "lmtp"),
            ("INSERT", "chunks", "large"),
            ("INSERT", "messages", "deliver"),
            ("INSERT", "imported_messages", import.as_str()),
            ("INSERT", "deleted_messages", "quit"),
            (
                "DELETE",
                "deleted_messages",
                "restore u0@example.com --since 1h",
            ),
            ("INSERT", "addresses", "user add new@example.com"),
            ("INSERT", "api_keys", "key create new@example.com --name k"),
            ("UPDATE", "users", "user disable new@example.com"),
            (
                "UPDATE",
                "users",
                "user quota new@example.com --octets 1MiB",
            ),
            ("DELETE", "addresses", "remove"),
        ] {
            break_off_once(&mut psql, event, table, code);
            match what {
                "lmtp" | "large" => {
                    let octets = if what == "large" { 3_000_000 } else { 300 };
                    let mut mta = node.mta();
                    mta.to(&[site.address(0)]);
                    let message = message(1, octets);
                    let replies = mta.data(&message, 1);
                    assert!(replies[0].starts_with("250"), "{code} {what}: {replies:?}");
                }
                "deliver" => {
                    let deliver = cli::Cli::new(&site.place.url);
                    let deliver = deliver.args(["deliver", site.address(0)]);
                    deliver.stdin(b"Subject: x\r\n\r\n").run().ok();
                }
                "quit" => {
                    let mut client = site.login(&node, 0);
                    client.ok("DELE 1");
                    let reply = client.command("QUIT");
                    assert!(reply.starts_with("+OK"), "{code} {what}: {reply}");
                }
                "remove" => {
                    let remove = "/api/users/new@example.com";
                    let answer = node.admin.ask("DELETE", remove, "");
                    assert_eq!(answer.status, 204, "{code} {what}: {answer:?}");
                }
                words => drop(cli::run(&site.place.url, words).ok()),
            }
            let tries = psql.run("SELECT last_value FROM tries");
            assert!(
                tries[0].parse::<u32>().unwrap() > 1,
                "{code} {what} was not broken off"
            );
            psql.run(&format!("DROP TRIGGER break_off ON {table}"));
        }
        std::fs::write(&file, "Subject: another\r\n\r\n").unwrap();
    }
}

#[test]
fn garbage_collection_and_quit_do_not_wait_for_each_other() {
    let Some(site) = Site::on_postgres(2, 0) else {
        return;
    };
    let node = site.start(&[]);
    let mut psql = site.psql();
    let mut mta = node.mta();
    let users = [site.address(0), site.address(1)];
    for seed in 0..2 {
        mta.to(&users);
        let replies = mta.data(&message(seed, 300), 2);
        assert!(
            replies.iter().all(|it| it.starts_with("250")),
            "{replies:?}"
        );
    }
    let contents = psql.run("SELECT id FROM contents ORDER BY id");
    let [first, second] = [&contents[0], &contents[1]];
    // User 1 has them in the opposite order.
    psql.run(&format!(
        "UPDATE messages SET content_id = {first} + {second} - content_id WHERE user_id = \
         (SELECT id FROM users WHERE address = 'u1@example.com')"
    ));
    let mut quitting = site.login(&node, 1);
    quitting.ok("DELE 1");
    quitting.ok("DELE 2");
    // Garbage collection has to wait for the second content.
    let mut holding = site.psql();
    holding.run(&format!(
        "BEGIN; SELECT 1 FROM contents WHERE id = {second} FOR KEY SHARE"
    ));
    let mut deleting = site.login(&node, 0);
    deleting.ok("DELE 1");
    deleting.ok("DELE 2");
    deleting.ok("QUIT");
    let waiting = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("garbage collection to come to them", || {
        let left = psql.run("SELECT count(*) FROM deleted_messages");
        (left != ["2"] || psql.run(waiting) != ["0"]).then_some(())
    });
    quitting.send("QUIT");
    eventually("the deletion", || {
        let left = psql.run("SELECT count(*) FROM messages");
        (left == ["0"] || psql.run(waiting)[0].parse::<u32>().unwrap() > 1).then_some(())
    });
    holding.run("COMMIT");
    let reply = quitting.read_line();
    assert!(reply.starts_with("+OK"), "{reply}");
    eventually("all of it to be removed", || {
        let left =
            "SELECT (SELECT count(*) FROM deleted_messages) + (SELECT count(*) FROM contents)";
        (psql.run(left) == ["0"]).then_some(())
    });
    let log = node.daemon.log();
    assert!(
        !log.contains("deadlock") && !log.contains("storage failed"),
        "{log}"
    );
}

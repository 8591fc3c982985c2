//! A maildrop that somebody keeps locked, and everybody else.

use super::{Mta, Site, hold_up, let_go, wait_until_held_up};
use crate::support::daemon::signal;
use crate::support::mail::message;
use crate::support::{cli, eventually};

/// A delivery to these users; each one's reply.
fn send(mta: &mut Mta, users: &[&str], seed: u64) -> Vec<String> {
    mta.to(users);
    mta.data(&message(seed, 500), users.len())
}

fn assert_stored(replies: &[String]) {
    for reply in replies {
        assert!(reply.starts_with("250 2.0.0"), "{replies:?}");
    }
}

#[test]
fn a_locked_maildrop_defers_its_own_copies_and_no_others() {
    let Some(site) = Site::on_postgres(3, 0) else {
        return;
    };
    let node = site.start(&[]);
    let mut psql = site.psql();
    psql.lock("users", "address = 'u0@example.com'");

    // While a delivery waits for the one who is locked, others are not kept waiting.
    let mut waiting = node.mta();
    waiting.to(&[site.address(0), site.address(1)]);
    waiting.expect("DATA", "354");
    waiting.send(b"Subject: both\r\n\r\n.\r\n");
    site.wait_for_waiting(&mut site.psql(), 1);
    assert_stored(&send(&mut node.mta(), &[site.address(1)], 1));
    assert_eq!(
        site.count(&node, 1),
        2,
        "the copy of the first delivery is there too"
    );
    for user in [1, 2] {
        assert_stored(&send(&mut node.mta(), &[site.address(user)], 2));
    }
    let replies = [waiting.read(), waiting.read()];
    assert!(replies[0].starts_with("451 4.2.0"), "{replies:?}");
    assert!(replies[1].starts_with("250 2.0.0"), "{replies:?}");
    assert_eq!(
        node.counted("lmtp_deliveries_total{result=\"locked\"}"),
        1.0
    );
    node.daemon.wait_for_log("keeps the maildrop locked");

    // The MTA sends the one copy again, and it is the only one.
    psql.run("ROLLBACK");
    assert_stored(&send(&mut waiting, &[site.address(0)], 3));
    assert_eq!(site.count(&node, 0), 1);
    assert_eq!(site.count(&node, 1), 3);
    assert_eq!(site.count(&node, 2), 1);
}

#[test]
fn a_copy_that_waits_is_stored_as_soon_as_the_maildrop_is_free() {
    let Some(site) = Site::on_postgres(3, 0) else {
        return;
    };
    let node = site.start(&[]);
    for (seed, octets) in [(1, 500), (2, 3_000_000)] {
        let mut psql = site.psql();
        // All of them, or all but one: then what the copies share is stored already.
        for (locked, copies) in [("true", 1), ("address <> 'u1@example.com'", 2)] {
            psql.lock("users", locked);
            let mut mta = node.mta();
            let users = [site.address(0), site.address(1), site.address(2)];
            mta.to(&users);
            mta.expect("DATA", "354");
            mta.send(&message(seed * 10 + copies, octets));
            mta.send(b".\r\n");
            site.wait_for_waiting(&mut site.psql(), 1);
            psql.run("ROLLBACK");
            let replies: Vec<_> = users.iter().map(|_| mta.read()).collect();
            assert_stored(&replies);
        }
    }
    for user in 0..3 {
        assert_eq!(site.count(&node, user), 4);
    }
    let mut psql = site.psql();
    assert_eq!(psql.run("SELECT count(*) FROM pending_contents"), ["0"]);
}

#[test]
fn a_large_letter_whose_recipients_are_all_locked_leaves_nothing() {
    let Some(site) = Site::on_postgres(2, 0) else {
        return;
    };
    let node = site.start(&[]);
    let mut psql = site.psql();
    psql.lock("users", "true");
    let mut mta = node.mta();
    mta.to(&[site.address(0), site.address(1)]);
    for reply in mta.data(&message(1, 3_000_000), 2) {
        assert!(reply.starts_with("451 4.2.0"), "{reply}");
    }
    psql.run("ROLLBACK");
    eventually("nothing to be left", || {
        let left = "SELECT (SELECT count(*) FROM contents) + (SELECT count(*) FROM chunks) \
            + (SELECT count(*) FROM pending_contents)";
        (psql.run(left) == ["0"]).then_some(())
    });
}

#[test]
fn more_letters_for_locked_maildrops_than_connections_keep_nobody_else_waiting() {
    let Some(site) = Site::on_postgres(6, 1) else {
        return;
    };
    let node = site.start(&[]);
    let mut psql = site.psql();
    psql.lock("users", "address < 'u4'");
    let mut waiting: Vec<_> = (0..24).map(|_| node.mta()).collect();
    for (at, mta) in waiting.iter_mut().enumerate() {
        mta.to(&[site.address(at % 4), site.address(4)]);
        mta.expect("DATA", "354");
        mta.send(b"Subject: both\r\n\r\n.\r\n");
    }
    site.wait_for_waiting(&mut site.psql(), 1);
    assert_stored(&send(&mut node.mta(), &[site.address(5)], 1));
    let mut client = site.login(&node, 5);
    client.ok("DELE 1");
    client.ok("QUIT");
    assert_eq!(site.count(&node, 5), 1);
    for mta in &mut waiting {
        let replies = [mta.read(), mta.read()];
        assert!(replies[0].starts_with("451 4.2.0"), "{replies:?}");
        assert!(replies[1].starts_with("250 2.0.0"), "{replies:?}");
    }
    psql.run("ROLLBACK");
    assert_eq!(site.count(&node, 4), 1 + 24);
}

#[test]
fn deliver_tells_the_mta_to_try_later() {
    let Some(site) = Site::on_postgres(2, 0) else {
        return;
    };
    let mut psql = site.psql();
    psql.lock("users", "address = 'u0@example.com'");
    let deliver = |user| {
        cli::Cli::new(&site.place.url)
            .args(["deliver", site.address(user)])
            .stdin(b"Subject: x\r\n\r\n")
            .run()
    };
    let refused = deliver(0).failed(75);
    assert!(refused.contains("is in use"), "{refused}");
    deliver(1).ok();
}

#[test]
fn a_user_who_is_being_removed_or_deletes_much_delays_nobody_else() {
    let Some(site) = Site::on_postgres(4, 3) else {
        return;
    };
    let node = site.start(&[]);
    let mut psql = site.psql();
    let big = "user_id IN (SELECT id FROM users WHERE address < 'u2')";
    let ids = psql.run(&format!(
        "SELECT DISTINCT user_id FROM messages WHERE {big}"
    ));
    hold_up(
        &mut psql,
        "DELETE",
        "messages",
        &format!("user_id IN ({})", ids.join(",")),
    );

    let mut quitting = site.login(&node, 0);
    quitting.ok("DELE 1");
    quitting.send("QUIT");
    wait_until_held_up(&mut psql);
    // A user is gone at once, although the maildrop can't be emptied yet.
    let removed = node.admin.ask("DELETE", "/api/users/u1@example.com", "");
    assert_eq!(removed.status, 204, "{removed:?}");
    let mut mta = node.mta();
    mta.expect("MAIL FROM:<>", "250");
    mta.expect(&format!("RCPT TO:<{}>", site.address(1)), "550");

    // Everybody else works as ever, and at once.
    assert_stored(&send(
        &mut node.mta(),
        &[site.address(2), site.address(3)],
        1,
    ));
    let mut client = site.login(&node, 2);
    client.body("RETR 1");
    client.ok("DELE 1");
    client.ok("QUIT");
    assert_eq!(site.count(&node, 2), 3);
    // Who is busy may read, and gets mail a little later.
    let mut reading = site.login(&node, 0);
    reading.body("RETR 1");
    let replies = send(&mut node.mta(), &[site.address(0), site.address(3)], 2);
    assert!(replies[0].starts_with("451 4.2.0"), "{replies:?}");
    assert!(replies[1].starts_with("250 2.0.0"), "{replies:?}");

    let_go(&mut psql);
    assert!(quitting.read_line().starts_with("+OK"));
    assert_stored(&send(&mut node.mta(), &[site.address(0)], 3));
    assert_eq!(site.count(&node, 0), 3);
}

#[test]
fn a_frozen_server_keeps_its_locks_for_seconds_and_goes_on_afterwards() {
    let Some(site) = Site::on_postgres(2, 0) else {
        return;
    };
    let [frozen, other] = [site.start(&[]), site.start(&[])];
    let mut psql = site.psql();
    let mut mta = frozen.mta();
    let u0 = psql.run("SELECT id FROM users WHERE address = 'u0@example.com'");
    hold_up(
        &mut psql,
        "INSERT",
        "messages",
        &format!("user_id = {}", u0[0]),
    );
    mta.to(&[site.address(0)]);
    mta.expect("DATA", "354");
    mta.send(b"Subject: frozen\r\n\r\n.\r\n");
    wait_until_held_up(&mut psql);
    signal(frozen.daemon.id(), "STOP");
    let_go(&mut psql);
    // The database has done what it was told, and waits for a server that says nothing.
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND state = 'idle in transaction' AND application_name = 'restante'";
    eventually("the transaction to stand still", || {
        (psql.run(idle) != ["0"]).then_some(())
    });

    let replies = send(&mut other.mta(), &[site.address(0), site.address(1)], 1);
    assert!(replies[0].starts_with("451 4.2.0"), "{replies:?}");
    assert!(replies[1].starts_with("250 2.0.0"), "{replies:?}");
    // Its transaction ends soon.
    eventually("the maildrop to be free", || {
        let replies = send(&mut other.mta(), &[site.address(0)], 2);
        replies[0].starts_with("250 2.0.0").then_some(())
    });
    assert_eq!(site.count(&other, 0), 1);

    // It takes up its work where it was, and nothing is there twice.
    signal(frozen.daemon.id(), "CONT");
    assert!(mta.read().starts_with("250 2.0.0"));
    assert_eq!(site.count(&frozen, 0), 2);
    assert_stored(&send(&mut mta, &[site.address(0), site.address(1)], 3));
    assert_eq!(site.count(&other, 0), 3);
    assert_eq!(site.count(&other, 1), 2);
}

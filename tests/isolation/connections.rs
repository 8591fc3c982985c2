//! Connections to PostgreSQL that wait, break, or are not there.

use super::{Psql, Site};

#[test]
fn quits_that_wait_for_their_maildrops_keep_nobody_else_waiting() {
    const LOCKED: usize = 12;
    let Some(site) = Site::on_postgres(LOCKED + 1, 2) else {
        return;
    };
    let node = site.start(&[]);
    let mut clients: Vec<_> = (0..LOCKED).map(|user| site.login(&node, user)).collect();
    let mut psql = site.psql();
    psql.lock("users", &format!("address <> 'u{LOCKED}@example.com'"));
    for client in &mut clients {
        client.ok("DELE 1");
        client.send("QUIT");
    }
    site.wait_for_waiting(&mut site.psql(), 1);

    // More wait than there are connections. Others read, delete and get mail.
    for _ in 0..2 {
        let mut client = site.login(&node, LOCKED);
        client.body("RETR 1");
        client.ok("DELE 1");
        client.ok("QUIT");
        let mut mta = node.mta();
        mta.to(&[site.address(LOCKED)]);
        assert!(mta.data(b"Subject: x\r\n\r\n", 1)[0].starts_with("250"));
        let made = node.admin.send(
            "POST",
            "/api/users",
            &serde_json::json!({ "address": format!("{}@example.org", restante::identity::new_name()) }),
        );
        assert_eq!(made.status, 201, "{made:?}");
    }
    assert_eq!(node.admin.json("/healthz")["status"], "Healthy");
    // And a user whose maildrop is locked reads.
    site.login(&node, 0).body("RETR 2");

    psql.run("ROLLBACK");
    for client in &mut clients {
        let reply = client.read_line();
        assert!(reply.starts_with("+OK"), "{reply}");
    }
}

#[test]
fn a_quit_that_waits_too_long_says_so_and_deletes_nothing() {
    let Some(site) = Site::on_postgres(1, 1) else {
        return;
    };
    let node = site.start(&[]);
    let mut client = site.login(&node, 0);
    let mut psql = site.psql();
    psql.lock("users", "true");
    client.ok("DELE 1");
    let reply = client.command("QUIT");
    assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
    psql.run("ROLLBACK");
    assert_eq!(site.count(&node, 0), 1);
}

#[test]
fn readers_and_writers_have_connections_of_their_own_as_many_as_the_setting_says() {
    let Some(site) = Site::on_postgres(1, 1) else {
        return;
    };
    for (setting, readers, writers) in [("2", 1, 1), ("5", 3, 2)] {
        let node = site.start(&[("Database__MaxConnections", setting)]);
        let mut psql = site.psql();
        // Every reader waits; then every writer does.
        psql.run("BEGIN; LOCK TABLE api_keys, messages");
        let mut clients: Vec<_> = (0..10).map(|_| node.daemon.connect()).collect();
        for client in &mut clients {
            client.ok(&format!("USER {}", site.address(0)));
            client.send(&format!("PASS {}", site.users[0].1));
        }
        let mut looking = site.psql();
        let open = |looking: &mut Psql| {
            let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name = 'restante'";
            looking.run(open)[0].parse::<usize>().unwrap()
        };
        site.wait_for_waiting(&mut looking, readers);
        assert!(open(&mut looking) <= readers + writers);
        let waiting = node.counted("restante_database_waiting{pool=\"read\"}");
        assert!(waiting >= 1.0, "{waiting}");
        assert!(node.counted("restante_database_waiting{pool=\"write\"}") < 1.0);
        psql.run("ROLLBACK");
        for client in &mut clients {
            // No more than five sessions of one user.
            let reply = client.read_line();
            assert!(
                reply.starts_with("+OK") || reply.contains("IN-USE"),
                "{reply}"
            );
        }
        let waited = node.counted("restante_database_wait_seconds_total{pool=\"read\"}");
        assert!(waited > 0.0, "{waited}");
        assert!(node.counted("restante_database_waiting{pool=\"read\"}") < 1.0);
    }
}

#[test]
fn every_connection_has_limits_and_commits_durably() {
    let Some(site) = Site::on_postgres(1, 0) else {
        return;
    };
    let mut psql = site.psql();
    // What the operator's settings say does not count, where it would lose mail or hang.
    let name = psql.run("SELECT current_database()");
    for value in [
        "synchronous_commit = off",
        "statement_timeout = 0",
        "lock_timeout = 0",
    ] {
        psql.run(&format!("ALTER DATABASE {} SET {value}", name[0]));
    }
    psql.run(
        "CREATE TABLE seen (name text, value text); \
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           INSERT INTO seen SELECT name, setting FROM pg_settings; RETURN NEW; END $$; \
         CREATE TRIGGER look BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION look()",
    );
    let node = site.start(&[]);
    let mut mta = node.mta();
    mta.to(&[site.address(0)]);
    assert!(mta.data(b"Subject: x\r\n\r\n", 1)[0].starts_with("250"));
    let mut seen =
        |name: &str| psql.run(&format!("SELECT value FROM seen WHERE name = '{name}'"))[0].clone();
    assert_eq!(seen("synchronous_commit"), "on");
    assert_eq!(seen("default_transaction_isolation"), "read committed");
    for (name, most) in [
        ("statement_timeout", 29_000),
        ("lock_timeout", 5_000),
        ("idle_in_transaction_session_timeout", 15_000),
        ("tcp_keepalives_idle", 30),
        ("tcp_keepalives_interval", 10),
        ("tcp_keepalives_count", 5),
        ("tcp_user_timeout", 60_000),
    ] {
        let value: u32 = seen(name).parse().unwrap();
        assert!((1..=most).contains(&value), "{name} is {value}");
    }
}

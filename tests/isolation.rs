//! A fault stays where it is: what one maildrop, statement, server or clock does is felt by no other.

mod away;
mod clocks;
mod conflicts;
mod connections;
mod locks;

use std::net::SocketAddr;

use crate::lmtp::Mta;
use crate::support::client::Client;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::http::Http;
use crate::support::mail::{fill, message};
use crate::support::place::Place;
use crate::support::postgres::free_port;
use crate::support::psql::Psql;

/// The token of the admin endpoint.
const TOKEN: &str = "open sesame";

/// The admin endpoint at this port, shown the token.
fn admin_endpoint(port: u16) -> Http {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Http::new(address).with("Authorization", &format!("Bearer {TOKEN}"))
}

/// Servers on one database, with users who have mail.
struct Site {
    place: Place,
    /// The addresses of the users, and their keys.
    users: Vec<(String, String)>,
}

/// One server, with LMTP and the admin endpoint.
struct Node {
    daemon: Daemon,
    lmtp: u16,
    admin: Http,
}

impl Site {
    /// A database of PostgreSQL with so many users, each with so many messages; none if this machine
    /// has no PostgreSQL.
    fn on_postgres(users: usize, messages: usize) -> Option<Self> {
        Some(Self::new(
            crate::support::place::postgres()?,
            users,
            messages,
        ))
    }

    fn new(place: Place, users: usize, messages: usize) -> Self {
        let messages: Vec<_> = (0..messages).map(|n| message(n as u64, 300)).collect();
        let user = |n| {
            let address = format!("u{n}@example.com");
            let key = fill(&place.url, &address, &messages);
            (address, key)
        };
        let users = (0..users).map(user).collect();
        Self { place, users }
    }

    /// Starts a server.
    fn start(&self, settings: &[(&str, &str)]) -> Node {
        let [lmtp, admin] = [free_port(), free_port()];
        let (lmtp_port, admin_port) = (lmtp.to_string(), admin.to_string());
        let mut all = vec![
            ("Lmtp__Port", lmtp_port.as_str()),
            ("Admin__Port", &admin_port),
            ("Admin__Token", TOKEN),
        ];
        all.extend(settings);
        let daemon = Daemon::start_with(&self.place.url, &all);
        daemon.wait_for_log("listening for LMTP");
        Node {
            daemon,
            lmtp,
            admin: admin_endpoint(admin),
        }
    }

    fn psql(&self) -> Psql {
        Psql::open(&self.place.url)
    }

    fn address(&self, user: usize) -> &str {
        &self.users[user].0
    }

    fn login(&self, node: &Node, user: usize) -> Client {
        node.daemon.login(&self.users[user].0, &self.users[user].1)
    }

    /// How many messages a user has.
    fn count(&self, node: &Node, user: usize) -> usize {
        let stat = self.login(node, user).ok("STAT");
        stat.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Waits until this many statements wait for a lock.
    fn wait_for_waiting(&self, psql: &mut Psql, count: usize) {
        let waiting = "SELECT count(*) FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually(&format!("{count} statements to wait"), || {
            (psql.run(waiting)[0].parse::<usize>().unwrap() >= count).then_some(())
        });
    }
}

impl Node {
    fn mta(&self) -> Mta {
        Mta::hello(self.lmtp)
    }

    /// What a metric says; 0 if there is no such series.
    fn counted(&self, series: &str) -> f64 {
        let text = self.admin.get("/metrics").text;
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.map_or(0.0, |value| value.trim().parse().unwrap())
    }
}

/// Makes each statement that changes rows like this wait in the middle of its transaction, until
/// [`let_go`].
fn hold_up(psql: &mut Psql, event: &str, table: &str, rows: &str) {
    let row = if event == "INSERT" { "NEW" } else { "OLD" };
    psql.run(&format!(
        "CREATE TABLE gate (open boolean); \
         CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           WHILE NOT EXISTS (SELECT 1 FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; \
           RETURN {row}; END $$; \
         CREATE TRIGGER hold_up BEFORE {event} ON {table} FOR EACH ROW \
           WHEN ({row}.{rows}) EXECUTE FUNCTION hold_up()"
    ));
}

fn let_go(psql: &mut Psql) {
    psql.run("INSERT INTO gate VALUES (true)");
}

/// Waits until a statement is held up by [`hold_up`].
fn wait_until_held_up(psql: &mut Psql) {
    let held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND wait_event = 'PgSleep'";
    eventually("a statement to be held up", || {
        (psql.run(held)[0] != "0").then_some(())
    });
}

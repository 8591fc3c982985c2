//! Each metric moves by exactly the right amount.

use std::collections::BTreeMap;

use super::Watched;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::http::Http;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::on_each_blocking;

type Series = BTreeMap<String, f64>;

/// All series of a server.
pub(super) fn series(admin: &Http) -> Series {
    let answer = admin.get("/metrics");
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    let lines = answer.text.lines().filter(|line| !line.starts_with('#'));
    let series = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    series.collect()
}

const ENDED: &str = "pop3_sessions_ended_total{ending=\"quit\"}";

/// What is told as it is at that moment, and changes by itself.
const GAUGES: [&str; 3] = [
    "restante_database_connections",
    "restante_database_disk_",
    "restante_database_wal_",
];

/// What has changed, but for how long things took.
fn moved(before: &Series, after: &Series) -> Series {
    let changes = after.iter().filter_map(|(name, value)| {
        let change = value - before.get(name).unwrap_or(&0.0);
        (change != 0.0).then(|| (name.clone(), change))
    });
    changes
        .filter(|(name, _)| !name.contains("_bucket") && !name.contains("_sum"))
        .filter(|(name, _)| GAUGES.iter().all(|gauge| !name.starts_with(gauge)))
        .collect()
}

/// Waits until no session is left, so that everything is counted.
fn settled(admin: &Http) -> Series {
    eventually("no session to be left", || {
        Some(series(admin)).filter(|it| it["pop3_sessions_active"] == 0.0)
    })
}

/// The octets of each line that the client reads.
fn octets(lines: &[&str]) -> usize {
    lines.iter().map(|line| line.len() + 2).sum()
}

fn command(verb: &str) -> String {
    format!("pop3_commands_total{{command=\"{verb}\"}}")
}

fn took(verb: &str) -> String {
    format!("pop3_command_duration_seconds_count{{command=\"{verb}\"}}")
}

#[test]
fn a_session_moves_each_metric_by_what_it_did() {
    on_each_blocking(|place| {
        let messages = [message(1, 300), message(2, 400), message(3, 500)];
        let key = fill(&place.url, ADA, &messages);
        let watched = Watched::start(&place.url, &[]);
        let before = settled(&watched.admin);
        let mut client: Client = watched.daemon.connect();
        eventually("the session to count", || {
            (series(&watched.admin)["pop3_sessions_active"] == 1.0).then_some(())
        });
        let mut sent = client.greeting.len() + 2;
        let mut say = |line: &str| {
            let reply = client.command(line);
            sent += reply.len() + 2;
            reply
        };
        say("USER ada@example.com");
        assert!(say("PASS wrong").starts_with("-ERR [AUTH]"));
        say("USER ada@example.com");
        assert!(say(&format!("PASS {key}")).starts_with("+OK"));
        say("STAT");
        say("NOOP");
        say("XYZZY");
        say("DELE 3");
        say("RSET");
        say("LIST 1");
        say("DELE 1");
        say("DELE 2");
        assert!(say("RETR 2").starts_with("-ERR"));
        let heading = say("RETR 3");
        assert!(heading.starts_with("+OK"), "{heading}");
        let body = client.read_body();
        assert_eq!(body, messages[2]);
        let text = String::from_utf8_lossy(&body).into_owned();
        let stuffed = text.lines().filter(|line| line.starts_with('.')).count();
        sent += body.len() + stuffed + octets(&["."]);
        let quit = client.ok("QUIT");
        sent += quit.len() + 2;
        client.read_to_end();
        eventually("the end to count", || {
            (series(&watched.admin)[ENDED] == 1.0).then_some(())
        });
        let after = settled(&watched.admin);
        #[expect(clippy::cast_precision_loss, reason = "a few thousand octets")]
        let expected: Series = [
            ("USER", 2.0),
            ("PASS", 2.0),
            ("STAT", 1.0),
            ("NOOP", 1.0),
            ("UNKNOWN", 1.0),
            ("DELE", 3.0),
            ("RSET", 1.0),
            ("LIST", 1.0),
            ("RETR", 2.0),
            ("QUIT", 1.0),
        ]
        .map(|(verb, count)| (command(verb), count))
        .into_iter()
        .chain([
            ("pop3_auth_attempts_total".to_owned(), 2.0),
            (
                "pop3_auth_failures_total{reason=\"credentials\"}".to_owned(),
                1.0,
            ),
            ("pop3_login_duration_seconds_count".to_owned(), 2.0),
            (took("RETR"), 1.0),
            (took("QUIT"), 1.0),
            (ENDED.to_owned(), 1.0),
            ("pop3_maildrops_read_total".to_owned(), 1.0),
            ("pop3_messages_retrieved_total".to_owned(), 1.0),
            ("pop3_messages_deleted_total".to_owned(), 2.0),
            ("pop3_bytes_sent_total".to_owned(), sent as f64),
        ])
        .collect();
        assert_eq!(moved(&before, &after), expected);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            after[&format!("restante_build_info{{version=\"{version}\"}}")],
            1.0
        );
        assert!(after["restante_start_time_seconds"] > 1.7e9);
        assert!(after.contains_key("restante_database_connections{pool=\"read\",state=\"idle\"}"));
    });
}

#[test]
fn faults_of_the_database_are_counted() {
    on_each_blocking(|place| {
        let key = fill(&place.url, ADA, &[message(1, 300)]);
        let watched = Watched::start(&place.url, &[]);
        let mut client = watched.daemon.login(ADA, &key);
        client.ok("DELE 1");
        let before = series(&watched.admin);
        crate::support::run(async || {
            let sql = place.sql().await;
            sql.refuse("DELETE", "messages", "id > 0").await;
            assert!(client.command("QUIT").starts_with("-ERR [SYS/TEMP]"));
            sql.allow("messages").await;
        });
        let after = settled(&watched.admin);
        let moved = moved(&before, &after);
        assert_eq!(moved["restante_database_errors_total"], 1.0, "{moved:?}");
        assert_eq!(moved.get("pop3_messages_deleted_total"), None);
    });
}

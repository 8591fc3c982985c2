//! Servers whose clocks differ, and a clock that jumps.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::{Node, Site};
use crate::clients::is_here;
use crate::support::mail::message;
use crate::support::place::sqlite;
use crate::support::{cli, eventually};

const DAY: i64 = 86_400;

/// What makes a program believe another time, which stands in a file. libfaketime does not get on
/// with the allocator that the server brings.
struct FakeTime {
    library: PathBuf,
    file: PathBuf,
}

impl FakeTime {
    /// None if this machine has no C compiler.
    fn new(site: &Site) -> Option<Self> {
        if !is_here("cc") {
            return None;
        }
        let folder = site.place.folder.path();
        let time = Self {
            library: folder.join("fake_clock.so"),
            file: folder.join("time"),
        };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/isolation/fake_clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", source, "-o"]);
        let compiled = compiler.arg(&time.library).status().unwrap();
        assert!(compiled.success());
        time.set(0);
        Some(time)
    }

    /// The clock is ahead by so many seconds.
    fn set(&self, seconds: i64) {
        // A half-written file would be no time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    fn settings(&self) -> [(&str, &str); 2] {
        [
            ("LD_PRELOAD", self.library.to_str().unwrap()),
            ("FAKE_CLOCK", self.file.to_str().unwrap()),
        ]
    }

    fn start(&self, site: &Site, settings: &[(&str, &str)]) -> Node {
        site.start(&[&self.settings(), settings].concat())
    }
}

fn deliver(node: &Node, site: &Site, text: &str) {
    let mut mta = node.mta();
    mta.to(&[site.address(0)]);
    let replies = mta.data(format!("Subject: {text}\r\n\r\n").as_bytes(), 1);
    assert!(replies[0].starts_with("250"), "{replies:?}");
}

#[test]
fn a_server_whose_clock_is_ahead_harms_nobody() {
    let Some(site) = Site::on_postgres(1, 0) else {
        return;
    };
    let Some(time) = FakeTime::new(&site) else {
        return;
    };
    // It looks for broken deliveries every five seconds, which are an hour old.
    time.set(3 * 3600);
    let [ahead, right] = [time.start(&site, &[]), site.start(&[])];
    let mut psql = site.psql();
    let mut mta = right.mta();
    mta.to(&[site.address(0)]);
    mta.expect("DATA", "354");
    let large = message(1, 5_000_000);
    let (begin, end) = large.split_at(2_500_000);
    mta.send(begin);
    eventually("some of it to be stored", || {
        (psql.run("SELECT count(*) FROM pending_contents") != ["0"]).then_some(())
    });
    // The other server has looked twice.
    let rounds = "SELECT COALESCE(SUM(idx_scan + seq_scan), 0) FROM pg_stat_user_tables \
        WHERE relname = 'pending_contents'";
    let before: u64 = psql.run(rounds)[0].parse().unwrap();
    eventually("both servers to look for broken deliveries", || {
        (psql.run(rounds)[0].parse::<u64>().unwrap() > before + 4).then_some(())
    });
    mta.send(end);
    mta.send(b".\r\n");
    let reply = mta.read();
    assert!(reply.starts_with("250"), "{reply}");

    // Mail is in the order in which it came, on both servers.
    for (at, node) in [&ahead, &right, &ahead, &right].into_iter().enumerate() {
        deliver(node, &site, &format!("delivery {at}"));
    }
    let mut client = site.login(&right, 0);
    for at in 0..4 {
        let body = String::from_utf8(client.body(&format!("RETR {}", at + 2))).unwrap();
        assert!(body.contains(&format!("delivery {at}")), "{at}: {body}");
    }
    // A key that works for an hour works on both.
    let create = format!(
        "key create {} --name short --expires-in 1h",
        site.address(0)
    );
    let key = cli::run(&site.place.url, &create).ok();
    for node in [&ahead, &right] {
        node.daemon.login(site.address(0), key.trim());
    }
}

#[test]
fn mail_does_not_expire_by_a_clock_that_jumps() {
    let site = Site::new(sqlite(), 1, 3);
    let Some(time) = FakeTime::new(&site) else {
        return;
    };
    let settings = [
        ("Pop3__ExpireAfter", "30d"),
        ("Pop3__DeletedRetention", "7d"),
    ];
    let node = time.start(&site, &settings);
    let mut client = site.login(&node, 0);
    client.ok("DELE 1");
    client.ok("QUIT");
    let record = || cli::run(&site.place.url, "clock").stdout;
    eventually("the clock to be looked at", || {
        record().contains("was right").then_some(())
    });

    time.set(400 * DAY);
    nothing_expires(&node, &site);
    // A start does not make it right.
    drop(node);
    let node = time.start(&site, &settings);
    nothing_expires(&node, &site);
    // What was deleted is kept, too, and comes back when the clock is right.
    time.set(0);
    node.daemon.wait_for_log("is believed again");
    assert_eq!(node.admin.json("/healthz")["status"], "Healthy");
    let restore = format!("restore {} --since 1d", site.address(0));
    cli::run(&site.place.url, &restore).ok();
    assert_eq!(site.count(&node, 0), 3);

    // What the operator accepts counts, and what expires can be brought back.
    time.set(400 * DAY);
    eventually("the jump to be noticed", || {
        (node.counted("restante_clock_right") < 1.0).then_some(())
    });
    cli::run(&site.place.url, "clock --accept").ok();
    eventually("the mail to expire", || {
        (site.count(&node, 0) == 0).then_some(())
    });
    let list = cli::Cli::new(&site.place.url).args(["restore", site.address(0), "--list"]);
    let list = time
        .settings()
        .into_iter()
        .fold(list, |list, (name, value)| list.env(name, value));
    assert!(list.run().ok().contains("expiry"));
    let restore = ["restore", site.address(0), "--session", "expiry"];
    let restore = cli::Cli::new(&site.place.url).args(restore);
    let restore = time
        .settings()
        .into_iter()
        .fold(restore, |it, (name, value)| it.env(name, value));
    assert_eq!(restore.run().ok(), "3 messages restored\n");
    assert_eq!(site.count(&node, 0), 3);
}

/// While the clock is 400 days ahead.
fn nothing_expires(node: &Node, site: &Site) {
    node.daemon.wait_for_log("has jumped");
    eventually("the health to tell", || {
        let health = node.admin.json("/healthz");
        (health["status"] == "Degraded").then_some(())
    });
    assert!(node.counted("restante_clock_right") < 1.0);
    assert_eq!(site.count(node, 0), 2);
    let told = cli::run(&site.place.url, "clock");
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stdout.contains("+400 days"), "{told:?}");
}

#[test]
fn mail_is_received_by_the_clock_of_the_database() {
    let Some(site) = Site::on_postgres(1, 0) else {
        return;
    };
    let Some(time) = FakeTime::new(&site) else {
        return;
    };
    time.set(-400 * DAY);
    let node = time.start(&site, &[]);
    deliver(&node, &site, "x");
    let mut psql = site.psql();
    let received = psql.run("SELECT received_at_ms FROM messages");
    let received = Duration::from_millis(received[0].parse().unwrap());
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!(now.abs_diff(received) < Duration::from_secs(600));
}

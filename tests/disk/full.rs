//! A disk without room.

use std::net::SocketAddr;

use super::{beside, database};
use crate::lmtp::Mta;
use crate::support::cli::{self, Cli};
use crate::support::daemon::Daemon;
use crate::support::disk::Disk;
use crate::support::eventually;
use crate::support::http::Http;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::{Kind, Place, sqlite};
use crate::support::postgres::free_port;

const KIB: u64 = 1024;

/// A server whose database is on a small disk, with twenty messages of 50 KB for one user.
struct Small {
    daemon: Daemon,
    lmtp: u16,
    admin: Http,
    place: Place,
    key: String,
    disk: Disk,
}

impl Small {
    /// None if no disk can be mounted.
    fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let disk = Disk::mount(24)?;
        let place = Place {
            kind: Kind::Sqlite,
            url: format!("sqlite://{}/restante.db", disk.path().display()),
            folder: tempfile::tempdir().unwrap(),
        };
        let messages: Vec<_> = (0..20).map(|seed| message(seed, 50_000)).collect();
        let key = fill(&place.url, ADA, &messages);
        let [lmtp, admin] = [free_port(), free_port()];
        let small = Self {
            daemon: Self::serve(&place, lmtp, admin, settings),
            lmtp,
            admin: Http::new(SocketAddr::from(([127, 0, 0, 1], admin))),
            place,
            key,
            disk,
        };
        small.wait_for_the_reserve();
        Some(small)
    }

    fn serve(place: &Place, lmtp: u16, admin: u16, settings: &[(&str, &str)]) -> Daemon {
        let [lmtp, admin] = [lmtp, admin].map(|port| port.to_string());
        let mut all = vec![("Lmtp__Port", &*lmtp), ("Admin__Port", &*admin)];
        all.extend(settings);
        Daemon::start_with(&place.url, &all)
    }

    fn stop(&mut self) {
        self.daemon.signal("TERM");
        assert_eq!(self.daemon.wait(), Some(0));
    }

    fn start_again(&mut self) {
        self.daemon = Self::serve(&self.place, self.lmtp, self.admin.address.port(), &[]);
    }

    fn reserved(&self) -> u64 {
        let reserve = beside(&database(&self.place), "-reserve");
        std::fs::metadata(reserve).map_or(0, |reserve| reserve.len())
    }

    fn wait_for_the_reserve(&self) {
        eventually("the reserve", || {
            (self.reserved() >= 24 * KIB * KIB / 16).then_some(())
        });
    }

    /// What is told may be a second old.
    fn wait_for_health(&self, status: &str) {
        let is_so = format!("{{\"status\":\"{status}\"");
        let ask = || self.admin.get("/healthz").text.starts_with(&is_so);
        eventually(&is_so, || ask().then_some(()));
    }

    /// Deletes so many messages.
    fn delete(&self, count: usize) {
        let mut client = self.daemon.login(ADA, &self.key);
        for number in 1..=count {
            client.ok(&format!("DELE {number}"));
        }
        client.ok("QUIT");
    }

    fn has(&self, count: usize) {
        let mut client = self.daemon.login(ADA, &self.key);
        let stat = client.ok("STAT");
        assert!(stat.starts_with(&format!("+OK {count} ")), "{stat}");
        client.ok("QUIT");
    }

    /// The reply to the first recipient of a message.
    fn refused(&self) -> String {
        let mut mta = Mta::hello(self.lmtp);
        mta.expect("MAIL FROM:<eve@example.net>", "250");
        mta.send(format!("RCPT TO:<{ADA}>\r\n").as_bytes());
        mta.read()
    }

    fn deliver(&self, message: &[u8]) -> String {
        let mut mta = Mta::hello(self.lmtp);
        mta.to(&[ADA]);
        mta.data(message, 1).remove(0)
    }
}

#[test]
fn on_a_full_disk_messages_are_deleted_and_mail_waits_with_its_mta() {
    let Some(mut small) = Small::start(&[]) else {
        return;
    };
    small.wait_for_health("Healthy");
    small.disk.fill_but(0);
    let refused = small.refused();
    assert!(refused.starts_with("452 4.3.1 "), "{refused}");
    small.wait_for_health("Degraded");
    for left in [15, 10] {
        small.delete(5);
        small.has(left);
        small.disk.fill_but(0);
    }
    assert!(small.refused().starts_with("452 4.3.1 "));

    // Nobody has made room meanwhile.
    small.stop();
    small.start_again();
    small.has(10);
    small.delete(5);
    small.has(5);
    assert!(small.refused().starts_with("452 4.3.1 "));

    small.disk.empty();
    small.wait_for_the_reserve();
    small.wait_for_health("Healthy");
    assert!(small.deliver(&message(50, 5000)).starts_with("250 "));
    small.has(6);
    let metrics = small.admin.get("/metrics").text;
    assert!(metrics.contains("lmtp_deliveries_total{result=\"no_space\"} 1\n"));
    let free = metrics
        .lines()
        .find_map(|line| line.strip_prefix("restante_database_disk_free_bytes "));
    assert!(free.unwrap().parse::<f64>().unwrap() > 5e6, "{free:?}");
}

/// The write-ahead log does not take more of the reserve with each of them.
#[test]
fn on_a_full_disk_one_session_after_the_other_deletes() {
    let Some(small) = Small::start(&[]) else {
        return;
    };
    for left in (0..20).rev() {
        small.disk.fill_but(0);
        small.delete(1);
        small.has(left);
    }
}

#[test]
fn a_message_for_which_there_is_no_room_leaves_the_reserve_and_the_next_is_stored() {
    let Some(small) = Small::start(&[("Database__MinFreeSpace", "0")]) else {
        return;
    };
    small.disk.fill_but(2000 * KIB);
    for seed in 0..3 {
        let answer = small.deliver(&message(seed, 6_000_000));
        assert!(answer.starts_with("452 4.3.1 "), "{answer}");
        // In one transaction alone.
        let answer = small.deliver(&message(seed, 900_000));
        assert!(
            answer.starts_with("250 ") || answer.starts_with("452 4.3.1 "),
            "{answer}"
        );
    }
    assert!(small.reserved() > 0, "it is not for mail");
    let mut mta = Mta::hello(small.lmtp);
    mta.expect("MAIL FROM:<eve@example.net> SIZE=6000000", "250");
    mta.expect(&format!("RCPT TO:<{ADA}>"), "452 4.3.1 ");
    small.delete(20);
}

#[test]
fn a_server_starts_on_a_disk_that_was_filled_up_while_it_was_stopped() {
    let Some(mut small) = Small::start(&[]) else {
        return;
    };
    for left in [15, 10] {
        small.stop();
        small.disk.fill_but(0);
        small.start_again();
        small
            .daemon
            .wait_for_log("some of the reserve is given up to open it");
        small.wait_for_health("Unhealthy");
        assert!(small.refused().starts_with("452 4.3.1 "));
        small.delete(5);
        small.has(left);
    }
    small.disk.empty();
    small.wait_for_the_reserve();
    small.wait_for_health("Healthy");
    assert!(small.deliver(&message(50, 5000)).starts_with("250 "));
}

#[test]
fn without_a_reserve_a_full_disk_is_named_by_what_can_not_open_the_database() {
    let Some(mut small) = Small::start(&[]) else {
        return;
    };
    small.stop();
    std::fs::remove_file(beside(&database(&small.place), "-reserve")).unwrap();
    small.disk.fill_but(0);
    for command in ["migrate", "user list", "check", "serve"] {
        let outcome = cli::run(&small.place.url, command);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let said = outcome.stdout + &outcome.stderr;
        assert!(
            said.contains("the disk of the database is full: make room there"),
            "{said}"
        );
    }
}

#[test]
fn commands_that_take_no_mail_in_work_on_a_full_disk_and_the_others_leave_the_reserve() {
    const KEPT: [(&str, &str); 1] = [("Pop3__DeletedRetention", "1d")];
    for server_runs in [true, false] {
        let Some(mut small) = Small::start(&KEPT) else {
            return;
        };
        let url = small.place.url.clone();
        let command = |words: &str| cli::run(&url, words);
        small.delete(5);
        for address in ["bob@example.com", "eve@example.com"] {
            command(&format!("user add {address}")).ok();
        }
        let second = command(&format!("key create {ADA} --name second")).ok();
        let source = small.place.folder.path().join("mail.eml");
        std::fs::write(&source, message(77, 700_000)).unwrap();
        if !server_runs {
            small.stop();
        }
        small.disk.fill_but(0);
        let reserved = small.reserved();
        let deliver = Cli::new(&url).args(["deliver", ADA]).stdin(b"no room");
        let why = deliver.run().failed(75);
        assert!(
            why.contains("on the disk of the database") || why.contains("is full"),
            "{why}"
        );
        let import = format!("import {ADA} {}", source.display());
        let why = command(&import).failed(1);
        assert!(why.contains("make room there"), "{why}");
        assert_eq!(small.reserved(), reserved, "it is not for mail");

        let done = |words: &str| {
            let outcome = command(words);
            assert_eq!(outcome.code, Some(0), "{words}: {outcome:?}");
            small.disk.fill_but(0);
        };
        let folder = small.place.folder.path().join("exported");
        done(&format!("export {ADA} {} --format eml", folder.display()));
        done("user remove bob@example.com");
        done("user disable eve@example.com");
        done("key revoke 2");
        done(&format!("restore {ADA} --since 1h"));
        if !server_runs {
            small.start_again();
        }
        small.has(20);
        let mut client = small.daemon.connect();
        client.ok(&format!("USER {ADA}"));
        let answer = client.command(&format!("PASS {}", second.trim()));
        assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
    }
}

#[test]
fn an_import_and_a_delivery_leave_what_is_to_stay_free_and_an_import_goes_on_later() {
    const FREE: u64 = 8 * KIB * KIB;
    let Some(mut small) = Small::start(&[]) else {
        return;
    };
    small.stop();
    small.disk.enlarge(40);
    let source = small.place.folder.path().join("mail");
    std::fs::create_dir(&source).unwrap();
    for seed in 100..160 {
        let file = source.join(format!("{seed}.eml"));
        std::fs::write(file, message(seed, 600_000)).unwrap();
    }
    let command = || {
        let free = FREE.to_string();
        Cli::new(&small.place.url).env("Database__MinFreeSpace", &free)
    };
    let import = || command().args(["import", ADA]).args([&source]).run();
    let why = import().failed(1);
    assert!(why.contains("run it again to go on"), "{why}");
    assert!(why.contains("Database__MinFreeSpace"), "{why}");
    assert!(small.disk.free() >= FREE, "{}", small.disk.free());

    small.disk.fill_but(FREE - KIB * KIB);
    let deliver = |octets| command().args(["deliver", ADA]).stdin(&message(9, octets));
    let why = deliver(100).run().failed(75);
    assert!(why.contains("Database__MinFreeSpace"), "{why}");

    small.disk.enlarge(128);
    let summary = import().stdout;
    let imported: usize = summary.split(' ').next().unwrap().parse().unwrap();
    assert!((1..60).contains(&imported), "{summary}");
    assert!(
        summary.contains(&format!("{} already there", 60 - imported)),
        "{summary}"
    );
    // What arrives is looked at while it arrives, too.
    small.disk.fill_but(30 * KIB * KIB);
    let why = deliver(40_000_000).run().failed(75);
    assert!(why.contains("Database__MinFreeSpace"), "{why}");
    assert!(small.disk.free() >= FREE, "{}", small.disk.free());
    small.start_again();
    small.has(80);
}

/// A quota of the file system looks the same to SQLite: an error that does not say why.
#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk() {
    let place = sqlite();
    let messages: Vec<_> = (0..20).map(|seed| message(seed, 50_000)).collect();
    let key = fill(&place.url, ADA, &messages);
    let lmtp = free_port();
    let daemon = Daemon::start_with(&place.url, &[("Lmtp__Port", &lmtp.to_string())]);
    daemon.limit_size_of_files(4 * KIB * KIB);
    let deliver = |seed| {
        let mut mta = Mta::hello(lmtp);
        mta.to(&[ADA]);
        mta.data(&message(seed, 900_000), 1).remove(0)
    };
    let answers: Vec<_> = (0..10).map(deliver).collect();
    let refused = answers.iter().filter(|it| it.starts_with("452 4.3.1 "));
    let stored = answers.iter().filter(|it| it.starts_with("250 ")).count();
    assert!(refused.count() >= 5, "{answers:?}");
    assert!(
        answers.iter().all(|it| !it.starts_with("451")),
        "{answers:?}"
    );
    let mut client = daemon.login(ADA, &key);
    let stat = client.ok("STAT");
    assert!(stat.starts_with(&format!("+OK {} ", 20 + stored)), "{stat}");
    client.ok("DELE 1");
    client.ok("QUIT");
    assert!(!beside(&database(&place), "-probe").exists());
}

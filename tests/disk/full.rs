//! A disk without room.

use std::net::SocketAddr;

use super::{beside, database};
use crate::lmtp::Mta;
use crate::support::daemon::Daemon;
use crate::support::disk::Disk;
use crate::support::eventually;
use crate::support::http::Http;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::{Kind, Place};
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

    fn restart(&mut self) {
        self.daemon.signal("TERM");
        assert_eq!(self.daemon.wait(), Some(0));
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
    small.restart();
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

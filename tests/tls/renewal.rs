//! Certificates that are renewed while the server runs.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::SystemTime;

use actix::Actor;
use restante::tls::{Renew, RenewalActor};
use tokio_rustls::rustls::HandshakeKind;

use super::authority::{Authority, DAY, mailbox};
use super::clients::{Stage, showing};
use super::{Folder, anybody, load, shake, shown_by, text};
use crate::served::Served;
use crate::support::daemon::Daemon;
use crate::support::postgres::free_port;
use crate::support::{eventually, place, run};

const SESSIONS: usize = 50;

#[test]
fn fifty_sessions_go_on_while_the_certificate_is_renewed() {
    let folder = Folder::new();
    let served = Served::start(place::sqlite(), &[("Pop3__MaxConnectionsPerUser", "50")]);
    let owner = served.owner(&[b"one\r\n".to_vec()]);
    let mut sessions: Vec<_> = (0..SESSIONS).map(|_| served.login_tls(&owner)).collect();
    let file = served.place.folder.path().join("certificate.pem");
    let put = |content: &str| {
        let draft = folder.write("certificate.pem", content);
        std::fs::copy(draft, &file).unwrap();
        served.ask(async |running| running.server().renew_certificates().await);
        shown_by(served.tls)
    };
    let first = shown_by(served.tls);
    let authority = Authority::new("servers");
    let issued = authority.server(&["localhost"]);
    assert_ne!(put(&issued.both()), first);
    assert_eq!(shown_by(served.tls), issued.der());
    // What can't be used changes nothing: half a file, another key, nothing at all.
    let next = authority.server(&["localhost"]);
    for broken in [
        &next.both()[..next.pem.len() + 30],
        &format!("{}{}", next.pem, issued.key),
        "",
    ] {
        assert_eq!(put(broken), issued.der());
    }
    let metrics = served.ask(async |running| running.server().metrics().render().unwrap());
    for line in [
        "pop3_certificate_renewals_total{outcome=\"taken\"} 1",
        "pop3_certificate_renewals_total{outcome=\"refused\"} 3",
        "pop3_certificate_days 89",
    ] {
        assert!(
            metrics.lines().any(|it| it == line),
            "{line} is not in\n{metrics}"
        );
    }
    let known = served.ask(async |running| running.server().certificates());
    assert_eq!(known[0].names, ["localhost"]);
    assert_eq!(put(&next.both()), next.der());
    for session in &mut sessions {
        assert_eq!(session.body("RETR 1"), b"one\r\n");
        session.ok("QUIT");
    }
}

#[test]
fn a_ticket_from_before_a_renewal_saves_nobody_the_check() {
    let stage = Stage::new();
    let list = stage.revoke(&[]);
    let tls = Arc::new(stage.load(&[("Pop3__CrlPath", &list)]).unwrap());
    let client = showing(&stage.authority.client(&[mailbox("ada@example.org")], 1));
    run(async || {
        let renewal = RenewalActor::new(Arc::clone(&tls)).start();
        let shaken = shake(&tls, client.clone(), "localhost").await;
        shaken.take_ticket().await;
        renewal.send(Renew).await.unwrap();
        let shaken = shake(&tls, client.clone(), "localhost").await;
        assert_eq!(shaken.kind(), Some(HandshakeKind::Full));
        shaken.take_ticket().await;
        stage.revoke(&[1]);
        renewal.send(Renew).await.unwrap();
        assert!(shake(&tls, client, "localhost").await.server.is_err());
    });
}

#[test]
fn a_broken_revocation_list_leaves_the_old_one_in_force() {
    let stage = Stage::new();
    let list = stage.revoke(&[1]);
    let tls = Arc::new(stage.load(&[("Pop3__CrlPath", &list)]).unwrap());
    run(async || {
        let renewal = RenewalActor::new(Arc::clone(&tls)).start();
        stage.folder.write("clients.crl", "");
        renewal.send(Renew).await.unwrap();
        for (serial, believed) in [(1, false), (2, true)] {
            let client = stage.authority.client(&[], serial);
            let server = shake(&tls, showing(&client), "localhost").await.server;
            assert_eq!(server.is_ok(), believed);
        }
        assert!(shake(&tls, anybody(), "localhost").await.server.is_ok());
    });
}

#[test]
fn a_renewal_is_taken_up_on_sighup_and_without_it() {
    let (folder, authority) = (Folder::new(), Authority::new("servers"));
    let issued = [1, 2, 3].map(|_| authority.server(&["localhost"]));
    // As certbot does it: a link that changes its target.
    let link = |target: &str| {
        symlink(folder.path(target), folder.path("new")).unwrap();
        std::fs::rename(folder.path("new"), folder.path("live.pem")).unwrap();
    };
    for (number, issued) in issued.iter().enumerate() {
        folder.write(&format!("{number}.pem"), issued.both());
    }
    folder.write("broken.pem", &issued[1].pem);
    link("0.pem");
    let place = place::sqlite();
    let port = free_port();
    let daemon = Daemon::start_with(
        &place.url,
        &[
            ("Pop3__SecurePort", &port.to_string()),
            ("Pop3__CertificatePath", text(&folder.path("live.pem"))),
        ],
    );
    let address = ([127, 0, 0, 1], port).into();
    assert_eq!(shown_by(address), issued[0].der());
    link("1.pem");
    daemon.signal("HUP");
    daemon.wait_for_log("certificates reloaded");
    assert_eq!(shown_by(address), issued[1].der());
    link("broken.pem");
    daemon.signal("HUP");
    let refused = "changed certificates can't be used; the old ones stay in force";
    daemon.wait_for_log(refused);
    assert_eq!(shown_by(address), issued[1].der());
    let log = daemon.log();
    assert!(
        log.contains("live.pem: there is no private key beside it"),
        "{log}"
    );
    // Nobody says that there is a new one.
    link("2.pem");
    eventually("the renewal", || {
        (shown_by(address) == issued[2].der()).then_some(())
    });
    // The broken one was there for long, and was told once.
    assert_eq!(daemon.log().matches(refused).count(), 1);
}

#[test]
fn the_log_warns_of_certificates_that_expire() {
    let (folder, authority) = (Folder::new(), Authority::new("servers"));
    let until = |days: u32| SystemTime::now() + days * DAY + DAY / 2;
    let soon = authority.server_until(&["soon.example.org"], until(13));
    let later = authority.server_until(&["later.example.org"], until(14));
    let gone = authority.server_until(&["gone.example.org"], SystemTime::now() - DAY / 2);
    let [soon, later, gone] = [("soon", soon), ("later", later), ("gone", gone)]
        .map(|(name, issued)| folder.write(&format!("{name}.pem"), issued.both()));
    let place = place::sqlite();
    let paths = format!("{later},{soon},{gone}");
    let daemon = Daemon::start_with(&place.url, &[("Pop3__CertificatePath", &paths)]);
    let log = daemon.log();
    let warning = |what: &str| {
        log.lines()
            .filter(|it| it.contains(what))
            .collect::<Vec<_>>()
    };
    let [expires, expired] = ["expires soon", "has expired"].map(warning);
    assert_eq!((expires.len(), expired.len()), (1, 1), "{log}");
    assert!(
        expires[0].contains(&soon) && expires[0].contains("days=13"),
        "{log}"
    );
    assert!(
        expired[0].contains(&gone) && expired[0].contains("days=-1"),
        "{log}"
    );
    assert!(load(&[("Pop3__CertificatePath", &paths)]).is_ok());
}

#[test]
fn a_session_tells_how_it_is_encrypted() {
    let served = Served::start(place::sqlite(), &[]);
    let mut plain = served.connect();
    let report = served.sessions().remove(0);
    assert_eq!(
        (report.tls, report.tls_version, report.tls_cipher),
        (false, None, None)
    );
    plain.ok("QUIT");
    served.wait_for_sessions(0);
    let _secure = served.connect_tls();
    let report = served.sessions().remove(0);
    assert_eq!((report.tls, report.tls_version), (true, Some("TLS 1.3")));
    assert!(report.tls_cipher.unwrap().contains("AES"));
}

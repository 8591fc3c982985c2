//! Which clients' certificates are believed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::SanType;
use restante::tls::Tls;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind};

use super::authority::{Authority, DAY, Issued, mailbox};
use super::{Anybody, Folder, anybody, load, shake};
use crate::support::{eventually, run};

/// The files of a server that asks clients for certificates.
pub(super) struct Stage {
    pub(super) folder: Folder,
    pub(super) authority: Authority,
    server: String,
    authorities: String,
}

impl Stage {
    pub(super) fn new() -> Self {
        let (folder, authority) = (Folder::new(), Authority::new("clients"));
        let server = Authority::new("servers").server(&["localhost"]);
        Self {
            server: folder.write("server.pem", server.both()),
            authorities: folder.write("authority.pem", &authority.pem),
            folder,
            authority,
        }
    }

    /// Writes a list of what is revoked, good for another day.
    pub(super) fn revoke(&self, serials: &[u64]) -> String {
        let list = self.authority.list(serials, SystemTime::now() + DAY);
        self.folder.write("clients.crl", list)
    }

    pub(super) fn load(&self, settings: &[(&str, &str)]) -> Result<Tls, String> {
        let ours = [
            ("Pop3__CertificatePath", self.server.as_str()),
            ("Pop3__ClientCaPath", &self.authorities),
        ];
        load(&[&ours, settings].concat())
    }
}

/// A client that shows this certificate.
pub(super) fn showing(issued: &Issued) -> ClientConfig {
    let provider = ring::default_provider();
    let verifier = Anybody {
        schemes: provider
            .signature_verification_algorithms
            .supported_schemes(),
        provider: provider.clone(),
    };
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(vec![issued.der()], issued.key_der())
        .unwrap()
}

#[test]
fn a_verified_certificate_tells_its_addresses() {
    let stage = Stage::new();
    let list = stage.revoke(&[9]);
    let tls = stage.load(&[("Pop3__CrlPath", &list)]).unwrap();
    // SmtpUTF8Mailbox, RFC 9598.
    let international =
        SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 9], "zoë@example.org".into()));
    let names = [
        mailbox("ada@example.org"),
        SanType::DnsName("pc.example.org".try_into().unwrap()),
        mailbox("Lovelace@example.org"),
        international,
    ];
    let client = stage.authority.client(&names, 2);
    run(async || {
        let server = shake(&tls, showing(&client), "localhost")
            .await
            .server
            .unwrap();
        assert_eq!(
            server.client_addresses(),
            ["ada@example.org", "Lovelace@example.org", "zoë@example.org"]
        );
        // Nobody must show one.
        let server = shake(&tls, anybody(), "localhost").await.server.unwrap();
        assert!(server.client_addresses().is_empty());
    });
}

#[test]
fn a_certificate_that_is_revoked_foreign_or_expired_is_refused() {
    let stage = Stage::new();
    let list = stage.revoke(&[2]);
    let ada = [mailbox("ada@example.org")];
    let good = stage.authority.client(&ada, 1);
    let revoked = stage.authority.client(&ada, 2);
    let foreign = Authority::new("clients").client(&ada, 1);
    let expired = stage
        .authority
        .server_until(&["ada"], SystemTime::now() - DAY);
    let checking = stage.load(&[("Pop3__CrlPath", &list)]).unwrap();
    let settings = [
        ("Pop3__CrlPath", list.as_str()),
        ("Pop3__CheckCertificateRevocation", "false"),
    ];
    let trusting = stage.load(&settings).unwrap();
    run(async || {
        for (client, checked, trusted) in [
            (&good, true, true),
            (&revoked, false, true),
            (&foreign, false, false),
            (&expired, false, false),
        ] {
            for (tls, believed) in [(&checking, checked), (&trusting, trusted)] {
                let server = shake(tls, showing(client), "localhost").await.server;
                assert_eq!(server.is_ok(), believed, "{:?}", server.err());
            }
        }
    });
}

#[test]
fn without_a_list_that_is_up_to_date_no_client_is_believed() {
    let stage = Stage::new();
    let old = stage.authority.list(&[], SystemTime::now() - DAY);
    let old = stage.folder.write("old.crl", old);
    let foreign = Authority::new("others").list(&[], SystemTime::now() + DAY);
    let foreign = stage.folder.write("foreign.crl", foreign);
    let client = stage.authority.client(&[mailbox("ada@example.org")], 1);
    let current = stage.revoke(&[]);
    run(async || {
        for (lists, believed) in [
            (old.clone(), false),
            (foreign.clone(), false),
            (format!("{foreign},{current}"), true),
        ] {
            let tls = stage.load(&[("Pop3__CrlPath", &lists)]).unwrap();
            let server = shake(&tls, showing(&client), "localhost").await.server;
            assert_eq!(server.is_ok(), believed, "{lists}: {:?}", server.err());
            // Clients without one are not concerned.
            assert!(shake(&tls, anybody(), "localhost").await.server.is_ok());
        }
    });
}

#[test]
fn a_file_may_have_several_lists() {
    let stage = Stage::new();
    let until = SystemTime::now() + DAY;
    let lists = Authority::new("others").list(&[], until) + &stage.authority.list(&[2], until);
    let lists = stage.folder.write("all.crl", lists);
    let tls = stage.load(&[("Pop3__CrlPath", &lists)]).unwrap();
    run(async || {
        for (serial, believed) in [(1, true), (2, false)] {
            let client = stage.authority.client(&[], serial);
            let server = shake(&tls, showing(&client), "localhost").await.server;
            assert_eq!(server.is_ok(), believed);
        }
    });
}

#[test]
fn a_ticket_tells_who_the_client_is() {
    let stage = Stage::new();
    let list = stage.revoke(&[]);
    let tls = stage.load(&[("Pop3__CrlPath", &list)]).unwrap();
    let client = showing(&stage.authority.client(&[mailbox("ada@example.org")], 1));
    run(async || {
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let shaken = shake(&tls, client.clone(), "localhost").await;
            assert_eq!(shaken.kind(), Some(kind));
            let server = shaken.server.as_ref().unwrap();
            assert_eq!(server.client_addresses(), ["ada@example.org"]);
            shaken.take_ticket().await;
        }
    });
}

#[test]
fn a_ticket_is_worth_no_more_than_the_certificate_is_now() {
    let stage = Stage::new();
    let issued = stage.authority.client(&[mailbox("ada@example.org")], 1);
    let mut seconds = 2;
    // The list must last until the first handshake is over, however slow this machine is.
    let (tls, client, end) = loop {
        let end = SystemTime::now() + Duration::from_secs(seconds);
        let list = stage.authority.list(&[], end);
        let list = stage.folder.write("brief.crl", list);
        let tls = stage.load(&[("Pop3__CrlPath", &list)]).unwrap();
        let client = showing(&issued);
        let believed = run(async || {
            let shaken = shake(&tls, client.clone(), "localhost").await;
            let believed = shaken.server.is_ok();
            shaken.take_ticket().await;
            believed
        });
        if believed {
            break (tls, client, end);
        }
        seconds *= 2;
    };
    eventually("the end of the list", || {
        (SystemTime::now() > end).then_some(())
    });
    run(async || {
        let shaken = shake(&tls, client, "localhost").await;
        assert_eq!(shaken.kind(), Some(HandshakeKind::Resumed));
        assert!(shaken.server.is_err());
    });
}

#[test]
fn a_mistake_in_what_is_said_of_clients_is_told() {
    let stage = Stage::new();
    assert_eq!(
        stage.load(&[]).unwrap_err(),
        "Pop3__ClientCaPath is set, so clients' certificates are checked against revocation \
         lists, and there are none: set Pop3__CrlPath to them, or \
         Pop3__CheckCertificateRevocation=false"
    );
    let unchecked = ("Pop3__CheckCertificateRevocation", "false");
    assert!(stage.load(&[unchecked]).is_ok());
    let empty = stage.folder.write("empty.pem", "-----BEGIN NOTHING-----\n");
    let why = stage.load(&[("Pop3__CrlPath", &empty)]).unwrap_err();
    assert!(why.contains(&empty), "{why}");
    let why = stage.load(&[("Pop3__CrlPath", &stage.server)]).unwrap_err();
    let expected = format!(
        "there is no revocation list in {} (Pop3__CrlPath)",
        stage.server
    );
    assert_eq!(why, expected);
    let list = stage.revoke(&[]);
    let settings = [("Pop3__CertificatePath", stage.server.as_str()), unchecked];
    let why = load(&[&settings[..], &[("Pop3__ClientCaPath", &list)]].concat()).unwrap_err();
    let expected =
        format!("there is no certificate of an authority in {list} (Pop3__ClientCaPath)");
    assert_eq!(why, expected);
}

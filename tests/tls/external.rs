//! Clients that log in by the certificate that they show: SASL EXTERNAL.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;

use data_encoding::BASE64;
use rcgen::SanType;
use restante::accounts::Accounts;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use super::authority::{Authority, Issued, mailbox};
use super::clients::showing;
use super::{Folder, anybody};
use crate::served::{Owner, Served};
use crate::support::{DEADLINE, place};

/// A server that believes the certificates of an authority.
struct Stage {
    served: Served,
    authority: Authority,
    _folder: Folder,
}

/// A session inside TLS.
struct Talk(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Stage {
    fn new() -> Self {
        Self::with("")
    }

    /// The same with a domain for names that have none.
    fn with(default_domain: &str) -> Self {
        let (folder, authority) = (Folder::new(), Authority::new("clients"));
        let server = Authority::new("servers").server(&["localhost"]);
        let settings = [
            (
                "Pop3__CertificatePath",
                folder.write("server.pem", server.both()),
            ),
            (
                "Pop3__ClientCaPath",
                folder.write("clients.pem", &authority.pem),
            ),
            ("Pop3__CheckCertificateRevocation", "false".to_owned()),
            ("Pop3__DefaultDomain", default_domain.to_owned()),
        ];
        let settings = settings
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        Self {
            served: Served::start_with_its_own(place::sqlite(), &settings),
            authority,
            _folder: folder,
        }
    }

    fn connect(&self, client: Option<&Issued>) -> Talk {
        let tcp = TcpStream::connect_timeout(&self.served.tls, DEADLINE).unwrap();
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        let config = client.map_or_else(anybody, showing);
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut talk = Talk(BufReader::new(StreamOwned::new(connection, tcp)));
        assert!(talk.line().starts_with("+OK"));
        talk
    }

    fn certify(&self, owners: &[&Owner]) -> Issued {
        let names: Vec<SanType> = owners.iter().map(|it| mailbox(&it.address)).collect();
        self.authority.client(&names, 1)
    }
}

impl Talk {
    fn command(&mut self, line: &str) -> String {
        let sent = format!("{line}\r\n");
        self.0.get_mut().write_all(sent.as_bytes()).unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// What AUTH lists.
    fn mechanisms(&mut self) -> Vec<String> {
        assert!(self.command("AUTH").starts_with("+OK"));
        let lines = std::iter::repeat_with(|| self.line().trim_end().to_owned());
        lines.take_while(|line| line != ".").collect()
    }
}

fn external(name: &str) -> String {
    format!("AUTH EXTERNAL {}", BASE64.encode(name.as_bytes()))
}

#[test]
fn a_certificate_opens_the_maildrop_of_its_address_without_a_key() {
    let stage = Stage::new();
    let ada = stage.served.owner(&[b"one\r\n".to_vec()]);
    let certificate = stage.certify(&[&ada]);
    let named = external(&ada.address.to_uppercase());
    for auth in ["AUTH EXTERNAL =", &named] {
        let mut talk = stage.connect(Some(&certificate));
        assert!(talk.mechanisms().contains(&"EXTERNAL".to_owned()));
        let reply = talk.command(auth);
        assert!(reply.starts_with("+OK "), "{reply}");
        assert_eq!(talk.command("STAT"), "+OK 1 5\r\n");
        let sessions = stage.served.sessions();
        let keys: Vec<_> = sessions.iter().filter_map(|it| it.key.as_deref()).collect();
        assert!(keys.iter().all(|key| *key == "certificate") && !keys.is_empty());
    }
    let mut talk = stage.connect(Some(&certificate));
    assert_eq!(talk.command("AUTH EXTERNAL"), "+ \r\n");
    assert!(talk.command("").starts_with("+OK "));
}

#[test]
fn a_client_says_which_of_the_addresses_of_its_certificate_is_meant() {
    let stage = Stage::new();
    let (ada, bob) = (
        stage.served.owner(&[]),
        stage.served.owner(&[b"b\r\n".to_vec()]),
    );
    let eve = stage.served.owner(&[]);
    let certificate = stage.certify(&[&ada, &bob]);
    let stat = |auth: &str| {
        let mut talk = stage.connect(Some(&certificate));
        let reply = talk.command(auth);
        if reply.starts_with("+OK") {
            talk.command("STAT")
        } else {
            reply
        }
    };
    assert_eq!(stat("AUTH EXTERNAL ="), "+OK 0 0\r\n");
    assert_eq!(stat(&external(&bob.address)), "+OK 1 3\r\n");
    // Any address of a user whom the certificate names will do.
    assert_eq!(stat(&external(&bob.alias)), "+OK 1 3\r\n");
    assert_eq!(stat(&external(&ada.alias.to_uppercase())), "+OK 0 0\r\n");
    for stranger in [&eve.address, &eve.alias] {
        let refused = stat(&external(stranger));
        assert!(refused.starts_with("-ERR [AUTH] "), "{refused}");
    }
}

#[test]
fn a_client_may_leave_out_the_default_domain() {
    let stage = Stage::with("example.com");
    let ada = stage.served.owner(&[b"one\r\n".to_vec()]);
    let certificate = stage.certify(&[&ada]);
    let name = ada.address.split('@').next().unwrap();
    for (name, reply) in [
        (name.to_uppercase(), "+OK "),
        ("stranger".to_owned(), "-ERR [AUTH] "),
    ] {
        let mut talk = stage.connect(Some(&certificate));
        let said = talk.command(&external(&name));
        assert!(said.starts_with(reply), "{name}: {said}");
    }
}

#[test]
fn a_certificate_and_its_user_may_spell_their_domain_differently() {
    let stage = Stage::new();
    stage.served.ask(async |running| {
        let accounts = Accounts::new(running.database.clone());
        accounts.add("ada@b\u{fc}cher.example", &[]).await.unwrap();
    });
    let names = [mailbox("ada@xn--bcher-kva.example")];
    let certificate = stage.authority.client(&names, 1);
    for name in ["Ada@xn--bcher-kva.example", "ada@b\u{fc}cher.example", ""] {
        let mut talk = stage.connect(Some(&certificate));
        let auth = match name {
            "" => "AUTH EXTERNAL =".to_owned(),
            name => external(name),
        };
        let said = talk.command(&auth);
        assert!(said.starts_with("+OK "), "{name}: {said}");
    }
    let sessions = stage.served.sessions();
    assert!(
        sessions
            .iter()
            .all(|it| it.user.as_deref() == Some("ada@b\u{fc}cher.example"))
    );
}

#[test]
fn a_certificate_of_nobody_here_opens_nothing() {
    let stage = Stage::new();
    let ada = stage.served.owner(&[]);
    let stranger = stage
        .authority
        .client(&[mailbox("stranger@example.org")], 1);
    let mut talk = stage.connect(Some(&stranger));
    let reply = talk.command("AUTH EXTERNAL =");
    assert!(reply.starts_with("-ERR [AUTH] "), "{reply}");
    // A client with one may still log in by a key.
    assert!(
        talk.command(&format!("USER {}", ada.address))
            .starts_with("+OK")
    );
    assert!(
        talk.command(&format!("PASS {}", ada.key))
            .starts_with("+OK")
    );
}

#[test]
fn without_a_certificate_external_is_not_offered() {
    let stage = Stage::new();
    let mut talk = stage.connect(None);
    assert!(!talk.mechanisms().contains(&"EXTERNAL".to_owned()));
    assert!(talk.command("AUTH EXTERNAL =").starts_with("-ERR "));
}

//! SCRAM as the client of another library speaks it, which checks the server's own proof, too.

use restante::accounts::{Accounts, KeyOptions, SCOPE_POP3_READ};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS};
use rsasl::prelude::*;
use rsasl::property::{AuthId, Password};

use crate::served::{Owner, Served, Wire};
use crate::support::mail::key_options;
use crate::support::place;

const ONE: &[u8] = b"Subject: one\r\n\r\nfirst\r\n";

const PLUS: &str = "SCRAM-SHA-256-PLUS";
const UNBOUND: &str = "SCRAM-SHA-256";

static MECHANISMS: [Mechanism; 2] = [SCRAM_SHA256_PLUS, SCRAM_SHA256];

/// Who the client is.
struct Credentials {
    name: String,
    key: String,
    bound: bool,
}

impl SessionCallback for Credentials {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        request
            .satisfy::<AuthId>(&self.name)?
            .satisfy::<Password>(self.key.as_bytes())?;
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.bound
    }
}

/// What the client knows of its TLS connection.
struct Channel(Vec<u8>);

impl ChannelBindingCallback for Channel {
    fn get_cb_data(&self, kind: &str) -> Option<&[u8]> {
        (kind == "tls-exporter").then_some(&self.0)
    }
}

/// Logs in; the reply that ends the exchange.
fn log_in(wire: &mut Wire, mechanism: &str, name: &str, key: &str, channel: Vec<u8>) -> String {
    let credentials = Credentials {
        name: name.into(),
        key: key.into(),
        bound: mechanism == PLUS,
    };
    let registry = Registry::with_mechanisms(&MECHANISMS);
    let config = SASLConfig::builder().with_registry(registry);
    let config = config.with_callback(credentials).unwrap();
    let client = SASLClient::with_cb(config, Channel(channel));
    let mechanism = Mechname::parse(mechanism.as_bytes()).unwrap();
    let mut session = client.start_suggested(&[mechanism]).unwrap();
    let mut reply = wire.command(&format!("AUTH {}", mechanism.as_str()));
    assert_eq!(reply, "+ ", "the client speaks first");
    let mut challenge: Option<String> = None;
    loop {
        let mut response = Vec::new();
        let said = challenge.as_ref().map(String::as_bytes);
        let state = session.step64(said, &mut response).unwrap();
        reply = wire.command(std::str::from_utf8(&response).unwrap());
        match reply.strip_prefix("+ ") {
            Some(next) => challenge = Some(next.into()),
            None => {
                let finished = matches!(state, State::Finished(_));
                assert_eq!(finished, reply.starts_with("+OK"), "{reply}");
                return reply;
            }
        }
    }
}

fn served() -> (Served, Owner) {
    let served = Served::start(place::sqlite(), &[]);
    let owner = served.owner(&[ONE.to_vec()]);
    (served, owner)
}

/// A key of this owner that is made with other options than usual.
fn new_key(served: &Served, owner: &Owner, options: KeyOptions) -> String {
    let address = owner.address.clone();
    served.ask(async move |running| {
        let accounts = Accounts::new(running.database.clone());
        accounts.create_key(&address, options).await.unwrap().key
    })
}

#[test]
fn a_client_proves_its_key_in_clear_and_inside_tls() {
    let (served, owner) = served();
    for mut wire in [served.connect(), served.connect_tls()] {
        let reply = log_in(&mut wire, UNBOUND, &owner.address, &owner.key, Vec::new());
        assert!(reply.starts_with("+OK "), "{reply}");
        assert_eq!(wire.body("RETR 1"), ONE);
    }
}

#[test]
fn a_client_binds_its_proof_to_the_channel_that_it_sees() {
    let (served, owner) = served();
    let mut wire = served.connect_tls();
    let channel = wire.exported().to_vec();
    let reply = log_in(&mut wire, PLUS, &owner.address, &owner.key, channel);
    assert!(reply.starts_with("+OK "), "{reply}");
    // Whoever stands between sees two connections, which have not the same octets.
    let mut wire = served.connect_tls();
    let other = served.connect_tls().exported().to_vec();
    let reply = log_in(&mut wire, PLUS, &owner.address, &owner.key, other);
    assert!(reply.starts_with("-ERR [AUTH] "), "{reply}");
}

#[test]
fn a_wrong_key_and_a_user_that_does_not_exist_get_the_same_reply() {
    let (served, owner) = served();
    let other = served.owner(&[]);
    let mut wire = served.connect();
    let wrong = log_in(&mut wire, UNBOUND, &owner.address, &other.key, Vec::new());
    let nobody = log_in(
        &mut wire,
        UNBOUND,
        "nobody@example.com",
        &owner.key,
        Vec::new(),
    );
    assert!(wrong.starts_with("-ERR [AUTH] "), "{wrong}");
    assert_eq!(nobody, wrong);
    let third = log_in(&mut wire, UNBOUND, &owner.address, &other.key, Vec::new());
    assert_eq!(third, wrong);
    assert_eq!(
        wire.read_to_end().unwrap(),
        b"",
        "the third ends the session"
    );
}

#[test]
fn a_name_without_a_domain_is_in_the_default_one() {
    let settings = [("Pop3__DefaultDomain", "Example.com")];
    let served = Served::start(place::sqlite(), &settings);
    let owner = served.owner(&[ONE.to_vec()]);
    let name = owner.address.split('@').next().unwrap();
    for (name, mechanism) in [
        (name.to_owned(), UNBOUND),
        (format!("{name}#test"), UNBOUND),
        (owner.address.clone(), UNBOUND),
        (name.to_owned(), PLUS),
    ] {
        let mut wire = served.connect_tls();
        let channel = wire.exported().to_vec();
        let reply = log_in(&mut wire, mechanism, &name, &owner.key, channel);
        assert!(reply.starts_with("+OK "), "{name}: {reply}");
    }
}

#[test]
fn who_has_several_keys_names_the_one_that_is_meant() {
    let (served, owner) = served();
    let options = KeyOptions {
        scopes: vec![SCOPE_POP3_READ.into()],
        ..key_options("backup")
    };
    let backup = new_key(&served, &owner, options);
    let named = format!("{}#backup", owner.address);
    let mut wire = served.connect();
    let reply = log_in(&mut wire, UNBOUND, &named, &backup, Vec::new());
    assert!(reply.starts_with("+OK "), "{reply}");
    let refused = wire.command("DELE 1");
    assert!(refused.starts_with("-ERR [SYS/PERM] "), "{refused}");
    let mut wire = served.connect();
    let reply = log_in(&mut wire, UNBOUND, &owner.address, &owner.key, Vec::new());
    assert!(reply.starts_with("-ERR [AUTH] "), "{reply}");
}

#[test]
fn where_any_key_opens_any_maildrop_there_is_no_scram() {
    let settings = [("Pop3__RequireAuthentication", "false")];
    let served = Served::start(place::sqlite(), &settings);
    let mut wire = served.connect_tls();
    wire.ok("AUTH");
    assert_eq!(wire.read_body(), b"PLAIN\r\nLOGIN\r\n");
}

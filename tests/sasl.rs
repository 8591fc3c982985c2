//! Logins by SCRAM.

use restante::accounts::{Accounts, KeyOptions, SCOPE_POP3_READ};

use crate::scram::Client;
use crate::served::{Owner, Served};
use crate::support::mail::key_options;
use crate::support::place;

const ONE: &[u8] = b"Subject: one\r\n\r\nfirst\r\n";

fn served() -> (Served, Owner) {
    let served = Served::start(place::sqlite(), &[]);
    let owner = served.owner(&[ONE.to_vec()]);
    (served, owner)
}

#[test]
fn a_client_proves_its_key_in_clear_and_inside_tls() {
    let (served, owner) = served();
    for mut wire in [served.connect(), served.connect_tls()] {
        let reply = Client::new(&owner.address, &owner.key).log_in_on(&mut wire);
        assert!(reply.starts_with("+OK "), "{reply}");
        assert_eq!(wire.body("RETR 1"), ONE);
    }
}

#[test]
fn a_client_binds_its_proof_to_the_channel_that_it_sees() {
    for binding in ["auto", "offer"] {
        let settings = [("Pop3__ChannelBinding", binding)];
        let served = Served::start(place::sqlite(), &settings);
        let owner = served.owner(&[ONE.to_vec()]);
        let client = Client::new(&owner.address, &owner.key);
        let mut wire = served.connect_tls();
        let channel = wire.exported().to_vec();
        let reply = client.clone().bound_to(channel).log_in_on(&mut wire);
        assert!(reply.starts_with("+OK "), "{reply}");
        // A machine in between has two connections, whose octets differ.
        let mut wire = served.connect_tls();
        let other = served.connect_tls().exported().to_vec();
        let reply = client.bound_to(other).log_in_on(&mut wire);
        assert!(reply.starts_with("-ERR [AUTH] "), "{reply}");
    }
}

#[test]
fn a_wrong_key_and_a_user_that_does_not_exist_get_the_same_reply() {
    let (served, owner) = served();
    let other = served.owner(&[]);
    let mut wire = served.connect();
    let wrong = Client::new(&owner.address, &other.key).log_in_on(&mut wire);
    let nobody = Client::new("nobody@example.com", &owner.key).log_in_on(&mut wire);
    assert!(wrong.starts_with("-ERR [AUTH] "), "{wrong}");
    assert_eq!(nobody, wrong);
    let third = Client::new(&owner.address, &other.key).log_in_on(&mut wire);
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
    for (name, is_bound) in [
        (name.to_owned(), false),
        (format!("{name}#test"), false),
        (owner.address.clone(), false),
        (name.to_owned(), true),
    ] {
        let mut wire = served.connect_tls();
        let channel = wire.exported().to_vec();
        let client = Client::new(&name, &owner.key);
        let client = if is_bound {
            client.bound_to(channel)
        } else {
            client
        };
        // As nmh does, which says twice who it is.
        let reply = client.acting_as(&name).log_in_on(&mut wire);
        assert!(reply.starts_with("+OK "), "{name}: {reply}");
    }
}

#[test]
fn who_has_several_keys_proves_any_of_them_and_gets_what_that_one_allows() {
    let (served, owner) = served();
    let options = KeyOptions {
        scopes: vec![SCOPE_POP3_READ.into()],
        ..key_options("backup")
    };
    let backup = served.new_key(&owner, options);
    served.new_key(&owner, key_options("laptop"));
    for name in [&owner.address, &owner.alias] {
        for (key, key_name, may_delete) in [(&owner.key, "test", true), (&backup, "backup", false)]
        {
            let named = format!("{name}#{key_name}");
            for name in [name, &named] {
                let mut wire = served.connect();
                let reply = Client::new(name, key).log_in_on(&mut wire);
                assert!(reply.starts_with("+OK "), "{name}: {reply}");
                let sessions = served.sessions();
                let keys: Vec<_> = sessions.iter().filter_map(|it| it.key.as_deref()).collect();
                assert!(keys.contains(&key_name), "{keys:?}");
                let deleted = wire.command("DELE 1");
                assert_eq!(deleted.starts_with("+OK"), may_delete, "{deleted}");
                let other = if may_delete { "backup" } else { "test" };
                let other = format!("{}#{other}", owner.address);
                let refused = Client::new(&other, key).log_in_on(&mut served.connect());
                assert!(refused.starts_with("-ERR [AUTH] "), "{refused}");
            }
            served.wait_for_sessions(0);
        }
    }
}

#[test]
fn a_key_that_is_not_for_here_or_not_any_more_is_proven_by_nobody() {
    let (served, owner) = served();
    let far = KeyOptions {
        networks: "192.0.2.0/24".parse().unwrap(),
        ..key_options("far")
    };
    let far = served.new_key(&owner, far);
    let revoked = served.new_key(&owner, key_options("revoked"));
    let address = owner.address.clone();
    served.ask(async move |running| {
        let accounts = Accounts::new(running.database.clone());
        let keys = accounts.keys(&address).await.unwrap();
        let revoked = keys.iter().find(|key| key.name == "revoked").unwrap();
        accounts.revoke_key(revoked.id).await.unwrap();
    });
    for key in [&far, &revoked] {
        let reply = Client::new(&owner.address, key).log_in_on(&mut served.connect());
        assert!(reply.starts_with("-ERR [AUTH] "), "{reply}");
    }
    let reply = Client::new(&owner.address, &owner.key).log_in_on(&mut served.connect());
    assert!(reply.starts_with("+OK "), "{reply}");
}

#[test]
fn a_client_acts_as_any_address_of_its_user_and_as_nobody_else() {
    let (served, owner) = served();
    let other = served.owner(&[]);
    let upper = owner.alias.to_uppercase();
    for (identity, good) in [
        (&owner.address, true),
        (&owner.alias, true),
        (&upper, true),
        (&other.address, false),
    ] {
        let client = Client::new(&owner.address, &owner.key).acting_as(identity);
        let reply = client.log_in_on(&mut served.connect());
        let start = if good { "+OK " } else { "-ERR [AUTH] " };
        assert!(reply.starts_with(start), "{identity}: {reply}");
    }
}

#[test]
fn where_any_key_opens_any_maildrop_there_is_no_scram() {
    let settings = [("Pop3__RequireAuthentication", "false")];
    let served = Served::start(place::sqlite(), &settings);
    let mut wire = served.connect_tls();
    wire.ok("AUTH");
    assert_eq!(wire.read_body(), b"PLAIN\r\nLOGIN\r\n");
}

//! Relate's schema stays as it is, and the entities are those of its tables.

use std::process::Command;

use entity::relate::{
    api_key, applied_migration, attachment, composed_mail, email, hidden_mail, key_verifier,
    recipient, scram, unique_id, user, user_address,
};
use sea_orm::EntityTrait;

use super::{ALICE, ALICES_KEY, BOB, BOBS_KEY, Site, try_login};
use crate::support::cli::Cli;
use crate::support::{postgres, run};

/// Returns the schema `public` as `pg_dump` writes it.
fn dump(site: &Site) -> String {
    let dump = Command::new(postgres::program("pg_dump"))
        .args(["--schema-only", "--schema=public", "--dbname", &site.url])
        .output()
        .unwrap();
    assert!(
        dump.status.success(),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
    let text = String::from_utf8(dump.stdout).unwrap();
    // It has a random word in it.
    let is_random =
        |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
    text.lines()
        .filter(|line| !is_random(line))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_suites_schema_is_equal_before_and_after_everything() {
    let Some(site) = Site::new() else { return };
    let before = dump(&site);
    for delete in ["hide", "remove"] {
        let daemon = site.serve_with(&[("Relate__Delete", delete)]);
        let (mut bob, _) = try_login(&daemon, BOB, BOBS_KEY);
        bob.body("RETR 1");
        let (mut alice, _) = try_login(&daemon, ALICE, ALICES_KEY);
        alice.body("RETR 1");
        alice.ok("DELE 1");
        alice.ok("QUIT");
    }
    for command in ["migrate", "check", "user list"] {
        Cli::new(&site.url).args(command.split(' ')).run().ok();
    }
    assert_eq!(dump(&site), before);
}

#[test]
fn every_entity_is_a_table_of_the_database() {
    let Some(site) = Site::new() else { return };
    Cli::new(&site.url).args(["migrate"]).run().ok();
    run(async || {
        let connection = site.connect().await;
        macro_rules! read {
            ($($entity:ident)*) => {$(
                let rows = $entity::Entity::find().all(&connection).await;
                assert!(rows.is_ok(), "{}: {rows:?}", stringify!($entity));
            )*};
        }
        read!(user user_address api_key email recipient attachment applied_migration);
        read!(key_verifier composed_mail unique_id hidden_mail scram);
        connection.close().await.unwrap();
    });
}

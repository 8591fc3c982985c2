//! Whose database it is, before anything is written to it.

use sea_orm::ConnectionTrait;

use super::Site;
use crate::support::cli::Cli;
use crate::support::daemon::Daemon;
use crate::support::place::{postgres, sqlite};

/// Returns the tables of a database on PostgreSQL.
fn tables(site: &Site) -> String {
    site.text(
        "SELECT string_agg(schemaname || '.' || tablename, ' ' ORDER BY schemaname, tablename) FROM pg_tables \
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
}

/// Runs the commands that would make tables; each must refuse with these words.
fn all_refuse(url: &str, settings: &[(&str, &str)], words: &str) {
    for command in ["serve", "migrate", "check", "user list"] {
        let mut cli = Cli::new(url)
            .args(command.split(' '))
            .env("Admin__Port", "0");
        for (name, value) in settings {
            cli = cli.env(name, value);
        }
        let outcome = cli.run();
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(outcome.code != Some(0), "{command}: {said}");
        assert!(said.contains(words), "{command}: {said}");
    }
}

#[test]
fn a_database_of_another_version_is_refused_and_left_alone() {
    let Some(site) = Site::new() else { return };
    let before = tables(&site);
    site.sql("DELETE FROM \"__EFMigrationsHistory\" WHERE \"MigrationId\" LIKE '20260206%'");
    all_refuse(
        &site.url,
        &[],
        "20260131230315_InitialCreate, 20260209000000",
    );
    site.sql(
        "INSERT INTO \"__EFMigrationsHistory\" VALUES ('20260206125502_AddApiKeyPrefix', '1'), \
        ('20270101000000_Next', '11.0.0')",
    );
    all_refuse(&site.url, &[], "20270101000000_Next");
    site.sql("DROP TABLE \"__EFMigrationsHistory\"");
    all_refuse(&site.url, &[], "no history of its schema");
    assert_eq!(
        tables(&site),
        before.replace(" public.__EFMigrationsHistory", "")
    );
}

#[test]
fn tables_of_another_program_are_not_mixed_with_ours_unless_it_is_said() {
    let Some(place) = postgres() else { return };
    let site = Site { url: place.url };
    site.sql("CREATE TABLE invoices (id int)");
    all_refuse(&site.url, &[], "tables of another program (invoices)");
    all_refuse(&site.url, &[("Database__Schema", "relate")], "has invoices");
    assert_eq!(tables(&site), "public.invoices");
    let own = Cli::new(&site.url)
        .args(["migrate"])
        .env("Database__Schema", "own");
    own.run().ok();
    assert!(tables(&site).contains("public.messages"));
    // From now on it is a database of ours, with a table of somebody else beside.
    Cli::new(&site.url)
        .args(["user", "add", "ada@example.com"])
        .run()
        .ok();
}

#[test]
fn a_file_of_another_program_is_not_filled_with_our_tables() {
    let place = sqlite();
    let file = place.url.trim_start_matches("sqlite://").to_owned();
    std::fs::create_dir_all(std::path::Path::new(&file).parent().unwrap()).unwrap();
    crate::support::run(async || {
        let made = sea_orm::Database::connect(format!("{}?mode=rwc", place.url))
            .await
            .unwrap();
        made.execute_unprepared("CREATE TABLE moz_places (id INTEGER)")
            .await
            .unwrap();
        made.close().await.unwrap();
    });
    all_refuse(&place.url, &[], "tables of another program (moz_places)");
}

#[test]
fn the_suites_database_is_served_with_the_suites_settings_alone() {
    let Some(site) = Site::new() else { return };
    let public = tables(&site);
    let daemon = Daemon::start_with(&site.url, &[]);
    daemon.wait_for_log("serving the database of Relate Mail");
    assert!(
        Cli::new(&site.url)
            .args(["check"])
            .run()
            .ok()
            .contains("is a database of Relate Mail")
    );
    drop(daemon);
    let ours = "restante.composed_mails restante.hidden_mails restante.key_verifiers \
        restante.scram restante.seaql_migrations restante.unique_ids";
    assert_eq!(tables(&site), format!("{public} {ours}"));
    assert_eq!(
        site.text("SELECT count(*) FROM \"__EFMigrationsHistory\""),
        "4"
    );
}

//! A database of Relate Mail, served as it is.

mod clients;
mod commands;
mod deleting;
mod faults;
mod logins;
mod mail;
mod recognition;
mod schema;

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use crate::support::client::Client;
use crate::support::daemon::Daemon;
use crate::support::postgres;
use crate::support::run;

/// The tables of the suite.
const SCHEMA: &str = include_str!("relate/schema.sql");

/// A small site in them.
const FIXTURE: &str = include_str!("relate/fixture.sql");

/// The changes of the schema that the suite has applied.
const HISTORY: &str = "INSERT INTO \"__EFMigrationsHistory\" VALUES \
    ('20260131230315_InitialCreate', '10.0.2'), ('20260206125502_AddApiKeyPrefix', '10.0.2'), \
    ('20260209000000_AddEmailVerificationToken', '10.0.2'), \
    ('20260209000000_AddOutboundEmailTables', '10.0.2') ON CONFLICT DO NOTHING";

const ALICE: &str = "alice@example.com";
const ALICE_ID: &str = "11111111-1111-4111-8111-111111111111";
const BOB: &str = "bob@example.com";
const BOB_ID: &str = "22222222-2222-4222-8222-222222222222";

/// The key of Alice's in the fixture.
const ALICES_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A key for Bob.
const BOBS_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// The messages of the fixture.
const DOTS: &str = "51111111-1111-4111-8111-111111111111";
const SAME_ID: &str = "52222222-2222-4222-8222-222222222222";
const LONG_ID: &str = "53333333-3333-4333-8333-333333333333";

/// A database of the suite, with the small site in it.
struct Site {
    url: String,
}

impl Site {
    /// Makes a site; none if this machine has no PostgreSQL.
    fn new() -> Option<Self> {
        let site = Self {
            url: postgres::database()?,
        };
        site.sql(SCHEMA);
        site.sql(HISTORY);
        site.sql(FIXTURE);
        site.add_key(BOB_ID, "laptop", BOBS_KEY, r#"["pop3"]"#);
        Some(site)
    }

    /// Runs statements.
    fn sql(&self, sql: &str) {
        run(async || {
            let connection = self.connect().await;
            connection.execute_unprepared(sql).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    /// Returns the first column of the first row of a query, as text.
    fn text(&self, sql: &str) -> String {
        run(async || {
            let connection = self.connect().await;
            let query = format!("SELECT ({sql})::text AS answer");
            let query = Statement::from_string(connection.get_database_backend(), query);
            let row = connection.query_one_raw(query).await.unwrap().unwrap();
            connection.close().await.unwrap();
            let answer: Option<String> = row.try_get("", "answer").unwrap();
            answer.unwrap_or_default()
        })
    }

    async fn connect(&self) -> DatabaseConnection {
        sea_orm::Database::connect(&self.url).await.unwrap()
    }

    /// Gives a user a key, as the suite stores it.
    fn add_key(&self, user: &str, name: &str, key: &str, scopes: &str) {
        let hash = bcrypt::hash_with_result(key, 4).unwrap();
        let hash = hash.format_for_version(bcrypt::Version::TwoA);
        let prefix: String = key.chars().take(12).collect();
        self.sql(&format!(
            "INSERT INTO \"SmtpApiKeys\" (\"Id\", \"UserId\", \"Name\", \"KeyHash\", \"KeyPrefix\", \
             \"Scopes\", \"CreatedAt\") VALUES (gen_random_uuid(), '{user}', '{name}', '{hash}', \
             '{prefix}', '{scopes}', now())"
        ));
    }

    /// Adds a message to these recipients: type, address, and the user if they are linked.
    fn add_mail(&self, id: &str, message_id: &str, recipients: &[(&str, &str, Option<&str>)]) {
        self.sql(&format!(
            "INSERT INTO \"Emails\" (\"Id\", \"MessageId\", \"FromAddress\", \"Subject\", \
             \"TextBody\", \"ReceivedAt\", \"SizeBytes\") VALUES ('{id}', '{message_id}', \
             'carol@sender.example', 'Another', 'text', now(), 99)"
        ));
        for (kind, address, user) in recipients {
            let user = user.map_or("NULL".to_owned(), |user| format!("'{user}'"));
            self.sql(&format!(
                "INSERT INTO \"EmailRecipients\" (\"Id\", \"EmailId\", \"Address\", \"Type\", \
                 \"UserId\", \"IsRead\") VALUES (gen_random_uuid(), '{id}', '{address}', '{kind}', \
                 {user}, false)"
            ));
        }
    }

    fn serve(&self) -> Daemon {
        Daemon::start(&self.url)
    }

    fn serve_with(&self, settings: &[(&str, &str)]) -> Daemon {
        Daemon::start_with(&self.url, settings)
    }
}

/// Logs in, in any case that the reply allows.
fn try_login(daemon: &Daemon, user: &str, key: &str) -> (Client, String) {
    let mut client = daemon.connect();
    client.ok(&format!("USER {user}"));
    let reply = client.command(&format!("PASS {key}"));
    (client, reply)
}

/// Returns the unique-ids of a maildrop in their order.
fn unique_ids(client: &mut Client) -> Vec<String> {
    let listing = client.body("UIDL");
    let listing = String::from_utf8(listing).unwrap();
    let unique_id = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    listing.lines().map(unique_id).collect()
}

/// Returns the sizes of a maildrop in their order.
fn sizes(client: &mut Client) -> Vec<usize> {
    let listing = String::from_utf8(client.body("LIST")).unwrap();
    let size = |line: &str| line.split_once(' ').unwrap().1.parse().unwrap();
    listing.lines().map(size).collect()
}

/// The id of a row as a unique-id.
fn hex(id: &str) -> String {
    id.replace('-', "")
}

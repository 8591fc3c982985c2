//! `restante key …`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use serde_json::json;

use super::output::{print, print_table};
use crate::accounts::{Accounts, Key, KeyId, KeyOptions, SCOPE_POP3};
use crate::networks::Networks;
use crate::settings::parse_duration;
use crate::store::Database;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print it.
    ///
    /// It is shown this once: only a hash of it is kept.
    Create {
        /// Any address of the user whose maildrop it opens.
        address: String,
        /// What to call it, such as the program that will use it.
        #[arg(long)]
        name: String,
        /// What it may be used for: pop3, or pop3:read for a program that must not delete; may be
        /// repeated.
        #[arg(long = "scope", value_name = "SCOPE", default_value = SCOPE_POP3)]
        scopes: Vec<String>,
        /// How long it works, such as 90d; until it is revoked unless told.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires_in: Option<Duration>,
        /// From where it may be used, such as 192.0.2.0/24; may be repeated. From everywhere unless
        /// told.
        #[arg(long = "network", value_name = "NETWORK", value_parser = networks)]
        networks: Vec<Networks>,
    },
    /// List the keys of a user, and when each was last used.
    List {
        /// Any of the user's addresses.
        address: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key: it opens nothing any more.
    Revoke {
        /// Its number in `restante key list`.
        id: i64,
    },
}

pub(super) async fn run(command: KeyCommand, database: &Database) -> anyhow::Result<ExitCode> {
    let accounts = Accounts::new(database.clone());
    match command {
        KeyCommand::Create {
            address,
            name,
            scopes,
            expires_in,
            networks,
        } => {
            let expires_at = expires_in.map(|lifetime| SystemTime::now() + lifetime);
            let options = KeyOptions {
                name,
                scopes,
                expires_at,
                networks: networks.into_iter().collect(),
            };
            print(&accounts.create_key(&address, options).await?.key)?;
        }
        KeyCommand::List { address, json } => {
            let keys = accounts.keys(&address).await?;
            if json {
                let keys: serde_json::Value = keys.iter().map(as_json).collect();
                print(&format!("{keys:#}"))?;
            } else {
                let rows: Vec<_> = keys.iter().map(as_row).collect();
                print_table(
                    ["ID", "STATE", "SCOPES", "CREATED", "LAST USED", "NAME"],
                    &rows,
                )?;
            }
        }
        KeyCommand::Revoke { id } => accounts.revoke_key(KeyId(id)).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads what is to be at least one network: none would be all of them.
fn networks(text: &str) -> Result<Networks, String> {
    let networks: Networks = text.parse().map_err(|error| format!("{error}"))?;
    if networks.is_empty() {
        return Err("it names no network, and without one the key would work everywhere".into());
    }
    Ok(networks)
}

fn as_json(key: &Key) -> serde_json::Value {
    json!({
        "id": key.id.0,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes.split(' ').collect::<Vec<_>>(),
        "networks": key.networks.split(", ").filter(|it| !it.is_empty()).collect::<Vec<_>>(),
        "state": state(key),
        "created_at": time(key.created_at_ms),
        "last_used_at": key.last_used_at_ms.map(time),
        "expires_at": key.expires_at_ms.map(time),
        "revoked_at": key.revoked_at_ms.map(time),
    })
}

fn as_row(key: &Key) -> [String; 6] {
    [
        key.id.0.to_string(),
        state(key).into(),
        key.scopes.clone(),
        time(key.created_at_ms),
        key.last_used_at_ms.map_or_else(|| "never".into(), time),
        key.name.clone(),
    ]
}

fn state(key: &Key) -> &'static str {
    let now = jiff::Timestamp::now().as_millisecond();
    if key.revoked_at_ms.is_some() {
        "revoked"
    } else if key.expires_at_ms.is_some_and(|at| at <= now) {
        "expired"
    } else {
        "valid"
    }
}

fn time(milliseconds: i64) -> String {
    let time = jiff::Timestamp::from_second(milliseconds.div_euclid(1000));
    time.map_or_else(|_| milliseconds.to_string(), |time| time.to_string())
}

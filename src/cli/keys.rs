//! `restante key …`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::database::Opened;
use super::output::{print, print_table};
use crate::accounts::{KeyOptions, KeyReport, SCOPE_POP3};
use crate::networks::Networks;
use crate::settings::parse_duration;
use crate::store::KeyId;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print it.
    ///
    /// It is shown this once: only a hash of it is kept.
    Create {
        /// Any address of the user whose maildrop it opens.
        address: String,
        /// The name of the key, such as the program that will use it.
        #[arg(long)]
        name: String,
        /// The scope: pop3, or pop3:read for a program that must not delete; may be
        /// repeated.
        #[arg(long = "scope", value_name = "SCOPE", default_value = SCOPE_POP3)]
        scopes: Vec<String>,
        /// The lifetime, such as 90d; by default until the key is revoked.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires_in: Option<Duration>,
        /// A network that it may be used from, such as 192.0.2.0/24; may be repeated. By default,
        /// from everywhere.
        #[arg(long = "network", value_name = "NETWORK", value_parser = Networks::limit)]
        networks: Vec<Networks>,
        /// Make a short key of 27 letters and digits, for a device with a short password field.
        /// It needs --network.
        #[arg(long)]
        short: bool,
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
        id: KeyId,
    },
}

pub(super) async fn run(command: KeyCommand, opened: &Opened) -> anyhow::Result<ExitCode> {
    let accounts = opened.directory();
    match command {
        KeyCommand::Create {
            address,
            name,
            scopes,
            expires_in,
            networks,
            short,
        } => {
            let options = KeyOptions {
                name,
                scopes,
                lifetime: expires_in,
                networks: networks.into_iter().collect(),
                short,
            };
            print(&accounts.create_key(&address, options).await?.key)?;
        }
        KeyCommand::List { address, json } => {
            let keys = accounts.keys(&address).await?;
            let keys: Vec<_> = keys.into_iter().map(KeyReport::from).collect();
            if json {
                print(&format!("{:#}", json!(keys)))?;
            } else {
                let rows: Vec<_> = keys.iter().map(as_row).collect();
                print_table(
                    ["ID", "STATE", "SCOPES", "CREATED", "LAST USED", "NAME"],
                    &rows,
                )?;
            }
        }
        KeyCommand::Revoke { id } => accounts.revoke_key(id).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn as_row(key: &KeyReport) -> [String; 6] {
    let last_used_at = key.last_used_at.clone();
    [
        key.id.to_string(),
        key.state.as_str().into(),
        key.scopes.join(" "),
        key.created_at.clone(),
        last_used_at.unwrap_or_else(|| "never".into()),
        key.name.clone(),
    ]
}

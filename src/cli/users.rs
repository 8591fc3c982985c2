//! `restante user …`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::database::Opened;
use super::output::{print, print_table};
use crate::accounts::{Quota, QuotaChange, UserReport};
use crate::settings::parse_octets;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user.
    Add {
        /// The address that mail reaches them by, and that they log in with, in any case.
        address: String,
        /// A further address that reaches them; may be repeated.
        #[arg(long = "alias", value_name = "ADDRESS")]
        aliases: Vec<String>,
        /// Maximum octets of their mail, such as 1GiB; no limit by default.
        #[arg(long, value_name = "OCTETS", value_parser = parse_octets)]
        quota_octets: Option<u64>,
        /// Maximum number of messages; no limit by default.
        #[arg(long, value_name = "NUMBER")]
        quota_messages: Option<u64>,
    },
    /// Limit how much mail a user may have.
    ///
    /// Mail beyond it is refused when it is delivered. Existing mail stays, and an import is not
    /// refused.
    Quota {
        /// Any of their addresses.
        address: String,
        #[command(flatten)]
        change: Change,
    },
    /// List all users with their maildrops' sizes.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a user with their keys and all their mail.
    Remove {
        /// Any of their addresses.
        address: String,
    },
    /// Keep a user from logging in; mail still arrives.
    Disable {
        /// Any of their addresses.
        address: String,
    },
    /// Let a disabled user log in again.
    Enable {
        /// Any of their addresses.
        address: String,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Change {
    /// Octets, such as 1GiB, or none.
    #[arg(long, value_name = "OCTETS", value_parser = octets_or_none)]
    octets: Option<Limit>,
    /// Messages, or none.
    #[arg(long, value_name = "NUMBER", value_parser = number_or_none)]
    messages: Option<Limit>,
}

/// A number, or no limit.
#[derive(Debug, Clone, Copy)]
struct Limit(Option<u64>);

fn octets_or_none(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    Ok(Limit(Some(parse_octets(text)?)))
}

fn number_or_none(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    let number = text.parse();
    number
        .map(|number| Limit(Some(number)))
        .map_err(|_| "give a number, or none".to_owned())
}

pub(super) async fn run(command: UserCommand, opened: &Opened) -> anyhow::Result<ExitCode> {
    let accounts = opened.directory();
    match command {
        UserCommand::Add {
            address,
            aliases,
            quota_octets: octets,
            quota_messages: messages,
        } => {
            let quota = Quota { octets, messages };
            accounts.add(&address, &aliases, quota).await?;
        }
        UserCommand::Quota { address, change } => {
            let change = QuotaChange {
                octets: change.octets.map(|Limit(octets)| octets),
                messages: change.messages.map(|Limit(messages)| messages),
            };
            accounts.set_quota(&address, change).await?;
        }
        UserCommand::List { json } => {
            let users = accounts.users().await?;
            let users: Vec<_> = users.into_iter().map(UserReport::from).collect();
            if json {
                print(&format!("{:#}", json!(users)))?;
            } else {
                let rows: Vec<_> = users.iter().map(as_row).collect();
                let headings = ["ADDRESS", "STATE", "MESSAGES", "OCTETS", "QUOTA", "ALIASES"];
                print_table(headings, &rows)?;
            }
        }
        UserCommand::Remove { address } => {
            let user = accounts.remove(&address).await?;
            if let Opened::Own(database) = opened {
                database.finish_removal(user).await?;
            }
        }
        UserCommand::Disable { address } => accounts.set_disabled(&address, true).await?,
        UserCommand::Enable { address } => accounts.set_disabled(&address, false).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn as_row(user: &UserReport) -> [String; 6] {
    let state = if user.disabled { "disabled" } else { "enabled" };
    [
        user.address.clone(),
        state.into(),
        user.messages.to_string(),
        user.octets.to_string(),
        shown(user.quota),
        user.aliases.join(" "),
    ]
}

fn shown(quota: Quota) -> String {
    let messages = quota.messages.map(|limit| format!("{limit} messages"));
    let octets = quota.octets.map(|limit| format!("{limit} octets"));
    let limits: Vec<_> = messages.into_iter().chain(octets).collect();
    if limits.is_empty() {
        "none".into()
    } else {
        limits.join(", ")
    }
}

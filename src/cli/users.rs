//! `restante user …`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::output::{print, print_table};
use crate::accounts::{Accounts, UserReport};
use crate::store::Database;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user.
    Add {
        /// Where mail reaches them, and how they log in; the case does not matter.
        address: String,
        /// A further address that reaches them; may be repeated.
        #[arg(long = "alias", value_name = "ADDRESS")]
        aliases: Vec<String>,
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

pub(super) async fn run(command: UserCommand, database: &Database) -> anyhow::Result<ExitCode> {
    let accounts = Accounts::new(database.clone());
    match command {
        UserCommand::Add { address, aliases } => {
            accounts.add(&address, &aliases).await?;
        }
        UserCommand::List { json } => {
            let users = accounts.list().await?;
            let users: Vec<_> = users.into_iter().map(UserReport::from).collect();
            if json {
                print(&format!("{:#}", json!(users)))?;
            } else {
                let rows: Vec<_> = users.iter().map(as_row).collect();
                print_table(["ADDRESS", "STATE", "MESSAGES", "OCTETS", "ALIASES"], &rows)?;
            }
        }
        UserCommand::Remove { address } => accounts.remove(&address).await?,
        UserCommand::Disable { address } => accounts.set_disabled(&address, true).await?,
        UserCommand::Enable { address } => accounts.set_disabled(&address, false).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn as_row(user: &UserReport) -> [String; 5] {
    let state = if user.disabled { "disabled" } else { "enabled" };
    [
        user.address.clone(),
        state.into(),
        user.messages.to_string(),
        user.octets.to_string(),
        user.aliases.join(" "),
    ]
}

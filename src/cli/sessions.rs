//! `restante sessions`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::output::{print, print_table};
use crate::settings::Config;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Sessions {
    /// Only those of this user.
    #[arg(long, value_name = "ADDRESS")]
    user: Option<String>,
    /// Only those of clients at this address, or in this network.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Only those in this state: authorization, transaction or update.
    #[arg(long)]
    state: Option<String>,
    /// Only those of this protocol: pop3 or lmtp.
    #[arg(long)]
    protocol: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<SessionsCommand>,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// End a session without committing its deletions or storing its message.
    Kill {
        /// Its ID in the list.
        id: String,
    },
}

pub(super) fn run(command: &Sessions, config: &Config) -> anyhow::Result<ExitCode> {
    let endpoint = Endpoint::new(config)?;
    if let Some(SessionsCommand::Kill { id }) = &command.command {
        let answer = endpoint.delete(&format!("/api/sessions/{}", encoded(id)))?;
        anyhow::ensure!(answer.status.is_success(), answer.problem());
        return Ok(ExitCode::SUCCESS);
    }
    let state = command.state.as_ref().map(|state| state.to_uppercase());
    let filters = [
        ("user", &command.user),
        ("address", &command.address),
        ("state", &state),
        ("protocol", &command.protocol),
    ];
    let filters = filters.into_iter().filter_map(|(name, value)| {
        let value = value.as_ref()?;
        Some(format!("{name}={}", encoded(value)))
    });
    let query: Vec<String> = filters.collect();
    let answer = endpoint.get(&format!("/api/sessions?{}", query.join("&")))?;
    anyhow::ensure!(answer.status.is_success(), answer.problem());
    let sessions = answer.body.get("sessions").and_then(Value::as_array);
    let sessions = sessions.map_or(&[][..], Vec::as_slice);
    if command.json {
        print(&format!("{:#}", Value::from(sessions)))?;
    } else {
        let heading = [
            "ID",
            "PROTOCOL",
            "USER",
            "PEER",
            "STATE",
            "TLS",
            "COMMAND",
            "SINCE",
            "MESSAGES",
            "DELETED",
            "OCTETS SENT",
        ];
        let rows: Vec<_> = sessions.iter().map(as_row).collect();
        print_table(heading, &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_row(session: &Value) -> [String; 11] {
    const FIELDS: [&str; 11] = [
        "id",
        "protocol",
        "user",
        "peer",
        "state",
        "tls",
        "last_command",
        "connected_at",
        "messages",
        "deleted",
        "octets_sent",
    ];
    FIELDS.map(|field| match session.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(other @ (Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    })
}

fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

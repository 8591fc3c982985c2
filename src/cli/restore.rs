//! `restante restore`: brings back what a session has deleted, or what has expired.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgGroup;
use serde_json::json;

use super::output::{print, print_table};
use crate::accounts::Accounts;
use crate::settings::parse_duration;
use crate::store::{Database, RestoreSelector};

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("what").required(true).args(["session", "since", "list"]))]
pub(super) struct Restore {
    /// Any address of the user.
    address: String,
    /// All that this session has deleted; its id is in the log and at the admin endpoint. "expiry"
    /// stands for what has expired.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// All that was deleted or has expired within so long, such as 2h.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    since: Option<Duration>,
    /// Only list the sessions whose deletions can be brought back.
    #[arg(long)]
    list: bool,
    /// Print the list as JSON.
    #[arg(long, conflicts_with_all = ["session", "since"])]
    json: bool,
}

pub(super) async fn run(command: Restore, database: &Database) -> anyhow::Result<ExitCode> {
    let user = Accounts::new(database.clone())
        .find(&command.address)
        .await?;
    if let Some(session) = &command.session {
        let restored = database
            .restore(user, RestoreSelector::Session(session))
            .await?;
        anyhow::ensure!(
            restored > 0,
            "nothing is kept that session {session:?} of {} has deleted; \
             \"restante restore {} --list\" tells what is (Pop3__DeletedRetention must have been \
             set before the QUIT)",
            command.address,
            command.address
        );
        print(&format!("{restored} messages restored"))?;
    } else if let Some(since) = command.since {
        let restored = database
            .restore(user, RestoreSelector::Since(since))
            .await?;
        anyhow::ensure!(
            restored > 0,
            "nothing is kept that {} has deleted in that time; \
             \"restante restore {} --list\" tells what is",
            command.address,
            command.address
        );
        print(&format!("{restored} messages restored"))?;
    } else {
        list(database.deletions(user).await?, command.json)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(deletions: Vec<crate::store::DeletedBySession>, as_json: bool) -> std::io::Result<()> {
    let time = crate::accounts::format_time;
    if as_json {
        let deletions = deletions.iter().map(|it| {
            json!({
                "session": it.session,
                "messages": it.messages,
                "deleted_at": time(it.deleted_at_ms),
                "kept_until": time(it.kept_until_ms),
            })
        });
        return print(&format!("{:#}", json!(deletions.collect::<Vec<_>>())));
    }
    let row = |it: crate::store::DeletedBySession| {
        let (deleted, kept) = (time(it.deleted_at_ms), time(it.kept_until_ms));
        [it.session, it.messages.to_string(), deleted, kept]
    };
    let rows: Vec<_> = deletions.into_iter().map(row).collect();
    print_table(["SESSION", "MESSAGES", "DELETED", "KEPT UNTIL"], &rows)
}

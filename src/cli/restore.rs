//! `restante restore`: brings back what a session has deleted, or what has expired.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgGroup;
use serde_json::json;

use super::database::Opened;
use super::output::{print, print_table};
use crate::settings::parse_duration;
use crate::store::{DeletedBySession, RestoreSelector, StoreError, UserId};

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

pub(super) async fn run(command: Restore, opened: &Opened) -> anyhow::Result<ExitCode> {
    let user = opened.directory().find(&command.address).await?;
    if let Some(session) = &command.session {
        let restored = restore(opened, user, RestoreSelector::Session(session)).await?;
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
        let restored = restore(opened, user, RestoreSelector::Since(since)).await?;
        anyhow::ensure!(
            restored > 0,
            "nothing is kept that {} has deleted in that time; \
             \"restante restore {} --list\" tells what is",
            command.address,
            command.address
        );
        print(&format!("{restored} messages restored"))?;
    } else {
        list(deletions(opened, user).await?, command.json)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn restore(
    opened: &Opened,
    user: UserId,
    which: RestoreSelector<'_>,
) -> Result<u64, StoreError> {
    match opened {
        Opened::Own(database) => database.restore(user, which).await,
        Opened::Relate(store) => store.restore(user, which).await,
    }
}

async fn deletions(opened: &Opened, user: UserId) -> Result<Vec<DeletedBySession>, StoreError> {
    match opened {
        Opened::Own(database) => database.deletions(user).await,
        Opened::Relate(store) => store.deletions(user).await,
    }
}

fn list(deletions: Vec<DeletedBySession>, as_json: bool) -> std::io::Result<()> {
    let time = crate::accounts::format_time;
    if as_json {
        let deletions = deletions.iter().map(|it| {
            json!({
                "session": it.session,
                "messages": it.messages,
                "deleted_at": time(it.deleted_at_ms),
                "kept_until": kept_until(it.kept_until_ms),
            })
        });
        return print(&format!("{:#}", json!(deletions.collect::<Vec<_>>())));
    }
    let row = |it: DeletedBySession| {
        let (deleted, kept) = (time(it.deleted_at_ms), kept_until(it.kept_until_ms));
        let kept = kept.unwrap_or_else(|| "restored".into());
        [it.session, it.messages.to_string(), deleted, kept]
    };
    let rows: Vec<_> = deletions.into_iter().map(row).collect();
    print_table(["SESSION", "MESSAGES", "DELETED", "KEPT UNTIL"], &rows)
}

/// Returns the time until which a message can be restored; none if that has no end.
fn kept_until(milliseconds: i64) -> Option<String> {
    (milliseconds < i64::MAX).then(|| crate::accounts::format_time(milliseconds))
}

//! `restante clock`: the clock by which mail expires.

use std::process::ExitCode;

use serde_json::json;

use super::output::print;
use crate::accounts::format_time;
use crate::store::{Database, shown_days};

/// The reason why a database of Relate Mail has no such clock.
pub(super) const ELSEWHERE: &str =
    "this is a database of Relate Mail, where nothing expires by Restante's clock";

#[derive(Debug, clap::Args)]
pub(super) struct Clock {
    /// Take the clock for right as it is now. What is due by it expires within seconds.
    #[arg(long)]
    accept: bool,
    /// Print JSON.
    #[arg(long, conflicts_with = "accept")]
    json: bool,
}

pub(super) async fn run(command: &Clock, database: &Database) -> anyhow::Result<ExitCode> {
    if command.accept {
        database.accept_clock().await?;
        print("the clock of the database is trusted from now on")?;
        return Ok(ExitCode::SUCCESS);
    }
    let record = database.clock_record().await?;
    let jumped_by_ms = record.as_ref().map_or(0, |record| record.jumped_by_ms);
    let right_at = record
        .as_ref()
        .map(|record| format_time(record.right_at_ms));
    if command.json {
        let report = json!({
            "jumped_by_ms": jumped_by_ms,
            "right_at": right_at,
        });
        print(&format!("{report:#}"))?;
    } else {
        print(&match right_at {
            None => "no server has looked at the clock of the database yet".to_owned(),
            Some(at) if jumped_by_ms == 0 => {
                format!("the clock of the database was right when it said {at}")
            }
            Some(at) => format!(
                "the clock of the database has jumped by {}, after it said {at}: nothing expires; \
                 set it, or run \"restante clock --accept\" if it is right now",
                shown_days(jumped_by_ms)
            ),
        })?;
    }
    Ok(if jumped_by_ms == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(super::FAILED)
    })
}

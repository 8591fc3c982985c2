//! `restante health`.

use std::process::ExitCode;

use serde_json::Value;

use super::FAILED;
use super::endpoint::Endpoint;
use super::output::{print, print_table};
use crate::settings::Config;

pub(super) fn run(json: bool, config: &Config) -> anyhow::Result<ExitCode> {
    let answer = Endpoint::without_token(config)?.get("/healthz")?;
    let status = text(&answer.body, "status");
    let checks = answer.body.get("checks").and_then(Value::as_array);
    let Some(checks) = checks else {
        return Err(answer.problem());
    };
    if json {
        print(&format!("{:#}", answer.body))?;
    } else {
        let columns = ["name", "status", "duration", "description"];
        let row = |check: &Value| {
            columns.map(|column| match column {
                "duration" => milliseconds(check, column),
                _ => text(check, column),
            })
        };
        let mut rows: Vec<_> = checks.iter().map(row).collect();
        rows.push([
            "all".to_owned(),
            status,
            milliseconds(&answer.body, "totalDuration"),
            String::new(),
        ]);
        print_table(["CHECK", "STATUS", "DURATION", "DESCRIPTION"], &rows)?;
    }
    Ok(if answer.status.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn text(value: &Value, field: &str) -> String {
    let text = value.get(field).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn milliseconds(value: &Value, field: &str) -> String {
    let duration = value.get(field).and_then(Value::as_f64);
    duration.map_or_else(String::new, |duration| format!("{duration:.1} ms"))
}

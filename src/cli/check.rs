//! `restante check`: checks what the server needs. It starts nothing and changes nothing.

mod certificate;
mod listeners;
mod machine;
mod storage;

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::output::print;
use crate::settings::{Config, Loaded};
use crate::telemetry::Collector;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// In order.
    Ok,
    /// The server starts, but a part of it may not do what is expected.
    Warning,
    /// The server does not start, or not all of it works.
    Problem,
}

/// The result of one check.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// The part that was checked, for programs: `settings`, `pop3`, `database`…
    about: &'static str,
    /// The result.
    message: String,
    /// The fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(about: &'static str, message: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            about,
            message: message.into(),
            fix: None,
        }
    }

    fn warning(about: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            fix: Some(fix.into()),
            ..Self::ok(about, message)
        }
    }

    fn problem(about: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(about, message, fix)
        }
    }
}

/// Runs all checks and prints their results; the exit status says whether there is a problem.
pub(super) async fn run(file: Option<&Path>, as_json: bool) -> anyhow::Result<ExitCode> {
    let findings = match Config::load(file, std::env::vars_os()) {
        Ok(loaded) => {
            let mut findings = settings(&loaded, file);
            findings.extend(listeners::check(&loaded.config));
            if loaded.config.pop3.enabled {
                findings.extend(certificate::check(&loaded.config.pop3));
            }
            findings.extend(collector(loaded.config.otel.endpoint.as_deref()));
            findings.extend(storage::check(&loaded.config.database).await);
            findings.extend(machine::check(&loaded.config));
            findings
        }
        Err(error) => vec![Finding::problem(
            "settings",
            error.to_string(),
            "fix the setting; config/restante.toml lists all of them",
        )],
    };
    let worst = findings.iter().map(|finding| finding.level).max();
    if as_json {
        let report = serde_json::json!({ "result": worst, "findings": findings });
        print(&format!("{report:#}"))?;
    } else {
        print(&as_text(&findings))?;
    }
    Ok(match worst {
        Some(Level::Problem) => ExitCode::from(super::FAILED),
        Some(Level::Ok | Level::Warning) | None => ExitCode::SUCCESS,
    })
}

fn settings(loaded: &Loaded, file: Option<&Path>) -> Vec<Finding> {
    let from_environment = loaded.origins.values();
    let from_environment = from_environment
        .filter(|origin| origin.starts_with("environment variable"))
        .count();
    let file = match file {
        Some(file) => format!(
            "{} of {}",
            loaded.origins.len() - from_environment,
            file.display()
        ),
        None => "no file".to_owned(),
    };
    let read = format!("the settings can be used: {file}, {from_environment} of the environment");
    let mut findings = vec![Finding::ok("settings", read)];
    if let Err(error) = super::log::filter(&loaded.config.log.level) {
        findings.push(Finding::problem(
            "settings",
            error.to_string(),
            "set Log__Level=info",
        ));
    }
    let warning = |warning: &String| {
        let fix = "take it out, or set what it needs";
        Finding::warning("settings", warning, fix)
    };
    findings.extend(loaded.warnings.iter().map(warning));
    let without_effect = loaded.without_effect.as_ref();
    findings.extend(without_effect.map(|names| Finding::ok("settings", names)));
    findings
}

fn collector(endpoint: Option<&str>) -> Option<Finding> {
    match Collector::new(endpoint?) {
        Ok(collector) => {
            let by = if collector.speaks_grpc() {
                "gRPC"
            } else {
                "HTTP"
            };
            let message = format!("traces and metrics go to the collector by OTLP over {by}");
            Some(Finding::ok("otel", message))
        }
        Err(error) => Some(Finding::problem(
            "otel",
            error.to_string(),
            "set Otel__Endpoint=http://HOST:4318",
        )),
    }
}

/// Returns a line for each finding, its fix below it, and the totals at the end.
fn as_text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        lines.push(format!("{level:8} {}", finding.message));
        if let Some(fix) = &finding.fix {
            lines.push(format!("{:8} -> {fix}", ""));
        }
    }
    let count = |level| findings.iter().filter(|it| it.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    lines.push(format!("{problems} problems, {warnings} warnings"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_with_its_fix_below_it() {
        let findings = [
            Finding::ok("database", "the database is available"),
            Finding::problem("pop3", "port 110 is taken", "take another"),
        ];
        assert_eq!(
            as_text(&findings),
            "ok       the database is available\n\
             problem  port 110 is taken\n\
             \x20        -> take another\n\
             1 problems, 0 warnings"
        );
    }
}

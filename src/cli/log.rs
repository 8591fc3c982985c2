//! The log: its lines, their form and their level.

mod form;
mod writer_thread;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::Context as _;
use tracing::Metadata;
use tracing::subscriber::Interest;
use tracing_subscriber::filter::{FilterExt, LevelFilter, dynamic_filter_fn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::log_throttle::LogThrottle;
use crate::settings::{LogFormat, LogSettings};
use crate::telemetry::{TRACES_ONLY, Traces};
use form::{ForJournal, ForPrograms};
use writer_thread::{Flush, Lines};

/// Libraries whose lines are left out unless asked for.
const QUIET: &str = "sqlx=warn,sea_orm_migration=warn,actix_server=warn,actix_http=off";

/// The target that logs twice a second while the admin endpoint can accept no connection.
const ACCEPTS: &str = "actix_server::accept";

/// How often a running server checks whether lines were dropped.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Changes what is logged while the program runs.
#[derive(Clone)]
pub(super) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Logs at this level from now on.
    ///
    /// # Errors
    /// If the subscriber is gone.
    pub(super) fn change(&self, level: EnvFilter) -> anyhow::Result<()> {
        Ok(self.0.reload(level)?)
    }
}

/// The log of a daemon, written by its own thread. Dropping it writes the last lines.
pub(super) struct Apart {
    lines: Lines,
    _flush: Flush,
}

/// Starts to log to stderr.
///
/// # Errors
/// If the level is no filter.
pub(super) fn start(settings: &LogSettings) -> anyhow::Result<()> {
    init(settings, None, BoxMakeWriter::new(std::io::stderr))?;
    Ok(())
}

/// Starts to log to stderr by a thread of its own, so that no session waits for its reader, and to
/// export traces if there are any.
///
/// # Errors
/// If the level is no filter, or the system refuses a thread.
pub(super) fn start_with_thread(
    settings: &LogSettings,
    traces: Option<&Traces>,
) -> anyhow::Result<(Level, Apart)> {
    let (lines, flush) = Lines::to_stderr().context("while starting to log")?;
    let writer = lines.clone();
    let level = init(settings, traces, BoxMakeWriter::new(move || writer.clone()))?;
    // The usual report of a panic would wait for stderr, too.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(
            thread = thread.name(),
            backtrace = backtrace.map(tracing::field::display),
            "a fault of the program: {panic}"
        );
    }));
    let _flush = flush;
    Ok((level, Apart { lines, _flush }))
}

impl Apart {
    /// Returns how many lines have been dropped since the start.
    pub(super) fn dropped(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let lines = self.lines.clone();
        move || lines.dropped()
    }

    /// Logs how many lines are missing, once stderr is read again.
    pub(super) fn tell_what_was_dropped(&self) -> impl Future<Output = ()> + 'static {
        let lines = self.lines.clone();
        async move {
            let mut told = 0;
            loop {
                tokio::time::sleep(LOOK_INTERVAL).await;
                let dropped = lines.dropped();
                if dropped > told && lines.flows() {
                    let missing = dropped - told;
                    tracing::warn!(missing, "log lines were dropped: stderr was not read");
                    told = dropped;
                }
            }
        }
    }
}

fn init(
    settings: &LogSettings,
    traces: Option<&Traces>,
    writer: BoxMakeWriter,
) -> anyhow::Result<Level> {
    let (filter, level) = reload::Layer::new(filter(&settings.level)?);
    let lines = fmt::layer().with_writer(writer).with_target(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        LogFormat::Json => {
            let lines = lines.fmt_fields(JsonFields::new());
            lines.with_ansi(false).event_format(ForPrograms).boxed()
        }
        LogFormat::Text if stderr_is_the_journal() => lines
            .with_ansi(false)
            .map_event_format(ForJournal::new)
            .boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    let traces = traces.map(Traces::layer);
    let lines = lines.with_filter(filter.and(throttled(ACCEPTS)));
    tracing_subscriber::registry()
        .with(lines)
        .with(traces)
        .init();
    Ok(Level(level))
}

/// Limits this module to one line a minute; other lines pass.
fn throttled(module: &'static str) -> impl Filter<Registry> {
    let throttle = LogThrottle::default();
    let is_let_through = move |line: &Metadata<'_>, _: &Context<'_, Registry>| {
        line.target() != module || throttle.allow().is_some()
    };
    // Only lines of the module are checked one by one.
    dynamic_filter_fn(is_let_through).with_callsite_filter(move |line| {
        if line.target() == module {
            Interest::sometimes()
        } else {
            Interest::always()
        }
    })
}

/// Returns the filter for a level.
///
/// # Errors
/// If the level is no filter.
pub(super) fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    // A word that is no level would be taken for the name of a module, and silence everything.
    let is_level = level.parse::<LevelFilter>().is_ok();
    anyhow::ensure!(
        is_level || level.contains('='),
        "Log__Level {level:?} is not possible: use off, error, warn, info, debug or trace"
    );
    let filter = EnvFilter::try_new(format!("{QUIET},{level},{TRACES_ONLY}=off"));
    filter.with_context(|| {
        format!("Log__Level {level:?} is not possible: use error, warn, info, debug or trace")
    })
}

/// Returns whether stderr goes to the journal of systemd, which names the file in `JOURNAL_STREAM`.
fn stderr_is_the_journal() -> bool {
    let stderr = std::fs::metadata("/proc/self/fd/2");
    let stderr = stderr.map(|file| format!("{}:{}", file.dev(), file.ino()));
    stderr.is_ok_and(|stderr| std::env::var("JOURNAL_STREAM").is_ok_and(|it| it == stderr))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use pop3::Verb;

    use super::*;
    use crate::telemetry;

    #[test]
    fn lines_of_libraries_are_logged_only_if_they_are_asked_for() {
        fn enabled(level: &str) -> [bool; 3] {
            let lines = fmt::layer().with_writer(std::io::sink);
            let lines = lines.with_filter(filter(level).unwrap());
            let subscriber = tracing_subscriber::registry().with(lines);
            tracing::subscriber::with_default(subscriber, || {
                [
                    tracing::enabled!(target: "actix_server::builder", tracing::Level::INFO),
                    tracing::enabled!(target: "actix_http::h1::dispatcher", tracing::Level::ERROR),
                    tracing::enabled!(target: "restante::server", tracing::Level::INFO),
                ]
            })
        }
        assert_eq!(enabled("info"), [false, false, true]);
        assert_eq!(enabled("trace"), [false, false, true]);
        assert_eq!(
            enabled("warn,actix_server=info,actix_http=trace"),
            [true, true, false]
        );
    }

    #[test]
    fn a_failed_accept_of_the_admin_endpoint_is_logged_once_a_minute() {
        let lines = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&lines);
        let writer = move || {
            written.fetch_add(1, Ordering::Relaxed);
            std::io::sink()
        };
        let layer = fmt::layer().with_writer(writer);
        let layer = layer.with_filter(filter("info").unwrap().and(throttled(ACCEPTS)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..3 {
                tracing::error!(target: "actix_server::accept", "Error accepting connection");
            }
            assert_eq!(lines.load(Ordering::Relaxed), 1);
            for _ in 0..3 {
                tracing::error!("something else");
            }
            assert_eq!(lines.load(Ordering::Relaxed), 4);
        });
    }

    #[test]
    fn no_level_of_the_log_makes_spans_that_only_a_collector_wants() {
        for level in ["info", "trace", "restante=trace"] {
            let lines = fmt::layer().with_writer(std::io::sink);
            let lines = lines.with_filter(filter(level).unwrap());
            tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
                let spans = [
                    telemetry::command(Verb::Retr),
                    telemetry::validation(),
                    telemetry::loading(),
                ];
                assert!(spans.iter().all(tracing::Span::is_disabled), "{level}");
                assert!(!tracing::info_span!("pop3.session").is_disabled());
            });
        }
    }
}

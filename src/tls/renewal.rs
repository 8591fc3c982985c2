//! Takes up renewed certificates, keys and revocation lists while the server runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::{Actor, AsyncContext, Context, Handler, Message, ResponseFuture};

use super::files::{Sources, Stamp};
use super::{Current, Tls, lock};

/// How often we look whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// So long before a certificate expires, log, health and check warn of it. A program that renews
/// certificates does it earlier.
pub const WARN_BEFORE: Duration = Duration::from_secs(14 * DAY.as_secs());

/// How often it warns.
const WARN_EVERY: Duration = DAY;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks at the files of [`Tls`] again and again.
#[derive(Debug)]
pub struct RenewalActor {
    tls: Arc<Tls>,
}

impl RenewalActor {
    /// Keeps these certificates up to date.
    pub fn new(tls: Arc<Tls>) -> Self {
        Self { tls }
    }

    /// Reading files and deriving keys from passwords takes time that sessions are not to wait.
    fn work(&self, work: impl FnOnce(&Tls) + Send + 'static) -> ResponseFuture<()> {
        let tls = Arc::clone(&self.tls);
        Box::pin(async move {
            if let Err(error) = tokio::task::spawn_blocking(move || work(&tls)).await {
                tracing::error!(error = %error, "the certificates could not be looked at");
            }
        })
    }
}

impl Actor for RenewalActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(LOOK_EVERY, |_, context| context.notify(Look));
    }
}

/// Read the files again, changed or not, and say what came of it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Renew;

impl Handler<Renew> for RenewalActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Renew: Renew, _: &mut Self::Context) -> Self::Result {
        self.work(|tls| tls.look(true))
    }
}

/// Have the files changed?
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
struct Look;

impl Handler<Look> for RenewalActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Look: Look, _: &mut Self::Context) -> Self::Result {
        self.work(|tls| tls.look(false))
    }
}

/// What was seen and said.
#[derive(Debug)]
pub(super) struct Watch {
    /// How the files looked when they were last read, well or not.
    stamp: Stamp,
    /// When the log was last told of these concerns.
    warned: Option<SystemTime>,
    concerns: Vec<Warning>,
}

/// What the log is told of a file.
#[derive(Debug, PartialEq, Eq)]
struct Warning {
    file: PathBuf,
    concern: Problem,
    /// When the certificate or the list ends, or begins to be valid.
    at: SystemTime,
}

/// What whoever runs the server should see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    Expired,
    ExpiresSoon,
    NotYetValid,
    ListOutOfDate,
}

impl Watch {
    pub(super) fn begin(sources: &Sources) -> Self {
        Self {
            stamp: sources.stamp(),
            warned: None,
            concerns: Vec::new(),
        }
    }
}

impl Tls {
    /// Takes up what has changed. A mistake in it leaves everything as it is, and is told once.
    fn look(&self, even_unchanged: bool) {
        // Held while reading, so that two looks can't bring back the older files.
        let mut watch = lock(&self.watch);
        let stamp = self.sources.stamp();
        if even_unchanged || stamp != watch.stamp {
            watch.stamp = stamp;
            match Current::load(&self.sources) {
                Ok(current) => {
                    *lock(&self.current) = Arc::new(current);
                    watch.warned = None;
                    self.metrics.tls.certificates_renewed(true);
                    tracing::info!("certificates taken up; sessions go on with theirs");
                }
                Err(error) => {
                    self.metrics.tls.certificates_renewed(false);
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "changed certificates can't be used; the old ones stay in force"
                    );
                }
            }
        }
        self.note_expiry_in(&mut watch);
    }

    /// Tells the metrics when certificates expire, and the log what is of concern: at once when
    /// that changes, and else once a day.
    pub(super) fn note_expiry(&self) {
        self.note_expiry_in(&mut lock(&self.watch));
    }

    fn note_expiry_in(&self, watch: &mut Watch) {
        let (now, current) = (SystemTime::now(), self.current());
        let ends = current.certificates.iter().map(|it| it.not_after);
        if let Some(first) = ends.min() {
            self.metrics.tls.certificate_days(days_until(first, now));
        }
        let concerns = current.concerns(now);
        let due = watch
            .warned
            .is_none_or(|at| now.duration_since(at).is_ok_and(|it| it >= WARN_EVERY));
        if due || concerns != watch.concerns {
            for Warning { file, concern, at } in &concerns {
                tracing::warn!(file = %file.display(), days = days_until(*at, now), "{concern}");
            }
            watch.warned = Some(now);
            watch.concerns = concerns;
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "a certificate has expired: clients refuse it",
            Self::ExpiresSoon => "a certificate expires soon",
            Self::NotYetValid => "a certificate is not valid yet: is the clock right?",
            Self::ListOutOfDate => {
                "a revocation list is out of date: clients with certificates are refused"
            }
        })
    }
}

impl Current {
    fn concerns(&self, now: SystemTime) -> Vec<Warning> {
        let mut concerns = Vec::new();
        let mut add = |file: &PathBuf, concern, at| {
            let file = file.clone();
            concerns.push(Warning { file, concern, at });
        };
        for certificate in &self.certificates {
            let (file, begin, end) = (
                &certificate.file,
                certificate.not_before,
                certificate.not_after,
            );
            if end <= now {
                add(file, Problem::Expired, end);
            } else if end <= now + WARN_BEFORE {
                add(file, Problem::ExpiresSoon, end);
            }
            if begin > now {
                add(file, Problem::NotYetValid, begin);
            }
        }
        for (file, next_update) in self.clients.iter().flat_map(|clients| &clients.lists) {
            if let Some(end) = next_update.filter(|end| *end < now) {
                add(file, Problem::ListOutOfDate, end);
            }
        }
        concerns
    }
}

/// Whole days, rounded down: -1 on the first day that it is too late.
fn days_until(end: SystemTime, now: SystemTime) -> i64 {
    let days = |time: Duration| i64::try_from(time.as_secs() / DAY.as_secs()).unwrap_or(i64::MAX);
    match end.duration_since(now) {
        Ok(left) => days(left),
        Err(past) => -1 - days(past.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_negative_once_it_is_too_late() {
        let now = SystemTime::UNIX_EPOCH + DAY * 1000;
        let second = Duration::from_secs(1);
        for (end, days) in [
            (now + DAY * 14, 14),
            (now + DAY * 14 - second, 13),
            (now, 0),
            (now - second, -1),
            (now - DAY - second, -2),
        ] {
            assert_eq!(days_until(end, now), days);
        }
    }
}

//! The series of logins.

use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::labels::AuthFailure;
use super::latency;

/// The series of logins.
#[derive(Debug)]
pub(crate) struct LoginMetrics {
    attempts: Counter<u64>,
    failures: Counter<u64>,
    delayed: Counter<u64>,
    duration: Histogram<f64>,
}

impl LoginMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        let metrics = Self {
            attempts: counter("pop3.auth.attempts", "Logins tried"),
            failures: counter("pop3.auth.failures", "Logins refused, by reason"),
            delayed: counter(
                "pop3.auth.delayed",
                "Logins that waited because of failed ones from the same network",
            ),
            duration: latency(
                meter,
                "pop3.login.duration.seconds",
                "How long it took to let a user in, or to refuse",
            ),
        };
        // Alerts need a series before its first event.
        metrics.attempts.add(0, &[]);
        metrics.delayed.add(0, &[]);
        for reason in AuthFailure::ALL {
            metrics.failures.add(0, &[reason.label()]);
        }
        metrics
    }

    pub(crate) fn attempt(&self) {
        self.attempts.add(1, &[]);
    }

    pub(crate) fn failure(&self, reason: AuthFailure) {
        self.failures.add(1, &[reason.label()]);
    }

    pub(crate) fn delayed(&self) {
        self.delayed.add(1, &[]);
    }

    pub(crate) fn took(&self, duration: Duration) {
        self.duration.record(duration.as_secs_f64(), &[]);
    }
}

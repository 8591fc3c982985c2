//! The series of TLS.

use opentelemetry::metrics::{Counter, Gauge, Meter};

use super::labels::{failure_label, outcome_label};
use crate::tls::HandshakeFailure;

/// The series of TLS.
#[derive(Debug)]
pub(crate) struct TlsMetrics {
    handshakes_failed: Counter<u64>,
    certificate_days: Gauge<i64>,
    certificate_renewals: Counter<u64>,
}

impl TlsMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        let metrics = Self {
            handshakes_failed: counter(
                "pop3.tls.handshakes.failed",
                "TLS handshakes that failed, by cause",
            ),
            certificate_days: meter
                .i64_gauge("pop3.certificate.days")
                .with_description("Days until the first certificate expires, negative after it")
                .build(),
            certificate_renewals: counter(
                "pop3.certificate.renewals",
                "Times that certificates were read again, by outcome",
            ),
        };
        // Alerts need a series before its first event.
        for failure in HandshakeFailure::ALL {
            metrics.handshakes_failed.add(0, &[failure_label(failure)]);
        }
        for outcome in [true, false] {
            metrics
                .certificate_renewals
                .add(0, &[outcome_label(outcome)]);
        }
        metrics
    }

    pub(crate) fn handshake_failed(&self, failure: HandshakeFailure) {
        self.handshakes_failed.add(1, &[failure_label(failure)]);
    }

    /// Without a certificate there is no such series.
    pub(crate) fn certificate_days(&self, days: i64) {
        self.certificate_days.record(days, &[]);
    }

    pub(crate) fn certificates_renewed(&self, taken: bool) {
        self.certificate_renewals.add(1, &[outcome_label(taken)]);
    }
}

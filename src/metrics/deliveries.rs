//! What is counted of mail that comes in.

use lmtp::Answer;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter, UpDownCounter};

/// The series of LMTP.
#[derive(Debug)]
pub struct LmtpMetrics {
    sessions_active: UpDownCounter<i64>,
    connections_refused: Counter<u64>,
    deliveries: Counter<u64>,
    octets_received: Counter<u64>,
}

/// The results of a delivery, as `lmtp_deliveries_total` has them.
const RESULTS: [&str; 7] = [
    STORED,
    OVER_QUOTA,
    UNKNOWN_USER,
    TOO_LARGE,
    NO_SPACE,
    LOCKED,
    FAILED,
];
const STORED: &str = "stored";
const OVER_QUOTA: &str = "over_quota";
const UNKNOWN_USER: &str = "unknown_user";
const TOO_LARGE: &str = "too_large";
const NO_SPACE: &str = "no_space";
const LOCKED: &str = "locked";
const FAILED: &str = "failed";

impl LmtpMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        let metrics = Self {
            sessions_active: meter
                .i64_up_down_counter("lmtp.sessions.active")
                .with_description("LMTP sessions that are connected")
                .build(),
            connections_refused: counter(
                "lmtp.connections.refused",
                "LMTP connections refused, as Lmtp__MaxConnections were here",
            ),
            deliveries: counter(
                "lmtp.deliveries",
                "Copies of messages that came by LMTP, by what became of them",
            ),
            octets_received: counter("lmtp.bytes.received", "Octets of messages taken in by LMTP"),
        };
        // Alerts need a series before its first event.
        metrics.sessions_active.add(0, &[]);
        metrics.connections_refused.add(0, &[]);
        metrics.octets_received.add(0, &[]);
        for result in RESULTS {
            metrics
                .deliveries
                .add(0, &[KeyValue::new("result", result)]);
        }
        metrics
    }

    pub(crate) fn session_began(&self) {
        self.sessions_active.add(1, &[]);
    }

    pub(crate) fn session_ended(&self) {
        self.sessions_active.add(-1, &[]);
    }

    pub(crate) fn refused(&self) {
        self.connections_refused.add(1, &[]);
    }

    pub(crate) fn octets_received(&self, octets: u64) {
        self.octets_received.add(octets, &[]);
    }

    pub(crate) fn recipient_unknown(&self) {
        self.count(UNKNOWN_USER);
    }

    pub(crate) fn no_space(&self) {
        self.count(NO_SPACE);
    }

    pub(crate) fn delivered(&self, answer: Answer) {
        self.count(match answer {
            Answer::Stored => STORED,
            Answer::OverQuota => OVER_QUOTA,
            Answer::NoSuchUser => UNKNOWN_USER,
            Answer::TooLarge => TOO_LARGE,
            Answer::NoSpace => NO_SPACE,
            Answer::Locked => LOCKED,
            Answer::Unavailable => FAILED,
        });
    }

    fn count(&self, result: &'static str) {
        self.deliveries.add(1, &[KeyValue::new("result", result)]);
    }
}

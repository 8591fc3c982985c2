//! The series of LMTP.

use lmtp::Answer;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter, UpDownCounter};

use super::labels::ending_label;
use crate::registry::EndReason;

/// The series of LMTP.
#[derive(Debug)]
pub struct LmtpMetrics {
    sessions_active: UpDownCounter<i64>,
    sessions_ended: Counter<u64>,
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
            sessions_ended: counter("lmtp.sessions.ended", "LMTP sessions that ended, by how"),
            connections_refused: counter(
                "lmtp.connections.refused",
                "LMTP connections refused by Lmtp__MaxConnections",
            ),
            deliveries: counter(
                "lmtp.deliveries",
                "Copies of messages that came by LMTP, by result",
            ),
            octets_received: counter("lmtp.bytes.received", "Octets of messages received by LMTP"),
        };
        // Alerts need a series before its first event.
        metrics.sessions_active.add(0, &[]);
        metrics.connections_refused.add(0, &[]);
        metrics.octets_received.add(0, &[]);
        for ending in EndReason::ALL {
            metrics.sessions_ended.add(0, &[ending_label(ending)]);
        }
        for result in RESULTS {
            metrics
                .deliveries
                .add(0, &[KeyValue::new("result", result)]);
        }
        metrics
    }

    pub(super) fn session_began(&self) {
        self.sessions_active.add(1, &[]);
    }

    pub(super) fn session_ended(&self) {
        self.sessions_active.add(-1, &[]);
    }

    pub(super) fn session_ended_by(&self, ending: EndReason) {
        self.sessions_ended.add(1, &[ending_label(ending)]);
    }

    pub(super) fn refused(&self) {
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

//! The totals that the page shows.

use prometheus::Registry;
use serde::Serialize;
use utoipa::ToSchema;

/// The totals since the start, for charts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct Totals {
    /// Commands received.
    pub commands: u64,
    /// Logins tried.
    pub auth_attempts: u64,
    /// Logins refused.
    pub auth_failures: u64,
    /// Messages sent whole.
    pub messages_retrieved: u64,
    /// Deletions committed.
    pub messages_deleted: u64,
    /// Octets sent to clients.
    pub octets_sent: u64,
}

impl Totals {
    pub(super) fn of(registry: &Registry) -> Self {
        let mut totals = Self::default();
        for family in registry.gather() {
            let total = match family.name() {
                "pop3_commands_total" => &mut totals.commands,
                "pop3_auth_attempts_total" => &mut totals.auth_attempts,
                "pop3_auth_failures_total" => &mut totals.auth_failures,
                "pop3_messages_retrieved_total" => &mut totals.messages_retrieved,
                "pop3_messages_deleted_total" => &mut totals.messages_deleted,
                "pop3_bytes_sent_total" => &mut totals.octets_sent,
                _ => continue,
            };
            let series = family.get_metric().iter();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "Prometheus' counters are floats, and these count whole things upwards"
            )]
            let sum = series.map(|one| one.get_counter().get_value() as u64).sum();
            *total = sum;
        }
        totals
    }
}

use super::*;

#[test]
fn every_series_is_there_before_its_first_event() {
    let metrics = Metrics::new().unwrap();
    let text = metrics.render().unwrap();
    for line in [
        "pop3_sessions_active 0",
        "pop3_commands_total{command=\"RETR\"} 0",
        "pop3_commands_total{command=\"UNKNOWN\"} 0",
        "pop3_auth_attempts_total 0",
        "pop3_auth_failures_total{reason=\"credentials\"} 0",
        "pop3_auth_delayed_total 0",
        "pop3_connections_refused_total{reason=\"total\"} 0",
        "pop3_connections_refused_total{reason=\"proxy\"} 0",
        "pop3_messages_retrieved_total 0",
        "pop3_messages_deleted_total 0",
        "pop3_messages_expired_total 0",
        "pop3_maildrops_read_total 0",
        "pop3_bytes_sent_total 0",
        "pop3_session_panics_total 0",
        "pop3_tls_handshakes_failed_total{cause=\"no_shared_cipher\"} 0",
        "pop3_tls_handshakes_failed_total{cause=\"other\"} 0",
        "restante_database_errors_total 0",
        "lmtp_sessions_active 0",
        "lmtp_connections_refused_total 0",
        "lmtp_sessions_ended_total{ending=\"killed\"} 0",
        "lmtp_bytes_received_total 0",
        "lmtp_deliveries_total{result=\"stored\"} 0",
        "lmtp_deliveries_total{result=\"over_quota\"} 0",
        "pop3_certificate_renewals_total{outcome=\"refused\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn counters_count() {
    let metrics = Metrics::new().unwrap();
    metrics.command(Verb::Retr);
    metrics.octets_sent(10);
    metrics.octets_sent(32);
    metrics.session_began(ProtocolName::Pop3);
    metrics.actor_restarted("mailbox");
    metrics.tls.certificate_days(-3);
    let text = metrics.render().unwrap();
    for line in [
        "pop3_commands_total{command=\"RETR\"} 1",
        "pop3_bytes_sent_total 42",
        "pop3_sessions_active 1",
        "pop3_certificate_days -3",
        "restante_actor_restarts_total{actor=\"mailbox\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

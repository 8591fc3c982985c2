//! The capabilities that CAPA announces (RFC 2449, section 6).

use crate::policy::Policy;
use crate::reply::Reply;
use crate::sasl::Mechanism;

/// The implementation name in CAPA, without a version, which would help attackers only.
pub const IMPLEMENTATION: &str = "Restante";

/// The reply to CAPA, before login if `authorization`, else after it.
///
/// STLS is announced before login only, and not inside TLS (RFC 2595, section 4). All others are
/// announced in both states and do not differ between them, as their RFCs ask. USER and SASL tell
/// what is possible on this connection as it is now, so they may change when TLS begins.
pub(crate) fn capabilities(policy: &Policy, authorization: bool) -> Reply {
    let expire = match policy.expire_days {
        Some(days) => format!("EXPIRE {days}"),
        None => "EXPIRE NEVER".to_owned(),
    };
    let mut lines = vec![
        "TOP",
        "UIDL",
        "RESP-CODES",
        "AUTH-RESP-CODE",
        "PIPELINING",
        &expire,
    ];
    if policy.secrets_allowed {
        lines.push("USER");
    }
    let mechanisms: Vec<_> = Mechanism::announced(policy).collect();
    let sasl = format!("SASL {}", mechanisms.join(" "));
    if !mechanisms.is_empty() {
        lines.push(&sasl);
    }
    if policy.stls_offered && authorization {
        lines.push("STLS");
    }
    let implementation = format!("IMPLEMENTATION {IMPLEMENTATION}");
    lines.push(&implementation);
    Reply::lines("capability list follows", lines)
}

//! The addresses that a recipient without a domain may mean.

use super::LmtpContext;

/// The one recipient that needs no domain (RFC 5321, section 4.5.1).
const POSTMASTER: &str = "postmaster";

/// Returns the addresses that a recipient may mean, the likeliest first.
///
/// Without a domain it is a local user, as some MTAs name them: one in `Pop3__DefaultDomain`.
/// Postmaster is also looked for in the domain of this server, which its name is or is in.
pub(super) fn meant(recipient: &str, context: &LmtpContext) -> Vec<String> {
    let domains = context.default_domain.as_deref().into_iter();
    match recipient {
        _ if recipient.contains('@') => vec![recipient.to_owned()],
        _ if recipient.eq_ignore_ascii_case(POSTMASTER) => {
            let server = context.rules.server_name.as_str();
            let parent = server.split_once('.').map(|(_, parent)| parent);
            let domains = domains.chain([server]).chain(parent);
            domains
                .map(|domain| format!("{POSTMASTER}@{domain}"))
                .collect()
        }
        _ => domains
            .map(|domain| format!("{recipient}@{domain}"))
            .collect(),
    }
}

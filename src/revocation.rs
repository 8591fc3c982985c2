//! Ends the sessions of revoked keys and of disabled or removed users.
//!
//! A key may be revoked by another process, or through another server of the same database. So
//! this server checks the keys and users of its live sessions every few seconds: two small queries
//! for a thousand sessions, and none while no user is logged in.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::mailbox::{CheckLogins, Mailbox};
use crate::registry::{End, EndReason, Inspect, RegistryActor, SessionHandle};
use crate::supervision::Supervised;

/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(3);

/// Checks until it is dropped.
pub(crate) async fn watch(registry: Supervised<RegistryActor>, mailbox: Mailbox) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        end_revoked(&registry, &mailbox).await;
    }
}

/// Ends the sessions whose key is revoked, or whose user is disabled or removed.
///
/// A session that is committing its deletions ends by itself. If the database fails, all go on; the
/// fault is logged.
pub(crate) async fn end_revoked(registry: &Supervised<RegistryActor>, mailbox: &Mailbox) {
    let sessions = registry.ask(|| Inspect).await.unwrap_or_default();
    // Read once: a login during the query is not in its answer.
    let login = |live: Arc<SessionHandle>| live.logged_in().map(|login| (live, login));
    let logins: Vec<_> = sessions.into_iter().filter_map(login).collect();
    let users: HashSet<_> = logins.iter().map(|(_, (user, _))| *user).collect();
    let keys = logins.iter().filter_map(|(_, (_, key))| *key).collect();
    if users.is_empty() {
        return;
    }
    let Ok(Ok(status)) = mailbox.ask(CheckLogins { users, keys }).await else {
        return;
    };
    for (live, (user, key)) in logins {
        if status.allows(user, key) {
            continue;
        }
        let end = || End {
            session: live.id().to_owned(),
            why: EndReason::Revoked,
        };
        // If it can't be ended now, the next check ends it.
        let _ = registry.ask(end).await;
    }
}

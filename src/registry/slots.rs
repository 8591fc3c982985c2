//! The sessions of each user, and the idle one that makes way for a new one.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::end_reason::EndReason;
use super::session_handle::{LoggedInBy, SessionHandle};
use super::table::{AdmissionLimits, Table};
use super::{Claim, Claimed};
use crate::networks::client_network;
use crate::store::UserId;

/// The taken slots, by user.
#[derive(Debug, Default)]
pub(super) struct Slots(HashMap<UserId, Vec<Slot>>);

/// One session of a user.
#[derive(Debug)]
struct Slot {
    handle: Arc<SessionHandle>,
    heir: Option<Heir>,
}

/// The login that gets a slot when its present session ends.
#[derive(Debug)]
struct Heir {
    handle: Arc<SessionHandle>,
    permit: oneshot::Sender<Permit>,
}

/// The slot of one session of a user, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    table: Table,
    user: UserId,
    handle: Arc<SessionHandle>,
}

impl Table {
    /// Takes a slot of a user. At the limit, an idle session of the same device ends for the new one
    /// and hands its slot over, so the limit is never exceeded.
    pub(super) fn claim(&self, claim: &Claim) -> Claimed {
        let limits = self.limits();
        let mut rows = self.rows();
        let slots = rows.slots.0.entry(claim.user).or_default();
        let limit = usize::try_from(limits.per_user).unwrap_or(usize::MAX);
        if slots.len() < limit {
            slots.push(Slot {
                handle: Arc::clone(&claim.handle),
                heir: None,
            });
            drop(rows);
            return Claimed::Granted(Permit {
                table: self.clone(),
                user: claim.user,
                handle: Arc::clone(&claim.handle),
            });
        }
        // The limit was lowered: the end of one session makes no room.
        if slots.len() > limit {
            return Claimed::Refused;
        }
        let Some(twin) = longest_idle_twin(slots, claim, &limits) else {
            return Claimed::Refused;
        };
        let (permit, handed_over) = oneshot::channel();
        twin.heir = Some(Heir {
            handle: Arc::clone(&claim.handle),
            permit,
        });
        let twin = Arc::clone(&twin.handle);
        drop(rows);
        // If it has ended already, its slot is being handed over.
        let _ = twin.end(EndReason::Superseded);
        Claimed::HandedOver(handed_over)
    }
}

/// The slot of the same device whose session has been idle the longest, and for long enough.
fn longest_idle_twin<'a>(
    slots: &'a mut [Slot],
    claim: &Claim,
    limits: &AdmissionLimits,
) -> Option<&'a mut Slot> {
    if claim.by == LoggedInBy::Nothing || limits.evict_idle_after.is_zero() {
        return None;
    }
    let network = client_network(claim.handle.ip());
    let idle = |slot: &Slot| {
        let is_twin = slot.handle.logged_in_by() == Some(claim.by)
            && client_network(slot.handle.ip()) == network;
        // A login that waited for it may have given up.
        let is_free = slot.heir.as_ref().is_none_or(|it| it.permit.is_closed());
        let idle = slot.handle.idle().filter(|_| is_twin && is_free)?;
        (idle >= limits.evict_idle_after).then_some(idle)
    };
    let twins = slots.iter_mut();
    let twins = twins.filter_map(|slot| Some((idle(slot)?, slot)));
    twins.max_by_key(|(idle, _)| *idle).map(|(_, slot)| slot)
}

impl Slots {
    /// Gives a slot back; returns the heir that gets it, if there is one.
    fn release(&mut self, user: UserId, handle: &Arc<SessionHandle>) -> Option<Heir> {
        let slots = self.0.get_mut(&user)?;
        let at = slots
            .iter()
            .position(|it| Arc::ptr_eq(&it.handle, handle))?;
        let slot = slots.get_mut(at)?;
        if let Some(heir) = slot.heir.take() {
            slot.handle = Arc::clone(&heir.handle);
            return Some(heir);
        }
        slots.swap_remove(at);
        if slots.is_empty() {
            self.0.remove(&user);
        }
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let heir = self.table.rows().slots.release(self.user, &self.handle);
        let Some(Heir { handle, permit }) = heir else {
            return;
        };
        let inherited = Self {
            table: self.table.clone(),
            user: self.user,
            handle,
        };
        // If the login has given up, the permit comes back and is dropped, which frees the slot.
        drop(permit.send(inherited));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use pop3::{Access, Snapshot, Verb};

    use super::*;
    use crate::metrics::Metrics;
    use crate::store::{KeyId, Verified};

    const ADA: UserId = UserId::from_row(1);
    const KEY: LoggedInBy = LoggedInBy::Key(KeyId::from_row(1));

    fn table(per_user: u32, evict_idle_after: Duration) -> Table {
        let limits = AdmissionLimits {
            in_all: 0,
            per_address: 0,
            loopback_counts: true,
            before_login: 0,
            per_user,
            evict_idle_after,
        };
        Table::new(limits, 0, Arc::new(Metrics::new().unwrap()))
    }

    const AT_ONCE: Duration = Duration::from_nanos(1);

    fn claim(by: LoggedInBy, address: &str) -> Claim {
        let ip: IpAddr = address.parse().unwrap();
        Claim {
            user: ADA,
            handle: Arc::new(SessionHandle::new(
                "session".into(),
                SocketAddr::from((ip, 1)),
            )),
            by,
        }
    }

    /// Claims a slot and logs in; then the session waits for its client.
    fn idle(table: &Table, by: LoggedInBy, address: &str) -> (Arc<SessionHandle>, Permit) {
        let claim = claim(by, address);
        let Claimed::Granted(permit) = table.claim(&claim) else {
            panic!("there is room")
        };
        let verified = Verified {
            user: ADA,
            address: "ada@example.org".into(),
            key: None,
            key_name: "test".into(),
            access: Access::Full,
        };
        claim.handle.set_login(&verified, by, &Snapshot::default());
        claim.handle.activity().begin_command(Verb::Pass);
        claim.handle.activity().wait_for_client();
        claim.handle.activity().note();
        std::thread::yield_now();
        (claim.handle, permit)
    }

    fn is_refused(table: &Table, by: LoggedInBy, address: &str) -> bool {
        matches!(table.claim(&claim(by, address)), Claimed::Refused)
    }

    #[test]
    fn the_slot_of_the_longest_idle_twin_passes_to_the_new_session() {
        let table = table(2, AT_ONCE);
        let (first, first_permit) = idle(&table, KEY, "192.0.2.1");
        let earlier = std::time::Instant::now();
        while earlier.elapsed() < Duration::from_millis(5) {}
        let (second, _second_permit) = idle(&table, KEY, "192.0.2.1");
        let Claimed::HandedOver(mut handed_over) = table.claim(&claim(KEY, "192.0.2.1")) else {
            panic!("nothing is handed over")
        };
        assert_eq!(first.doomed(), Some(EndReason::Superseded));
        assert_eq!(second.doomed(), None);
        // Until the old session has ended there is no slot, neither for this one nor for others.
        assert!(handed_over.try_recv().is_err());
        drop(first_permit);
        let inherited = handed_over.try_recv().unwrap();
        assert!(is_refused(
            &table,
            LoggedInBy::Key(KeyId::from_row(2)),
            "192.0.2.1"
        ));
        drop(inherited);
        assert!(matches!(
            table.claim(&claim(KEY, "192.0.2.1")),
            Claimed::Granted(_)
        ));
    }

    #[test]
    fn only_an_idle_session_of_the_same_key_and_network_makes_way() {
        let one = "2001:db8::1";
        for (by, address, makes_way) in [
            (KEY, one, true),
            // The network of one customer, who has a new address each time.
            (KEY, "2001:db8::ffff:1", true),
            (KEY, "2001:db8:0:1::1", false),
            (KEY, "192.0.2.1", false),
            (LoggedInBy::Key(KeyId::from_row(2)), one, false),
            (LoggedInBy::Certificate, one, false),
            (LoggedInBy::Nothing, one, false),
        ] {
            let table = table(1, AT_ONCE);
            let (_live, _permit) = idle(&table, KEY, one);
            let refused = is_refused(&table, by, address);
            assert_eq!(refused, !makes_way, "{by:?} {address}");
        }
        for (by, makes_way) in [
            (LoggedInBy::Certificate, true),
            (LoggedInBy::Nothing, false),
        ] {
            let table = table(1, AT_ONCE);
            let (_live, _permit) = idle(&table, by, one);
            assert_eq!(is_refused(&table, by, one), !makes_way, "{by:?}");
        }
    }

    #[test]
    fn a_session_that_is_busy_makes_no_way_nor_does_any_if_that_is_off() {
        let address = "192.0.2.1";
        let table_of = |after| {
            let table = table(1, after);
            let (handle, permit) = idle(&table, KEY, address);
            (table, handle, permit)
        };
        let (table, handle, _permit) = table_of(AT_ONCE);
        handle.activity().begin_command(Verb::Retr);
        assert!(is_refused(&table, KEY, address));
        let (table, handle, _permit) = table_of(AT_ONCE);
        handle.set_updating(true);
        assert!(is_refused(&table, KEY, address));
        for after in [Duration::ZERO, Duration::from_secs(60)] {
            let (table, _live, _permit) = table_of(after);
            assert!(is_refused(&table, KEY, address), "{after:?}");
        }
    }

    #[test]
    fn a_slot_has_one_heir_and_is_free_if_that_has_given_up() {
        let table = table(1, AT_ONCE);
        let (_live, permit) = idle(&table, KEY, "192.0.2.1");
        let first = table.claim(&claim(KEY, "192.0.2.1"));
        assert!(matches!(first, Claimed::HandedOver(_)));
        assert!(is_refused(&table, KEY, "192.0.2.1"));
        drop(first);
        drop(permit);
        assert!(table.rows().slots.0.is_empty());
    }
}

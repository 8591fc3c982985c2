//! Several servers on one database: none removes messages that a session can still read, and all
//! others are removed in the end.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Maximum time from reading the version to taking the lease in a login.
const SLOWEST_LOGIN_MS: u64 = 3500;

/// Maximum time between the rounds of a live server. Three rounds are shorter than the time after
/// which it counts as dead: a round that finds no deletions, such as after a jump of the clock,
/// raises no heartbeat, and another server may have begun its round before.
const LATEST_ROUND: Duration = Duration::from_secs(7);

/// Minimum time between two jumps of the database's clock, longer than a round.
const JUMP_PAUSE: Duration = Duration::from_secs(60);

const USERS: [UserId; 2] = [UserId::from_row(1), UserId::from_row(2)];

/// An event of the simulation.
#[derive(Debug, Clone)]
enum Event {
    /// Time goes by, in milliseconds.
    Wait(u64),
    /// A server starts, with an error of its clock, and a rate of it in percent.
    Start { clock_ms: u32, rate: u32 },
    /// A login reads the version of a maildrop, and takes its lease after this delay.
    Login {
        server: Index,
        user: Index,
        lease_after_ms: u64,
    },
    /// A session ends.
    Close(Index),
    /// Messages are deleted, and can be restored for this time.
    Delete { user: Index, kept_ms: i64 },
    /// A server does the next step of its round; its transaction may be lost.
    Step { server: Index, fate: Fate },
    /// A server goes on to the end of its round, and nothing is lost.
    Round(Index),
    /// A server ends without saying so.
    Die(Index),
    /// A server ends and says so.
    Leave(Index),
    /// The clock of the database jumps.
    Jump(i64),
    /// A server stops trusting that clock, or trusts it again.
    Doubt(Index),
}

/// The outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Committed,
    /// It is rolled back.
    Lost,
    /// It is committed, and the server does not hear of it.
    Unheard,
}

/// The state that all servers share.
#[derive(Debug, Default)]
struct Shared {
    versions: BTreeMap<UserId, i64>,
    /// The time until which each deletion can be restored.
    deletions: BTreeMap<DeletionKey, i64>,
    heartbeats: HashMap<String, i64>,
    leases: HashSet<(String, DeletionKey)>,
    /// The clock's lead over the true time, in milliseconds.
    clock_ahead_ms: i64,
}

/// The position of a server in its round.
#[derive(Debug, Default)]
enum Step {
    #[default]
    Idle,
    /// It has read the deletions and its own leases.
    Looked(Seen),
    /// It has published its leases.
    Published(Seen),
    /// It has read the heartbeats of the others.
    Counted(Seen),
    /// It has a plan.
    Planned(Plan),
}

#[derive(Debug)]
struct Server {
    id: String,
    state: RemovalState,
    step: Step,
    /// Its clock: when it started, how wrong it was, and how fast it runs.
    started: Duration,
    base: Instant,
    rate: u32,
    /// The start of its round, by its own clock.
    looked_at: Instant,
    /// The time that is certain for it, if it does not trust the database's clock.
    doubts_since_ms: Option<i64>,
    /// The end of its last round, in true time.
    round_ended: Duration,
}

#[derive(Debug)]
struct Session {
    server: String,
    user: UserId,
    version: i64,
    /// The time when it takes its lease, in true time.
    leased_at: Duration,
}

#[derive(Debug, Default)]
struct World {
    now: Duration,
    shared: Shared,
    servers: Vec<Server>,
    sessions: Vec<Session>,
    started: usize,
    /// The latest time that the clock of the database has shown.
    latest_ms: i64,
    jumped_at: Option<Duration>,
}

impl Server {
    fn now(&self, now: Duration) -> Instant {
        self.base + (now - self.started) * self.rate / 100
    }
}

impl World {
    fn now_ms(&self) -> i64 {
        i64::try_from(self.now.as_millis()).unwrap() + self.shared.clock_ahead_ms
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Wait(milliseconds) => self.wait(Duration::from_millis(*milliseconds)),
            Event::Start { clock_ms, rate } => self.start(*clock_ms, *rate),
            Event::Login {
                server,
                user,
                lease_after_ms,
            } if !self.servers.is_empty() => {
                let user = USERS[user.index(USERS.len())];
                let server = &self.servers[server.index(self.servers.len())];
                self.sessions.push(Session {
                    server: server.id.clone(),
                    user,
                    version: self.shared.versions.get(&user).copied().unwrap_or_default(),
                    leased_at: self.now + Duration::from_millis(*lease_after_ms),
                });
            }
            Event::Close(session) if !self.sessions.is_empty() => {
                self.sessions
                    .swap_remove(session.index(self.sessions.len()));
            }
            Event::Delete { user, kept_ms } => {
                let user = USERS[user.index(USERS.len())];
                let kept_until_ms = self.now_ms() + kept_ms;
                let version = self.shared.versions.entry(user).or_default();
                *version += 1;
                let version = MaildropVersion(*version);
                let deletion = DeletionKey { user, version };
                self.shared.deletions.insert(deletion, kept_until_ms);
            }
            Event::Step { server, fate } if !self.servers.is_empty() => {
                self.step(server.index(self.servers.len()), *fate);
            }
            Event::Round(server) if !self.servers.is_empty() => {
                let server = server.index(self.servers.len());
                self.step(server, Fate::Committed);
                while !matches!(self.servers[server].step, Step::Idle) {
                    self.step(server, Fate::Committed);
                }
            }
            Event::Die(server) if !self.servers.is_empty() => {
                self.end(server.index(self.servers.len()));
            }
            Event::Leave(server) if !self.servers.is_empty() => {
                let gone = self.end(server.index(self.servers.len()));
                self.shared.forget(&gone);
            }
            Event::Jump(by_ms) if self.jumped_at.is_none_or(|at| self.now >= at + JUMP_PAUSE) => {
                self.jumped_at = Some(self.now);
                self.shared.clock_ahead_ms += by_ms;
            }
            Event::Doubt(server) if !self.servers.is_empty() => {
                let now_ms = self.now_ms();
                let server = server.index(self.servers.len());
                let doubts = &mut self.servers[server].doubts_since_ms;
                *doubts = doubts.is_none().then_some(now_ms);
            }
            Event::Login { .. }
            | Event::Close(_)
            | Event::Step { .. }
            | Event::Round(_)
            | Event::Die(_)
            | Event::Leave(_)
            | Event::Jump(_)
            | Event::Doubt(_) => {}
        }
    }

    /// Advances the time. Live servers do not pause for long.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = until.min(self.now + Duration::from_secs(1));
            for at in 0..self.servers.len() {
                let mut steps = 0;
                while self.now - self.servers[at].round_ended > LATEST_ROUND && steps < 20 {
                    self.step(at, Fate::Committed);
                    steps += 1;
                }
            }
        }
    }

    fn start(&mut self, clock_ms: u32, rate: u32) {
        self.started += 1;
        let id = format!("server {}", self.started);
        let base = Instant::now() + Duration::from_millis(clock_ms.into());
        // It registers before its first login.
        self.shared.heartbeats.insert(id.clone(), 1);
        self.servers.push(Server {
            id,
            state: RemovalState::default(),
            step: Step::default(),
            started: self.now,
            base,
            rate,
            looked_at: base,
            doubts_since_ms: None,
            round_ended: self.now,
        });
    }

    fn end(&mut self, server: usize) -> String {
        let server = self.servers.swap_remove(server);
        self.sessions.retain(|session| session.server != server.id);
        server.id
    }

    /// Does the next step of a server's round, as `garbage.rs` does.
    fn step(&mut self, at: usize, fate: Fate) {
        let (now, now_ms) = (self.now, self.now_ms());
        self.latest_ms = self.latest_ms.max(now_ms);
        let server = &mut self.servers[at];
        let server_now = server.now(now);
        server.step = match std::mem::take(&mut server.step) {
            Step::Idle => {
                server.looked_at = server_now;
                let sessions = &self.sessions;
                let seen = self.shared.look(server, sessions, now, now_ms);
                if seen.deletions.is_empty() {
                    server.state.reset();
                    server.round_ended = now;
                    let heartbeats = &mut self.shared.heartbeats;
                    heartbeats.entry(server.id.clone()).or_insert(1);
                    return;
                }
                Step::Looked(seen)
            }
            Step::Looked(seen) => {
                self.shared.publish(server, &seen.held, fate);
                if fate != Fate::Committed {
                    return;
                }
                server.state.note_published(seen.held.clone());
                Step::Published(seen)
            }
            Step::Published(mut seen) => {
                let others = self.shared.heartbeats.iter();
                let others = others.filter(|(id, _)| **id != server.id);
                seen.heartbeats = others.map(|(id, it)| (id.clone(), *it)).collect();
                seen.heartbeats_after = server_now - server.looked_at;
                Step::Counted(seen)
            }
            Step::Counted(mut seen) => {
                let leases = self.shared.leases.iter();
                let leases = leases.filter(|(id, _)| *id != server.id);
                seen.remote_leases = leases.cloned().collect();
                let mut plan = plan(server.looked_at, std::mem::take(&mut server.state), &seen);
                server.state = std::mem::take(&mut plan.state);
                Step::Planned(plan)
            }
            Step::Planned(plan) => {
                server.round_ended = now;
                if fate != Fate::Lost {
                    self.execute(&plan);
                }
                return;
            }
        };
    }

    /// Removes what a plan allows; nothing of it may be readable.
    fn execute(&mut self, plan: &Plan) {
        for dead in &plan.dead_servers {
            assert!(
                self.servers.iter().all(|server| server.id != *dead),
                "{dead} lives"
            );
            self.shared.forget(dead);
        }
        for deletion in &plan.removable {
            let Some(kept_until_ms) = self.shared.deletions.remove(deletion) else {
                continue;
            };
            let readers = self.sessions.iter().filter(|session| {
                session.user == deletion.user && session.version < deletion.version.0
            });
            assert_eq!(readers.count(), 0, "{deletion:?} is still read");
            assert!(kept_until_ms <= self.latest_ms, "{deletion:?} is kept");
            self.shared.leases.retain(|(_, leased)| leased != deletion);
        }
    }
}

impl Shared {
    fn forget(&mut self, server: &str) {
        self.heartbeats.remove(server);
        self.leases.retain(|(id, _)| id != server);
    }

    fn look(&self, server: &Server, sessions: &[Session], now: Duration, now_ms: i64) -> Seen {
        let deletion = |(key, kept_until_ms): (&DeletionKey, &i64)| SeenDeletion {
            key: *key,
            kept_until_ms: *kept_until_ms,
            is_moved: true,
        };
        let due = self.deletions.iter().filter(|(_, kept)| **kept <= now_ms);
        let deletions: Vec<SeenDeletion> = due.map(deletion).collect();
        let is_held = |key: &DeletionKey| {
            sessions.iter().any(|session| {
                session.server == server.id
                    && session.user == key.user
                    && session.version < key.version.0
                    && session.leased_at <= now
            })
        };
        let held = deletions.iter().map(|deletion| deletion.key);
        let held = held.chain(server.state.published());
        Seen {
            now_ms: server
                .doubts_since_ms
                .map_or(now_ms, |since| since.min(now_ms)),
            held: held.filter(is_held).collect(),
            deletions,
            ..Seen::default()
        }
    }

    fn publish(&mut self, server: &mut Server, held: &HashSet<DeletionKey>, fate: Fate) {
        let is_known = self.heartbeats.contains_key(&server.id);
        let Publication { publish, withdraw } = server.state.publication(held, is_known);
        if fate == Fate::Lost {
            return;
        }
        *self.heartbeats.entry(server.id.clone()).or_default() += 1;
        let deletions = &self.deletions;
        let publish = publish.into_iter().filter(|it| deletions.contains_key(it));
        let lease = |deletion| (server.id.clone(), deletion);
        self.leases.extend(publish.map(lease));
        for deletion in withdraw {
            self.leases.remove(&(server.id.clone(), deletion));
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let any_index = any::<Index>;
    prop_oneof![
        20 => (0..10_000_u64).prop_map(Event::Wait),
        1 => (0..1_000_000_u32, 90..111_u32)
            .prop_map(|(clock_ms, rate)| Event::Start { clock_ms, rate }),
        12 => (any_index(), any_index(), 0..SLOWEST_LOGIN_MS).prop_map(
            |(server, user, lease_after_ms)| Event::Login { server, user, lease_after_ms }
        ),
        6 => any_index().prop_map(Event::Close),
        6 => (any_index(), prop_oneof![Just(0), 0..60_000_i64])
            .prop_map(|(user, kept_ms)| Event::Delete { user, kept_ms }),
        40 => any_index().prop_map(Event::Round),
        30 => (any_index(), fate()).prop_map(|(server, fate)| Event::Step { server, fate }),
        1 => any_index().prop_map(Event::Die),
        1 => any_index().prop_map(Event::Leave),
        1 => (-100_000..100_000_i64).prop_map(Event::Jump),
        1 => any_index().prop_map(Event::Doubt),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Committed),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Unheard),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_a_session_can_read_stays_and_all_else_goes_in_the_end(
        events in prop::collection::vec(event(), 1..200)
    ) {
        let mut world = World::default();
        for percent in [100, 95, 105] {
            world.start(percent * 1000, percent);
        }
        for event in &events {
            world.apply(event);
        }
        // All sessions end, all retention is over, and nothing is lost any more.
        world.sessions.clear();
        world.shared.clock_ahead_ms = 1_000_000_000;
        for server in &mut world.servers {
            server.doubts_since_ms = None;
        }
        if world.servers.is_empty() {
            world.start(0, 100);
        }
        for _ in 0..300 {
            world.wait(Duration::from_secs(1));
            for server in 0..world.servers.len() {
                for _ in 0..5 {
                    world.step(server, Fate::Committed);
                }
            }
        }
        prop_assert_eq!(&world.shared.deletions, &BTreeMap::new());
        prop_assert_eq!(&world.shared.leases, &HashSet::new());
    }
}

/// A server that has seen one deletion for a while, and everything that could keep it.
fn seen_for_long(deletion: DeletionKey) -> (Instant, RemovalState, Seen) {
    let began = Instant::now();
    let mut seen = Seen {
        now_ms: 1000,
        deletions: vec![SeenDeletion {
            key: deletion,
            kept_until_ms: 1000,
            is_moved: true,
        }],
        heartbeats: HashMap::from([("other".to_owned(), 1)]),
        ..Seen::default()
    };
    let first = plan(began, RemovalState::default(), &seen);
    assert_eq!(first.removable, []);
    let after = began + LOGIN_GRACE;
    let second = plan(after, first.state, &seen);
    assert_eq!(second.removable, []);
    seen.heartbeats = HashMap::from([("other".to_owned(), 3)]);
    (after, second.state, seen)
}

const DELETION: DeletionKey = DeletionKey {
    user: UserId::from_row(1),
    version: MaildropVersion(5),
};

#[test]
fn each_thing_that_keeps_a_deletion_keeps_it() {
    let (now, state, seen) = seen_for_long(DELETION);
    let removable = |now, seen: &Seen| plan(now, state.clone(), seen).removable;
    assert_eq!(removable(now, &seen), [DELETION]);
    let but = |change: fn(&mut Seen)| {
        let mut seen = seen.clone();
        change(&mut seen);
        seen
    };
    let retained = but(|seen| seen.now_ms = 999);
    let unmoved = but(|seen| seen.deletions.iter_mut().for_each(|it| it.is_moved = false));
    let held = but(|seen| seen.held = HashSet::from([DELETION]));
    let leased = but(|seen| seen.remote_leases.push(("other".into(), DELETION)));
    let unseen = but(|seen| seen.heartbeats.extend([("other".into(), 2)]));
    for kept in [retained, unmoved, held, leased, unseen] {
        assert_eq!(removable(now, &kept), [], "{kept:?}");
    }
    let gone = but(|seen| seen.heartbeats.clear());
    assert_eq!(removable(now, &gone), [DELETION]);
    let newcomer = but(|seen| seen.heartbeats.extend([("new".into(), 1)]));
    assert_eq!(removable(now, &newcomer), [DELETION]);
}

#[test]
fn a_login_that_is_under_way_keeps_a_deletion_for_some_seconds() {
    let began = Instant::now();
    let seen = Seen {
        deletions: vec![SeenDeletion {
            key: DELETION,
            kept_until_ms: 0,
            is_moved: true,
        }],
        ..Seen::default()
    };
    let first = plan(began, RemovalState::default(), &seen);
    let a_moment = Duration::from_millis(1);
    let early = plan(began + LOGIN_GRACE - a_moment, first.state.clone(), &seen);
    assert_eq!((first.removable.len(), early.removable.len()), (0, 0));
    let late = plan(began + LOGIN_GRACE, early.state, &seen);
    assert_eq!(late.removable, [DELETION]);
}

#[test]
fn a_server_is_dead_when_its_heartbeat_has_not_changed_for_long() {
    let (_, state, mut seen) = seen_for_long(DELETION);
    seen.remote_leases.push(("other".into(), DELETION));
    let now = Instant::now() + LOGIN_GRACE;
    let alive = plan(now, state, &seen);
    assert_eq!((alive.dead_servers.len(), alive.removable.len()), (0, 0));
    let later = now + SERVER_TIMEOUT;
    let almost = plan(later - Duration::from_millis(1), alive.state.clone(), &seen);
    assert_eq!(almost.dead_servers.len(), 0);
    let dead = plan(later, alive.state, &seen);
    assert_eq!(dead.dead_servers, ["other"]);
    assert_eq!(dead.removable, [DELETION]);
}

#[test]
fn a_server_that_was_taken_for_dead_publishes_all_its_leases_again() {
    let mut state = RemovalState::default();
    let held = HashSet::from([DELETION]);
    let first = state.publication(&held, true);
    assert_eq!(first.publish, [DELETION]);
    state.note_published(held.clone());
    assert_eq!(state.publication(&held, true), Publication::default());
    assert_eq!(
        state.publication(&HashSet::new(), true).withdraw,
        [DELETION]
    );
    assert_eq!(state.publication(&held, false).publish, [DELETION]);
}

#[test]
fn a_lease_whose_commit_had_no_answer_is_published_again_and_withdrawn() {
    let mut state = RemovalState::default();
    let held = HashSet::from([DELETION]);
    for _ in 0..2 {
        assert_eq!(state.publication(&held, true).publish, [DELETION]);
    }
    state.reset();
    for _ in 0..2 {
        let nothing = state.publication(&HashSet::new(), true);
        assert_eq!(nothing.withdraw, [DELETION]);
    }
    // Sessions that still read keep it, also when the clock hides the deletion.
    assert_eq!(state.published().collect::<Vec<_>>(), [DELETION]);
    state.note_published(HashSet::new());
    assert_eq!(state.published().count(), 0);
    assert_eq!(
        state.publication(&HashSet::new(), true),
        Publication::default()
    );
}

#[test]
fn a_content_is_broken_off_after_an_hour_of_the_databases_clock() {
    let hour = 3_600_000;
    let pending = |content, written_at_ms| SeenPending {
        content: ContentId(content),
        written_at_ms,
        now_ms: 10 * hour,
    };
    let pending = [
        pending(1, 9 * hour - 1),
        pending(2, 9 * hour),
        pending(3, 11 * hour),
    ];
    assert_eq!(broken_off(&pending), [ContentId(1)]);
}

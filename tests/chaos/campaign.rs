//! A database, what was promised about it, and the rounds that it goes through.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use crate::dice::Dice;
use crate::ledger::{CAROL, Fate, Found, Ledger};
use crate::load::{Load, Owner, Target};
use crate::rounds::{self, Round};
use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, BOB, fill};
use crate::support::place::{self, Kind, Place};
use crate::support::postgres::free_port;
use crate::support::{eventually, pause, run};

/// From so many messages on, a campaign goes on with another database.
const MESSAGES: usize = 3000;

/// How long a killed server's process may hold what it had locked.
const SETTLE: Duration = Duration::from_millis(200);

/// What there is of each message.
const FOUND: &str = "SELECT u.address, m.octets, CAST(m.trace_octets AS BIGINT), c.octets, \
    (SELECT CAST(COALESCE(SUM(LENGTH(k.data)), 0) AS BIGINT) FROM chunks k \
     WHERE k.content_id = c.id), \
    (SELECT k.data FROM chunks k WHERE k.content_id = c.id AND k.number = 0) \
    FROM messages m JOIN users u ON u.id = m.user_id JOIN contents c ON c.id = m.content_id";

/// Octets that belong to nothing, which garbage collection has left behind.
const OWNERLESS: &str = "contents c \
    WHERE NOT EXISTS (SELECT 1 FROM messages o WHERE o.content_id = c.id) \
    AND NOT EXISTS (SELECT 1 FROM deleted_messages o WHERE o.content_id = c.id) \
    AND NOT EXISTS (SELECT 1 FROM pending_contents o WHERE o.content_id = c.id)";

/// Messages whose octets are gone.
const EMPTY: &str = "messages m WHERE NOT EXISTS \
    (SELECT 1 FROM contents c JOIN chunks k ON k.content_id = c.id WHERE c.id = m.content_id)";

/// One kind of database for as long as the campaign lasts.
pub(crate) struct Campaign {
    pub(crate) place: Place,
    pub(crate) dice: Dice,
    pub(crate) ledger: Ledger,
    /// Those whose mail comes and goes.
    pub(crate) owners: Vec<Owner>,
    /// Whose mail is moved.
    pub(crate) carol: Owner,
    next: AtomicU64,
}

impl Campaign {
    pub(crate) fn new(place: Place, dice: Dice) -> Self {
        let owner = |address| Owner {
            address,
            key: fill(&place.url, address, &[]),
        };
        Self {
            owners: [ADA, BOB].map(owner).into(),
            carol: owner(CAROL),
            ledger: Ledger::default(),
            next: AtomicU64::new(1),
            place,
            dice,
        }
    }

    /// Goes through rounds until the time is over; tells how many.
    ///
    /// # Panics
    /// If an invariant is broken.
    pub(crate) fn run(mut self, until: Instant) -> String {
        let kind = self.place.kind;
        let (mut rounds, mut messages) = (0, 0);
        while Instant::now() < until {
            rounds += 1;
            let round = Round::choose(kind, &mut self.dice);
            println!("{kind:?} {rounds}: {}", round.name());
            let (began, before) = (Instant::now(), self.ledger.len());
            rounds::go_through(round, &mut self);
            let sent = self.ledger.len() - before;
            messages += sent;
            println!(
                "{kind:?} {rounds}: as promised after {:.1} s; {sent} new messages, {} are there, {} are gone",
                began.elapsed().as_secs_f64(),
                self.ledger.count(Fate::Stored),
                self.ledger.count(Fate::Deleted),
            );
            if self.ledger.len() > MESSAGES {
                self.collect_garbage();
                self = self.anew();
            }
        }
        self.collect_garbage();
        format!("{rounds} rounds, {messages} messages, all as promised")
    }

    fn anew(mut self) -> Self {
        let place = match self.place.kind {
            Kind::Sqlite => place::sqlite(),
            Kind::Postgres => place::postgres().unwrap(),
        };
        println!("{:?}: another database", place.kind);
        let dice = self.dice.split();
        Self::new(place, dice)
    }

    /// A number that no message or QUIT has yet.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A server on this database.
    pub(crate) fn serve(&self, settings: &[(&str, &str)]) -> (Daemon, Target) {
        let lmtp = free_port();
        let port = lmtp.to_string();
        let settings: Vec<_> = [("Lmtp__Port", port.as_str()), ("Log__Level", "info")]
            .into_iter()
            .chain(settings.iter().copied())
            .collect();
        let daemon = Daemon::start_with(&self.place.url, &settings);
        daemon.wait_for_log("listening for LMTP");
        let target = Target {
            pop3: daemon.address,
            lmtp: ([127, 0, 0, 1], lmtp).into(),
        };
        (daemon, target)
    }

    /// Lets mail come and go at these servers while something happens, and checks what came of it.
    pub(crate) fn under_load(&mut self, targets: &[Target], happens: impl FnOnce(&mut Dice)) {
        let mut dice = self.dice.split();
        let load = Load {
            ledger: &self.ledger,
            owners: &self.owners,
            targets,
            next: &self.next,
            done: Default::default(),
        };
        load.during(&mut dice, happens);
        self.check();
    }

    /// Looks into the database for all that was promised.
    ///
    /// # Panics
    /// If a promise is broken.
    pub(crate) fn check(&self) {
        // What a killed process has asked PostgreSQL for may still be done.
        pause(SETTLE);
        self.ledger.check(&self.found());
        assert_eq!(self.count(EMPTY), 0, "messages without octets");
    }

    /// A server that has time removes what belongs to nothing, and nothing else.
    pub(crate) fn collect_garbage(&self) {
        let (daemon, _) = self.serve(&[]);
        eventually("garbage collection", || {
            (self.count(OWNERLESS) == 0).then_some(())
        });
        drop(daemon);
        self.check();
    }

    /// All messages of all maildrops.
    pub(crate) fn found(&self) -> Vec<Found> {
        self.ask(async |sql| {
            let statement = Statement::from_string(sql.get_database_backend(), FOUND);
            let rows = sql.query_all_raw(statement).await.ok()?;
            let found = rows.into_iter().map(|row| Found {
                user: row.try_get_by_index(0).unwrap(),
                octets: row.try_get_by_index(1).unwrap(),
                trace_octets: row.try_get_by_index(2).unwrap(),
                content_octets: row.try_get_by_index(3).unwrap(),
                chunk_octets: row.try_get_by_index(4).unwrap(),
                first_chunk: row.try_get_by_index(5).unwrap(),
            });
            Some(found.collect())
        })
    }

    /// How many rows there are.
    pub(crate) fn count(&self, table: &str) -> i64 {
        let count = format!("SELECT CAST(COUNT(*) AS BIGINT) FROM {table}");
        self.ask(async |sql| {
            let statement = Statement::from_string(sql.get_database_backend(), &count);
            let row = sql.query_one_raw(statement).await.ok()??;
            row.try_get_by_index(0).ok()
        })
    }

    /// Asks the database, again and again while it is away.
    pub(crate) fn ask<T: Send>(
        &self,
        question: impl AsyncFn(&DatabaseConnection) -> Option<T> + Sync,
    ) -> T {
        eventually("the database", || {
            run(async || {
                let sql = sea_orm::Database::connect(&self.place.url).await.ok()?;
                let answer = question(&sql).await;
                let _ = sql.close().await;
                answer
            })
        })
    }
}

/// Runs statements, and lets them fail.
pub(crate) fn try_sql(url: &str, statements: &str) {
    run(async || {
        if let Ok(sql) = sea_orm::Database::connect(url).await {
            let _ = sql.execute_unprepared(statements).await;
            let _ = sql.close().await;
        }
    });
}

//! What is done to servers and commands.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sea_orm::{ConnectionTrait, Statement};

use crate::campaign::{Campaign, try_sql};
use crate::dice::Dice;
use crate::ledger::{CAROL, EVE, Fate, number_of, octets};
use crate::support::mail::fill;
use crate::support::place::{self, Kind};
use crate::support::{cli, eventually, pause};
use crate::wire::Wire;

/// How many messages are moved, removed and expired at a time.
const MOVED: usize = 120;

/// How many a QUIT deletes that is brought back.
const BROUGHT_BACK: usize = 40;

/// Something that goes wrong, or is broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    KillServer,
    KillOneOfTwo,
    FreezeOneOfTwo,
    KillMove,
    KillRestore,
    KillExpiry,
    KillRemoval,
    KillMigration,
    CutConnections,
    CrashPostgres,
}

impl Round {
    /// The first ones are for every database.
    const ALL: [Self; 10] = [
        Self::KillServer,
        Self::KillOneOfTwo,
        Self::FreezeOneOfTwo,
        Self::KillMove,
        Self::KillRestore,
        Self::KillExpiry,
        Self::KillRemoval,
        Self::KillMigration,
        Self::CutConnections,
        Self::CrashPostgres,
    ];

    pub(crate) fn choose(kind: Kind, dice: &mut Dice) -> Self {
        let possible = match kind {
            Kind::Sqlite => 8,
            Kind::Postgres => 10,
        };
        Self::ALL[usize::try_from(dice.below(possible)).unwrap()]
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillServer => "kill -9 of the server while mail comes and goes",
            Self::KillOneOfTwo => "kill -9 of one of two servers while mail comes and goes",
            Self::FreezeOneOfTwo => "one of two servers is stopped and continued",
            Self::KillMove => "kill -9 of an import and of an export",
            Self::KillRestore => "kill -9 of a restore",
            Self::KillExpiry => "kill -9 of a server whose messages expire",
            Self::KillRemoval => "kill -9 of the removal of a user",
            Self::KillMigration => "kill -9 of a migration",
            Self::CutConnections => "all connections to PostgreSQL are cut, several times",
            Self::CrashPostgres => "PostgreSQL crashes and starts again",
        }
    }
}

/// # Panics
/// If an invariant is broken.
pub(crate) fn go_through(round: Round, campaign: &mut Campaign) {
    match round {
        Round::KillServer => kill_server(campaign),
        Round::KillOneOfTwo => kill_one_of_two(campaign),
        Round::FreezeOneOfTwo => freeze_one_of_two(campaign),
        Round::KillMove => kill_move(campaign),
        Round::KillRestore => kill_restore(campaign),
        Round::KillExpiry => kill_expiry(campaign),
        Round::KillRemoval => kill_removal(campaign),
        Round::KillMigration => kill_migration(campaign),
        Round::CutConnections => cut_connections(campaign),
        Round::CrashPostgres => crash_postgres(campaign),
    }
}

fn kill_server(campaign: &mut Campaign) {
    let (daemon, target) = campaign.serve(&[]);
    campaign.under_load(&[target], |dice| {
        pause(dice.milliseconds(100, 3000));
        daemon.kill();
    });
}

fn kill_one_of_two(campaign: &mut Campaign) {
    let (killed, first) = campaign.serve(&[]);
    let (_goes_on, second) = campaign.serve(&[]);
    campaign.under_load(&[first, second], |dice| {
        pause(dice.milliseconds(100, 2000));
        killed.kill();
        pause(dice.milliseconds(100, 2000));
    });
}

fn freeze_one_of_two(campaign: &mut Campaign) {
    let (frozen, first) = campaign.serve(&[]);
    let (_goes_on, second) = campaign.serve(&[]);
    campaign.under_load(&[first, second], |dice| {
        for _ in 0..1 + dice.below(3) {
            pause(dice.milliseconds(50, 1000));
            frozen.signal("STOP");
            pause(dice.milliseconds(50, 4000));
            frozen.signal("CONT");
        }
        pause(dice.milliseconds(50, 1000));
    });
}

fn cut_connections(campaign: &mut Campaign) {
    const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let (_daemon, target) = campaign.serve(&[]);
    let url = campaign.place.url.clone();
    campaign.under_load(&[target], |dice| {
        for _ in 0..1 + dice.below(5) {
            pause(dice.milliseconds(50, 1000));
            try_sql(&url, CUT);
        }
        pause(dice.milliseconds(500, 1500));
    });
}

/// PostgreSQL ends all its processes when one is killed, recovers and goes on.
fn crash_postgres(campaign: &mut Campaign) {
    // The cluster of the tests answers before a commit is written, which loses it here.
    try_sql(
        &campaign.place.url,
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || \
         ' SET synchronous_commit = on'; END $$",
    );
    let (_daemon, target) = campaign.serve(&[]);
    let victim = campaign.ask(async |sql| {
        let of_server = "SELECT pid FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let statement = Statement::from_string(sql.get_database_backend(), of_server);
        let row = sql.query_one_raw(statement).await.ok()??;
        row.try_get_by_index::<i32>(0).ok()
    });
    campaign.under_load(&[target], |dice| {
        pause(dice.milliseconds(100, 2000));
        // It may have been closed since; then nothing happens in this round.
        let mut kill = Command::new("sh");
        kill.args(["-c", &format!("kill -9 {victim}")]);
        drop(kill.stderr(Stdio::null()).status());
        pause(dice.milliseconds(500, 2500));
    });
}

fn kill_move(campaign: &mut Campaign) {
    let file = campaign.place.folder.path().join("import.mbox");
    let numbers: Vec<_> = (0..MOVED).map(|_| campaign.number()).collect();
    std::fs::write(&file, mbox(&numbers)).unwrap();
    for number in numbers {
        campaign.ledger.set((CAROL, number), Fate::Sent);
    }
    let import = ["import", CAROL, file.to_str().unwrap()];
    for _ in 0..2 {
        kill_command(campaign, &import, 1500);
        campaign.ledger.look(&campaign.found());
    }
    run_command(campaign, &import);
    campaign.ledger.acknowledge_all(CAROL);
    campaign.check();

    let exported = campaign.place.folder.path().join("export.mbox");
    let export = ["export", CAROL, exported.to_str().unwrap()];
    let done = kill_command(campaign, &export, 700);
    assert_eq!(exported.exists(), done, "half an export has its name");
    if done {
        std::fs::remove_file(&exported).unwrap();
    }
    run_command(campaign, &export);
    let stored = campaign.ledger.stored_of(CAROL).len();
    assert_eq!(messages_of(&exported), stored, "an export lacks messages");
    std::fs::remove_file(&exported).unwrap();
}

fn kill_restore(campaign: &mut Campaign) {
    let (daemon, target) = campaign.serve(&[("Pop3__DeletedRetention", "1h")]);
    if campaign.ledger.stored_of(CAROL).len() < BROUGHT_BACK {
        add_mail(campaign, CAROL);
    }
    let quit = campaign.number();
    let mut client = Wire::connect(target.pop3).unwrap();
    let user = format!("USER {CAROL}");
    let key = format!("PASS {}", campaign.carol.key);
    for line in [&user, &key] {
        client.expect(line, "+OK").unwrap();
    }
    for at in 1..=BROUGHT_BACK {
        client.expect(&format!("TOP {at} 0"), "+OK").unwrap();
        let number = number_of(&client.body().unwrap()).unwrap();
        client.expect(&format!("DELE {at}"), "+OK").unwrap();
        campaign.ledger.set((CAROL, number), Fate::Marked(quit));
    }
    client.expect("QUIT", "+OK").unwrap();
    drop(daemon);
    // From here on they are there or not, all of them.
    let restore = ["restore", CAROL, "--since", "1h"];
    let done = kill_command(campaign, &restore, 400);
    campaign.ledger.look(&campaign.found());
    let restored = cli::Cli::new(&campaign.place.url).args(restore).run();
    let back = restored.stderr.contains("nothing is kept");
    assert!(restored.code == Some(0) || back, "{restored:?}");
    assert!(!done || back, "restored twice: {restored:?}");
    campaign.ledger.settle(quit, Fate::Stored);
    campaign.check();
}

fn kill_expiry(campaign: &mut Campaign) {
    add_mail(campaign, CAROL);
    let of_carol = format!("(SELECT id FROM users WHERE address = '{CAROL}')");
    let old = format!(
        "UPDATE messages SET stored_at_ms = stored_at_ms - 172800000 WHERE user_id = {of_carol}"
    );
    try_sql(&campaign.place.url, &old);
    campaign.ledger.set_all(CAROL, Fate::Sent);
    let expires = [("Pop3__ExpireAfter", "1d")];
    let (daemon, _) = campaign.serve(&expires);
    // A server looks every five seconds.
    pause(campaign.dice.milliseconds(4900, 5600));
    daemon.kill();
    campaign.check();
    campaign.ledger.set_all(CAROL, Fate::Sent);
    let (daemon, _) = campaign.serve(&expires);
    let left = format!("messages WHERE user_id = {of_carol}");
    eventually("messages to expire", || {
        (campaign.count(&left) == 0).then_some(())
    });
    drop(daemon);
    campaign.ledger.set_all(CAROL, Fate::Deleted);
    campaign.check();
}

fn kill_removal(campaign: &mut Campaign) {
    let removal = campaign.number();
    // Half of it says what Carol's mail says, and is stored once.
    add_mail(campaign, CAROL);
    let shared = campaign.ledger.stored_of(CAROL).into_iter().take(MOVED);
    let own = (0..MOVED).map(|_| campaign.number());
    let numbers: Vec<_> = shared.chain(own).collect();
    let messages: Vec<_> = numbers.iter().map(|number| octets(*number)).collect();
    fill(&campaign.place.url, EVE, &messages);
    for number in &numbers {
        campaign.ledger.set((EVE, *number), Fate::Marked(removal));
    }
    let remove = ["user", "remove", EVE];
    kill_command(campaign, &remove, 400);
    campaign.check();
    let users = run_command(campaign, &["user", "list"]);
    if users.contains(EVE) {
        run_command(campaign, &remove);
    }
    for number in numbers {
        campaign.ledger.set((EVE, number), Fate::Deleted);
    }
    campaign.check();
}

fn kill_migration(campaign: &mut Campaign) {
    let fresh = match campaign.place.kind {
        Kind::Sqlite => place::sqlite(),
        Kind::Postgres => place::postgres().unwrap(),
    };
    let kept = std::mem::replace(&mut campaign.place, fresh);
    for _ in 0..3 {
        kill_command(campaign, &["migrate"], 400);
    }
    run_command(campaign, &["migrate"]);
    let key = fill(&campaign.place.url, CAROL, &[octets(1)]);
    let (_daemon, target) = campaign.serve(&[]);
    let mut client = Wire::connect(target.pop3).unwrap();
    client.expect(&format!("USER {CAROL}"), "+OK").unwrap();
    client.expect(&format!("PASS {key}"), "+OK").unwrap();
    client.expect("STAT", "+OK 1 ").unwrap();
    campaign.place = kept;
}

/// Imports messages.
fn add_mail(campaign: &Campaign, user: &'static str) {
    let file = campaign.place.folder.path().join("more.mbox");
    let numbers: Vec<_> = (0..MOVED).map(|_| campaign.number()).collect();
    std::fs::write(&file, mbox(&numbers)).unwrap();
    run_command(campaign, &["import", user, file.to_str().unwrap()]);
    for number in &numbers {
        campaign.ledger.set((user, *number), Fate::Stored);
    }
}

fn mbox(numbers: &[u64]) -> Vec<u8> {
    let from_line = b"From ada@example.com Thu Jan  1 00:00:00 1970\r\n";
    let parts = numbers
        .iter()
        .map(|number| [from_line.as_slice(), &octets(*number), b"\r\n"].concat());
    parts.collect::<Vec<_>>().concat()
}

fn messages_of(mbox: &Path) -> usize {
    let octets = std::fs::read(mbox).unwrap();
    let lines = octets.split(|octet| *octet == b'\n');
    lines.filter(|line| line.starts_with(b"From ")).count()
}

/// Runs a command to its end.
fn run_command(campaign: &Campaign, arguments: &[&str]) -> String {
    let outcome = cli::Cli::new(&campaign.place.url).args(arguments).run();
    assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
    outcome.stdout
}

/// Kills a command within so many milliseconds; had it done its work by then?
fn kill_command(campaign: &mut Campaign, arguments: &[&str], within_ms: u64) -> bool {
    let mut command = cli::restante();
    command
        .args(arguments)
        .env("Database__Url", &campaign.place.url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child: Child = command.spawn().unwrap();
    pause(campaign.dice.milliseconds(1, within_ms));
    child.kill().unwrap();
    let done = cli::wait(&mut child) == Some(0);
    // What it has asked PostgreSQL for may still be done.
    pause(Duration::from_millis(200));
    done
}

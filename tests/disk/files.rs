//! Permissions of the files, and their removal under a running server.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{beside, database};
use crate::lmtp::Mta;
use crate::support::cli::{self, Cli};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::http::Http;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;
use crate::support::postgres::free_port;

/// A command under this umask.
fn under(umask: &str, arguments: &[&str]) -> Command {
    let restante = cli::restante();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"])
        .arg(restante.get_program())
        .args(arguments);
    for (name, value) in restante.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The modes of all that is in a folder, with those of the folders in there.
fn modes(folder: &Path) -> Vec<(String, u32)> {
    let mut modes = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        modes.push((path.display().to_string(), mode(&path)));
        if path.is_dir() {
            modes.extend(self::modes(&path));
        }
    }
    modes
}

#[test]
fn what_is_made_is_for_the_server_s_user_alone_under_any_umask() {
    for umask in ["000", "022", "077", "777"] {
        let place = sqlite();
        let file = database(&place);
        let mut serve = under(umask, &["serve"]);
        let mut server = serve
            .env("Database__Url", &place.url)
            .env("Pop3__BindAddress", "127.0.0.1")
            .env("Pop3__Port", free_port().to_string())
            .env("Pop3__SecurePort", "0")
            .env("Admin__Port", "0")
            .env("Log__Level", "error")
            .spawn()
            .unwrap();
        eventually("the reserve", || {
            let reserve = fs::metadata(beside(&file, "-reserve")).ok()?;
            (reserve.len() > 0).then_some(())
        });
        let made = modes(place.folder.path());
        cli::kill(&mut server);
        let names = ["", "-wal", "-shm", "-reserve"].map(|it| beside(&file, it));
        let folder = file.parent().unwrap();
        assert!(
            made.contains(&(folder.display().to_string(), 0o700)),
            "{made:?}"
        );
        for name in names {
            let name = name.display().to_string();
            assert!(made.contains(&(name, 0o600)), "{umask}: {made:?}");
        }
        assert!(made.iter().all(|(_, mode)| mode & 0o077 == 0), "{made:?}");
    }
}

#[test]
fn a_demo_is_for_its_user_alone_under_any_umask() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = under("000", &["demo"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let made = eventually("the demo's database", || {
        let made = modes(folder.path());
        let is_there = made.iter().any(|(name, _)| name.ends_with("-reserve"));
        is_there.then_some(made)
    });
    cli::kill(&mut demo);
    assert!(made.iter().all(|(_, mode)| mode & 0o077 == 0), "{made:?}");
}

#[test]
fn a_database_that_others_may_read_is_left_so_and_named() {
    let place = sqlite();
    fill(&place.url, ADA, &[]);
    let file = database(&place);
    let folder = file.parent().unwrap();
    let warnings = || {
        let check = Cli::new(&place.url)
            .args(["check", "--json"])
            .env("Pop3__Port", &free_port().to_string())
            .env("Pop3__SecurePort", "0")
            .env("Admin__Port", "0")
            .run();
        let report: Value = serde_json::from_str(&check.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        let about_mail = |it: &&Value| it["message"].to_string().contains("may get at mail");
        findings.iter().find(about_mail).cloned()
    };
    assert_eq!(warnings(), None);
    for (path, open, private) in [(&*file, 0o604, 0o600), (folder, 0o750, 0o700)] {
        fs::set_permissions(path, fs::Permissions::from_mode(open)).unwrap();
        let warning = warnings().unwrap();
        assert_eq!(warning["level"], "warning");
        assert_eq!(warning["fix"], format!("chmod go= {}", path.display()));
        let daemon = Daemon::start(&place.url);
        daemon.wait_for_log(&format!("chmod go= {}", path.display()));
        assert_eq!(mode(path), open, "that may be on purpose");
        fs::set_permissions(path, fs::Permissions::from_mode(private)).unwrap();
    }
}

/// A link to where the database is to be is followed.
#[test]
fn a_database_behind_a_link_is_made_for_the_server_s_user_alone() {
    let place = sqlite();
    let target = place.folder.path().join("elsewhere.db");
    let link = place.folder.path().join("link.db");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let mut migrate = under("000", &["migrate"]);
    migrate.env("Database__Url", format!("sqlite://{}", link.display()));
    assert!(migrate.status().unwrap().success());
    assert_eq!(mode(&target), 0o600);
}

#[test]
fn nothing_is_promised_when_a_file_was_removed_or_replaced_until_it_is_back() {
    let place = sqlite();
    let file = database(&place);
    let messages: Vec<_> = (0..9).map(|seed| message(seed, 500)).collect();
    let key = fill(&place.url, ADA, &messages);
    let [lmtp, admin] = [free_port(), free_port()];
    let daemon = Daemon::start_with(
        &place.url,
        &[
            ("Lmtp__Port", &lmtp.to_string()),
            ("Admin__Port", &admin.to_string()),
        ],
    );
    let admin = Http::new(SocketAddr::from(([127, 0, 0, 1], admin)));
    let wait_for_health = |status: u16| {
        eventually(&format!("health {status}"), || {
            (admin.get("/healthz").status == status).then_some(())
        });
    };
    let deliver = || {
        let mut mta = Mta::hello(lmtp);
        mta.to(&[ADA]);
        mta.data(&message(99, 500), 1).remove(0)
    };
    let mut expected = messages.len();
    for suffix in ["", "-wal", "-shm"] {
        let gone = beside(&file, suffix);
        let saved = beside(&file, ".saved");
        for replaced in [false, true] {
            let mut client = daemon.login(ADA, &key);
            client.ok("DELE 1");
            fs::rename(&gone, &saved).unwrap();
            if replaced {
                fs::copy(&saved, &gone).unwrap();
            }
            let answer = deliver();
            assert!(answer.starts_with("451 4.3.0 "), "{suffix}: {answer}");
            let answer = client.command("QUIT");
            assert!(
                answer.starts_with("-ERR [SYS/TEMP] nothing"),
                "{suffix}: {answer}"
            );
            wait_for_health(503);
            daemon.wait_for_log(&format!(
                "{} is not the file that was opened",
                gone.display()
            ));

            fs::rename(&saved, &gone).unwrap();
            wait_for_health(200);
            let answer = deliver();
            assert!(answer.starts_with("250 "), "{suffix}: {answer}");
            expected += 1;
            let mut client = daemon.login(ADA, &key);
            let stat = client.ok("STAT");
            assert!(
                stat.starts_with(&format!("+OK {expected} ")),
                "{suffix}: {stat}"
            );
            client.ok("DELE 1");
            client.ok("QUIT");
            expected -= 1;
        }
    }
}

/// Its number among the open files of a process, once it was removed.
fn removed(process: u32, file: &Path) -> PathBuf {
    let gone = format!("{} (deleted)", file.display());
    let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let mut open = open.map(|it| it.unwrap().path());
    let is_it = |it: &PathBuf| fs::read_link(it).is_ok_and(|to| to.display().to_string() == gone);
    open.find(is_it).unwrap()
}

/// OPERATING.md, "A file was removed".
#[test]
fn what_was_removed_is_copied_from_the_server_that_has_it_open_as_the_manual_says() {
    let all = ["", "-wal", "-shm"];
    for gone in [&all[..], &all[..1], &all[1..2], &all[2..]] {
        let place = sqlite();
        let file = database(&place);
        let key = fill(&place.url, ADA, &[message(1, 500)]);
        let lmtp = free_port();
        let daemon = Daemon::start_with(&place.url, &[("Lmtp__Port", &lmtp.to_string())]);
        let deliver = |seed| {
            let mut mta = Mta::hello(lmtp);
            mta.to(&[ADA]);
            mta.data(&message(seed, 50_000), 1).remove(0)
        };
        for seed in 2..=20 {
            let answer = deliver(seed);
            assert!(answer.starts_with("250 "), "{answer}");
        }
        for suffix in gone {
            fs::remove_file(beside(&file, suffix)).unwrap();
        }
        let answer = deliver(99);
        assert!(answer.starts_with("451 4.3.0 "), "{gone:?}: {answer}");
        for suffix in gone.iter().filter(|it| **it != "-shm") {
            let file = beside(&file, suffix);
            let copied = Command::new("install")
                .args(["-m", "600"])
                .args([removed(daemon.id(), &file), file])
                .status();
            assert!(copied.unwrap().success());
        }
        daemon.kill();
        let daemon = Daemon::start(&place.url);
        let mut client = daemon.login(ADA, &key);
        let stat = client.ok("STAT");
        assert!(stat.starts_with("+OK 20 "), "{gone:?}: {stat}");
        for number in 2..=20 {
            let body = client.body(&format!("RETR {number}"));
            assert!(
                body.ends_with(&message(number, 50_000)),
                "{gone:?}: {number}"
            );
        }
        client.ok("QUIT");
    }
}

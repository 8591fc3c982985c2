//! Every setting that SIGHUP changes has an effect, and every other one is named.

use std::net::{Ipv4Addr, SocketAddr};

use restante::settings::{Change, Config, Setting};

use crate::lmtp::Mta;
use crate::served::{Wire, certificate_file};
use crate::support::client::Client;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::{Place, sqlite};
use crate::support::postgres::free_port;
use crate::tls::shakes_for;

/// More than the buffers of two sockets hold.
const HUGE: usize = 16 * 1024 * 1024;

/// What the tests' daemon is given by the environment, which wins over the file.
const SET_BY_ENVIRONMENT: [&str; 8] = [
    "admin.port",
    "database.url",
    "lmtp.port",
    "pop3.auth_failure_delay",
    "pop3.bind_address",
    "pop3.certificate_path",
    "pop3.port",
    "pop3.secure_port",
];

/// How the effect of a setting is seen: the file before and after, and what is true then.
struct Case {
    before: &'static str,
    after: &'static str,
    effect: fn(&Stage),
}

/// A server whose settings are in a file.
struct Stage {
    place: Place,
    daemon: Daemon,
    key: String,
    secure: SocketAddr,
    lmtp: u16,
}

#[test]
fn each_setting_that_sighup_changes_has_an_effect() {
    for setting in Config::settings().filter(|it| it.change == Change::Reload) {
        let case = case(setting.path);
        let octets = if setting.path == "pop3.write_timeout" {
            HUGE
        } else {
            100
        };
        let mut stage = Stage::new(case.before, octets);
        stage.reload(case.after);
        let changed = format!("a setting has changed setting=\"{}\"", setting.path);
        stage.daemon.wait_for_log(&changed);
        (case.effect)(&stage);
        if setting.path == "pop3.shutdown_timeout" {
            assert_eq!(stage.daemon.wait(), Some(0));
        }
    }
}

#[test]
fn each_setting_that_needs_a_restart_is_named() {
    let settings = Config::settings().filter(|it| it.change == Change::Restart);
    let settings: Vec<_> = settings
        .filter(|it| !SET_BY_ENVIRONMENT.contains(&it.path))
        .collect();
    let stage = Stage::new("", 100);
    let lines: Vec<_> = settings.iter().map(|it| other_value(it)).collect();
    stage.reload(&lines.join("\n"));
    for setting in settings {
        let named = format!("restart to apply it setting=\"{}\"", setting.path);
        stage.daemon.wait_for_log(&named);
    }
    assert!(
        !stage
            .daemon
            .log()
            .contains("a setting has changed setting=")
    );
}

/// A line of the file that gives a setting another value than its default.
fn other_value(setting: &Setting) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restante.toml");
    let texts = [
        "true",
        "false",
        "7",
        "1d",
        "json",
        "0600",
        "192.0.2.1",
        "own",
        "hide",
        "http://+:8082",
    ];
    let mut lines = texts.map(|text| format!("{} = \"{text}\"", setting.path));
    let is_other = |line: &&mut String| {
        std::fs::write(&file, line.as_str()).unwrap();
        let loaded = Config::load(Some(&file), []);
        loaded.is_ok_and(|loaded| loaded.config != Config::default())
    };
    let other = lines.iter_mut().find(is_other);
    let other = other.unwrap_or_else(|| panic!("another value of {} is needed here", setting.path));
    std::mem::take(other)
}

impl Stage {
    /// Starts a server with such a file, for a user with two messages of so many octets.
    fn new(text: &str, octets: usize) -> Self {
        let place = sqlite();
        let key = fill(&place.url, ADA, &[message(1, octets), message(2, 100)]);
        let file = place.folder.path().join("restante.toml");
        std::fs::write(&file, text).unwrap();
        let certificate = certificate_file(place.folder.path());
        let [secure, lmtp] = [free_port(), free_port()];
        let daemon = Daemon::start_with(
            &place.url,
            &[
                ("RESTANTE_CONFIG", file.to_str().unwrap()),
                ("Pop3__CertificatePath", certificate.to_str().unwrap()),
                ("Pop3__SecurePort", &secure.to_string()),
                ("Lmtp__Port", &lmtp.to_string()),
            ],
        );
        Self {
            place,
            daemon,
            key,
            secure: (Ipv4Addr::LOCALHOST, secure).into(),
            lmtp,
        }
    }

    /// Writes another file and lets the server read it.
    fn reload(&self, text: &str) {
        let file = self.place.folder.path().join("restante.toml");
        std::fs::write(file, text).unwrap();
        self.daemon.signal("HUP");
    }

    fn connect(&self) -> Client {
        self.daemon.connect()
    }

    fn login(&self) -> Client {
        self.daemon.login(ADA, &self.key)
    }

    /// The first line that the server says to one more connection.
    fn refusal(&self) -> String {
        Wire::connect(self.daemon.address).line()
    }
}

/// How the effect of a setting is seen.
fn case(path: &str) -> Case {
    let after = |after, effect| Case {
        before: "",
        after,
        effect,
    };
    match path {
        "log.level" => after("log.level = \"debug\"", |stage| {
            drop(Mta::connect(stage.lmtp));
            stage.daemon.wait_for_log("DEBUG");
        }),
        "pop3.server_name" => after("pop3.server_name = \"new.example\"", server_name),
        "pop3.strict_alpn" => after("pop3.strict_alpn = true", strict_alpn),
        "pop3.max_connections" => after("pop3.max_connections = 1", |stage| {
            let _one = stage.connect();
            assert!(stage.refusal().contains("too many connections"));
        }),
        "pop3.max_connections_per_address" => {
            after("pop3.max_connections_per_address = 1", |stage| {
                let _one = stage.connect();
                assert!(stage.refusal().contains("from your network"));
            })
        }
        "pop3.max_connections_before_login" => {
            after("pop3.max_connections_before_login = 1", |stage| {
                let mut first = stage.connect();
                let _second = stage.connect();
                first.read_to_end();
            })
        }
        "pop3.max_connections_per_user" => after("pop3.max_connections_per_user = 1", |stage| {
            let _one = stage.login();
            assert!(second_login(stage).starts_with("-ERR [IN-USE]"));
        }),
        "pop3.evict_idle_after" => Case {
            before: "pop3.max_connections_per_user = 1\npop3.evict_idle_after = \"0s\"",
            after: "pop3.max_connections_per_user = 1\npop3.evict_idle_after = \"1ms\"",
            effect: |stage| {
                let _one = stage.login();
                // The first is idle as soon as it has waited for a millisecond.
                eventually("the first session to make way", || {
                    second_login(stage).starts_with("+OK").then_some(())
                });
            },
        },
        "pop3.session_timeout" => after("pop3.session_timeout = \"1s\"", |stage| {
            stage.login().read_to_end();
        }),
        "pop3.login_timeout" => after("pop3.login_timeout = \"1s\"", |stage| {
            let said = stage.connect().read_to_end();
            assert!(said.starts_with(b"-ERR no login within 1 seconds"));
        }),
        "pop3.write_timeout" => after("pop3.write_timeout = \"300ms\"", |stage| {
            let mut session = stage.login();
            session.send("RETR 1");
            stage.daemon.wait_for_log("session ended");
        }),
        "pop3.max_bad_commands" => after("pop3.max_bad_commands = 1", |stage| {
            let mut session = stage.connect();
            assert!(session.command("WHAT").starts_with("-ERR"));
            assert_eq!(session.read_to_end(), b"");
        }),
        "pop3.max_line_octets" => after("pop3.max_line_octets = 300", |stage| {
            stage.connect().ok(&format!("USER {}", "x".repeat(290)));
        }),
        "pop3.max_deletions_per_session" => after("pop3.max_deletions_per_session = 1", |stage| {
            let mut session = stage.login();
            for line in ["DELE 1", "DELE 2", "QUIT"] {
                session.ok(line);
            }
            // There may be other warnings, such as that the server runs as root.
            stage.daemon.wait_for_log("limit=1");
        }),
        "pop3.shutdown_timeout" => Case {
            before: "pop3.shutdown_timeout = \"1h\"",
            after: "pop3.shutdown_timeout = \"1ms\"",
            effect: shutdown_timeout,
        },
        "pop3.default_domain" => after("pop3.default_domain = \"example.com\"", |stage| {
            stage.daemon.login("ada", &stage.key);
        }),
        "pop3.plaintext_auth" => after("pop3.plaintext_auth = \"never\"", |stage| {
            assert!(stage.connect().command("USER ada").starts_with("-ERR"));
        }),
        "pop3.auth_mechanisms" => after("pop3.auth_mechanisms = [\"PLAIN\"]", |stage| {
            assert_eq!(stage.connect().body("AUTH"), b"PLAIN\r\n");
        }),
        "pop3.channel_binding" => after("pop3.channel_binding = \"offer\"", |stage| {
            let mut session = Wire::connect(stage.secure).start_tls().greeted();
            let mechanisms = String::from_utf8(session.body("AUTH")).unwrap();
            assert!(mechanisms.contains("SCRAM-SHA-256-PLUS\r\n"));
        }),
        other => panic!("{other} changes at SIGHUP: add here how its effect is seen"),
    }
}

fn second_login(stage: &Stage) -> String {
    let mut session = stage.connect();
    session.ok(&format!("USER {ADA}"));
    session.command(&format!("PASS {}", stage.key))
}

/// The name of the server is told by both protocols.
fn server_name(stage: &Stage) {
    let greeting = stage.connect().greeting;
    assert!(greeting.contains("new.example"), "{greeting}");
    let mut mta = Mta::connect(stage.lmtp);
    mta.expect("LHLO mx.example.com", "250-new.example");
}

/// A client that asks for another protocol is refused.
fn strict_alpn(stage: &Stage) {
    assert!(shakes_for(stage.secure, "pop3"));
    assert!(!shakes_for(stage.secure, "imap"));
}

/// A session that is not idle ends all the same.
fn shutdown_timeout(stage: &Stage) {
    let mut session = Wire::connect(stage.daemon.address).greeted();
    session.ok(&format!("USER {ADA}"));
    session.ok(&format!("PASS {}", stage.key));
    stage.daemon.signal("TERM");
    eventually("the session to end", || {
        let is_open = session.try_send(b"NOOP\r\n").is_ok();
        let reply = session.raw_line().unwrap_or_default();
        (!is_open || reply.is_empty()).then_some(())
    });
}

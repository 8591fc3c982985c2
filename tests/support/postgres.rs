//! A PostgreSQL cluster that is started when first needed and vanishes with this process.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use sea_orm::ConnectionTrait;

/// What is said once where there is no PostgreSQL.
const SKIPPED: &str =
    "PostgreSQL tests skipped: no initdb found (install postgresql to run them)\n";

/// Makes a cluster, runs it until the end of stdin, and removes it.
///
/// A test process may end in any way, so it can't be what cleans up: it holds the other end of
/// stdin. PostgreSQL refuses to run as root. What is written may be lost, so nothing is synced.
const CLUSTER: &str = r#"
    programs=$1 folder=$2 port=$3
    exec 3<&0 4>&2 >"$folder/log" 2>&1
    as=
    if [ "$(id -u)" = 0 ]; then
        chown postgres "$folder"
        as="setpriv --reuid=postgres --regid=postgres --clear-groups"
    fi
    $as "$programs/initdb" --no-sync --auth=trust --username=postgres --encoding=UTF8 \
        --locale=C --pgdata="$folder/data"
    $as "$programs/postgres" -D "$folder/data" -p "$port" -c unix_socket_directories="$folder" \
        -c listen_addresses=127.0.0.1 -c max_connections=500 -c fsync=off \
        -c full_page_writes=off -c synchronous_commit=off &
    postgres=$!
    { cat <&3 >/dev/null; touch "$folder/end"; kill -QUIT $postgres; } &
    wait $postgres
    [ -e "$folder/end" ] || cat "$folder/log" >&4
    rm -rf "$folder"
"#;

/// A running cluster. It ends when the guard's stdin is closed, which is when this process ends.
struct Cluster {
    port: u16,
    _guard: Child,
}

/// The URL of a fresh empty database; none if this machine has no PostgreSQL.
pub(crate) fn database() -> Option<String> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    // PostgreSQL copies a template for each, and two copies at a time get into each other's way.
    static TURN: Mutex<()> = Mutex::new(());

    let cluster = CLUSTER.get_or_init(start).as_ref()?;
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let _turn = TURN.lock();
    super::run(async || {
        let connection = sea_orm::Database::connect(cluster.url("postgres")).await;
        let connection = connection.unwrap();
        let create = format!("CREATE DATABASE {name}");
        connection.execute_unprepared(&create).await.unwrap();
        connection.close().await.unwrap();
    });
    Some(cluster.url(&name))
}

impl Cluster {
    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

fn start() -> Option<Cluster> {
    let Some(programs) = programs() else {
        // Not eprint!, which the test harness swallows while tests pass.
        std::io::stderr().write_all(SKIPPED.as_bytes()).unwrap();
        return None;
    };
    // Somebody else may take the port before PostgreSQL does: then it ends, and we try another.
    for _ in 0..5 {
        let port = free_port();
        let folder = tempfile::Builder::new()
            .prefix("restante-postgres-")
            .tempdir()
            .unwrap()
            .keep();
        let mut guard = Command::new("sh")
            .args(["-c", CLUSTER, "sh"])
            .args([&programs, &folder, &PathBuf::from(port.to_string())])
            .stdin(Stdio::piped())
            // Ctrl-C is for the tests; the guard sees them end.
            .process_group(0)
            .spawn()
            .unwrap();
        let started = super::eventually("PostgreSQL", || match guard.try_wait().unwrap() {
            Some(_) => Some(false),
            None => is_ready(&programs, &folder, port).then_some(true),
        });
        if started {
            return Some(Cluster {
                port,
                _guard: guard,
            });
        }
    }
    panic!("PostgreSQL does not start; its log is above");
}

/// Asked on its own socket, so that no other server can answer.
fn is_ready(programs: &Path, folder: &Path, port: u16) -> bool {
    let mut ask = Command::new(programs.join("pg_isready"));
    ask.arg("-q").arg("-h").arg(folder).arg("-p");
    ask.arg(port.to_string()).status().unwrap().success()
}

/// A program of PostgreSQL, which this machine has.
pub(crate) fn program(name: &str) -> PathBuf {
    programs().expect("PostgreSQL is here").join(name)
}

/// The folder of PostgreSQL's programs: that of `initdb` in PATH, or Debian's newest.
fn programs() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&paths).map(|folder| folder.join("initdb"));
    // It may be a link to where its companions are.
    let mut in_path = in_path.filter_map(|initdb| initdb.canonicalize().ok());
    if let Some(initdb) = in_path.next() {
        return Some(initdb.parent()?.to_owned());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(version)?;
    let programs = newest.join("bin");
    programs.join("initdb").exists().then_some(programs)
}

/// A port of 127.0.0.1 that nobody listens on, at this moment.
pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    socket.local_addr().unwrap().port()
}

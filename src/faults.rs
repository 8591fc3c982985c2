//! Faults injected into every actor, to see the others go on.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Message};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::accounts::{Accounts, KeyOptions, SCOPE_POP3};
use crate::mailbox::MailboxActor;
use crate::net::{ListenerActor, ListenerKind, ListeningSocket};
use crate::registry::RegistryActor;
use crate::server::Server;
use crate::session::SessionContext;
use crate::settings::Config;
use crate::store::{Database, MessageWriter};
use crate::supervision::Supervised;

/// Panic in the handler.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Crash;

/// Stop, as if it had been decided.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Halt;

macro_rules! injectable {
    ($($actor:ty),*) => {$(
        impl Handler<Crash> for $actor {
            type Result = ();

            fn handle(&mut self, Crash: Crash, _: &mut Self::Context) {
                panic!("injected");
            }
        }

        impl Handler<Halt> for $actor {
            type Result = ();

            fn handle(&mut self, Halt: Halt, context: &mut Self::Context) {
                context.stop();
            }
        }
    )*};
}

injectable!(ListenerActor<SessionContext>, RegistryActor, MailboxActor);

/// The session that panics when it is to be ended.
static DOOMED: Mutex<Option<String>> = Mutex::new(None);

/// Called by a session that is to end.
pub(crate) fn panic_if_doomed(session: &str) {
    let doomed = DOOMED.lock().unwrap().take_if(|id| id == session);
    assert!(doomed.is_none(), "injected into a session");
}

const MESSAGE: &[u8] = b"Subject: one\r\n\r\nbody\r\n";
const DEADLINE: Duration = Duration::from_secs(20);

struct World {
    server: Server,
    key: String,
    _folder: tempfile::TempDir,
}

/// A server with one user, who has three messages and may have two sessions.
async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/faults.db", folder.path().display());
    let database = Database::open(&url).await.unwrap();
    database.migrate().await.unwrap();
    let accounts = Accounts::new(database.clone());
    let user = accounts.add("ada@example.com", &[]).await.unwrap();
    for _ in 0..3 {
        let mut delivery = MessageWriter::new(database.clone());
        delivery.write(MESSAGE).await.unwrap();
        let message = (delivery.finish(), std::time::SystemTime::now());
        database.store(&[user], vec![message]).await.unwrap();
    }
    let options = KeyOptions {
        name: "test".into(),
        scopes: vec![SCOPE_POP3.into()],
        lifetime: None,
        networks: Default::default(),
        short: false,
    };
    let key = accounts
        .create_key("ada@example.com", options)
        .await
        .unwrap()
        .key;
    let mut config = Config::default();
    config.pop3.max_connections_per_user = 2;
    let here = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let socket = ListeningSocket::tcp(here, 0, ListenerKind::Pop3).unwrap();
    World {
        server: Server::start(&config, database, vec![socket]).unwrap(),
        key,
        _folder: folder,
    }
}

impl World {
    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.server.addresses()[0])
            .await
            .unwrap();
        let mut client = Client(BufReader::new(stream));
        assert!(client.line().await.starts_with("+OK"));
        client
    }

    /// The answer to PASS, and the client.
    async fn try_login(&self) -> (String, Client) {
        let mut client = self.connect().await;
        client.ask("USER ada@example.com").await;
        let answer = client.ask(&format!("PASS {}", self.key)).await;
        (answer, client)
    }

    async fn login(&self) -> Client {
        let (answer, client) = self.try_login().await;
        assert!(answer.starts_with("+OK"), "{answer}");
        client
    }

    fn counted(&self, series: &str) -> u64 {
        let text = self.server.metrics().render().unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }

    fn restarts(&self, actor: &str) -> u64 {
        self.counted(&format!(
            "restante_actor_restarts_total{{actor=\"{actor}\"}}"
        ))
    }

    /// Waits until that many sessions are here.
    async fn wait_for_sessions(&self, count: usize) {
        let wait = async {
            while self.server.sessions().await.len() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap();
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
        line
    }

    async fn ask(&mut self, command: &str) -> String {
        self.0
            .write_all(format!("{command}\r\n").as_bytes())
            .await
            .unwrap();
        self.line().await
    }

    async fn message(&mut self, number: u32) -> String {
        let mut text = self.ask(&format!("RETR {number}")).await;
        while !text.ends_with("\r\n.\r\n") && text.starts_with("+OK") {
            text.push_str(&self.line().await);
        }
        text
    }
}

/// Injects a fault into an actor with two sessions open; a third login is refused before and
/// after, and taken as soon as one of the two has gone.
async fn live_sessions_go_on<A, M>(
    actor: &str,
    posts: impl Fn(&Server) -> Vec<Supervised<A>>,
    fault: M,
) where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message<Result = ()> + Send + Copy + 'static,
{
    let world = world().await;
    let mut one = world.login().await;
    let mut two = world.login().await;
    assert!(one.ask("DELE 1").await.starts_with("+OK"));
    for round in 1..=3 {
        let posts = posts(&world.server);
        for post in &posts {
            post.tell(fault);
        }
        let restarted = async {
            while world.restarts(actor) < round * posts.len() as u64 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, restarted).await.unwrap();
        assert!(one.message(2).await.contains("body"), "{actor}");
        assert!(two.message(1).await.contains("body"), "{actor}");
        let (answer, _) = world.try_login().await;
        assert!(answer.starts_with("-ERR [IN-USE]"), "{actor}: {answer}");
        world.wait_for_sessions(2).await;
    }
    assert!(one.ask("QUIT").await.starts_with("+OK"), "{actor}");
    world.wait_for_sessions(1).await;
    let mut three = world.login().await;
    assert!(three.ask("STAT").await.starts_with("+OK 2 "), "{actor}");
    let (answer, _) = world.try_login().await;
    assert!(answer.starts_with("-ERR [IN-USE]"), "{actor}: {answer}");
    assert_eq!(world.counted("pop3_session_panics_total"), 0);
    world.server.stop(Duration::ZERO).await;
}

#[actix_rt::test]
async fn the_registry_is_built_again_after_a_panic_and_counts_as_before() {
    live_sessions_go_on("registry", |server| vec![server.registry.clone()], Crash).await;
}

#[actix_rt::test]
async fn the_registry_is_built_again_after_a_stop_and_counts_as_before() {
    live_sessions_go_on("registry", |server| vec![server.registry.clone()], Halt).await;
}

#[actix_rt::test]
async fn the_mailbox_is_built_again_after_a_panic() {
    live_sessions_go_on("mailbox", |server| server.mailboxes(), Crash).await;
}

#[actix_rt::test]
async fn the_mailbox_is_built_again_after_a_stop() {
    live_sessions_go_on("mailbox", |server| server.mailboxes(), Halt).await;
}

#[actix_rt::test]
async fn the_listener_is_built_again_after_a_panic() {
    live_sessions_go_on("listener", |server| vec![server.listener.clone()], Crash).await;
}

#[actix_rt::test]
async fn the_listener_is_built_again_after_a_stop() {
    live_sessions_go_on("listener", |server| vec![server.listener.clone()], Halt).await;
}

#[actix_rt::test]
async fn a_panic_in_a_session_ends_that_session_alone() {
    let world = world().await;
    let mut one = world.login().await;
    let mut two = world.login().await;
    assert!(one.ask("DELE 1").await.starts_with("+OK"));
    assert!(two.ask("DELE 2").await.starts_with("+OK"));
    let marked = world.server.sessions().await;
    // Each has marked one message; the one that connected first is doomed.
    let doomed = marked
        .iter()
        .min_by_key(|session| session.connected_at)
        .unwrap();
    *DOOMED.lock().unwrap() = Some(doomed.id.clone());
    assert!(world.server.end_session(&doomed.id).await);
    assert_eq!(one.line().await, "", "the connection is closed");
    world.wait_for_sessions(1).await;
    assert_eq!(world.counted("pop3_session_panics_total"), 1);
    assert!(two.message(1).await.contains("body"));
    // Its slot is free again, once.
    let mut three = world.login().await;
    assert!(
        three.ask("STAT").await.starts_with("+OK 3 "),
        "nothing was deleted"
    );
    let (answer, _) = world.try_login().await;
    assert!(answer.starts_with("-ERR [IN-USE]"), "{answer}");
    world.server.stop(Duration::ZERO).await;
}

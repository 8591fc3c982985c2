//! What the tests share.
//!
//! - [`postgres`]: a PostgreSQL cluster that lives as long as this process
//! - [`place`]: fresh databases of each kind, and raw SQL for looking at what lies in them
//! - [`mail`]: users, keys and messages
//! - [`daemon`]: the real server, as a process of its own
//! - [`cli`]: the commands, as processes of their own
//! - [`disk`]: a disk that is soon full
//! - [`browser`]: a browser, Chromium
//! - [`client`]: a POP3 client
//! - [`psql`]: psql, which holds locks
//! - [`http`]: a client of the admin endpoint

pub(crate) mod browser;
pub(crate) mod cli;
pub(crate) mod client;
pub(crate) mod daemon;
pub(crate) mod disk;
pub(crate) mod http;
pub(crate) mod mail;
pub(crate) mod memory_store;
pub(crate) mod place;
pub(crate) mod postgres;
pub(crate) mod psql;

use std::time::{Duration, Instant};

/// How long a test waits for something that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How often it looks whether it has.
const POLL: Duration = Duration::from_millis(5);

/// Runs an async test as the program runs: on an actix system.
///
/// It works on a thread of its own, so it may be called from wherever.
pub(crate) fn run<T: Send>(test: impl AsyncFnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| actix_rt::System::new().block_on(test()));
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Waits until the answer is there.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        pause(POLL);
    }
}

/// Waits until the answer is there, and lets others work meanwhile.
pub(crate) async fn eventually_async<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// The one place where a test sleeps: to ask again, or to come at a random moment.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing tells when another process has done something"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

//! Keeps the long-lived actors alive.
//!
//! actix's own `Supervisor` restarts an actor that stops, and leaves one that panicked dead. A
//! [`Supervised`] builds the next actor in both cases.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, AsyncContext, Context, Handler, MailboxError, Message};
use actix_rt::ArbiterHandle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Pause before the first restart; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An actor that lived so long has nothing to do with the fault before it.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// Maximum wait of a sender for an actor to be built again.
const VACANCY_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of times that a message is sent, if the actor that had it ends.
const ATTEMPTS: usize = 2;

/// The address of an actor that is built again whenever it ends.
#[derive(Debug)]
pub struct Supervised<A: Actor> {
    name: &'static str,
    current: watch::Receiver<Option<Addr<A>>>,
}

impl<A: Actor> Clone for Supervised<A> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            current: self.current.clone(),
        }
    }
}

/// No actor answered, although the message was tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {0} did not answer")]
pub struct ActorUnavailable(pub &'static str);

impl<A> Supervised<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Spawns the actor on this arbiter, and again when it ends, until `stop` is cancelled.
    ///
    /// Each restart is logged and counted.
    pub fn spawn(
        name: &'static str,
        arbiter: &ArbiterHandle,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
        build: impl Fn() -> A + Send + 'static,
    ) -> Self {
        let (sender, current) = watch::channel(None);
        arbiter.spawn_fn(move || {
            actix_rt::spawn(run(name, sender, metrics, stop, build));
        });
        Self { name, current }
    }

    /// Sends a message and waits for the answer.
    ///
    /// `message` makes it anew if the actor ends before it answers, so it must be one that may
    /// arrive twice.
    ///
    /// # Errors
    /// If no actor has answered after another try.
    pub async fn ask<M>(&self, message: impl Fn() -> M) -> Result<M::Result, ActorUnavailable>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        for _ in 0..ATTEMPTS {
            let current = self.current().await?;
            match current.send(message()).await {
                Ok(answer) => return Ok(answer),
                Err(MailboxError::Closed | MailboxError::Timeout) => {}
            }
        }
        Err(ActorUnavailable(self.name))
    }

    /// Sends what must not be handled twice, and waits for the answer.
    ///
    /// # Errors
    /// If no actor answers: then it may have been handled all the same.
    pub async fn ask_once<M>(&self, message: M) -> Result<M::Result, ActorUnavailable>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let current = self.current().await?;
        let answer = current.send(message).await;
        answer.map_err(|_| ActorUnavailable(self.name))
    }

    /// Sends a message that may get lost when the actor ends.
    pub fn tell<M>(&self, message: M)
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        if let Some(current) = self.current.borrow().as_ref() {
            current.do_send(message);
        }
    }

    /// Waits until the last actor has ended, once `stop` is cancelled.
    pub(crate) async fn ended(&self) {
        let mut current = self.current.clone();
        while current.changed().await.is_ok() {}
    }

    async fn current(&self) -> Result<Addr<A>, ActorUnavailable> {
        if let Some(current) = self
            .current
            .borrow()
            .as_ref()
            .filter(|current| current.connected())
        {
            return Ok(current.clone());
        }
        let mut change = self.current.clone();
        let alive = |current: &Option<Addr<A>>| current.as_ref().is_some_and(Addr::connected);
        let wait = tokio::time::timeout(VACANCY_TIMEOUT, change.wait_for(alive));
        let found = wait.await.map_err(|_| ActorUnavailable(self.name))?;
        let found = found.map_err(|_| ActorUnavailable(self.name))?;
        found.clone().ok_or(ActorUnavailable(self.name))
    }
}

async fn run<A>(
    name: &'static str,
    sender: watch::Sender<Option<Addr<A>>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    build: impl Fn() -> A,
) where
    A: Actor<Context = Context<A>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let since = Instant::now();
        let context = Context::new();
        let address = context.address();
        let mut life = actix_rt::spawn(context.into_future(build()));
        sender.send_replace(Some(address));
        let ended = tokio::select! {
            ended = &mut life => ended,
            () = stop.cancelled() => {
                life.abort();
                return;
            }
        };
        sender.send_replace(None);
        if since.elapsed() >= FORGIVEN_AFTER {
            pause = FIRST_PAUSE;
        }
        let panicked = ended.is_err_and(|error| error.is_panic());
        tracing::error!(
            actor = name,
            panicked,
            pause_ms = pause.as_millis(),
            "an actor has ended and will be built again"
        );
        metrics.actor_restarted(name);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

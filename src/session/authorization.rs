//! AUTHORIZATION: from the greeting to the login.

use pop3::{Authorization, AuthorizationStep, Policy, Reply, ResponseCode, Transaction};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use super::client::{ClientIo, verb_of};
use super::login::{GrantedLogin, LoginAttempt, LoginOutcome};
use super::transaction::TransactionPhase;
use crate::registry::{Admission, EndReason};

/// A session whose client has yet to log in.
pub(super) struct AuthorizationPhase {
    client: ClientIo,
    admission: Admission,
}

/// What ends the phase, or begins it again inside TLS.
enum AuthorizationEnd {
    /// Shake hands and begin again.
    StartTls,
    /// The client has logged in.
    Transaction(Box<GrantedLogin>),
    /// Send this and end.
    Close(Reply, EndReason),
    /// End, and send this if the client reads it soon.
    Goodbye(Reply, EndReason),
}

impl AuthorizationPhase {
    /// The client has been greeted.
    pub(super) fn new(client: ClientIo, admission: Admission) -> Self {
        Self { client, admission }
    }

    /// Talks until the client has logged in, or the session ends.
    pub(super) async fn run(mut self) -> Result<(TransactionPhase, Transaction), EndReason> {
        loop {
            let ending = match self.talk().await {
                Ok(AuthorizationEnd::Transaction(opened)) => {
                    let Self { client, admission } = self;
                    let GrantedLogin {
                        state, maildrop, ..
                    } = *opened;
                    return Ok((TransactionPhase::new(client, admission, maildrop), state));
                }
                Ok(AuthorizationEnd::StartTls) => {
                    self.client = Box::pin(self.client.start_tls()).await?;
                    continue;
                }
                Ok(AuthorizationEnd::Close(reply, ending)) => {
                    self.client.say(&reply);
                    self.client.flush().await.err().unwrap_or(ending)
                }
                Ok(AuthorizationEnd::Goodbye(reply, ending)) => {
                    self.client.say_goodbye(&reply).await;
                    ending
                }
                Err(ending) => ending,
            };
            self.client.close().await;
            return Err(ending);
        }
    }

    async fn talk(&mut self) -> Result<AuthorizationEnd, EndReason> {
        let mut state = Authorization::new(self.policy());
        loop {
            let max_octets = state.max_line_octets();
            if let Some(line) = self.client.lines.next_line(max_octets) {
                let verb = (!state.expects_response()).then(|| verb_of(&line));
                let step = state.receive(line);
                let span = self.client.begin_command(verb);
                if let AuthorizationStep::Reply(reply, next) = step {
                    self.client.say(&reply);
                    state = next;
                } else {
                    // Rare and large: boxed, it takes no memory in an idle session.
                    match Box::pin(self.take(step).instrument(span)).await? {
                        Ok(next) => state = next,
                        Err(next) => return Ok(next),
                    }
                }
                self.client.flush_if_many().await?;
                continue;
            }
            self.client.flush_and_wait().await?;
            if let Some(next) = self.wait(max_octets).await? {
                return Ok(next);
            }
        }
    }

    /// Does what a step says; returns the state, or what ends the phase.
    async fn take(
        &mut self,
        step: AuthorizationStep,
    ) -> Result<Result<Authorization, AuthorizationEnd>, EndReason> {
        let (reply, state) = match step {
            AuthorizationStep::Reply(reply, state) => (reply, Some(state)),
            AuthorizationStep::Login(login) => {
                match LoginAttempt::new(&mut self.client).log_in(login).await? {
                    LoginOutcome::Refused(reply, state) => (reply, state),
                    LoginOutcome::Granted(reply, opened) => {
                        self.client.say(&reply);
                        let snapshot = opened.state.snapshot();
                        self.admission.logged_in(&opened.user, opened.by, snapshot);
                        return Ok(Err(AuthorizationEnd::Transaction(opened)));
                    }
                }
            }
            AuthorizationStep::Verifier(lookup) => {
                let attempt = LoginAttempt::new(&mut self.client);
                attempt.look_up_verifier(lookup).await?
            }
            AuthorizationStep::StartTls(reply) => {
                self.client.say(&reply);
                self.client.flush().await?;
                return Ok(Err(AuthorizationEnd::StartTls));
            }
            AuthorizationStep::Quit(reply) => {
                return Ok(Err(AuthorizationEnd::Close(reply, EndReason::Quit)));
            }
            AuthorizationStep::Close(reply) => (reply, None),
        };
        let Some(state) = state else {
            return Ok(Err(AuthorizationEnd::Close(reply, EndReason::Refused)));
        };
        self.client.say(&reply);
        Ok(Ok(state))
    }

    fn policy(&self) -> Policy {
        let ClientIo {
            context,
            handle,
            transport,
            ..
        } = &self.client;
        let settings = &context.settings.pop3;
        Policy {
            stls_offered: !transport.is_tls() && context.tls.is_some(),
            secrets_allowed: transport.is_tls() || settings.plaintext_auth.allows(handle.ip()),
            // If any key is accepted, no key can be proven.
            scram_offered: settings.require_authentication,
            channel_bound: transport.can_bind(),
            mechanisms: settings.auth_mechanisms.allowed(),
            channel_binding: settings.channel_binding,
            certified: !transport.client_addresses().is_empty(),
            expire_days: settings.expire_days(),
            limits: settings.limits(),
        }
    }

    /// Waits until a line is there, or for what ends the phase.
    ///
    /// The inactivity timer runs from the last command, not from the last octet: a line that is
    /// sent drop by drop is no activity (RFC 1939, section 3).
    async fn wait(&mut self, max_octets: usize) -> Result<Option<AuthorizationEnd>, EndReason> {
        let client = &mut self.client;
        let inactive_at = Instant::now() + client.context.settings.pop3.session_timeout;
        let login_by = client.login_by.unwrap_or(inactive_at);
        let wake_at = inactive_at.min(login_by);
        loop {
            // A client that always has one more command to send would be read without end.
            if Instant::now() >= login_by {
                return Ok(Some(self.login_timed_out()));
            }
            let read = tokio::select! {
                biased;
                () = client.signals.interrupted() => return Ok(Some(evicted())),
                read = timeout_at(wake_at, client.transport.read(&mut client.lines)) => read,
                () = &mut client.draining => return Err(EndReason::Shutdown),
            };
            match read {
                Ok(read) => read?,
                Err(_) if wake_at == login_by => return Ok(Some(self.login_timed_out())),
                Err(_) => return Err(EndReason::TimedOut),
            }
            if client.transport.began_with_proxy_header() {
                let fault = &"PROXY header not accepted from this address";
                Box::pin(client.refuse_proxy(fault)).await?;
            }
            if client.lines.has_line(max_octets) {
                return Ok(None);
            }
        }
    }

    fn login_timed_out(&self) -> AuthorizationEnd {
        let seconds = self
            .client
            .context
            .settings
            .pop3
            .login_timeout
            .as_secs_f64();
        let reply = Reply::err(format_args!("no login within {seconds} seconds, goodbye"));
        AuthorizationEnd::Goodbye(reply, EndReason::TimedOut)
    }
}

fn evicted() -> AuthorizationEnd {
    let reply = Reply::coded(
        ResponseCode::SysTemp,
        "too many clients are waiting to log in, try again later",
    );
    AuthorizationEnd::Goodbye(reply, EndReason::Evicted)
}

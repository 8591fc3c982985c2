//! From credentials to an open maildrop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pop3::{Authorization, Credentials, Login, LoginRefusal, Reply, Transaction, VerifierLookup};
use tokio::time::timeout;
use tracing::Instrument;

use super::client::ClientIo;
use super::reader::Reader;
use super::transaction::OpenedMaildrop;
use crate::accounts::{in_domain, may_hold_key};
use crate::identity::new_secret;
use crate::mailbox::{FindCandidates, Identify, KeyUsed, LoggedIn, OpenMaildrop};
use crate::metrics::AuthFailure;
use crate::registry::{Claim, Claimed, EndReason, LoggedInBy, Permit};
use crate::settings::Domain;
use crate::store::{KeyId, Proof, UserId, Verified};
use crate::telemetry;

/// The name that is shown for a login by certificate, instead of the name of a key.
const CERTIFICATE: &str = "certificate";

/// The longest time that a login waits for the slot of an idle session.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that tries to log in.
pub(super) struct LoginAttempt<'a> {
    client: &'a mut ClientIo,
}

/// The outcome of a login.
pub(super) enum LoginOutcome {
    /// The maildrop is open.
    Granted(Reply, Box<GrantedLogin>),
    /// The login is refused; there is no session after too many refusals.
    Refused(Reply, Option<Authorization>),
}

/// A successful login.
pub(super) struct GrantedLogin {
    pub(super) state: Transaction,
    pub(super) user: Verified,
    pub(super) by: LoggedInBy,
    pub(super) maildrop: OpenedMaildrop,
}

impl<'a> LoginAttempt<'a> {
    pub(super) fn new(client: &'a mut ClientIo) -> Self {
        Self { client }
    }

    /// Looks up the verifiers of a user, and challenges the client to prove one of them.
    pub(super) async fn look_up_verifier(
        mut self,
        lookup: VerifierLookup,
    ) -> Result<(Reply, Option<Authorization>), EndReason> {
        // The proof will be verified as soon as it comes, so this is the time to wait.
        self.wait_for_gate(lookup.name()).await?;
        let client = &*self.client;
        let find = FindCandidates {
            name: self.with_domain(lookup.name()),
            identity: lookup.identity().map(|identity| self.with_domain(identity)),
            client: client.handle.ip(),
        };
        let Ok(Ok(found)) = client.context.mailbox.ask(find).await else {
            client.context.metrics.logins.attempt();
            client
                .context
                .metrics
                .logins
                .failure(AuthFailure::Unavailable);
            let (reply, state) = lookup.unavailable();
            return Ok((reply, Some(state)));
        };
        let binding = lookup.binding();
        let channel = binding.and_then(|kind| client.transport.channel_binding(kind));
        Ok(lookup.found(found, &new_secret(), channel.as_deref()))
    }

    /// Verifies credentials and opens the maildrop.
    pub(super) async fn log_in(mut self, login: Login) -> Result<LoginOutcome, EndReason> {
        let context = Arc::clone(&self.client.context);
        context.metrics.logins.attempt();
        if let Credentials::Secret { name, .. } = login.credentials() {
            self.wait_for_gate(name).await?;
        }
        self.client.handle.set_verifying(true);
        let began = Instant::now();
        let span = telemetry::validation();
        let opened = self.open_maildrop(login.credentials());
        let opened = opened.instrument(span.clone()).await;
        context.metrics.logins.took(began.elapsed());
        self.client.handle.set_verifying(false);
        match opened {
            Ok(opened) => {
                if let Some(name) = login.credentials().name() {
                    let (ip, name) = (self.client.handle.ip(), self.with_domain(name));
                    context.login_throttle.succeeded(ip, &name);
                }
                let (user, by, maildrop) = opened;
                let snapshot = Arc::clone(maildrop.maildrop.snapshot());
                let (reply, state) = login.granted(snapshot, user.access);
                let opened = GrantedLogin {
                    state,
                    user,
                    by,
                    maildrop,
                };
                Ok(LoginOutcome::Granted(reply, Box::new(opened)))
            }
            Err(why) => {
                let failure = AuthFailure::from(why);
                telemetry::note_refusal(span, failure.as_str());
                self.note_failure(failure, why, login.credentials());
                if why == LoginRefusal::Credentials {
                    let answer_at = self.answer_at(login.credentials());
                    self.client.pause_until(answer_at).await?;
                }
                let (reply, state) = login.refused(why);
                Ok(LoginOutcome::Refused(reply, state))
            }
        }
    }

    fn note_failure(&self, failure: AuthFailure, why: LoginRefusal, credentials: &Credentials) {
        self.client.context.metrics.logins.failure(failure);
        let certified = self.client.transport.client_addresses().first();
        let user = credentials.name().or_else(|| certified.map(String::as_str));
        let user = user.map(redacted);
        tracing::info!(reason = ?why, user, "login refused");
    }

    /// Records a failed login, and returns the time at which the client may be told.
    fn answer_at(&self, credentials: &Credentials) -> Instant {
        let now = Instant::now();
        let (name, secret) = match credentials {
            Credentials::Secret { name, secret, .. } => (name, Some(secret.expose())),
            Credentials::Proven { name, .. } | Credentials::Disproven { name, .. } => (name, None),
            // It was presented in the handshake: nothing was guessed.
            Credentials::Certificate { .. } => return now,
        };
        let throttle = &self.client.context.login_throttle;
        let ip = self.client.handle.ip();
        throttle.failed(ip, &self.with_domain(name), secret, now)
    }

    /// Waits if this name has failed from the client's network lately. A client that hangs up
    /// meanwhile gains nothing: the delay stays, and the connection counts until it is over.
    async fn wait_for_gate(&mut self, name: &str) -> Result<(), EndReason> {
        let context = &self.client.context;
        let (ip, name) = (self.client.handle.ip(), self.with_domain(name));
        let until = context.login_throttle.wait_until(ip, &name, Instant::now());
        let Some(until) = until else {
            return Ok(());
        };
        context.metrics.logins.delayed();
        self.client.flush().await?;
        self.client.pause_until(until).await
    }

    async fn open_maildrop(
        &self,
        credentials: &Credentials,
    ) -> Result<(Verified, LoggedInBy, OpenedMaildrop), LoginRefusal> {
        let context = &self.client.context;
        let proof = self.proof(credentials);
        let proof = proof.ok_or(LoginRefusal::Credentials)?;
        let identify = Identify {
            proof,
            client: self.client.handle.ip(),
        };
        let identified = context.mailbox.ask(identify).await;
        let identified = identified.map_err(|_| LoginRefusal::Unavailable)?;
        let identified = identified.map_err(|_| LoginRefusal::Unavailable)?;
        let LoggedIn {
            mut user,
            maildrop,
            lease,
            revision,
        } = identified.map_err(|_| LoginRefusal::Credentials)?;
        if let Credentials::Certificate { .. } = credentials {
            user.key_name = CERTIFICATE.to_owned();
        }
        let by = match (credentials, user.key) {
            (_, Some(key)) => LoggedInBy::Key(key),
            (Credentials::Certificate { .. }, None) => LoggedInBy::Certificate,
            (_, None) => LoggedInBy::Nothing,
        };
        let permit = self.claim(user.user, by).await?;
        let maildrop = match maildrop {
            Some(maildrop) => maildrop,
            None => {
                let open = OpenMaildrop {
                    user: user.user,
                    revision,
                };
                let opened = context.mailbox.ask(open);
                let opened = opened.instrument(telemetry::loading()).await;
                let opened = opened.map_err(|_| LoginRefusal::Unavailable)?;
                opened.map_err(|_| LoginRefusal::Unavailable)?
            }
        };
        if let Some(key) = user.key {
            context.mailbox.tell(KeyUsed(key));
        }
        let maildrop = OpenedMaildrop {
            reader: Reader::new(Arc::clone(&maildrop)),
            maildrop,
            _permit: permit,
            _lease: lease,
        };
        Ok((user, by, maildrop))
    }

    /// Takes a slot of the user; waits if an idle session hands its slot over.
    async fn claim(&self, user: UserId, by: LoggedInBy) -> Result<Permit, LoginRefusal> {
        let claim = || Claim {
            user,
            handle: Arc::clone(&self.client.handle),
            by,
        };
        let claimed = self.client.context.registry.ask(claim).await;
        match claimed.map_err(|_| LoginRefusal::Unavailable)? {
            Claimed::Granted(permit) => Ok(permit),
            Claimed::HandedOver(permit) => match timeout(HANDOVER_TIMEOUT, permit).await {
                Ok(Ok(permit)) => Ok(permit),
                // It has become busy again.
                Ok(Err(_)) | Err(_) => Err(LoginRefusal::TooManySessions),
            },
            Claimed::Refused => Err(LoginRefusal::TooManySessions),
        }
    }

    /// Returns the proof of the credentials, `None` if they are known to be wrong.
    fn proof(&self, credentials: &Credentials) -> Option<Proof> {
        match credentials {
            Credentials::Secret {
                name,
                identity,
                secret,
            } => Some(Proof::Secret {
                name: self.with_domain(name),
                identity: identity.as_deref().map(|it| self.with_domain(it)),
                secret: secret.clone(),
            }),
            Credentials::Proven { key, .. } => Some(Proof::Key(KeyId::new(*key))),
            Credentials::Disproven { .. } => None,
            Credentials::Certificate { name } => Some(Proof::TrustedAddress {
                addresses: self.client.transport.client_addresses().to_vec(),
                identity: name.as_deref().map(|it| self.with_domain(it)),
            }),
        }
    }

    /// Adds the default domain, if there is one, to a login name without a domain.
    fn with_domain(&self, name: &str) -> String {
        let domain = self.client.context.settings.pop3.default_domain.as_ref();
        in_domain(name, domain.map(Domain::as_str))
    }
}

/// The form of a login name in the log, which hides a key that was pasted in the wrong field.
fn redacted(name: &str) -> &str {
    if name.contains('@') && !may_hold_key(name) {
        name
    } else {
        "(no address)"
    }
}

impl From<LoginRefusal> for AuthFailure {
    fn from(why: LoginRefusal) -> Self {
        match why {
            LoginRefusal::Credentials => Self::Credentials,
            LoginRefusal::TooManySessions => Self::TooManySessions,
            LoginRefusal::Unavailable => Self::Unavailable,
        }
    }
}

//! From credentials to an open maildrop: who this is, whether they may have one more session, and
//! what they have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pop3::{Access, Credentials, Login, LoginRefusal, Reply, Session, Snapshot, VerifierLookup};
use tokio::time::timeout;
use tracing::Instrument;

use super::conversation::{Conversation, Open, SessionEnded};
use super::reader::Reader;
use crate::accounts::{in_domain, may_hold_key};
use crate::identity::new_secret;
use crate::mailbox::{FindCandidates, Identify, KeyUsed, LoggedIn, OpenMaildrop};
use crate::metrics::AuthFailure;
use crate::registry::{Claim, Claimed, LoggedInBy, Permit};
use crate::settings::Domain;
use crate::store::{KeyId, Proof, UserId};
use crate::telemetry;

/// What stands for the name of a key when a certificate has taken its place.
const CERTIFICATE: &str = "certificate";

/// How long a login waits for a session that makes way.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);

impl Conversation {
    /// Finds what a client's proof must fit, and asks for the proof.
    pub(super) async fn look_up_verifier(
        &mut self,
        lookup: VerifierLookup,
    ) -> Result<(Reply, Option<Session>), SessionEnded> {
        // The proof will be looked at as soon as it comes, so this is the time to wait.
        self.wait_for_gate(lookup.name()).await?;
        let find = FindCandidates {
            name: self.with_domain(lookup.name()),
            identity: lookup.identity().map(|identity| self.with_domain(identity)),
            client: self.live.ip(),
        };
        let Ok(Ok(found)) = self.service.mailbox.ask(find).await else {
            self.service.metrics.auth_attempt();
            self.service.metrics.auth_failure(AuthFailure::Unavailable);
            return Ok(lookup.unavailable());
        };
        let channel = lookup.binding().and_then(|kind| self.channel_binding(kind));
        Ok(lookup.found(found, &new_secret(), channel.as_deref()))
    }

    pub(super) async fn login(
        &mut self,
        login: Login,
    ) -> Result<(Reply, Option<Session>), SessionEnded> {
        self.service.metrics.auth_attempt();
        if let Credentials::Secret { name, .. } = login.credentials() {
            self.wait_for_gate(name).await?;
        }
        self.live.set_verifying(true);
        let began = Instant::now();
        let span = telemetry::validation();
        let opened = self.open_maildrop(login.credentials());
        let opened = opened.instrument(span.clone()).await;
        self.service.metrics.login_took(began.elapsed());
        self.live.set_verifying(false);
        Ok(match opened {
            Ok((snapshot, access)) => {
                if let Some(name) = login.credentials().name() {
                    let name = self.with_domain(name);
                    self.service.login_throttle.succeeded(self.live.ip(), &name);
                }
                let (reply, session) = login.granted(snapshot, access);
                (reply, Some(session))
            }
            Err(why) => {
                let failure = AuthFailure::from(why);
                self.service.metrics.auth_failure(failure);
                telemetry::note_refusal(span, failure.as_str());
                let certified = self.certified_addresses().first().map(String::as_str);
                let user = login.credentials().name().or(certified).map(shown);
                tracing::info!(reason = ?why, user, "login refused");
                if why == LoginRefusal::Credentials {
                    self.pause_until(self.answer_at(login.credentials()))
                        .await?;
                }
                login.refused(why)
            }
        })
    }

    /// Records a failed login, and returns when the client may be told.
    fn answer_at(&self, credentials: &Credentials) -> Instant {
        let now = Instant::now();
        let (name, secret) = match credentials {
            Credentials::Secret { name, secret, .. } => (name, Some(secret.expose())),
            Credentials::Proven { name, .. } | Credentials::Disproven { name, .. } => (name, None),
            // It was shown in the handshake, and nothing was guessed.
            Credentials::Certificate { .. } => return now,
        };
        let throttle = &self.service.login_throttle;
        throttle.failed(self.live.ip(), &self.with_domain(name), secret, now)
    }

    /// Waits if this name has failed from the client's network lately. A client that hangs up
    /// meanwhile gains nothing: the gate stays, and the connection counts until it has passed.
    async fn wait_for_gate(&mut self, name: &str) -> Result<(), SessionEnded> {
        let throttle = &self.service.login_throttle;
        match throttle.wait_until(self.live.ip(), &self.with_domain(name), Instant::now()) {
            Some(gate) => {
                self.service.metrics.auth_delayed();
                self.flush().await?;
                self.pause_until(gate).await
            }
            None => Ok(()),
        }
    }

    async fn open_maildrop(
        &mut self,
        credentials: &Credentials,
    ) -> Result<(Arc<Snapshot>, Access), LoginRefusal> {
        let service = Arc::clone(&self.service);
        let proof = self.proof(credentials);
        let proof = proof.ok_or(LoginRefusal::Credentials)?;
        let identify = Identify {
            proof,
            client: self.live.ip(),
        };
        let identified = service.mailbox.ask(identify).await;
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
                let opened = service.mailbox.ask(open);
                let opened = opened.instrument(telemetry::loading()).await;
                let opened = opened.map_err(|_| LoginRefusal::Unavailable)?;
                opened.map_err(|_| LoginRefusal::Unavailable)?
            }
        };
        if let Some(key) = user.key {
            service.mailbox.tell(KeyUsed(key));
        }
        self.live.set_login(&user, by, maildrop.snapshot());
        self.logged_in();
        let snapshot = Arc::clone(maildrop.snapshot());
        self.open = Some(Open {
            reader: Reader::new(Arc::clone(&maildrop)),
            maildrop,
            _permit: permit,
            _lease: lease,
        });
        Ok((snapshot, user.access))
    }

    /// Takes a slot of the user; if an idle session makes way, waits until it has ended.
    async fn claim(&self, user: UserId, by: LoggedInBy) -> Result<Permit, LoginRefusal> {
        let claim = || Claim {
            user,
            live: Arc::clone(&self.live),
            by,
        };
        let claimed = self.service.registry.ask(claim).await;
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

    /// What speaks for the client; none if that is known to be wrong.
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
            Credentials::Proven { key, .. } => Some(Proof::Key(KeyId(*key))),
            Credentials::Disproven { .. } => None,
            Credentials::Certificate { name } => Some(Proof::TrustedAddress {
                addresses: self.certified_addresses().to_vec(),
                identity: name.as_deref().map(|it| self.with_domain(it)),
            }),
        }
    }

    /// A login name with its domain, which clients may leave out if there is a default one.
    fn with_domain(&self, name: &str) -> String {
        let domain = self.service.default_domain.as_ref();
        in_domain(name, domain.map(Domain::as_str))
    }
}

/// What may be logged of a name: who pastes a key in the wrong field has not given it away.
fn shown(name: &str) -> &str {
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

//! From credentials to an open maildrop: who this is, whether they may have one more session, and
//! what they have.

use std::sync::Arc;
use std::time::Instant;

use pop3::{Access, Credentials, Login, LoginRefusal, Reply, Session, Snapshot, VerifierLookup};
use tracing::Instrument;

use super::conversation::{Conversation, Open, Over};
use super::reader::Reader;
use crate::accounts::{Evidence, KeyId, in_domain, is_certified};
use crate::identity::new_secret;
use crate::mailbox::{FindVerifier, Identified, Identify, KeyUsed, OpenMaildrop};
use crate::metrics::AuthFailure;
use crate::registry::Claim;
use crate::settings::Domain;
use crate::telemetry;

/// What stands for the name of a key when a certificate has taken its place.
const CERTIFICATE: &str = "certificate";

impl Conversation {
    /// Finds what a client's proof must fit, and asks for the proof.
    pub(super) async fn look_up_verifier(
        &mut self,
        lookup: VerifierLookup,
    ) -> Result<(Reply, Option<Session>), Over> {
        // The proof will be looked at as soon as it comes, so this is the time to wait.
        self.wait_for_gate().await?;
        let find = || FindVerifier {
            name: self.with_domain(lookup.name()),
        };
        let Ok(Ok(found)) = self.service.mailbox.ask(find).await else {
            self.service.metrics.auth_attempt();
            self.service.metrics.auth_failure(AuthFailure::Unavailable);
            return Ok(lookup.unavailable());
        };
        let channel = lookup.binding().and_then(|kind| self.channel_binding(kind));
        let key = found.key.map(|key| key.0);
        Ok(lookup.found(key, found.verifier, &new_secret(), channel.as_deref()))
    }

    pub(super) async fn login(&mut self, login: Login) -> Result<(Reply, Option<Session>), Over> {
        self.service.metrics.auth_attempt();
        if let Credentials::Secret { .. } = login.credentials() {
            self.wait_for_gate().await?;
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
                    let gate = self.service.attempts.failed(self.live.ip(), Instant::now());
                    self.pause_until(gate).await?;
                }
                login.refused(why)
            }
        })
    }

    /// Waits if wrong keys came from the client's network lately. Who hangs up meanwhile gains
    /// nothing: the gate stays, and the connection counts until it has passed.
    async fn wait_for_gate(&mut self) -> Result<(), Over> {
        match self.service.attempts.gate(self.live.ip(), Instant::now()) {
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
        let evidence = self.evidence(credentials);
        let evidence = evidence.ok_or(LoginRefusal::Credentials)?;
        let identify = || Identify {
            evidence: evidence.clone(),
            client: self.live.ip(),
        };
        let identified = service.mailbox.ask(identify).await;
        let identified = identified.map_err(|_| LoginRefusal::Unavailable)?;
        let identified = identified.map_err(|_| LoginRefusal::Unavailable)?;
        let Identified {
            mut user,
            maildrop,
            lease,
        } = identified.map_err(|_| LoginRefusal::Credentials)?;
        if let Credentials::Certificate { .. } = credentials {
            user.key_name = CERTIFICATE.to_owned();
        }
        let permit = service.registry.ask(|| Claim(user.user)).await;
        let permit = permit.map_err(|_| LoginRefusal::Unavailable)?;
        let permit = permit.ok_or(LoginRefusal::TooManySessions)?;
        let maildrop = match maildrop {
            Some(maildrop) => maildrop,
            None => {
                let open = OpenMaildrop {
                    user: user.user,
                    version: user.version,
                };
                let opened = service.mailbox.ask(|| open);
                let opened = opened.instrument(telemetry::loading()).await;
                let opened = opened.map_err(|_| LoginRefusal::Unavailable)?;
                opened.map_err(|_| LoginRefusal::Unavailable)?
            }
        };
        if let Some(key) = user.key {
            service.mailbox.tell(KeyUsed(key));
        }
        let snapshot = &maildrop.snapshot;
        self.live
            .set_login(&user, snapshot.len(), snapshot.octets());
        self.logged_in();
        let snapshot = Arc::clone(&maildrop.snapshot);
        self.open = Some(Open {
            reader: Reader::new(Arc::clone(&maildrop)),
            maildrop,
            _permit: permit,
            _lease: lease,
        });
        Ok((snapshot, user.access))
    }

    /// What speaks for the client; none if that is known to be wrong.
    fn evidence(&self, credentials: &Credentials) -> Option<Evidence> {
        match credentials {
            Credentials::Secret { name, secret } => Some(Evidence::Secret {
                name: self.with_domain(name),
                secret: secret.clone(),
            }),
            Credentials::Proven { key, .. } => Some(Evidence::Key(KeyId(*key))),
            Credentials::Disproven { .. } => None,
            Credentials::Certificate { name } => {
                let certified = self.certified_addresses();
                let name = name.as_ref().map(|name| self.with_domain(name));
                let meant = |address: &&String| match &name {
                    Some(name) => is_certified(address, name),
                    None => true,
                };
                certified.iter().find(meant).cloned().map(Evidence::Word)
            }
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
    if name.contains('@') && !name.contains("rst_") {
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

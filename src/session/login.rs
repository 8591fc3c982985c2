//! USER and PASS: who this is, whether they may have one more session, and what is in the maildrop.

use std::sync::Arc;

use pop3::{Login, LoginRefusal, Reply, Session, Snapshot};

use super::conversation::{Conversation, Open};
use super::reader::Reader;
use crate::mailbox::{Identified, Identify, KeyUsed, OpenMaildrop};
use crate::metrics::AuthFailure;
use crate::registry::{Claim, State};

impl Conversation {
    pub(super) async fn login(&mut self, login: Login) -> (Reply, Option<Session>) {
        self.service.metrics.auth_attempt();
        match self.open_maildrop(&login).await {
            Ok(snapshot) => {
                let (reply, session) = login.granted(snapshot);
                (reply, Some(session))
            }
            Err(why) => {
                self.service.metrics.auth_failure(why.into());
                tracing::info!(reason = ?why, user = ?login.address(), "login refused");
                login.refused(why)
            }
        }
    }

    async fn open_maildrop(&mut self, login: &Login) -> Result<Arc<Snapshot>, LoginRefusal> {
        let service = Arc::clone(&self.service);
        let identify = || Identify {
            address: login.address().to_owned(),
            secret: login.secret().clone(),
        };
        let identified = service.mailbox.ask(identify).await;
        let identified = identified.map_err(|_| LoginRefusal::Unavailable)?;
        let identified = identified.map_err(|_| LoginRefusal::Unavailable)?;
        let Identified {
            user,
            maildrop,
            lease,
        } = identified.map_err(|_| LoginRefusal::Credentials)?;
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
                let opened = service.mailbox.ask(|| open).await;
                let opened = opened.map_err(|_| LoginRefusal::Unavailable)?;
                opened.map_err(|_| LoginRefusal::Unavailable)?
            }
        };
        if let Some(key) = user.key {
            service.mailbox.tell(KeyUsed(key));
        }
        self.live
            .set_login(&user.address, &user.key_name, maildrop.snapshot.len());
        self.live.set_state(State::Transaction);
        let snapshot = Arc::clone(&maildrop.snapshot);
        self.open = Some(Open {
            reader: Reader::new(Arc::clone(&maildrop)),
            maildrop,
            _permit: permit,
            _lease: lease,
        });
        Ok(snapshot)
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

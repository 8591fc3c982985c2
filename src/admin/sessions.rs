//! The live sessions: seeing them and ending them.
#![expect(
    unused_qualifications,
    reason = "what utoipa generates for parameters has them"
)]

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::changes::note;
use super::problem::Problem;
use crate::accounts::{AccountError, normalize_or_lower};
use crate::mailbox::{InDirectory, Mailbox};
use crate::networks::Networks;
use crate::registry::{End, EndReason, Inspect, SessionHandle, SessionReport, State};
use crate::store::{Directory, UserId};

/// Which sessions are meant.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Those of this user, by any of their addresses, in any case.
    user: Option<String>,
    /// Those of clients at this address, or in these networks: `192.0.2.0/24`.
    address: Option<String>,
    /// Those in this state.
    state: Option<State>,
}

/// Which of the sessions are told.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Shown {
    /// Those of this user, by any of their addresses, in any case.
    user: Option<String>,
    /// Those of clients at this address, or in these networks: `192.0.2.0/24`.
    address: Option<String>,
    /// Those in this state.
    state: Option<State>,
    /// Those with this text in their id, user, key or client's address.
    search: Option<String>,
    /// How many to pass over, of the oldest.
    #[param(value_type = Option<i64>, minimum = 0)]
    offset: Option<u32>,
    /// How many to tell at most; all unless it is given.
    #[param(value_type = Option<i64>, minimum = 0)]
    pub(super) limit: Option<u32>,
}

/// Some of the live sessions, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sessions {
    /// What each is doing.
    pub(super) sessions: Vec<SessionReport>,
    /// How many were asked for, shown or not.
    pub(super) matched: usize,
    /// How many there are.
    pub(super) total: usize,
}

/// What came of ending sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ended {
    /// How many were told to end; one that is committing its deletions is not.
    ended: usize,
}

/// What a session is compared with.
struct Filter {
    user: Option<Wanted>,
    networks: Option<Networks>,
    state: Option<State>,
    search: String,
}

/// A user whose sessions are asked for.
struct Wanted {
    address: String,
    /// None if nobody has the address; whoever had it may have been removed, and still be here.
    id: Option<UserId>,
}

impl Wanted {
    async fn find(address: &str, mailbox: &Mailbox) -> Result<Self, Problem> {
        if address.is_empty() {
            return Err(Problem::bad_request("user is empty"));
        }
        let user = address.to_owned();
        let find = InDirectory(async move |directory: &dyn Directory| directory.find(&user).await);
        let id = match mailbox.ask_once(find).await? {
            Ok(id) => Some(id),
            Err(AccountError::NoSuchUser(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let address = normalize_or_lower(address);
        Ok(Self { address, id })
    }

    fn is(&self, live: &SessionHandle) -> bool {
        match self.id {
            Some(_) => live.logged_in().map(|(user, _)| user) == self.id,
            None => live.user_address() == Some(&self.address),
        }
    }
}

impl Filter {
    async fn new(which: Which, search: Option<String>, mailbox: &Mailbox) -> Result<Self, Problem> {
        let networks = which.address.map(|text| text.parse::<Networks>());
        let networks = networks
            .transpose()
            .map_err(|error| Problem::bad_request(error.to_string()))?;
        if networks.as_ref().is_some_and(Networks::is_empty) {
            return Err(Problem::bad_request("address is empty"));
        }
        let user = match &which.user {
            Some(address) => Some(Wanted::find(address, mailbox).await?),
            None => None,
        };
        Ok(Self {
            user,
            networks,
            state: which.state,
            search: search.unwrap_or_default().to_lowercase(),
        })
    }

    fn fits(&self, live: &SessionHandle) -> bool {
        self.user.as_ref().is_none_or(|wanted| wanted.is(live))
            && self
                .networks
                .as_ref()
                .is_none_or(|networks| networks.contain(live.ip()))
            && self.state.is_none_or(|state| live.state() == state)
            && (self.search.is_empty() || self.finds(live))
    }

    fn finds(&self, live: &SessionHandle) -> bool {
        let peer = live.ip().to_string();
        let texts = [
            Some(live.id()),
            live.user_address(),
            live.key_name(),
            Some(&peer),
        ];
        let mut texts = texts.into_iter().flatten();
        texts.any(|text| text.to_lowercase().contains(&self.search))
    }
}

impl Shown {
    /// Picks from these sessions.
    pub(super) async fn pick(
        self,
        all: &[Arc<SessionHandle>],
        mailbox: &Mailbox,
    ) -> Result<Sessions, Problem> {
        let Self {
            user,
            address,
            state,
            search,
            offset,
            limit,
        } = self;
        let which = Which {
            user,
            address,
            state,
        };
        let filter = Filter::new(which, search, mailbox).await?;
        let mut found: Vec<_> = all.iter().filter(|live| filter.fits(live)).collect();
        found.sort_unstable_by_key(|live| (live.connected_at(), live.id()));
        let matched = found.len();
        let offset = offset.unwrap_or(0) as usize;
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        let shown = found.into_iter().skip(offset).take(limit);
        Ok(Sessions {
            sessions: shown.map(|live| live.report()).collect(),
            matched,
            total: all.len(),
        })
    }
}

/// Tells what the live sessions are doing.
#[utoipa::path(
    get, path = "/api/sessions", tag = "sessions", params(Shown),
    responses(
        (status = 200, description = "The sessions, the oldest first", body = Sessions),
        (status = 400, description = "A filter makes no sense", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    admin: web::Data<Admin>,
    shown: web::Query<Shown>,
) -> Result<web::Json<Sessions>, Problem> {
    let all = admin.sessions().await?;
    let shown = shown.into_inner().pick(&all, &admin.mailbox);
    shown.await.map(web::Json)
}

/// Tells what one session is doing.
#[utoipa::path(
    get, path = "/api/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The name of the session")),
    responses(
        (status = 200, description = "The session", body = SessionReport),
        (status = 404, description = "There is none of this name", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    admin: web::Data<Admin>,
    id: web::Path<String>,
) -> Result<web::Json<SessionReport>, Problem> {
    Ok(web::Json(admin.session(&id)?.report()))
}

/// Ends one session. Its deletions are not committed.
#[utoipa::path(
    delete, path = "/api/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The name of the session")),
    responses(
        (status = 204, description = "It has been told to end"),
        (status = 404, description = "There is none of this name", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is committing its deletions", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end(
    request: HttpRequest,
    admin: web::Data<Admin>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let live = admin.session(&id)?;
    if admin.end(&live).await? {
        let user = live.report().user.unwrap_or_default();
        note(&request, format!("session {} ended", live.id()), user);
        return Ok(HttpResponse::NoContent().finish());
    }
    let detail = "it has just ended, or is committing its deletions and ends by itself";
    Err(Problem::new(StatusCode::CONFLICT, detail))
}

/// Ends all sessions of a user, of a client's address, or in a state.
///
/// Their deletions are not committed. Without any filter nothing is ended.
#[utoipa::path(
    delete, path = "/api/sessions", tag = "sessions", params(Which),
    responses(
        (status = 200, description = "They have been told to end", body = Ended),
        (status = 400, description = "There is no filter, or it makes no sense", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end_matching(
    request: HttpRequest,
    admin: web::Data<Admin>,
    which: web::Query<Which>,
) -> Result<web::Json<Ended>, Problem> {
    let which = which.into_inner();
    if which.user.is_none() && which.address.is_none() && which.state.is_none() {
        return Err(Problem::bad_request(
            "say which sessions to end: user, address or state",
        ));
    }
    let filter = Filter::new(which, None, &admin.mailbox).await?;
    let mut ended = 0;
    for live in admin
        .sessions()
        .await?
        .iter()
        .filter(|live| filter.fits(live))
    {
        ended += usize::from(admin.end(live).await?);
    }
    if ended > 0 {
        let whose = request.query_string();
        note(&request, format!("{ended} sessions ended"), whose);
    }
    Ok(web::Json(Ended { ended }))
}

impl Admin {
    /// Who is here.
    pub(super) async fn sessions(&self) -> Result<Vec<Arc<SessionHandle>>, Problem> {
        Ok(self.registry.ask(|| Inspect).await?)
    }

    fn session(&self, id: &str) -> Result<Arc<SessionHandle>, Problem> {
        let live = self.table.session(id).filter(|live| !live.is_self_test());
        live.ok_or_else(|| Problem::not_found("there is no live session of this name"))
    }

    async fn end(&self, live: &SessionHandle) -> Result<bool, Problem> {
        let end = || End {
            session: live.id().to_owned(),
            why: EndReason::Killed,
        };
        Ok(self.registry.ask(end).await?)
    }
}

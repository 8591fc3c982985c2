//! Users and keys: what `restante user` and `restante key` do, over HTTP.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::Admin;
use super::changes::note;
use super::problem::Problem;
use crate::accounts::{KeyOptions, KeyReport, Quota, SCOPE_POP3, UserReport};
use crate::networks::Networks;
use crate::revocation::end_revoked;
use crate::settings::parse_duration;
use crate::store::{Directory, InvalidId, KeyId};

/// All users.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Users {
    /// The users, by address.
    users: Vec<UserReport>,
}

/// A user to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    /// The address for mail and logins.
    address: String,
    /// Further addresses.
    #[serde(default)]
    aliases: Vec<String>,
    /// How much the maildrop may hold; no limit by default.
    #[serde(default, deserialize_with = "quota")]
    quota: Option<Quota>,
}

/// A change of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    /// A disabled user gets mail and cannot log in; their sessions end.
    #[serde(default)]
    disabled: Option<bool>,
    /// How much the maildrop may hold.
    #[serde(default, deserialize_with = "quota")]
    quota: Option<Quota>,
}

/// Reads a quota from an object only; serde would take an array too.
fn quota<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Quota>, D::Error> {
    let object = Option::<serde_json::Map<_, _>>::deserialize(deserializer)?;
    let quota = object.map(|object| serde_json::from_value(object.into()));
    quota.transpose().map_err(D::Error::custom)
}

/// All keys of a user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Keys {
    /// The keys, the oldest first, with those that no longer work.
    keys: Vec<KeyReport>,
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRequest {
    /// What to call it, such as the program that will use it.
    name: String,
    /// Its scopes; `pop3` by default.
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// The networks from which it may be used, such as `192.0.2.0/24`; all by default.
    #[serde(default)]
    networks: Vec<String>,
    /// How long it works, such as `90d`; without an end by default.
    #[serde(default)]
    expires_in: Option<String>,
    /// True if it is a short one, of 27 letters and digits, for a device whose field for a password
    /// is short. It needs `networks`.
    #[serde(default)]
    short: bool,
}

/// A key that has just been made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeKey {
    /// The number by which it is revoked.
    #[schema(value_type = i64)]
    id: KeyId,
    /// The key itself. It is shown this once: only a hash of it is kept.
    key: String,
}

/// Lists all users with their maildrops' sizes.
#[utoipa::path(
    get, path = "/api/users", tag = "users",
    responses((status = 200, description = "All users", body = Users))
)]
pub(super) async fn list(admin: web::Data<Admin>) -> Result<web::Json<Users>, Problem> {
    let users = admin.directory(async |directory| directory.users().await);
    let users = users.await?;
    let users = users.into_iter().map(UserReport::from).collect();
    Ok(web::Json(Users { users }))
}

/// Adds a user.
#[utoipa::path(
    post, path = "/api/users", tag = "users", request_body = NewUser,
    responses(
        (status = 201, description = "They have a maildrop"),
        (status = 400, description = "Not an address", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The address is taken", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn add(
    request: HttpRequest,
    admin: web::Data<Admin>,
    user: web::Json<NewUser>,
) -> Result<HttpResponse, Problem> {
    let NewUser {
        address,
        aliases,
        quota,
    } = user.into_inner();
    let (added, quota) = (address.clone(), quota.unwrap_or_default());
    let add = admin.directory(async move |directory| directory.add(&added, &aliases, quota).await);
    add.await?;
    note(&request, "user added", &address);
    Ok(HttpResponse::Created().finish())
}

/// Disables a user, or enables them again, or changes their quota. A disabled user's sessions end.
#[utoipa::path(
    patch, path = "/api/users/{address}", tag = "users", request_body = UserChange,
    params(("address" = String, Path, description = "Any of the user's addresses")),
    responses(
        (status = 204, description = "It is done"),
        (status = 400, description = "It can't be read", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such user", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    request: HttpRequest,
    admin: web::Data<Admin>,
    address: web::Path<String>,
    change: web::Json<UserChange>,
) -> Result<HttpResponse, Problem> {
    if change.disabled.is_none() && change.quota.is_none() {
        return Err(Problem::bad_request("give disabled, quota or both"));
    }
    if let Some(quota) = change.quota {
        let user = address.clone();
        let set =
            async move |directory: &dyn Directory| directory.set_quota(&user, quota.into()).await;
        admin.directory(set).await?;
        note(&request, "quota set", &*address);
    }
    if let Some(disabled) = change.disabled {
        let user = address.clone();
        let set =
            async move |directory: &dyn Directory| directory.set_disabled(&user, disabled).await;
        admin.directory(set).await?;
        let what = if disabled {
            "user disabled"
        } else {
            "user enabled"
        };
        note(&request, what, &*address);
        admin.end_revoked_sessions().await;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Removes a user with their keys and all their mail. Their sessions end.
#[utoipa::path(
    delete, path = "/api/users/{address}", tag = "users",
    params(("address" = String, Path, description = "Any of the user's addresses")),
    responses(
        (status = 204, description = "They are gone"),
        (status = 404, description = "There is no such user", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    request: HttpRequest,
    admin: web::Data<Admin>,
    address: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let user = address.clone();
    let remove = admin.directory(async move |directory| directory.remove(&user).await);
    remove.await?;
    note(&request, "user removed", &*address);
    admin.end_revoked_sessions().await;
    Ok(HttpResponse::NoContent().finish())
}

/// Lists the keys of a user.
#[utoipa::path(
    get, path = "/api/users/{address}/keys", tag = "keys",
    params(("address" = String, Path, description = "Any of the user's addresses")),
    responses(
        (status = 200, description = "The keys, without what makes them keys", body = Keys),
        (status = 404, description = "There is no such user", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn keys(
    admin: web::Data<Admin>,
    address: web::Path<String>,
) -> Result<web::Json<Keys>, Problem> {
    let keys = admin.directory(async move |directory| directory.keys(&address).await);
    let keys = keys.await?;
    let keys = keys.into_iter().map(KeyReport::from).collect();
    Ok(web::Json(Keys { keys }))
}

/// Makes a key. It is shown this once.
#[utoipa::path(
    post, path = "/api/users/{address}/keys", tag = "keys", request_body = KeyRequest,
    params(("address" = String, Path, description = "Any of the user's addresses")),
    responses(
        (status = 201, description = "The key", body = MadeKey),
        (status = 400, description = "It can't be made like this", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such user", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A key of this name is there already", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn make_key(
    http: HttpRequest,
    admin: web::Data<Admin>,
    address: web::Path<String>,
    request: web::Json<KeyRequest>,
) -> Result<HttpResponse, Problem> {
    let request = request.into_inner();
    let lifetime = request.expires_in.as_deref().map(parse_duration);
    let lifetime = lifetime.transpose().map_err(Problem::bad_request)?;
    let networks = request.networks.iter().map(|text| Networks::limit(text));
    let networks: Result<Networks, _> = networks.collect();
    let options = KeyOptions {
        name: request.name,
        scopes: request
            .scopes
            .unwrap_or_else(|| vec![SCOPE_POP3.to_owned()]),
        networks: networks.map_err(Problem::bad_request)?,
        lifetime,
        short: request.short,
    };
    let name = options.name.clone();
    let user = address.clone();
    let make = admin.directory(async move |directory| directory.create_key(&user, options).await);
    let made = make.await?;
    note(&http, format!("key {} made: {name}", made.id), &*address);
    Ok(HttpResponse::Created().json(MadeKey {
        id: made.id,
        key: made.key,
    }))
}

/// Revokes a key. The sessions that were opened with it end.
#[utoipa::path(
    delete, path = "/api/keys/{id}", tag = "keys",
    params(("id" = i64, Path, description = "The number of the key")),
    responses(
        (status = 204, description = "It opens nothing any more"),
        (status = 404, description = "There is none that could be revoked", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke_key(
    request: HttpRequest,
    admin: web::Data<Admin>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let key: KeyId = id
        .parse()
        .map_err(|error: InvalidId| Problem::not_found(error.to_string()))?;
    let revoke = admin.directory(async move |directory| directory.revoke_key(key).await);
    revoke.await?;
    note(&request, "key revoked", format!("key {key}"));
    admin.end_revoked_sessions().await;
    Ok(HttpResponse::NoContent().finish())
}

impl Admin {
    /// Ends sessions at once, rather than within the few seconds of the next look for revoked keys.
    async fn end_revoked_sessions(&self) {
        end_revoked(&self.registry, &self.mailbox).await;
    }
}

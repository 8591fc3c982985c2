//! Statements that find users and keys: at login and at RCPT.

use entity::{address, api_key, user};
use sea_orm::sea_query::{Alias, Expr, Func, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, Condition, DbBackend, EntityTrait, ExprTrait, Order, QueryFilter, QuerySelect,
    QueryTrait, Select, Statement, Value,
};

use super::super::query::{same, size_of_maildrop};
use super::super::raw::clock;
use super::{FORMS, PAIRS, Texts, filled, form_of, form_of_both, values};

/// Selects a valid key by its prefix, of the user of one of these addresses; if there is an
/// identity, it must be an address of the same user.
pub(crate) fn key_by_prefix(
    backend: DbBackend,
    prefix: &str,
    addresses: &[String],
    identity: &[String],
) -> Statement {
    static TEXTS: Texts<PAIRS> = Texts::new();
    let (addresses, identity) = (filled(addresses.to_vec()), filled(identity.to_vec()));
    let select = || {
        let key = valid_key(backend).filter(api_key::Column::Prefix.eq(prefix));
        let key = key.filter(has_address(&addresses));
        key.filter(is_identity(&identity)).into_query()
    };
    let all = std::iter::once(prefix.into());
    let all = all.chain(values(&addresses)).chain(values(&identity));
    let form = form_of_both(&addresses, &identity);
    TEXTS.statement(backend, form, select, all.collect())
}

/// Selects a valid key by its id.
pub(crate) fn key_by_id(backend: DbBackend, key: i64) -> Statement {
    static TEXTS: Texts<1> = Texts::new();
    let select = || {
        valid_key(backend)
            .filter(api_key::Column::Id.eq(key))
            .into_query()
    };
    TEXTS.statement(backend, 0, select, vec![key.into()])
}

fn valid_key(backend: DbBackend) -> Select<api_key::Entity> {
    api_key::Entity::find()
        .select_only()
        .column(api_key::Column::UserId)
        .columns([user::Column::Address, user::Column::MaildropVersion])
        .column_as(api_key::Column::Id, "key_id")
        .columns([
            api_key::Column::Name,
            api_key::Column::Hash,
            api_key::Column::Scopes,
            api_key::Column::Networks,
        ])
        .inner_join(user::Entity)
        .filter(is_valid(backend))
}

/// The condition that a key and its user may log in now, by the clock that all servers share.
fn is_valid(backend: DbBackend) -> Condition {
    let expires_at = Expr::col((api_key::Entity, api_key::Column::ExpiresAtMs));
    Condition::all()
        .add(api_key::Column::RevokedAtMs.is_null())
        .add(user::Column::DisabledAtMs.is_null())
        .add(
            Condition::any()
                .add(api_key::Column::ExpiresAtMs.is_null())
                .add(expires_at.gt(clock(backend))),
        )
}

/// The condition that the user has one of these addresses.
fn has_address(addresses: &[String]) -> Expr {
    let theirs = address::Entity::find()
        .select_only()
        .column(address::Column::UserId)
        .filter(address::Column::Address.is_in(addresses))
        .filter(same(address::Column::UserId, user::Column::Id));
    Expr::exists(theirs.into_query())
}

/// The condition that an identity is an address of the user; true if there is none.
fn is_identity(identity: &[String]) -> Condition {
    let is_told = !identity.is_empty();
    Condition::all().add_option(is_told.then(|| has_address(identity)))
}

/// Selects the keys that may be proven by SCRAM: those of this name, or all if it is empty, of the
/// user of one of these addresses. Those used last come first, at most so many.
///
/// The address is joined, not tested: so both databases begin with it, and read no other keys.
pub(crate) fn keys_to_prove(
    backend: DbBackend,
    key_name: &str,
    addresses: &[String],
    identity: &[String],
    limit: u64,
) -> Statement {
    static TEXTS: Texts<{ 2 * PAIRS }> = Texts::new();
    let (addresses, identity) = (filled(addresses.to_vec()), filled(identity.to_vec()));
    let is_named = !key_name.is_empty();
    let select = || {
        let last_used = Func::coalesce([
            Expr::col((api_key::Entity, api_key::Column::LastUsedAtMs)),
            Expr::col((api_key::Entity, api_key::Column::CreatedAtMs)),
        ]);
        let named = is_named.then(|| api_key::Column::Name.eq(key_name));
        Query::select()
            .columns(
                [
                    api_key::Column::Id,
                    api_key::Column::Verifier,
                    api_key::Column::Scopes,
                    api_key::Column::Networks,
                ]
                .map(|column| (api_key::Entity, column)),
            )
            .from(address::Entity)
            .inner_join(
                user::Entity,
                same(user::Column::Id, address::Column::UserId),
            )
            .inner_join(
                api_key::Entity,
                same(api_key::Column::UserId, user::Column::Id),
            )
            .and_where(address::Column::Address.is_in(&addresses))
            .cond_where(is_valid(backend))
            .cond_where(is_identity(&identity))
            .and_where_option(named)
            .and_where(api_key::Column::Verifier.is_not_null())
            .order_by_expr(last_used.into(), Order::Desc)
            .order_by((api_key::Entity, api_key::Column::Id), Order::Desc)
            .limit(limit)
            .take()
    };
    let all = values(&addresses).chain(values(&identity));
    let all = all.chain(is_named.then(|| key_name.into()));
    let all = all.chain([Value::from(limit)]).collect();
    let form = form_of_both(&addresses, &identity);
    let form = if is_named { PAIRS + form } else { form };
    TEXTS.statement(backend, form, select, all)
}

/// Selects the enabled users of these addresses, each once for every address that they have.
pub(crate) fn users_of_certificate(backend: DbBackend, addresses: &[String]) -> Statement {
    static TEXTS: Texts<FORMS> = Texts::new();
    let addresses = filled(addresses.to_vec());
    let select = || users_with_addresses(&addresses);
    let all = values(&addresses).collect();
    TEXTS.statement(backend, form_of(&addresses), select, all)
}

fn users_with_addresses(addresses: &[String]) -> SelectStatement {
    const MEANT: &str = "meant";
    let meant = |column| Expr::col((MEANT, column));
    let id = (user::Entity, user::Column::Id);
    Query::select()
        .columns([
            (user::Entity, user::Column::Id),
            (user::Entity, user::Column::Address),
            (user::Entity, user::Column::MaildropVersion),
        ])
        .expr_as(
            Expr::col((address::Entity, address::Column::Address)),
            "other_address",
        )
        .from_as(address::Entity, Alias::new(MEANT))
        .inner_join(user::Entity, meant(address::Column::UserId).equals(id))
        .inner_join(
            address::Entity,
            same(address::Column::UserId, user::Column::Id),
        )
        .and_where(meant(address::Column::Address).is_in(addresses))
        .and_where(user::Column::DisabledAtMs.is_null())
        .take()
}

/// Selects the users of these addresses, and how much their maildrops hold where a quota limits it.
pub(crate) fn addressees(backend: DbBackend, addresses: &[String]) -> Statement {
    static TEXTS: Texts<FORMS> = Texts::new();
    let addresses = filled(addresses.to_vec());
    let select = || users_with_sizes(&addresses);
    let all = values(&addresses).collect();
    TEXTS.statement(backend, form_of(&addresses), select, all)
}

fn users_with_sizes(addresses: &[String]) -> SelectStatement {
    let id = Expr::col((user::Entity, user::Column::Id));
    let (messages, octets) = size_of_maildrop(&id);
    let limited = |quota: user::Column, size: Expr| {
        let nothing = Expr::Constant(0.into());
        Expr::case(quota.is_null(), nothing).finally(size)
    };
    address::Entity::find()
        .select_only()
        .column_as(address::Column::Address, "found_by")
        .column(address::Column::UserId)
        .columns([
            user::Column::Address,
            user::Column::QuotaOctets,
            user::Column::QuotaMessages,
        ])
        .expr_as(limited(user::Column::QuotaMessages, messages), "messages")
        .expr_as(limited(user::Column::QuotaOctets, octets), "octets")
        .inner_join(user::Entity)
        .filter(address::Column::Address.is_in(addresses))
        .into_query()
}

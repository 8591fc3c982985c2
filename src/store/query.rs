//! Expressions that several statements have in common.

use entity::{deletion_batch, message};
use sea_orm::sea_query::{
    Asterisk, Expr, Func, FunctionCall, InsertStatement, Query, SelectStatement,
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Select,
};

/// The most primary keys that one statement names.
pub(crate) const KEYS_PER_STATEMENT: usize = 1000;

/// The condition that columns of two tables are equal.
pub(crate) fn same(one: impl ColumnTrait, other: impl ColumnTrait) -> Expr {
    Expr::col(one.as_column_ref()).equals(other.as_column_ref())
}

/// Returns a sum as an integer: PostgreSQL's is a `NUMERIC`. The sum of no rows is 0.
pub(crate) fn sum(column: impl ColumnTrait) -> FunctionCall {
    let sum = Func::sum(Expr::col(column.as_column_ref()));
    let sum = Func::coalesce([sum.into(), Expr::Constant(0.into())]);
    Func::cast_as(sum, "BIGINT")
}

/// Returns a column as an expression in which no index finds it. SQLite would read a whole maildrop
/// by the index on users, where a few primary keys are given.
pub(crate) fn without_index(column: impl ColumnTrait) -> Expr {
    Expr::col(column.as_column_ref()).add(Expr::Constant(0.into()))
}

/// The size of a maildrop.
#[derive(Debug, Clone, Copy, Default, FromQueryResult)]
pub(crate) struct MaildropSize {
    /// The number of messages.
    pub(crate) messages: i64,
    /// The sum of their octets.
    pub(crate) octets: i64,
}

/// The size of a user's maildrop, or of a part of it.
#[derive(Debug, FromQueryResult)]
pub(crate) struct SizeOfUser {
    /// The user.
    pub(crate) user_id: i64,
    /// The size.
    #[sea_orm(nested)]
    pub(crate) size: MaildropSize,
}

/// The size of a maildrop as expressions: messages and octets. `user` is its user's primary key, or
/// the column that has it.
pub(crate) fn size_of_maildrop(user: &Expr) -> (Expr, Expr) {
    let stored = |what: Expr| {
        let stored = message::Entity::find().select_only().expr(what);
        let of_user = Expr::col((message::Entity, message::Column::UserId)).eq(user.clone());
        subquery(stored.filter(of_user).into_query())
    };
    let deleted = |column: deletion_batch::Column| {
        let deleted = deletion_batch::Entity::find()
            .select_only()
            .expr(sum(column));
        let user_id = deletion_batch::Column::UserId;
        let of_user = Expr::col((deletion_batch::Entity, user_id)).eq(user.clone());
        subquery(deleted.filter(of_user).into_query())
    };
    let messages = Func::count(Expr::col(Asterisk));
    let messages = stored(messages.into()).sub(deleted(deletion_batch::Column::Messages));
    let octets = stored(sum(message::Column::Octets).into());
    (
        messages,
        octets.sub(deleted(deletion_batch::Column::Octets)),
    )
}

/// Selects the size of a user's maildrop, as a [`MaildropSize`].
pub(crate) fn maildrop_size(user: i64) -> SelectStatement {
    let (messages, octets) = size_of_maildrop(&Expr::val(user));
    Query::select()
        .expr_as(messages, "messages")
        .expr_as(octets, "octets")
        .take()
}

/// A query as an expression.
pub(crate) fn subquery(select: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(select.into()))
}

/// An INSERT of what a query selects, whose columns are those of the INSERT.
pub(crate) fn from_select(mut insert: InsertStatement, select: SelectStatement) -> InsertStatement {
    let inserts = insert.select_from(select);
    inserts.expect("the query selects the columns that are inserted");
    insert
}

/// The messages of a maildrop after this place in its order, the oldest first, at most so many.
pub(crate) fn messages_after(
    user: i64,
    (received_at_ms, id): (i64, i64),
    limit: u64,
) -> Select<message::Entity> {
    let place = [message::Column::ReceivedAtMs, message::Column::Id];
    let place = Expr::tuple(place.map(|column| Expr::col((message::Entity, column))));
    message::Entity::find()
        .filter(message::Column::UserId.eq(user))
        .filter(place.gt(Expr::tuple([received_at_ms.into(), id.into()])))
        .order_by_asc(message::Column::ReceivedAtMs)
        .order_by_asc(message::Column::Id)
        .limit(limit)
}

//! Statements that read messages: at login, RETR and TOP.

use entity::{chunk, deletion_batch, message, trace_header};
use sea_orm::sea_query::{Asterisk, Expr, Func, SelectStatement, UnionType};
use sea_orm::{
    ColumnTrait, DbBackend, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Select, Statement, Value,
};

use super::super::Stored;
use super::super::query::subquery;
use super::{PAIRS, Texts, filled, form_of_both, values};

/// Selects the messages of a maildrop, the oldest first, at most so many.
pub(in crate::store) fn all_messages(backend: DbBackend, user: i64, limit: u64) -> Statement {
    static TEXTS: Texts<1> = Texts::new();
    let all = || {
        let all = messages_of(user).order_by_asc(message::Column::ReceivedAtMs);
        let all = all.order_by_asc(message::Column::Id).limit(limit);
        all.into_query()
    };
    let values = vec![user.into(), user.into(), limit.into()];
    TEXTS.statement(backend, 0, all, values)
}

/// Selects the messages of a maildrop, the newest first, at most so many, and how many there are.
///
/// It is one statement, so that what it counts is the maildrop that it reads. The database counts
/// once, and by the same index.
pub(in crate::store) fn newest_messages(backend: DbBackend, user: i64, limit: u64) -> Statement {
    static TEXTS: Texts<1> = Texts::new();
    let newest = || {
        let count = message::Entity::find().select_only();
        let count = count.expr(Func::count(Expr::col(Asterisk)));
        let count = count.filter(message::Column::UserId.eq(user)).into_query();
        let newest = messages_of(user).expr_as(subquery(count), "messages");
        let newest = newest.order_by_desc(message::Column::ReceivedAtMs);
        let newest = newest.order_by_desc(message::Column::Id).limit(limit);
        newest.into_query()
    };
    let values = vec![user.into(), user.into(), user.into(), limit.into()];
    TEXTS.statement(backend, 0, newest, values)
}

/// The rows of a maildrop, each with the number of deletion batches that are not moved yet.
fn messages_of(user: i64) -> Select<message::Entity> {
    let batches = deletion_batch::Entity::find().select_only();
    let batches = batches.expr(Func::count(Expr::col(Asterisk)));
    let of_user = deletion_batch::Column::UserId.eq(user);
    let batches = batches.filter(of_user).into_query();
    message::Entity::find()
        .select_only()
        .columns([
            message::Column::Id,
            message::Column::ContentId,
            message::Column::Octets,
            message::Column::UniqueId,
            message::Column::TraceOctets,
        ])
        .expr_as(subquery(batches), "batches")
        .filter(message::Column::UserId.eq(user))
}

/// Selects the first chunk of each message, and its trace headers if it has some: rows of
/// `is_trace`, the key of the content or message, and `data`.
pub(in crate::store) fn first_chunks(backend: DbBackend, messages: &[Stored]) -> Statement {
    static TEXTS: Texts<PAIRS> = Texts::new();
    let contents = filled(messages.iter().map(|it| it.content.0).collect());
    let traced = messages.iter().filter(|message| message.has_trace_headers);
    let traced = filled(traced.map(|message| message.message.0).collect());
    let select = || {
        let data = Expr::col((chunk::Entity, chunk::Column::Data));
        let mut select = chunks_of(data).filter(chunk::Column::ContentId.is_in(contents.clone()));
        with_traces(&mut select, &traced)
    };
    let all = values(&contents).chain(values(&traced)).collect();
    TEXTS.statement(backend, form_of_both(&contents, &traced), select, all)
}

/// Selects the same of one message, and at most so many octets of its first chunk.
pub(in crate::store) fn beginning(backend: DbBackend, message: Stored, octets: i32) -> Statement {
    static TEXTS: Texts<2> = Texts::new();
    let content = message.content.0;
    let traced: Vec<i64> = message
        .has_trace_headers
        .then_some(message.message.0)
        .into_iter()
        .collect();
    let select = || {
        let data = Expr::col((chunk::Entity, chunk::Column::Data));
        let first = Expr::Constant(1.into());
        let data = Func::cust("SUBSTR").args([data, first, Expr::val(octets)]);
        let mut select = chunks_of(data.into()).filter(chunk::Column::ContentId.eq(content));
        with_traces(&mut select, &traced)
    };
    let all = [Value::from(octets), content.into()].into_iter();
    let all = all.chain(values(&traced)).collect();
    TEXTS.statement(backend, usize::from(message.has_trace_headers), select, all)
}

fn chunks_of(data: Expr) -> Select<chunk::Entity> {
    chunk::Entity::find()
        .select_only()
        .expr_as(Expr::Constant(0.into()), "is_trace")
        .column_as(chunk::Column::ContentId, "key")
        .expr_as(data, "data")
        .filter(Expr::col((chunk::Entity, chunk::Column::Number)).eq(Expr::Constant(0.into())))
}

fn with_traces(chunks: &mut Select<chunk::Entity>, traced: &[i64]) -> SelectStatement {
    let chunks = QuerySelect::query(chunks);
    if traced.is_empty() {
        return chunks.take();
    }
    let traces = trace_header::Entity::find()
        .select_only()
        .expr_as(Expr::Constant(1.into()), "is_trace")
        .column_as(trace_header::Column::MessageId, "key")
        .column(trace_header::Column::Data)
        .filter(trace_header::Column::MessageId.is_in(traced.iter().copied()));
    chunks.union(UnionType::All, traces.into_query()).take()
}

/// Selects the chunks of a content with these numbers, in order.
pub(in crate::store) fn chunks(backend: DbBackend, content: i64, from: i32, to: i32) -> Statement {
    static TEXTS: Texts<1> = Texts::new();
    let select = || {
        chunk::Entity::find()
            .select_only()
            .columns([chunk::Column::Number, chunk::Column::Data])
            .filter(chunk::Column::ContentId.eq(content))
            .filter(chunk::Column::Number.gte(from))
            .filter(chunk::Column::Number.lt(to))
            .order_by_asc(chunk::Column::Number)
            .into_query()
    };
    TEXTS.statement(
        backend,
        0,
        select,
        vec![content.into(), from.into(), to.into()],
    )
}

//! Statements that store messages, several rows with each.
//!
//! Each statement that is waited for costs a way to the database and back. With several rows in
//! one, a transaction of many deliveries has few of them.

use entity::{chunk, content, message, trace_header};
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{DbBackend, EntityTrait, Statement, Value};

use super::Texts;

/// How many rows a statement has.
const ROWS_AT_ONCE: [usize; 3] = [16, 4, 1];

/// Returns how many of so many rows the next statement has; none if there are no rows.
pub(in crate::store) fn row_count(rows: usize) -> Option<usize> {
    ROWS_AT_ONCE.into_iter().find(|count| *count <= rows)
}

/// Inserts contents: octets and digest. Returns the id of each, and its digest.
pub(in crate::store) fn insert_contents(backend: DbBackend, rows: Vec<[Value; 2]>) -> Statement {
    static TEXTS: Texts<3> = Texts::new();
    let columns = [content::Column::Octets, content::Column::Digest];
    let returned = [content::Column::Id, content::Column::Digest];
    insert::<content::Entity, 2>(&TEXTS, backend, columns, rows, &returned)
}

/// Inserts chunks: content, number and data.
pub(in crate::store) fn insert_chunks(backend: DbBackend, rows: Vec<[Value; 3]>) -> Statement {
    static TEXTS: Texts<3> = Texts::new();
    let columns = [
        chunk::Column::ContentId,
        chunk::Column::Number,
        chunk::Column::Data,
    ];
    insert::<chunk::Entity, 3>(&TEXTS, backend, columns, rows, &[])
}

/// Inserts messages: user, content, octets, unique-id, times of receipt and storage, octets of trace
/// headers. Returns the id of each, and its user and unique-id.
pub(in crate::store) fn insert_messages(backend: DbBackend, rows: Vec<[Value; 7]>) -> Statement {
    static TEXTS: Texts<3> = Texts::new();
    let columns = [
        message::Column::UserId,
        message::Column::ContentId,
        message::Column::Octets,
        message::Column::UniqueId,
        message::Column::ReceivedAtMs,
        message::Column::StoredAtMs,
        message::Column::TraceOctets,
    ];
    let returned = [
        message::Column::Id,
        message::Column::UserId,
        message::Column::UniqueId,
    ];
    insert::<message::Entity, 7>(&TEXTS, backend, columns, rows, &returned)
}

/// Inserts trace headers: message and data.
pub(in crate::store) fn insert_trace_headers(
    backend: DbBackend,
    rows: Vec<[Value; 2]>,
) -> Statement {
    static TEXTS: Texts<3> = Texts::new();
    let columns = [trace_header::Column::MessageId, trace_header::Column::Data];
    insert::<trace_header::Entity, 2>(&TEXTS, backend, columns, rows, &[])
}

fn insert<E: EntityTrait, const N: usize>(
    texts: &Texts<3>,
    backend: DbBackend,
    columns: [E::Column; N],
    rows: Vec<[Value; N]>,
    returned: &[E::Column],
) -> Statement {
    let count = rows.len();
    let build = || {
        // The text alone counts, so that octets are not copied.
        let row = || columns.iter().map(|_| Expr::val(Value::Bool(None)));
        let mut insert = Query::insert();
        insert.into_table(E::default()).columns(columns);
        for _ in 0..count {
            insert.values_panic(row());
        }
        if !returned.is_empty() {
            let returned = returned.iter().copied();
            insert.returning(Query::returning().columns(returned));
        }
        insert
    };
    let form = ROWS_AT_ONCE.iter().position(|it| *it == count);
    let text = texts.text(backend, form.unwrap_or(ROWS_AT_ONCE.len()), build);
    Statement::from_sql_and_values(backend, text, rows.into_iter().flatten())
}

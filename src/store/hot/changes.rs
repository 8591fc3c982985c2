//! Statements that change a maildrop: its lock at a QUIT or a delivery, and the deletion at QUIT.

use entity::{deleted_message, deletion, deletion_batch, message, user};
use sea_orm::sea_query::{
    CommonTableExpression, DynIden, Expr, InsertStatement, IntoIden, LockBehavior, LockType, Query,
    SelectStatement, UpdateStatement, WithClause,
};
use sea_orm::{
    ColumnTrait, Condition, DbBackend, EntityTrait, ExprTrait, QueryFilter, QuerySelect,
    QueryTrait, Statement, Value,
};

use super::super::query::{maildrop_size, without_index};
use super::super::raw::{clock, returned_clock};
use super::{FORMS, Texts, filled, form_of, values};

/// Treatment of rows that other transactions have locked, in a statement that locks users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum LockedRows {
    /// It waits, for as long as the transaction's `lock_timeout`.
    Wait,
    /// It leaves them out.
    Skip,
}

/// Locks users, where rows are locked, in the order of their keys; with `bump` it also raises the
/// versions of their maildrops, and leaves out users who were removed.
pub(in crate::store) fn lock(
    backend: DbBackend,
    users: Vec<i64>,
    rows: LockedRows,
    bump: bool,
) -> Statement {
    static TEXTS: Texts<{ 4 * FORMS }> = Texts::new();
    let users = filled(users);
    let form = match (form_of(&users), rows, bump) {
        (FORMS, ..) => 4 * FORMS,
        (form, LockedRows::Wait, false) => form,
        (form, LockedRows::Skip, false) => FORMS + form,
        (form, LockedRows::Wait, true) => 2 * FORMS + form,
        (form, LockedRows::Skip, true) => 3 * FORMS + form,
    };
    let all = values(&users).collect();
    if bump {
        TEXTS.statement(backend, form, || bump_versions(backend, &users, rows), all)
    } else {
        TEXTS.statement(backend, form, || lock_rows(backend, &users, rows), all)
    }
}

fn lock_rows(backend: DbBackend, users: &[i64], rows: LockedRows) -> SelectStatement {
    let [id, version, octets, messages] = COLUMNS.map(|it| Expr::col((user::Entity, it)));
    let select = user::Entity::find().select_only();
    let select = select.exprs([id, version, octets, messages]);
    let select = select.expr_as(clock(backend), "now_ms");
    let mut select = select
        .filter(user::Column::Id.is_in(users.iter().copied()))
        .into_query();
    in_order(&mut select, rows);
    select
}

const COLUMNS: [user::Column; 4] = [
    user::Column::Id,
    user::Column::MaildropVersion,
    user::Column::QuotaOctets,
    user::Column::QuotaMessages,
];

/// Locks the rows that a query selects of `users`. SQLite locks no rows.
fn in_order(select: &mut SelectStatement, rows: LockedRows) {
    let id = (user::Entity, user::Column::Id);
    select.order_by(id, sea_orm::Order::Asc);
    match rows {
        LockedRows::Wait => select.lock(LockType::NoKeyUpdate),
        LockedRows::Skip => {
            select.lock_with_behavior(LockType::NoKeyUpdate, LockBehavior::SkipLocked)
        }
    };
}

fn bump_versions(backend: DbBackend, users: &[i64], rows: LockedRows) -> UpdateStatement {
    const LOCKED: &str = "locked";
    let those = Condition::all()
        .add(user::Column::Id.is_in(users.iter().copied()))
        .add(user::Column::RemovedAtMs.is_null());
    let version = Expr::col((user::Entity, user::Column::MaildropVersion));
    let bumped = version.add(Expr::Constant(1.into()));
    let mut update = Query::update();
    update
        .table(user::Entity)
        .value(user::Column::MaildropVersion, bumped);
    if backend == DbBackend::Postgres {
        // The UPDATE alone would lock them in any order, and wait.
        let mut locked = user::Entity::find().select_only().column(user::Column::Id);
        let locked = QuerySelect::query(&mut locked).cond_where(those);
        in_order(locked, rows);
        let locked = CommonTableExpression::new()
            .table_name(LOCKED)
            .query(locked.take())
            .to_owned();
        let id = Expr::col((user::Entity, user::Column::Id));
        update
            .with_cte(WithClause::new().cte(locked).to_owned())
            .from(LOCKED)
            .and_where(id.equals((LOCKED, user::Column::Id)));
    } else {
        update.cond_where(those);
    }
    let now = returned_clock(backend);
    let columns = COLUMNS.map(|it| Expr::col((user::Entity, it)));
    let returned = columns.into_iter().chain([now]);
    update.returning(Query::returning().exprs(returned)).take()
}

/// Selects the size of a maildrop, as a [`MaildropSize`](super::super::query::MaildropSize).
pub(in crate::store) fn size(backend: DbBackend, user: i64) -> Statement {
    static TEXTS: Texts<1> = Texts::new();
    let values = vec![user.into(); 4];
    TEXTS.statement(backend, 0, || maildrop_size(user), values)
}

/// Inserts the row of a deletion, whose messages can be restored for so long.
pub(in crate::store) fn begin_deletion(
    backend: DbBackend,
    (user, version): (i64, i64),
    session: Option<&str>,
    kept_ms: i64,
) -> Statement {
    static TEXTS: Texts<2> = Texts::new();
    let mut values = vec![user.into(), version.into(), session.into()];
    let is_kept = kept_ms > 0;
    values.extend(is_kept.then(|| Value::from(kept_ms)));
    let insert = || {
        let kept_until = if is_kept {
            clock(backend).add(kept_ms)
        } else {
            // The clock has no say in it.
            Expr::Constant(0.into())
        };
        let mut insert = Query::insert();
        insert
            .into_table(deletion::Entity)
            .columns([
                deletion::Column::UserId,
                deletion::Column::MaildropVersion,
                deletion::Column::SessionId,
                deletion::Column::DeletedAtMs,
                deletion::Column::KeptUntilMs,
            ])
            .values_panic([
                user.into(),
                version.into(),
                session.into(),
                clock(backend),
                kept_until,
            ]);
        insert
    };
    TEXTS.statement(backend, usize::from(is_kept), insert, values)
}

/// The messages that a deletion moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum MovedMessages {
    /// All.
    All,
    /// All, unless batches of this maildrop wait to be moved.
    UnlessBatched,
    /// Those that were stored before this time, on the same condition.
    StoredBefore(i64),
}

/// Moves messages of a user to `deleted_messages`, as a part of a deletion. The first of the
/// statements tells how many, by the rows that it affects.
pub(in crate::store) fn move_messages(
    backend: DbBackend,
    (user, version): (i64, i64),
    messages: &[i64],
    which: MovedMessages,
) -> Vec<Statement> {
    static INSERTS: Texts<{ 3 * FORMS }> = Texts::new();
    static DELETES: Texts<{ 3 * FORMS }> = Texts::new();
    let messages = filled(messages.to_vec());
    let form = match (form_of(&messages), which) {
        (FORMS, _) => 3 * FORMS,
        (form, MovedMessages::All) => form,
        (form, MovedMessages::UnlessBatched) => FORMS + form,
        (form, MovedMessages::StoredBefore(_)) => 2 * FORMS + form,
    };
    let mut moved = vec![user.into()];
    moved.extend(values(&messages));
    match which {
        MovedMessages::All => {}
        MovedMessages::UnlessBatched => moved.push(user.into()),
        MovedMessages::StoredBefore(before_ms) => moved.extend([user.into(), before_ms.into()]),
    }
    let deletion: [Value; 2] = [user.into(), version.into()];
    let delete = || {
        Query::delete()
            .from_table(message::Entity)
            .cond_where(moved_by(user, &messages, which))
            .take()
    };
    if backend == DbBackend::Postgres {
        const GONE: &str = "gone";
        let insert = || {
            let gone = CommonTableExpression::new()
                .table_name(GONE)
                .query(delete().returning_all().take())
                .to_owned();
            let mut select = select_moved(GONE.into_iden(), user, version);
            let content = (GONE, message::Column::ContentId);
            select.from(GONE).order_by(content, sea_orm::Order::Asc);
            let mut insert = insert_moved(select);
            insert.with_cte(WithClause::new().cte(gone).to_owned());
            insert
        };
        moved.extend(deletion);
        return vec![INSERTS.statement(backend, form, insert, moved)];
    }
    let insert = || {
        let mut select = select_moved(message::Entity.into_iden(), user, version);
        select.from(message::Entity);
        select.cond_where(moved_by(user, &messages, which));
        insert_moved(select)
    };
    let inserted = deletion.into_iter().chain(moved.iter().cloned()).collect();
    vec![
        INSERTS.statement(backend, form, insert, inserted),
        DELETES.statement(backend, form, delete, moved),
    ]
}

/// The condition that a message is one of these.
fn moved_by(user: i64, messages: &[i64], which: MovedMessages) -> Condition {
    let of_user = without_index(message::Column::UserId).eq(user);
    let those = Condition::all()
        .add(of_user)
        .add(message::Column::Id.is_in(messages.iter().copied()));
    let no_batches = || {
        let batches = deletion_batch::Entity::find().select_only();
        let batches = batches.column(deletion_batch::Column::UserId);
        let of_user = deletion_batch::Column::UserId.eq(user);
        Expr::not_exists(batches.filter(of_user).into_query())
    };
    match which {
        MovedMessages::All => those,
        MovedMessages::UnlessBatched => those.add(no_batches()),
        MovedMessages::StoredBefore(before_ms) => those
            .add(no_batches())
            .add(message::Column::StoredAtMs.lt(before_ms)),
    }
}

/// Selects the columns of moved messages, which are in a table of this name.
fn select_moved(table: DynIden, user: i64, version: i64) -> SelectStatement {
    let of_message = |column| Expr::col((table.clone(), column));
    let of_deletion = |column| Expr::col((deletion::Entity, column));
    let this = Condition::all()
        .add(deletion::Column::UserId.eq(user))
        .add(deletion::Column::MaildropVersion.eq(version));
    Query::select()
        .exprs([
            of_message(message::Column::Id),
            of_message(message::Column::ContentId),
            of_message(message::Column::UserId),
            of_message(message::Column::Octets),
            of_message(message::Column::TraceOctets),
            of_message(message::Column::UniqueId),
            of_message(message::Column::ReceivedAtMs),
        ])
        .exprs([
            of_deletion(deletion::Column::MaildropVersion),
            of_deletion(deletion::Column::SessionId),
            of_deletion(deletion::Column::DeletedAtMs),
            of_deletion(deletion::Column::KeptUntilMs),
        ])
        // Without a row of this deletion, the columns that may not be null refuse.
        .left_join(deletion::Entity, this)
        .take()
}

fn insert_moved(select: SelectStatement) -> InsertStatement {
    let columns = [
        deleted_message::Column::MessageId,
        deleted_message::Column::ContentId,
        deleted_message::Column::UserId,
        deleted_message::Column::Octets,
        deleted_message::Column::TraceOctets,
        deleted_message::Column::UniqueId,
        deleted_message::Column::ReceivedAtMs,
        deleted_message::Column::MaildropVersion,
        deleted_message::Column::SessionId,
        deleted_message::Column::DeletedAtMs,
        deleted_message::Column::KeptUntilMs,
    ];
    let mut insert = Query::insert();
    insert.into_table(deleted_message::Entity).columns(columns);
    super::super::query::from_select(insert, select)
}

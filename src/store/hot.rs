//! The statements of login, RETR, QUIT and delivery, as text that is built once.
//!
//! Building a statement costs as much as SQLite needs to answer it. So each of these is built from
//! the entities at its first use, once for each kind of database and each length of its lists, and
//! later uses only bind values (`docs/decisions/0008-sea-orm.md`). Debug builds compare each use
//! with a newly built statement, so the order of the values can't be wrong.

mod accounts;
mod changes;
mod inserts;
mod reading;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::iter::repeat_n;
use std::sync::OnceLock;

use sea_orm::{DbBackend, Statement, StatementBuilder, Value};

pub(crate) use accounts::{
    addressees, key_by_id, key_by_prefix, keys_to_prove, users_of_certificate,
};
pub(super) use changes::{LockedRows, MovedMessages, begin_deletion, lock, move_messages, size};
pub(super) use inserts::{
    insert_chunks, insert_contents, insert_messages, insert_trace_headers, row_count,
};
pub(super) use reading::{all_messages, beginning, chunks, first_chunks, newest_messages};

/// The lengths of lists. Each list is padded to the next length, so that a database prepares only
/// a handful of statements.
const LENGTHS: [usize; 5] = [1, 4, 16, LONGEST_LIST, super::query::KEYS_PER_STATEMENT];

/// The number of lengths.
const FORMS: usize = LENGTHS.len();

/// The longest list of a statement that reads messages or locks users.
pub(super) const LONGEST_LIST: usize = 64;

/// The texts of a statement: for each kind of database, and for each of `N` forms.
struct Texts<const N: usize>([[OnceLock<String>; N]; 2]);

impl<const N: usize> Texts<N> {
    const fn new() -> Self {
        Self([const { [const { OnceLock::new() }; N] }; 2])
    }

    /// Returns the statement of a form with these values, in the order of its placeholders. A form
    /// beyond the last is built each time.
    fn statement<S: StatementBuilder>(
        &self,
        backend: DbBackend,
        form: usize,
        build: impl Fn() -> S,
        values: Vec<Value>,
    ) -> Statement {
        let text = self.text(backend, form, &build);
        let statement = Statement::from_sql_and_values(backend, text, values);
        debug_assert_eq!(statement, backend.build(&build()));
        statement
    }

    fn text<S: StatementBuilder>(
        &self,
        backend: DbBackend,
        form: usize,
        build: impl Fn() -> S,
    ) -> Cow<'_, str> {
        let [sqlite, postgres] = &self.0;
        let texts = if backend == DbBackend::Postgres {
            postgres
        } else {
            sqlite
        };
        let text = || backend.build(&build()).sql;
        match texts.get(form) {
            Some(cell) => Cow::Borrowed(cell.get_or_init(text)),
            None => Cow::Owned(text()),
        }
    }
}

/// Pads a list to the next of [`LENGTHS`] by repeating its last value.
fn filled<T: Clone>(mut list: Vec<T>) -> Vec<T> {
    let length = LENGTHS.into_iter().find(|length| *length >= list.len());
    if let (Some(length), Some(last)) = (length, list.last().cloned()) {
        list.extend(repeat_n(last, length - list.len()));
    }
    list
}

/// Returns the index in [`LENGTHS`] of the length of a padded list.
fn form_of<T>(list: &[T]) -> usize {
    let place = LENGTHS.iter().position(|length| *length == list.len());
    place.unwrap_or(FORMS)
}

/// Does the same for two lists, the second of which may be empty; there are [`PAIRS`] forms.
fn form_of_both<T, U>(list: &[T], other: &[U]) -> usize {
    let other = if other.is_empty() {
        0
    } else {
        1 + form_of(other)
    };
    match (form_of(list), other) {
        (FORMS, _) => PAIRS,
        (_, other) if other > FORMS => PAIRS,
        (first, other) => first * (FORMS + 1) + other,
    }
}

/// The number of forms of two lists.
const PAIRS: usize = FORMS * (FORMS + 1);

/// Returns the items of a list as values.
fn values<T: Clone + Into<Value>>(list: &[T]) -> impl Iterator<Item = Value> {
    list.iter().cloned().map(Into::into)
}

//! The SQL of the hot statements, on both databases: `statements.sql` lists it.

use std::fmt::Write;

use sea_orm::DatabaseBackend::{Postgres, Sqlite};

use super::super::{ContentId, MessageId, Stored};
use super::*;

/// Returns each statement with a few values, named after the operation that runs it.
fn statements(backend: DbBackend) -> Vec<(&'static str, Statement)> {
    let message = |id, has_trace_headers| Stored {
        message: MessageId(id),
        content: ContentId(10 + id),
        has_trace_headers,
    };
    let addresses = ["ada@example.com".to_owned()];
    let identity = ["a@example.com".to_owned()];
    let row = |values: [i64; 2]| values.map(Value::from);
    let mut all = vec![
        ("login", key_by_prefix(backend, "rk", &addresses, &[])),
        (
            "login with an identity",
            key_by_prefix(backend, "rk", &addresses, &identity),
        ),
        ("login after SCRAM", key_by_id(backend, 3)),
        ("SCRAM", keys_to_prove(backend, "", &addresses, &[], 9)),
        (
            "SCRAM with the name of a key",
            keys_to_prove(backend, "phone", &addresses, &identity, 9),
        ),
        (
            "login by certificate",
            users_of_certificate(backend, &addresses),
        ),
        ("open all", all_messages(backend, 1, 9)),
        ("open the newest", newest_messages(backend, 1, 9)),
        ("RETR", first_chunks(backend, &[message(1, false)])),
        (
            "RETR with trace headers",
            first_chunks(backend, &[message(1, true), message(2, false)]),
        ),
        ("RETR of more than a chunk", chunks(backend, 11, 1, 3)),
        ("TOP", beginning(backend, message(1, false), 8192)),
        (
            "TOP with trace headers",
            beginning(backend, message(1, true), 8192),
        ),
        (
            "QUIT or delivery: lock",
            lock(backend, vec![1], LockedRows::Skip, true),
        ),
        (
            "QUIT or delivery: wait for the lock",
            lock(backend, vec![1, 2], LockedRows::Wait, true),
        ),
        (
            "lock of an account",
            lock(backend, vec![1], LockedRows::Skip, false),
        ),
        (
            "QUIT: deletion",
            begin_deletion(backend, (1, 7), Some("a-session"), 0),
        ),
        (
            "QUIT: deletion with retention",
            begin_deletion(backend, (1, 7), Some("a-session"), 5),
        ),
    ];
    for (name, which) in [
        ("QUIT: move messages", MovedMessages::UnlessBatched),
        ("move a batch", MovedMessages::All),
        ("expiry", MovedMessages::StoredBefore(5)),
    ] {
        let moved = move_messages(backend, (1, 7), &[3], which);
        all.extend(moved.into_iter().map(|statement| (name, statement)));
    }
    all.extend([
        ("RCPT", addressees(backend, &addresses)),
        ("delivery: quota", size(backend, 1)),
        (
            "delivery: contents",
            insert_contents(backend, vec![row([1, 2])]),
        ),
        (
            "delivery: chunks",
            insert_chunks(backend, vec![[1, 2, 3].map(Value::from); 4]),
        ),
        (
            "delivery: messages",
            insert_messages(backend, vec![[1, 2, 3, 4, 5, 6, 7].map(Value::from)]),
        ),
        (
            "delivery: trace headers",
            insert_trace_headers(backend, vec![row([1, 2])]),
        ),
    ]);
    all
}

#[test]
fn the_text_of_each_statement_is_as_listed() {
    let mut listed = String::new();
    for (backend, name) in [(Sqlite, "SQLite"), (Postgres, "PostgreSQL")] {
        writeln!(listed, "-- {name}").unwrap();
        for (name, statement) in statements(backend) {
            writeln!(listed, "\n-- {name}\n{};", statement.sql).unwrap();
        }
        listed.push('\n');
    }
    let expected = include_str!("statements.sql");
    assert!(listed.trim() == expected.trim(), "they are:\n{listed}");
}

#[test]
fn a_list_is_filled_up_with_its_last_value_to_one_of_few_lengths() {
    assert_eq!(filled(vec![7]), [7]);
    assert_eq!(filled(vec![7, 8]), [7, 8, 8, 8]);
    assert_eq!(filled(vec![0; 65]).len(), 1000);
    assert_eq!(filled(vec![0; 1001]).len(), 1001);
    assert_eq!(filled(Vec::<i64>::new()), [0_i64; 0]);
    assert_eq!(form_of(&[0; 16]), 2);
    assert_eq!(form_of(&[0; 1001]), FORMS);
}

#[test]
fn each_pair_of_lengths_has_a_form_of_its_own() {
    let lists: Vec<Vec<i64>> = LENGTHS.iter().map(|length| vec![0; *length]).collect();
    let mut forms = std::collections::HashSet::new();
    for list in &lists {
        assert!(forms.insert(form_of_both::<_, i64>(list, &[])));
        for other in &lists {
            assert!(forms.insert(form_of_both(list, other)));
        }
    }
    assert_eq!(forms.len(), PAIRS);
    assert!(forms.iter().all(|form| *form < PAIRS));
    assert_eq!(form_of_both(&[0; 1001], &[0; 1]), PAIRS);
    assert_eq!(form_of_both(&[0; 1], &[0; 1001]), PAIRS);
}

#[test]
fn values_stand_in_the_order_of_their_places_for_lists_of_any_length() {
    // Debug builds compare each statement with a newly built one.
    for backend in [Sqlite, Postgres] {
        for length in [1_i64, 3, 64, 65, 1001] {
            let messages: Vec<i64> = (1..=length).collect();
            for which in [
                MovedMessages::All,
                MovedMessages::UnlessBatched,
                MovedMessages::StoredBefore(-9),
            ] {
                let _ = move_messages(backend, (-1, -7), &messages, which);
            }
            for (rows, bump) in [(LockedRows::Wait, true), (LockedRows::Skip, false)] {
                let _ = lock(backend, messages.clone(), rows, bump);
            }
            let addresses: Vec<String> = messages.iter().map(|n| format!("a{n}")).collect();
            let identity: Vec<String> = messages.iter().map(|n| format!("i{n}")).collect();
            let _ = key_by_prefix(backend, "p", &addresses, &identity);
            let _ = keys_to_prove(backend, "k", &addresses, &identity, 9);
            let _ = addressees(backend, &addresses);
        }
    }
}

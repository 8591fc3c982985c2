//! Reading what messages say.

use std::collections::HashMap;

use restante::store::{
    CHUNK_OCTETS, ContentId, Delivery, MessageId, Recipient, SqlStore, StoreError, Stored, UserId,
};

use super::{WRITTEN_EARLY, all_stored, number};
use crate::support::mail::{ADA, BOB, add, message, octets, prepare, store};
use crate::support::place::on_each;

#[test]
fn messages_of_every_size_come_back_octet_for_octet() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        let around = |size: usize| [size - 1, size, size + 1];
        let sizes = [
            [3, 10, 1000],
            around(CHUNK_OCTETS),
            around(2 * CHUNK_OCTETS),
            around(WRITTEN_EARLY),
            around(2 * WRITTEN_EARLY),
            [WRITTEN_EARLY + CHUNK_OCTETS, 5_000_000, 5_000_001],
        ];
        let sizes = sizes.as_flattened();
        let written: Vec<_> = (1u64..)
            .zip(sizes)
            .map(|(n, size)| message(n, *size))
            .collect();
        store(&database, &[ada], &written).await;

        let maildrop = server.open(ada, 0).await.unwrap();
        assert_eq!(maildrop.snapshot.len(), sizes.len());
        for (at, message) in written.iter().enumerate() {
            let number = number(at as u64 + 1);
            assert_eq!(maildrop.snapshot.octets_of(number), Some(sizes[at] as u64));
            let content = maildrop.stored(number).unwrap();
            assert!(octets(&server, content).await == *message, "{}", sizes[at]);
            check_chunks(&server, content, message).await;
        }
        let total: usize = sizes.iter().sum();
        assert_eq!(maildrop.snapshot.octets(), total as u64);
    });
}

/// Each part of a message is that part.
async fn check_chunks(server: &SqlStore, stored: Stored, message: &[u8]) {
    let pieces: Vec<Vec<u8>> = message.chunks(CHUNK_OCTETS).map(<[u8]>::to_vec).collect();
    let count = u32::try_from(pieces.len()).unwrap();
    for from in 0..count + 2 {
        let chunks = server.chunks(stored.content, from..from + 2).await.unwrap();
        let expected: Vec<_> = pieces.iter().skip(from as usize).take(2).collect();
        assert!(
            chunks.iter().eq(expected),
            "{} octets, chunk {from}",
            message.len()
        );
    }
    let first = server.first_chunks(&[stored]).await.unwrap();
    assert_eq!((first.len(), first[0].0), (1, stored.message));
    assert!(first[0].1.content[..] == pieces[0]);
    for length in [
        0,
        1,
        8 * 1024,
        CHUNK_OCTETS,
        CHUNK_OCTETS + 1,
        u32::MAX as usize,
    ] {
        let asked = u32::try_from(length).unwrap();
        let beginning = server.beginning(stored, asked).await.unwrap();
        assert!(
            beginning.content == pieces[0][..length.min(pieces[0].len())],
            "{length}"
        );
    }
}

#[test]
fn the_first_chunks_of_any_number_of_contents_come_at_once() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        let written: Vec<_> = (0..130).map(|n| message(n, 100)).collect();
        store(&database, &[ada], &written).await;
        let maildrop = server.open(ada, 0).await.unwrap();
        let all = all_stored(&maildrop);
        for count in [0, 1, 2, 4, 5, 16, 17, 63, 64, 65, 128, 129, 130] {
            let found = server.first_chunks(&all[..count]).await.unwrap();
            assert_eq!(found.len(), count);
            let found: HashMap<_, _> = found.into_iter().collect();
            for at in 0..count {
                assert_eq!(found[&all[at].message].content[..], written[at]);
            }
        }
        // One that is not there is left out.
        let asked = [all[0], gone(-1), gone(i64::MAX), all[1]];
        let found = server.first_chunks(&asked).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|(message, _)| message).collect();
        assert_eq!(found, [all[0].message, all[1].message]);
    });
}

#[test]
fn a_content_that_is_not_there_has_no_octets() {
    on_each(async |place| {
        let server = place.server().await;
        let nothing = ContentId(4711);
        assert!(server.chunks(nothing, 0..9).await.unwrap().is_empty());
        let beginning = server.beginning(gone(4711), 9).await;
        assert!(matches!(beginning, Err(StoreError::Gone)));
    });
}

/// A message whose content has this key.
fn gone(content: i64) -> Stored {
    Stored {
        message: MessageId(content),
        content: ContentId(content),
        has_trace_headers: false,
    }
}

#[test]
fn each_recipient_has_a_head_of_their_own_before_the_same_content() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let [ada, bob] = [add(&database, ADA).await, add(&database, BOB).await];
        let written = message(1, 3 * CHUNK_OCTETS);
        let heads = [b"Delivered-To: ada\r\n".to_vec(), b"X: bob\r\n".to_vec()];
        let recipient = |(user, head): (UserId, &Vec<u8>)| Recipient {
            user,
            trace_headers: head.clone(),
        };
        let delivery = Delivery {
            message: prepare(&database, &written).await,
            recipients: [ada, bob].into_iter().zip(&heads).map(recipient).collect(),
        };
        database.deliver(&[delivery]).await.unwrap();
        store(&database, &[ada], &[message(2, 100)]).await;
        let sql = place.sql().await;
        assert_eq!(sql.count("contents").await, 2);
        for (user, head) in [ada, bob].into_iter().zip(&heads) {
            let maildrop = server.open(user, 0).await.unwrap();
            // What came by the other way is older.
            let last = number(maildrop.snapshot.len() as u64);
            let stored = maildrop.stored(last).unwrap();
            let whole = [head.clone(), written.clone()].concat();
            assert!(octets(&server, stored).await == whole);
            let counted = maildrop.snapshot.octets_of(last);
            assert_eq!(counted, Some(whole.len() as u64));
            let all = all_stored(&maildrop);
            let found = server.first_chunks(&all).await.unwrap();
            assert_eq!(found.len(), all.len());
            assert_eq!(found.last().unwrap().1.trace_headers, *head);
        }
    });
}

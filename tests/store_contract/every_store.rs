//! What every store promises to sessions: our own schema on both databases, and one in memory.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pop3::MessageNumber;
use restante::accounts::{Accounts, KeyOptions};
use restante::store::{
    Cursor, Database, Lease, MailStore, Maildrop, Proof, StoreError, UserId, WrongCredentials,
};
use wire::Secret;

use super::{SESSION, number};
use crate::support::mail::{ADA, BOB, key_options, message, prepare};
use crate::support::memory_store::MemoryStore;
use crate::support::place::on_each;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A store with two users, Ada and Bob, and a way to bring them mail.
struct Fixture {
    mail: Arc<dyn MailStore>,
    users: [UserId; 2],
    secrets: [String; 2],
    way: Way,
}

enum Way {
    Memory(MemoryStore),
    Database(Box<Database>),
}

/// Runs a test on each kind of store.
fn on_every_store(test: impl AsyncFn(&Fixture) + Sync) {
    actix_rt::System::new().block_on(async {
        let store = MemoryStore::default();
        let secrets = ["ada's".to_owned(), "bob's".to_owned()];
        test(&Fixture {
            mail: Arc::new(store.clone()),
            users: [store.add(ADA, &secrets[0]), store.add(BOB, &secrets[1])],
            secrets,
            way: Way::Memory(store),
        })
        .await;
    });
    on_each(async |place| {
        let database = place.open().await;
        let accounts = Accounts::new(database.clone());
        let (mut users, mut secrets) = (Vec::new(), Vec::new());
        for address in [ADA, BOB] {
            users.push(accounts.add(address, &[]).await.unwrap());
            let options: KeyOptions = key_options("laptop");
            secrets.push(accounts.create_key(address, options).await.unwrap().key);
        }
        test(&Fixture {
            mail: Arc::new(place.server().await),
            users: users.try_into().unwrap(),
            secrets: secrets.try_into().unwrap(),
            way: Way::Database(Box::new(database)),
        })
        .await;
    });
}

impl Fixture {
    /// Gives messages to a user, the oldest first.
    async fn deliver(&self, user: UserId, messages: &[Vec<u8>]) {
        match &self.way {
            Way::Memory(store) => messages.iter().for_each(|it| store.deliver(user, it)),
            Way::Database(database) => {
                let mut at = SystemTime::now();
                for message in messages {
                    let message = prepare(database, message).await;
                    database.store(&[user], vec![(message, at)]).await.unwrap();
                    at += Duration::from_millis(10);
                }
            }
        }
    }

    /// Opens a maildrop as a login does.
    async fn login(&self, which: usize) -> (Arc<dyn Maildrop>, Lease) {
        let address = [ADA, BOB][which];
        let identified = self.identify(address, &self.secrets[which]).await.unwrap();
        let maildrop = self.mail.open(identified, 0).await.unwrap();
        let proof = secret(address, &self.secrets[which]);
        let lease = self.mail.identify(&proof, CLIENT).await.unwrap().unwrap();
        (maildrop, lease.lease)
    }

    async fn identify(&self, name: &str, text: &str) -> Result<UserId, WrongCredentials> {
        let identified = self.mail.identify(&secret(name, text), CLIENT).await;
        identified.unwrap().map(|identified| identified.user.user)
    }
}

fn secret(name: &str, text: &str) -> Proof {
    Proof::Secret {
        name: name.into(),
        identity: None,
        secret: Secret::new(text),
    }
}

fn all(maildrop: &Arc<dyn Maildrop>) -> Vec<MessageNumber> {
    (1..=maildrop.snapshot().len() as u64).map(number).collect()
}

fn unique_ids(maildrop: &Arc<dyn Maildrop>) -> Vec<String> {
    let unique_id = |n| maildrop.snapshot().unique_id_of(n).unwrap().to_owned();
    all(maildrop).into_iter().map(unique_id).collect()
}

/// Reads a whole message, so many octets at a time.
async fn read(maildrop: &Arc<dyn Maildrop>, number: MessageNumber, max_octets: u32) -> Vec<u8> {
    let (mut octets, mut from) = (Vec::new(), Cursor::START);
    loop {
        let piece = maildrop.read(number, from, max_octets).await.unwrap();
        if piece.is_empty() {
            return octets;
        }
        octets.extend(piece.octets.concat());
        from = piece.next;
    }
}

#[test]
fn the_right_secret_opens_the_right_maildrop() {
    on_every_store(async |store| {
        let [ada, bob] = &store.secrets;
        assert_eq!(store.identify(ADA, ada).await, Ok(store.users[0]));
        assert_eq!(store.identify(BOB, bob).await, Ok(store.users[1]));
        for (name, text) in [
            (ADA, bob.as_str()),
            (ADA, ""),
            ("eve@example.com", ada),
            ("", ""),
        ] {
            assert_eq!(store.identify(name, text).await, Err(WrongCredentials));
        }
        let trusted = Proof::TrustedAddress {
            addresses: vec![BOB.into()],
            identity: None,
        };
        let trusted = store
            .mail
            .identify(&trusted, CLIENT)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(trusted.user.user, store.users[1]);
        let logins = store.users.into_iter().chain([UserId::new(4711)]).collect();
        let status = store.mail.login_status(&logins, &[].into()).await.unwrap();
        assert_eq!(status.users, store.users.into());
    });
}

#[test]
fn messages_come_back_octet_for_octet_however_they_are_read() {
    on_every_store(async |store| {
        let sizes = [3, 1000, 131_071, 131_072, 131_073, 262_144, 1_500_000];
        let sent: Vec<_> = (0..).zip(sizes).map(|(n, size)| message(n, size)).collect();
        store.deliver(store.users[0], &sent).await;
        let (maildrop, _lease) = store.login(0).await;
        let (snapshot, numbers) = (maildrop.snapshot(), all(&maildrop));
        assert_eq!(snapshot.len(), sizes.len());
        assert_eq!(snapshot.octets(), sizes.iter().sum::<usize>() as u64);
        let first = maildrop.read_first(&numbers).await.unwrap();
        assert_eq!(first.len(), sizes.len());
        for ((number, sent), first) in numbers.iter().zip(&sent).zip(first) {
            assert_eq!(snapshot.octets_of(*number), Some(sent.len() as u64));
            for max_octets in [1000, 8192, 131_072, 300_000, u32::MAX] {
                if max_octets > 1000 || sent.len() < 200_000 {
                    assert!(read(&maildrop, *number, max_octets).await == *sent);
                }
            }
            // What was read first goes on where it ends.
            let first = first.unwrap();
            let mut whole = first.octets.concat();
            assert!(!whole.is_empty());
            let mut next = first.next;
            while whole.len() < sent.len() {
                let piece = maildrop.read(*number, next, 262_144).await.unwrap();
                assert!(!piece.is_empty());
                whole.extend(piece.octets.concat());
                next = piece.next;
            }
            assert!(whole == *sent);
        }
    });
}

#[test]
fn a_limit_shows_the_newest_and_tells_how_many_it_hides() {
    on_every_store(async |store| {
        let sent: Vec<_> = (0..5).map(|n| message(n, 100)).collect();
        store.deliver(store.users[0], &sent).await;
        for (limit, shown) in [(0, 5), (1, 1), (3, 3), (5, 5), (9, 5)] {
            let maildrop = store.mail.open(store.users[0], limit).await.unwrap();
            assert_eq!(maildrop.snapshot().len(), shown, "{limit}");
            assert_eq!(maildrop.snapshot().hidden(), 5 - shown as u64, "{limit}");
            let first = read(&maildrop, number(1), 8192).await;
            assert!(first == sent[5 - shown], "{limit}");
        }
        let nobody = store.mail.open(UserId::new(4711), 0).await.unwrap();
        assert!(nobody.snapshot().is_empty());
    });
}

#[test]
fn exactly_the_named_messages_of_this_user_are_deleted() {
    on_every_store(async |store| {
        let sent: Vec<_> = (0..6).map(|n| message(n, 100)).collect();
        for user in store.users {
            store.deliver(user, &sent).await;
        }
        let ((adas, _lease), (bobs, _)) = (store.login(0).await, store.login(1).await);
        let before = unique_ids(&adas);
        // With one twice, and one that never was.
        let named = [2, 5, 2, 99].map(number);
        assert_eq!(adas.delete(&named, SESSION).await.unwrap(), 2);
        let (left, _) = store.login(0).await;
        let expected = [0, 2, 3, 5].map(|at: usize| before[at].clone());
        assert_eq!(unique_ids(&left), expected);
        assert!(read(&left, number(2), 8192).await == sent[2]);
        assert_eq!(unique_ids(&store.login(1).await.0), unique_ids(&bobs));
    });
}

#[test]
fn deleting_twice_is_the_same_as_once() {
    on_every_store(async |store| {
        let sent: Vec<_> = (0..3).map(|n| message(n, 100)).collect();
        store.deliver(store.users[0], &sent).await;
        let (maildrop, _lease) = store.login(0).await;
        // Only what was still there counts.
        for (numbers, deleted) in [(&[1][..], 1), (&[1, 2], 1), (&[1, 2], 0), (&[], 0)] {
            let numbers: Vec<_> = numbers.iter().copied().map(number).collect();
            assert_eq!(maildrop.delete(&numbers, SESSION).await.unwrap(), deleted);
        }
        let (left, _) = store.login(0).await;
        assert_eq!(unique_ids(&left), unique_ids(&maildrop)[2..]);
    });
}

#[test]
fn an_open_maildrop_stays_as_it_was_while_others_change_it() {
    on_every_store(async |store| {
        let sent: Vec<_> = (0..3).map(|n| message(n, 200_000)).collect();
        store.deliver(store.users[0], &sent[..2]).await;
        let (before, _lease) = store.login(0).await;
        let (other, _other_lease) = store.login(0).await;
        other.delete(&[number(1)], SESSION).await.unwrap();
        store.deliver(store.users[0], &sent[2..]).await;
        assert_eq!(before.snapshot().len(), 2);
        assert!(read(&before, number(1), 131_072).await == sent[0]);
        assert!(
            before
                .read_first(&all(&before))
                .await
                .unwrap()
                .iter()
                .all(Option::is_some)
        );
        let (after, _) = store.login(0).await;
        assert_eq!(after.snapshot().len(), 2);
        assert_eq!(unique_ids(&after)[0], unique_ids(&before)[1]);
        assert!(read(&after, number(2), 131_072).await == sent[2]);
        let gone = before.read(number(3), Cursor::START, 10).await;
        assert!(matches!(gone, Err(StoreError::Gone)), "{gone:?}");
    });
}

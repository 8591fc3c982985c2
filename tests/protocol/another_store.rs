//! A server on a store that is none of ours.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use restante::net::{ListenerKind, ListeningSocket};
use restante::server::{Parts, Preloaded, Server};
use restante::settings::Config;
use restante::store::Store;
use tokio::sync::oneshot;

use crate::served::HERE;
use crate::support::client::Client;
use crate::support::mail::{ADA, message};
use crate::support::memory_store::MemoryStore;

#[test]
fn sessions_are_served_from_a_store_in_memory() {
    let store = MemoryStore::default();
    let ada = store.add(ADA, "secret");
    let sent = [message(1, 300), message(2, 400_000), message(3, 20)];
    sent.iter().for_each(|message| store.deliver(ada, message));
    let mail = Arc::new(store.clone());
    let (tell, told) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        actix_rt::System::new().block_on(async {
            let config = Config::default();
            let preloaded = Preloaded::new(&config).unwrap();
            let bound = vec![ListeningSocket::tcp(Some(HERE), 0, ListenerKind::Pop3).unwrap()];
            let store = Store::of_maildrops(mail);
            let parts = Parts::of_pop3(preloaded, store, bound);
            let server = Server::start(config, parts).unwrap();
            tell.send(server.addresses()[0]).unwrap();
            stopped.await.unwrap();
            server.stop(Duration::ZERO).await;
        });
    });
    let address = told.recv().unwrap();
    assert!(
        Client::connect(address)
            .command(&format!("USER {ADA}"))
            .starts_with("+OK")
    );
    let mut first = Client::login(address, ADA, "secret");
    assert!(first.ok("STAT").starts_with("+OK 3 400320"));
    // A second session is not kept from what the first deletes.
    let mut second = Client::login(address, ADA, "secret");
    for (number, sent) in (1..).zip(&sent) {
        assert!(first.body(&format!("RETR {number}")) == *sent, "{number}");
    }
    let top = first.body("TOP 2 0");
    assert!(sent[1].starts_with(&top) && top.ends_with(b"\r\n\r\n"));
    first.ok("DELE 1");
    first.ok("DELE 3");
    first.ok("QUIT");
    assert!(second.body("RETR 1") == sent[0]);
    let mut third = Client::login(address, ADA, "secret");
    assert_eq!(third.body("UIDL"), b"1 message-2\r\n");
    // Nobody says whether this was committed.
    store.lose_answers(ada);
    third.ok("DELE 1");
    let outcome = third.command("QUIT");
    assert!(
        outcome.starts_with("-ERR [SYS/TEMP] the messages may or may not be deleted"),
        "{outcome}"
    );
    assert!(
        Client::login(address, ADA, "secret")
            .ok("STAT")
            .starts_with("+OK 0 ")
    );
    let mut wrong = Client::connect(address);
    wrong.ok(&format!("USER {ADA}"));
    assert!(wrong.command("PASS guessed").starts_with("-ERR [AUTH]"));
    stop.send(()).unwrap();
    server.join().unwrap();
}

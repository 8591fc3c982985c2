//! Mail that comes and goes while something happens to the server.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::dice::Dice;
use crate::ledger::{Fate, Ledger, number_of, octets};
use crate::support::pause;
use crate::wire::Wire;

/// How many messages a QUIT deletes at most.
const DELETED_AT_ONCE: u64 = 25;

/// How long a client waits for a server that is gone.
const RETRY: Duration = Duration::from_millis(30);

/// Where a server is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) pop3: SocketAddr,
    pub(crate) lmtp: SocketAddr,
}

/// A user with a key.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) address: &'static str,
    pub(crate) key: String,
}

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) owners: &'a [Owner],
    pub(crate) targets: &'a [Target],
    /// The next message, and the next QUIT.
    pub(crate) next: &'a AtomicU64,
    pub(crate) done: AtomicBool,
}

/// Ends the load when it is dropped.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load<'_> {
    /// Delivers and deletes while this happens, and until all clients have their answers.
    pub(crate) fn during(&self, dice: &mut Dice, happens: impl FnOnce(&mut Dice)) {
        std::thread::scope(|scope| {
            for owner in self.owners {
                let (mut mta, mut client) = (dice.split(), dice.split());
                scope.spawn(move || self.repeat(|| self.deliver(&mut mta, owner)));
                scope.spawn(move || self.repeat(|| self.collect(&mut client, owner)));
            }
            // Also if it panics: the scope waits for the others.
            let _done = Done(&self.done);
            happens(dice);
        });
    }

    /// An error is what is expected here: the server is gone, and was asked for nothing more.
    fn repeat(&self, mut work: impl FnMut() -> io::Result<()>) {
        while !self.is_done() {
            if work().is_err() {
                pause(RETRY);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    fn target(&self, dice: &mut Dice) -> Target {
        let at = dice.below(self.targets.len() as u64);
        self.targets[usize::try_from(at).unwrap()]
    }

    /// An MTA with some messages.
    fn deliver(&self, dice: &mut Dice, owner: &Owner) -> io::Result<()> {
        let mut mta = Wire::connect(self.target(dice).lmtp)?;
        mta.command("LHLO mx.example.net")?;
        while !mta.line()?.starts_with("250 ") {}
        for _ in 0..dice.below(20) {
            if self.is_done() {
                break;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            mta.expect("MAIL FROM:<eve@example.net>", "250")?;
            mta.expect(&format!("RCPT TO:<{}>", owner.address), "250")?;
            mta.expect("DATA", "354")?;
            self.ledger.set((owner.address, number), Fate::Sent);
            mta.send_stuffed(&octets(number))?;
            // Any other answer says no more than that the MTA tries again.
            if mta.line()?.starts_with("250") {
                self.ledger.acknowledge((owner.address, number));
            }
        }
        mta.expect("QUIT", "221").map(drop)
    }

    /// A client that reads and deletes some of its messages.
    fn collect(&self, dice: &mut Dice, owner: &Owner) -> io::Result<()> {
        let mut client = Wire::connect(self.target(dice).pop3)?;
        client.expect(&format!("USER {}", owner.address), "+OK")?;
        client.expect(&format!("PASS {}", owner.key), "+OK")?;
        let stat = client.expect("STAT", "+OK")?;
        let count = stat.split(' ').nth(1).and_then(|it| it.parse().ok());
        let count: u64 = count.ok_or(io::ErrorKind::InvalidData)?;
        let quit = self.next.fetch_add(1, Ordering::Relaxed);
        let first = 1 + dice.below(count);
        let mut marked = Vec::new();
        for at in first..(first + dice.below(DELETED_AT_ONCE)).min(count + 1) {
            client.expect(&format!("RETR {at}"), "+OK")?;
            let message = client.body()?;
            let number = number_of(&message).expect("a message has its subject");
            assert!(message.ends_with(&octets(number)), "RETR changed {number}");
            client.expect(&format!("DELE {at}"), "+OK")?;
            marked.push(number);
        }
        for number in &marked {
            self.ledger
                .set((owner.address, *number), Fate::Marked(quit));
        }
        let answer = client.command("QUIT")?;
        if answer.starts_with("+OK") {
            self.ledger.settle(quit, Fate::Deleted);
        } else if answer.contains("nothing was deleted") {
            self.ledger.settle(quit, Fate::Stored);
        }
        Ok(())
    }
}

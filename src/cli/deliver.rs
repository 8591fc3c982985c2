//! `restante deliver`: takes a message from an MTA on stdin.

mod from_line;

use std::io::Read;
use std::process::ExitCode;

use super::room::{RoomCheck, ensure_room_for};
use crate::accounts::{AccountError, Accounts};
use crate::lmtp::return_path;
use crate::store::{Database, Delivery, Intake, MessageWriter, Outcome, Recipient};

/// `EX_DATAERR` of `sysexits.h`: the message can't be stored as it is.
const BAD_MESSAGE: u8 = 65;

/// `EX_NOUSER` of `sysexits.h`: no user has this address.
const NO_SUCH_USER: u8 = 67;

/// `EX_CANTCREAT` of `sysexits.h`: the maildrop is full.
const OVER_QUOTA: u8 = 73;

/// `EX_TEMPFAIL` of `sysexits.h`: the MTA keeps the message and tries again.
pub(super) const TRY_LATER: u8 = 75;

/// Number of octets read from stdin at once.
const READ_OCTETS: usize = 64 * 1024;

/// Where mail comes in if the database is Relate Mail's.
pub(super) const ELSEWHERE: &str = "this is a database of Relate Mail, whose mail comes in by its \
    own SMTP server alone: deliver it there";

#[derive(Debug, clap::Args)]
pub(super) struct Deliver {
    /// Any address of the user who gets the message.
    address: String,
}

pub(super) async fn run(command: Deliver, database: Database) -> anyhow::Result<ExitCode> {
    let delivered = deliver(command, &database).await;
    // Also after a failure: on a nearly full disk, no write-ahead log should remain.
    if let Err(error) = database.close().await {
        tracing::warn!(error = %error, "the database was not closed in order");
    }
    delivered
}

async fn deliver(command: Deliver, database: &Database) -> anyhow::Result<ExitCode> {
    let accounts = Accounts::new(database.clone());
    let user = match accounts.addressee(&command.address).await {
        Ok(addressee) => addressee.user,
        Err(AccountError::Database(error)) => return Err(error.into()),
        Err(error) => {
            eprintln!("restante: {error}");
            return Ok(ExitCode::from(NO_SUCH_USER));
        }
    };
    ensure_room_for(database, 0).await?;
    let mut delivery = MessageWriter::new(database.clone());
    let trace_headers = match take_in(database, &mut delivery).await {
        Ok(trace_headers) => trace_headers,
        Err(error) => {
            // The part that is stored already would only fill the disk until it expires.
            let _ = database.abandon(&delivery.finish()).await;
            return Err(error);
        }
    };
    let message = delivery.finish();
    if message.octets() == 0 {
        eprintln!("restante: the message on stdin is empty, so nothing was stored");
        return Ok(ExitCode::from(BAD_MESSAGE));
    }
    let delivery = Delivery {
        message,
        recipients: vec![Recipient {
            user,
            trace_headers,
        }],
    };
    // The exit status promises that the message is stored, so it follows the commit.
    let delivered = Intake::new(database.clone()).deliver(delivery).await?;
    Ok(match delivered.outcomes.first() {
        Some(Outcome::Stored) => ExitCode::SUCCESS,
        Some(Outcome::OverQuota) => {
            eprintln!(
                "restante: the maildrop of {} is full, so nothing was stored",
                command.address
            );
            ExitCode::from(OVER_QUOTA)
        }
        Some(Outcome::Locked | Outcome::Failed) => {
            eprintln!(
                "restante: the maildrop of {} is in use, so nothing was stored; try again later",
                command.address
            );
            ExitCode::from(TRY_LATER)
        }
        Some(Outcome::NoSuchUser) | None => {
            eprintln!("restante: {} has just been removed", command.address);
            ExitCode::from(NO_SUCH_USER)
        }
    })
}

/// Reads the message from stdin, and returns the header lines that go in front of it.
async fn take_in(database: &Database, delivery: &mut MessageWriter) -> anyhow::Result<Vec<u8>> {
    // Nothing else goes on in this process, so a read may block it.
    let mut stdin = std::io::stdin().lock();
    let mut beginning = Vec::new();
    let looked_at = from_line::LOOKED_AT_OCTETS as u64;
    (&mut stdin).take(looked_at).read_to_end(&mut beginning)?;
    let envelope = from_line::strip(&beginning);
    delivery.write(envelope.message).await?;
    let mut piece = vec![0; READ_OCTETS];
    let mut room = RoomCheck::default();
    loop {
        let octets = stdin.read(&mut piece)?;
        if octets == 0 {
            let trace_headers = envelope.sender.map(return_path);
            return Ok(trace_headers.unwrap_or_default());
        }
        room.count(database, octets).await?;
        delivery
            .write(piece.get(..octets).unwrap_or_default())
            .await?;
    }
}

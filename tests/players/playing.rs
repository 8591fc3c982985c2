//! Plays a transcript.

use data_encoding::BASE64;

use super::Player;
use super::transcript::{Action, Transcript, octets};
use crate::scram::Client;
use crate::support::pause;

/// Plays a transcript; the error names file and line.
pub(crate) fn play(transcript: &Transcript, player: &mut impl Player) -> Result<(), String> {
    let (mut last, mut unread) = (0, None);
    let played = transcript.actions.iter().try_for_each(|(number, action)| {
        last = *number;
        act(player, action, &mut unread)
    });
    // Even after a failure, since others play on the same server.
    let deleted = player.finish();
    played
        .and_then(|()| {
            let deleted = deleted?;
            let expected = &transcript.deleted;
            let same = deleted == *expected;
            same.then_some(())
                .ok_or_else(|| format!("storage has lost {deleted:?}, not {expected:?}"))
        })
        .map_err(|why| format!("{}.txt, line {last}: {why}", transcript.name))
}

/// Does what a line says. `unread` is a line that the player has read for a line to come.
fn act(
    player: &mut impl Player,
    action: &Action,
    unread: &mut Option<Vec<u8>>,
) -> Result<(), String> {
    match action {
        Action::Send(connection, line) => {
            let line = fill_in(player, line)?;
            player.send(*connection, format!("{line}\r\n").as_bytes())
        }
        Action::SendOctets(connection, text) => {
            let text = fill_in(player, text)?;
            player.send(*connection, &octets(&text).ok_or("no octets")?)
        }
        Action::StartTls(connection) => player.start_tls(*connection),
        Action::Scram(connection, text) => {
            let text = fill_in(player, text)?;
            let words = text.trim_matches(['<', '>']).split(' ').collect::<Vec<_>>();
            let [_, name, key] = words[..] else {
                return Err("SCRAM takes a name and a key".into());
            };
            let last = Client::new(name, key).log_in(|line| {
                player.send(*connection, format!("{line}\r\n").as_bytes())?;
                let reply = String::from_utf8(player.line(*connection)?);
                let reply = reply.map_err(|error| error.to_string())?;
                Ok(reply.trim_end_matches(['\r', '\n']).to_owned())
            })?;
            *unread = Some(format!("{last}\r\n").into_bytes());
            Ok(())
        }
        Action::Expect(connection, pattern) => {
            let pattern = fill_in(player, pattern)?;
            let line = unread.take().map_or_else(|| player.line(*connection), Ok)?;
            expect_line(&line, &pattern)
        }
        Action::ExpectOctets(connection, text) => {
            let expected = octets(text).ok_or("no octets")?;
            let read = player.octets(*connection, expected.len())?;
            let same = read == expected;
            same.then_some(())
                .ok_or_else(|| format!("got {:?}", read.escape_ascii().to_string()))
        }
        Action::ExpectEnd(connection) => player.end(*connection),
        Action::Deliver(message) => player.deliver(message),
        Action::Pause(time) => {
            pause(*time);
            Ok(())
        }
        Action::Storage(storage) => player.storage(*storage),
    }
}

fn expect_line(line: &[u8], pattern: &str) -> Result<(), String> {
    let Some(text) = line.strip_suffix(b"\r\n") else {
        return Err(format!("no CRLF behind {}", line.escape_ascii()));
    };
    let as_expected = match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start.as_bytes()),
        None => text == pattern.as_bytes(),
    };
    if !as_expected {
        return Err(format!(
            "expected {pattern:?}, got {:?}",
            text.escape_ascii().to_string()
        ));
    }
    if pattern.starts_with("+OK") || pattern.starts_with("-ERR") {
        check_status_line(line)?;
    }
    Ok(())
}

/// What RFC 2449 asks of the first line of every response, in sections 4 and 8.
fn check_status_line(line: &[u8]) -> Result<(), String> {
    if line.len() > 512 {
        return Err("a response has at most 512 octets".into());
    }
    let text = String::from_utf8_lossy(line);
    let text = text.split_once(' ').map_or("", |(_, text)| text);
    let codes = ["[AUTH] ", "[IN-USE] ", "[SYS/TEMP] ", "[SYS/PERM] "];
    if text.starts_with('[') && !codes.iter().any(|code| text.starts_with(code)) {
        return Err(format!("{text:?} begins with a code that is none"));
    }
    Ok(())
}

/// Puts what the player has in the place of what stands in braces.
fn fill_in(player: &impl Player, text: &str) -> Result<String, String> {
    let mut filled = text.to_owned();
    while let Some((before, rest)) = filled.split_once('{') {
        let (name, after) = rest.split_once('}').ok_or("a brace is open")?;
        let value = player.value(name);
        let value = value.ok_or_else(|| format!("nobody knows {{{name}}}"))?;
        filled = [before, &value, after].concat();
    }
    if let Some((before, rest)) = filled.split_once("base64(") {
        let (text, after) = rest.split_once(')').ok_or("a parenthesis is open")?;
        let encoded = BASE64.encode(text.replace("\\0", "\0").as_bytes());
        filled = [before, &encoded, after].concat();
    }
    Ok(filled)
}

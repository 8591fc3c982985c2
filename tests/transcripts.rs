//! Plays the conversations in `tests/transcripts`, each on the pure session and over two networks.
//!
//! A file is one behaviour, and its name says which. Its first line cites the clause; then come
//! what is given and what is said:
//!
//! ```text
//! # RFC 1939 section 5: what this shows.
//! given two_messages                   logged in, unless: given two_messages, not logged in
//! over the wire only                   not on the pure session
//! in clear only                        or: inside TLS only
//! setting Pop3__PlaintextAuth=never    instead of the default
//! no certificate
//! C: LIST 1                            a line of the client
//! C> "NO" "x"*3 "OP\r\n"               octets of the client
//! C: <tls>                             the client shakes hands
//! C: <scram NAME KEY>                  it proves a key by SCRAM; the last reply is still to come
//! S: +OK *                             a line of the server; a final * is any rest
//! S (3 times): -ERR *
//! S> "..\r\n"                          octets of the server
//! S: <closed>                          the server has closed the connection
//! 2.C: STAT                            a second connection, which begins here
//! deliver two                          one more message arrives
//! pause 20ms                           nothing happens for so long
//! storage fails                        until: storage works
//! storage loses the messages           their octets, but not their numbers
//! deleted 1 3                          what storage lost in the end; nothing unless said
//! ```
//!
//! `{address}`, `{ADDRESS}`, `{alias}`, `{key}`, `{KEY}`, `{key name}`, `{second key}` (of the same
//! user), `{short key}`, `{SHORT KEY}`, `{another key}` (of another) and `{uid 1}` stand for what the player has, and `base64(\0{address})` for that in base64. When a file ends, each connection is closed without QUIT, and the server
//! must have nothing more to say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;

use crate::players::pure::Pure;
use crate::players::wire::Servers;
use crate::players::{Player, Storage};
use crate::sasl::Client;
use crate::support::{pause, place};

const ONE: &[u8] = b"Subject: one\r\n\r\nfirst\r\n"; // 23 octets
const TWO: &[u8] = b"Subject: two\r\n\r\nsecond.\r\n"; // 25 octets
const THREE: &[u8] = b"Subject: three\r\n\r\nthe third\r\n"; // 29 octets
const DOTS: &[u8] = b"Subject: dots\r\n\r\n.\r\n..\r\n.hidden file\r\na.b\r\n...\r\n";
const DOT_FIRST: &[u8] = b".signature: none\r\n\r\nbody\r\n";
const DOT_LAST: &[u8] = b"Subject: end\r\n\r\nlast line:\r\n.";
const NO_BLANK_LINE: &[u8] = b"Subject: all header\r\nX-Body: none\r\n";
const NO_HEADER: &[u8] = b"\r\nbody without a header\r\n";
const BARE_LINE_FEEDS: &[u8] = b"Subject: unix\n\none\n.two\n";
const EIGHT_BIT: &[u8] = b"Subject: caf\xe9\r\n\r\n\0\x01 bare \r CR\r\n\xff\xfe\r\n";
const BLANK_LINES_AT_THE_END: &[u8] = b"Subject: blank\r\n\r\nbody\r\n\r\n\r\n";
const TEN_LINES: &[u8] = b"Subject: ten\r\nX-Note: folded\r\n over two lines\r\n\r\n\
    1\r\n2\r\n\r\n4\r\n.5\r\n6\r\n7\r\n8\r\n9\r\n10\r\n";

/// The messages of a maildrop, oldest first, as they arrived.
fn maildrop(name: &str) -> Option<Vec<Vec<u8>>> {
    let messages: &[&[u8]] = match name {
        "no_messages" => &[],
        "one_message" => &[ONE],
        "two_messages" => &[ONE, TWO],
        "three_messages" => &[ONE, TWO, THREE],
        "dots" => &[DOTS],
        "dot_first" => &[DOT_FIRST],
        "dot_last" => &[DOT_LAST],
        "no_blank_line" => &[NO_BLANK_LINE],
        "no_header" => &[NO_HEADER],
        "bare_line_feeds" => &[BARE_LINE_FEEDS],
        "eight_bit" => &[EIGHT_BIT],
        "blank_lines_at_the_end" => &[BLANK_LINES_AT_THE_END],
        "ten_lines" => &[TEN_LINES],
        "twelve_messages" => {
            let numbered = |n| format!("Subject: {n}\r\n\r\n").into_bytes();
            return Some((1..=12).map(numbered).collect());
        }
        _ => return None,
    };
    Some(messages.iter().map(|message| message.to_vec()).collect())
}

/// A message that is delivered while sessions go on.
fn message(name: &str) -> Option<&'static [u8]> {
    match name {
        "one" => Some(ONE),
        "two" => Some(TWO),
        "three" => Some(THREE),
        _ => None,
    }
}

#[test]
fn every_transcript_plays_on_the_pure_session() {
    play_all(|transcript| {
        let over_the_wire_only = transcript.over_the_wire_only;
        (!over_the_wire_only).then(|| transcript.play(&mut Pure::new(transcript)))
    });
}

#[test]
fn every_transcript_plays_in_clear_on_sqlite() {
    let mut servers = Servers::new(place::sqlite);
    play_all(|transcript| {
        let in_clear = transcript.network != Some(Network::Tls);
        in_clear.then(|| transcript.play(&mut servers.player(transcript, Network::Clear)))
    });
}

#[test]
fn every_transcript_plays_inside_tls_on_postgresql() {
    if place::postgres().is_none() {
        return;
    }
    let mut servers = Servers::new(|| place::postgres().unwrap());
    play_all(|transcript| {
        let in_tls = transcript.network != Some(Network::Clear);
        in_tls.then(|| transcript.play(&mut servers.player(transcript, Network::Tls)))
    });
}

#[test]
fn every_transcript_stands_in_the_table_of_the_protocol() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/PROTOCOL.md")).unwrap();
    let named = |line: &str| {
        let words = line.split('`').skip(1).step_by(2);
        let names = words.filter_map(|word| word.strip_suffix(".txt").map(str::to_owned));
        names.collect::<Vec<_>>()
    };
    let mut in_table: Vec<String> = table.lines().flat_map(named).collect();
    in_table.sort();
    in_table.dedup();
    let files: Vec<String> = Transcript::all().into_iter().map(|t| t.name).collect();
    assert_eq!(in_table, files);
}

/// Plays every transcript that this player plays; all that fail are told.
fn play_all(mut play: impl FnMut(&Transcript) -> Option<Result<(), String>>) {
    let mut played = 0;
    let mut failures = Vec::new();
    for transcript in Transcript::all() {
        match play(&transcript) {
            Some(Ok(())) => played += 1,
            Some(Err(failure)) => failures.push(failure),
            None => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(played > 0, "there are no transcripts");
}

/// A file of `tests/transcripts`.
#[derive(Debug)]
pub(crate) struct Transcript {
    pub(crate) name: String,
    pub(crate) given: Vec<Vec<u8>>,
    pub(crate) logged_in: bool,
    over_the_wire_only: bool,
    pub(crate) network: Option<Network>,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) certificate: bool,
    actions: Vec<(usize, Action)>,
    deleted: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    Clear,
    Tls,
}

/// What happens in a line of a transcript. The connections have numbers from 1 on.
#[derive(Debug)]
enum Action {
    Send(usize, String),
    SendOctets(usize, String),
    StartTls(usize),
    Scram(usize, String),
    Expect(usize, String),
    ExpectOctets(usize, String),
    ExpectEnd(usize),
    Deliver(&'static [u8]),
    Pause(Duration),
    Storage(Storage),
}

impl Transcript {
    /// All of them, by name.
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
        let files = std::fs::read_dir(folder).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Self {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(file).unwrap();
        assert!(
            text.starts_with("# RFC "),
            "{name}.txt: the first line cites a clause"
        );
        let mut transcript = Self {
            name,
            given: Vec::new(),
            logged_in: true,
            over_the_wire_only: false,
            network: None,
            settings: Vec::new(),
            certificate: true,
            actions: Vec::new(),
            deleted: Vec::new(),
        };
        for (at, line) in text.lines().enumerate() {
            let understood = transcript.read_line(at + 1, line);
            assert!(
                understood.is_some(),
                "{}.txt, line {}: what is {line:?}?",
                transcript.name,
                at + 1
            );
        }
        transcript
    }

    fn read_line(&mut self, number: usize, line: &str) -> Option<()> {
        if line.starts_with('#') {
            return Some(());
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "given" => {
                let name = rest.strip_suffix(", not logged in");
                self.logged_in = name.is_none();
                self.given = maildrop(name.unwrap_or(rest))?;
            }
            "over" if rest == "the wire only" => self.over_the_wire_only = true,
            "in" if rest == "clear only" => self.network = Some(Network::Clear),
            "inside" if rest == "TLS only" => self.network = Some(Network::Tls),
            "no" if rest == "certificate" => self.certificate = false,
            "setting" => {
                let (name, value) = rest.split_once('=')?;
                self.settings.push((name.into(), value.into()));
            }
            "deliver" => self.actions.push((number, Action::Deliver(message(rest)?))),
            "pause" => {
                let time = rest.strip_suffix("ms")?.parse().ok()?;
                let pause = Action::Pause(Duration::from_millis(time));
                self.actions.push((number, pause));
            }
            "storage" => {
                let storage = match rest {
                    "works" => Storage::Works,
                    "fails" => Storage::Fails,
                    "loses the messages" => Storage::HasLostTheMessages,
                    _ => return None,
                };
                self.actions.push((number, Action::Storage(storage)));
            }
            "deleted" if rest == "none" => {}
            "deleted" => {
                let numbers = rest.split(' ').map(str::parse);
                self.deleted = numbers.collect::<Result<_, _>>().ok()?;
            }
            _ => self.read_speech(number, line)?,
        }
        Some(())
    }

    fn read_speech(&mut self, number: usize, line: &str) -> Option<()> {
        let (connection, line) = match line.split_once('.') {
            Some((connection, line)) if connection.parse::<usize>().is_ok() => {
                (connection.parse().ok()?, line)
            }
            _ => (1, line),
        };
        let (who, said) = line.split_once(' ').unwrap_or((line, ""));
        let (times, said) = match (who, said.split_once(" times): ")) {
            ("S", Some((times, said))) => (times.strip_prefix('(')?.parse().ok()?, said),
            _ => (1, said),
        };
        for _ in 0..times {
            let text = said.to_owned();
            let action = match (who, said) {
                ("C:", "<tls>") => Action::StartTls(connection),
                ("C:", _) if said.starts_with("<scram ") => Action::Scram(connection, text),
                ("C:", _) => Action::Send(connection, text),
                ("C>", _) => octets(said).map(|_| Action::SendOctets(connection, text))?,
                ("S:", "<closed>") => Action::ExpectEnd(connection),
                ("S:" | "S", _) => Action::Expect(connection, text),
                ("S>", _) => octets(said).map(|_| Action::ExpectOctets(connection, text))?,
                _ => return None,
            };
            self.actions.push((number, action));
        }
        Some(())
    }

    /// Plays it; the error names file and line.
    fn play(&self, player: &mut impl Player) -> Result<(), String> {
        let (mut last, mut unread) = (0, None);
        let played = self.actions.iter().try_for_each(|(number, action)| {
            last = *number;
            act(player, action, &mut unread)
        });
        // Even after a failure, since others play on the same server.
        let deleted = player.finish();
        played
            .and_then(|()| {
                let deleted = deleted?;
                let expected = &self.deleted;
                let same = deleted == *expected;
                same.then_some(())
                    .ok_or_else(|| format!("storage has lost {deleted:?}, not {expected:?}"))
            })
            .map_err(|why| format!("{}.txt, line {last}: {why}", self.name))
    }
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

/// Reads `"text" "x"*3`, with the escapes of Rust.
fn octets(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(quoted) = rest.strip_prefix('"') {
        let (piece, after) = quoted_octets(quoted)?;
        let after = after.trim_start_matches(' ');
        let (times, after) = match after.strip_prefix('*') {
            Some(after) => {
                let (times, after) = after.split_once(' ').unwrap_or((after, ""));
                (times.parse().ok()?, after)
            }
            None => (1, after),
        };
        octets.extend(piece.repeat(times));
        rest = after;
    }
    rest.is_empty().then_some(octets)
}

/// The octets up to the closing quote, and what stands behind it.
fn quoted_octets(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut octets = Vec::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some((octets, characters.as_str())),
            '\\' => octets.push(match characters.next()? {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                '0' => 0,
                '\\' => b'\\',
                '"' => b'"',
                'x' => {
                    let digits = characters.as_str().get(..2)?;
                    characters.nth(1);
                    u8::from_str_radix(digits, 16).ok()?
                }
                _ => return None,
            }),
            other => octets.extend(other.to_string().bytes()),
        }
    }
}

//! A transcript, as it is read from its file. `tests/transcripts.rs` describes the language.

use std::path::Path;
use std::time::Duration;

use super::Storage;
use super::maildrops::{maildrop, message};

/// A file of `tests/transcripts`.
#[derive(Debug)]
pub(crate) struct Transcript {
    pub(crate) name: String,
    pub(crate) given: Vec<Vec<u8>>,
    pub(crate) logged_in: bool,
    pub(crate) over_the_wire_only: bool,
    pub(crate) network: Option<Network>,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) certificate: bool,
    pub(super) actions: Vec<(usize, Action)>,
    pub(super) deleted: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    Clear,
    Tls,
}

/// What happens in a line of a transcript. The connections have numbers from 1 on.
#[derive(Debug)]
pub(super) enum Action {
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
    /// Parses a file; the error names the line that can't be parsed.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let name = name(file);
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| format!("{name}.txt: {error}"))?;
        if !text.starts_with("# RFC ") {
            return Err(format!("{name}.txt: the first line must cite a clause"));
        }
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
        for (number, line) in (1..).zip(text.lines()) {
            if transcript.read_line(number, line).is_none() {
                let name = &transcript.name;
                return Err(format!("{name}.txt, line {number}: what is {line:?}?"));
            }
        }
        Ok(transcript)
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
}

/// Returns the name of a transcript: that of its file without `.txt`.
pub(crate) fn name(file: &Path) -> String {
    file.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into()
}

/// Reads `"text" "x"*3`, with the escapes of Rust.
pub(super) fn octets(text: &str) -> Option<Vec<u8>> {
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

/// Returns the octets up to the closing quote, and the rest of the text.
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

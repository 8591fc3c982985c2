//! Servers, and a fresh maildrop on them for each transcript.

use std::cell::OnceCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use restante::accounts::KeyOptions;

use super::transcript::{Network, Transcript};
use super::{Player, Storage, nothing_more, unique_id};
use crate::served::{Owner, Served, Wire};
use crate::support::mail::{self, key_options};
use crate::support::place::Place;
use crate::support::run;

/// Servers on one kind of database, with the settings that transcripts ask for.
pub(crate) struct Servers {
    place: fn() -> Option<Place>,
    running: HashMap<(bool, Vec<(String, String)>), Stage>,
}

/// A server, and one more user on it.
struct Stage {
    served: Served,
    stranger: Owner,
}

impl Servers {
    /// None runs yet; one is started where a transcript needs it.
    pub(crate) fn new(place: fn() -> Option<Place>) -> Self {
        Self {
            place,
            running: HashMap::new(),
        }
    }

    /// A player with a fresh maildrop; none if this machine has no such database.
    pub(crate) fn player(
        &mut self,
        transcript: &Transcript,
        network: Network,
    ) -> Option<OverTheWire<'_>> {
        let kind = (transcript.certificate, transcript.settings.clone());
        let stage = match self.running.entry(kind) {
            Entry::Occupied(stage) => stage.into_mut(),
            Entry::Vacant(stage) => stage.insert(Stage::new((self.place)()?, transcript)),
        };
        Some(OverTheWire::new(stage, transcript, network))
    }
}

impl Stage {
    fn new(place: Place, transcript: &Transcript) -> Self {
        let settings = transcript.settings.iter();
        let settings = settings.map(|(name, value)| (name.as_str(), value.as_str()));
        let settings: Vec<_> = settings.collect();
        let served = if transcript.certificate {
            Served::start(place, &settings)
        } else {
            Served::start_with_its_own(place, &settings)
        };
        let stranger = served.owner(&[]);
        Self { served, stranger }
    }
}

/// A server, and a maildrop for one transcript.
pub(crate) struct OverTheWire<'a> {
    stage: &'a Stage,
    network: Network,
    logged_in: bool,
    owner: Owner,
    second_key: OnceCell<String>,
    short_key: OnceCell<String>,
    ids: Vec<String>,
    storage: Storage,
    connections: BTreeMap<usize, Wire>,
}

impl<'a> OverTheWire<'a> {
    fn new(stage: &'a Stage, transcript: &Transcript, network: Network) -> Self {
        let owner = stage.served.owner(&transcript.given);
        let ids = stage.served.stored(&owner);
        let mut player = Self {
            stage,
            network,
            logged_in: transcript.logged_in,
            owner,
            second_key: OnceCell::new(),
            short_key: OnceCell::new(),
            ids,
            storage: Storage::Works,
            connections: BTreeMap::new(),
        };
        player.connection(1);
        player
    }

    fn short_key(&self) -> &str {
        self.short_key.get_or_init(|| {
            let options = KeyOptions {
                networks: "127.0.0.0/8".parse().unwrap(),
                short: true,
                ..key_options("short")
            };
            self.stage.served.new_key(&self.owner, options)
        })
    }

    /// The connection of this number, which begins when it is first spoken of.
    fn connection(&mut self, number: usize) -> &mut Wire {
        self.connections.entry(number).or_insert_with(|| {
            let served = &self.stage.served;
            let wire = match self.network {
                Network::Clear => Wire::connect(served.plain),
                Network::Tls => Wire::connect(served.tls).start_tls(),
            };
            if self.logged_in {
                wire.greeted().logged_in(&self.owner)
            } else {
                wire
            }
        })
    }
}

impl Player for OverTheWire<'_> {
    fn value(&self, name: &str) -> Option<String> {
        match name {
            "address" => Some(self.owner.address.clone()),
            "ADDRESS" => Some(self.owner.address.to_uppercase()),
            "name" => self.owner.address.split('@').next().map(str::to_owned),
            "alias" => Some(self.owner.alias.clone()),
            "key" => Some(self.owner.key.clone()),
            "KEY" => Some(self.owner.key.to_uppercase()),
            "key name" => Some("test".into()),
            "second key" => {
                let served = &self.stage.served;
                let make = || served.new_key(&self.owner, key_options("second"));
                Some(self.second_key.get_or_init(make).clone())
            }
            "short key" => Some(self.short_key().to_owned()),
            "SHORT KEY" => Some(self.short_key().to_uppercase()),
            "another key" => Some(self.stage.stranger.key.clone()),
            _ => unique_id(&self.ids, name),
        }
    }

    fn send(&mut self, connection: usize, octets: &[u8]) -> Result<(), String> {
        let sent = self.connection(connection).try_send(octets);
        sent.map_err(|error| format!("the server is gone: {error}"))
    }

    fn line(&mut self, connection: usize) -> Result<Vec<u8>, String> {
        let line = self.connection(connection).raw_line();
        let line = line.map_err(|error| format!("the server says nothing: {error}"))?;
        if line.is_empty() {
            return Err("the server has closed the connection".into());
        }
        Ok(line)
    }

    fn octets(&mut self, connection: usize, count: usize) -> Result<Vec<u8>, String> {
        let octets = self.connection(connection).exactly(count);
        octets.map_err(|error| format!("the server says less: {error}"))
    }

    fn end(&mut self, connection: usize) -> Result<(), String> {
        let rest = self.connection(connection).read_to_end();
        nothing_more(&rest.map_err(|error| format!("not closed in order: {error}"))?)
    }

    fn start_tls(&mut self, connection: usize) -> Result<(), String> {
        let wire = self.connections.remove(&connection);
        let wire = wire.ok_or("there is no such connection")?.try_start_tls();
        let wire = wire.map_err(|error| format!("no TLS: {error}"))?;
        self.connections.insert(connection, wire);
        Ok(())
    }

    fn deliver(&mut self, message: &[u8]) -> Result<(), String> {
        let (user, message) = (self.owner.id, message.to_vec());
        self.stage.served.ask(async move |running| {
            let staged = mail::prepare(&running.database, &message).await;
            let messages = vec![(staged, SystemTime::now())];
            running.database.store(&[user], messages).await.unwrap();
        });
        let now = self.stage.served.stored(&self.owner);
        let new = now.into_iter().filter(|id| !self.ids.contains(id));
        let new: Vec<_> = new.collect();
        self.ids.extend(new);
        Ok(())
    }

    fn storage(&mut self, storage: Storage) -> Result<(), String> {
        self.storage = storage;
        let user = self.owner.id.row();
        let rename = |from: &str, to: &str| {
            let tables = ["messages", "chunks"].map(str::to_owned);
            tables.map(|table| format!("ALTER TABLE {table}{from} RENAME TO {table}{to}"))
        };
        let statements = match storage {
            Storage::Works => rename("_away", "").to_vec(),
            Storage::Fails => rename("", "_away").to_vec(),
            Storage::HasLostTheMessages => vec![format!(
                "DELETE FROM chunks WHERE content_id IN \
                 (SELECT content_id FROM messages WHERE user_id = {user})"
            )],
        };
        let place = &self.stage.served.place;
        run(async || {
            let sql = place.sql().await;
            for statement in &statements {
                sql.run(statement).await;
            }
        });
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<usize>, String> {
        if self.storage == Storage::Fails {
            self.storage(Storage::Works)?;
        }
        let mut said = Ok(());
        for wire in std::mem::take(&mut self.connections).into_values() {
            let rest = wire.finish();
            let rest = rest.map_err(|error| format!("not closed in order: {error}"));
            let rest = rest.and_then(|rest| nothing_more(&rest));
            said = said.and(rest);
        }
        // What a session still does after its connection is closed counts too.
        self.stage.served.wait_for_sessions(0);
        said?;
        let left = self.stage.served.stored(&self.owner);
        let gone = (1..).zip(&self.ids).filter(|(_, id)| !left.contains(id));
        Ok(gone.map(|(number, _)| number).collect())
    }
}

//! Brings defaults, file and environment together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::{Config, environment, file, suite};

/// Settings, with where they came from and what is wrong with them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Warnings for the operator, without secrets.
    pub warnings: Vec<String>,
    /// The names of settings that belong to services of the .NET suite and do nothing here, in a
    /// sentence. They are no mistake, so only a start and a check tell them.
    pub without_effect: Option<String>,
    /// Where each setting that is not a default came from, by its path, such as `pop3.port`.
    pub origins: BTreeMap<String, String>,
}

/// Why the settings cannot be used. No secrets are in it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// The file is not in the form that its name tells.
    #[error("{file} is not valid {form}: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// `TOML` or `JSON`.
        form: &'static str,
        /// The line, and what is wrong there.
        reason: String,
    },
    /// There is no section or setting of this name.
    #[error("{origin}: there is no such {kind}; did you mean {nearest}?")]
    Unknown {
        /// `section` or `setting`.
        kind: &'static str,
        /// The variable, or the file and the key.
        origin: String,
        /// The nearest name there is, as it is written in the same place.
        nearest: String,
    },
    /// Two spellings of one setting in one place.
    #[error("{first} and {second} are the same setting; keep one of them")]
    Twice {
        /// Where it was found first.
        first: String,
        /// Where it was found again.
        second: String,
    },
    /// A value is not possible for its setting.
    #[error("{origin}: {reason}")]
    Invalid {
        /// The variable, or the file and the key.
        origin: String,
        /// What is wrong and what is possible.
        reason: String,
    },
}

/// The text of a setting, and where it came from.
#[derive(Clone)]
pub(super) struct GivenValue {
    pub(super) origin: String,
    pub(super) text: String,
}

/// What one place says about the settings.
#[derive(Default)]
pub(super) struct Given {
    /// The values by path; those of [`suite::OTHER_NAMES`] by their own, until [`Given::settled`].
    pub(super) values: BTreeMap<&'static str, GivenValue>,
    /// The names of settings that are known and do nothing here.
    pub(super) without_effect: Vec<String>,
}

/// Does what [`Config::load`] promises.
pub(super) fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let from_file = match file {
        Some(file) => file::read(file)?,
        None => Given::default(),
    };
    let (mut given, mut warnings) = from_file.settled()?;
    let (from_environment, further) = environment::read(environment)?.settled()?;
    given.values.extend(from_environment.values);
    given.without_effect.extend(from_environment.without_effect);
    warnings.extend(further);
    given.loaded(warnings)
}

/// Loads the text of a file and nothing else.
#[cfg(test)]
pub(super) fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    let (given, warnings) = file::parse("restante.toml", text)?.settled()?;
    given.loaded(warnings)
}

impl Given {
    /// Adds a setting, unless this place has it already.
    pub(super) fn add(&mut self, path: &'static str, value: GivenValue) -> Result<(), ConfigError> {
        match self.values.entry(path) {
            Entry::Vacant(entry) => {
                entry.insert(value);
                Ok(())
            }
            Entry::Occupied(entry) => Err(ConfigError::Twice {
                first: entry.get().origin.clone(),
                second: value.origin,
            }),
        }
    }

    /// Gives our settings the values that the suite's names for them have, with warnings.
    ///
    /// # Errors
    /// If such a value makes no sense.
    pub(super) fn settled(mut self) -> Result<(Self, Vec<String>), ConfigError> {
        let mut warnings = Vec::new();
        for other in &suite::OTHER_NAMES {
            let Some(GivenValue { origin, text }) = self.values.remove(other.spelled) else {
                continue;
            };
            if text.trim().is_empty() {
                continue;
            }
            if let Some(ours) = self.values.get(other.path) {
                let ours = &ours.origin;
                warnings.push(format!(
                    "{origin} has no effect, because {ours} is set as well"
                ));
                continue;
            }
            let (text, ignored) = match (other.translate)(&text) {
                Ok(translated) => translated,
                Err(reason) => return Err(ConfigError::invalid(origin, reason)),
            };
            let ignored = ignored.iter();
            warnings.extend(ignored.map(|part| format!("{origin}: {part} has no effect")));
            self.add(other.path, GivenValue { origin, text })?;
        }
        Ok((self, warnings))
    }

    fn loaded(mut self, mut warnings: Vec<String>) -> Result<Loaded, ConfigError> {
        self.follow();
        let config = self.deserialise().map_err(|error| self.explained(&error))?;
        if let Some((path, reason)) = config.mistake() {
            return Err(self.invalid(path, reason));
        }
        warnings.extend(config.pop3.without_effect().map(str::to_owned));
        self.without_effect.sort_unstable();
        let names = self.without_effect.join(", ");
        let without_effect = format!("settings of the .NET suite without effect here: {names}");
        let origin = |(path, value): (&str, GivenValue)| (path.to_owned(), value.origin);
        let origins = self.values.into_iter().map(origin).collect();
        Ok(Loaded {
            config,
            warnings,
            without_effect: (!names.is_empty()).then_some(without_effect),
            origins,
        })
    }

    /// Gives each follower that is not set the value and the origin of the setting it follows.
    fn follow(&mut self) {
        for setting in Config::settings() {
            let Some(leader) = setting.follows else {
                continue;
            };
            let is_set = |value: &GivenValue| !value.text.trim().is_empty();
            if self.values.get(setting.path).is_some_and(is_set) {
                continue;
            }
            match self.values.get(leader).cloned() {
                Some(value) => self.values.insert(setting.path, value),
                None => self.values.remove(setting.path),
            };
        }
    }

    fn deserialise(&self) -> Result<Config, config::ConfigError> {
        let mut builder = config::Config::builder();
        for (path, value) in &self.values {
            builder = builder.set_override(path, value.text.as_str())?;
        }
        builder.build()?.try_deserialize()
    }

    /// Turns an error of the deserialiser into one that names the setting and its place.
    fn explained(&self, error: &config::ConfigError) -> ConfigError {
        if let config::ConfigError::At {
            error,
            key: Some(path),
            ..
        } = error
        {
            return self.invalid(path, &error.to_string());
        }
        self.invalid("settings", &error.to_string())
    }

    fn invalid(&self, path: &str, reason: &str) -> ConfigError {
        let origin = self.values.get(path).map_or(path, |value| &value.origin);
        ConfigError::invalid(origin, reason)
    }
}

impl ConfigError {
    pub(super) fn unknown(kind: &'static str, origin: String, nearest: String) -> Self {
        Self::Unknown {
            kind,
            origin,
            nearest,
        }
    }

    pub(super) fn invalid(origin: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            origin: origin.into(),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests;

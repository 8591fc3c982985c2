//! The settings of a running server.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Config, ConfigError};

/// The settings in force, and everything that is derived from them.
///
/// What the server needs while it runs is read from a [`Live`] value. So a setting that SIGHUP
/// changes reaches all of its readers at once, and none has to be told about it.
pub struct LiveConfig {
    in_force: Arc<Config>,
    derived: Vec<Derive>,
}

/// Derives a value anew.
type Derive = Box<dyn Fn(&Arc<Config>) + Send + Sync>;

/// A value that is derived from the settings in force. A reload replaces it.
#[derive(Debug)]
pub struct Live<T>(watch::Receiver<Arc<T>>);

/// What a reload did, by the paths of settings.
#[must_use = "the log tells which settings need a restart"]
#[derive(Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The settings that have changed.
    pub changed: Vec<&'static str>,
    /// The settings that have another value in the file and change at the next start.
    pub need_restart: Vec<&'static str>,
}

impl LiveConfig {
    /// Puts these settings in force.
    pub fn new(config: Config) -> Self {
        Self {
            in_force: Arc::new(config),
            derived: Vec::new(),
        }
    }

    /// Returns the settings in force.
    pub fn current(&self) -> &Arc<Config> {
        &self.in_force
    }

    /// Derives a value from the settings now, and again at each reload.
    pub fn derive<T: Send + Sync + 'static>(
        &mut self,
        derive: impl Fn(&Arc<Config>) -> T + Send + Sync + 'static,
    ) -> Live<T> {
        let (sender, receiver) = watch::channel(Arc::new(derive(&self.in_force)));
        self.derived.push(Box::new(move |config| {
            sender.send_replace(Arc::new(derive(config)));
        }));
        Live(receiver)
    }

    /// Puts those of the wanted settings in force that can change while the server runs.
    ///
    /// # Errors
    /// If they do not go together with a setting that needs a restart; then nothing changes.
    pub fn reload(&mut self, wanted: &Config) -> Result<Reloaded, ConfigError> {
        let mut next = Config::clone(&self.in_force);
        next.take_reloadable(wanted);
        if let Some((path, reason)) = next.mistake() {
            return Err(ConfigError::invalid(path, reason));
        }
        let reloaded = Reloaded {
            changed: self.in_force.differences(&next),
            need_restart: next.differences(wanted),
        };
        self.in_force = Arc::new(next);
        for derive in &self.derived {
            derive(&self.in_force);
        }
        Ok(reloaded)
    }
}

impl fmt::Debug for LiveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveConfig").field(&self.in_force).finish()
    }
}

impl<T> Live<T> {
    /// Makes a value that never changes.
    pub fn fixed(value: T) -> Self {
        Self(watch::channel(Arc::new(value)).1)
    }

    /// Returns the value in force.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::load::load_text;
    use crate::settings::{Change, SecretText, Setting};

    #[test]
    fn a_reload_changes_what_is_derived_and_names_what_needs_a_restart() {
        let mut live = LiveConfig::new(Config::default());
        let limit = live.derive(|config| config.pop3.max_bad_commands);
        let mut wanted = Config::default();
        wanted.log.level = "debug".to_owned();
        wanted.pop3.port = 1110;
        wanted.pop3.max_bad_commands = 3;
        let reloaded = live.reload(&wanted).unwrap();
        assert_eq!(reloaded.changed, ["pop3.max_bad_commands", "log.level"]);
        assert_eq!(reloaded.need_restart, ["pop3.port"]);
        assert_eq!((*limit.current(), live.current().pop3.port), (3, 110));
        let again = live.reload(&wanted).unwrap();
        assert_eq!(again.changed, Vec::<&str>::new());
        assert_eq!(again.need_restart, ["pop3.port"]);
    }

    #[test]
    fn a_changed_secret_is_named_although_all_secrets_look_alike() {
        let config = |secret: &str| {
            let mut config = Config::default();
            config.admin.token = Some(SecretText::new(secret));
            config.pop3.certificate_password = Some(SecretText::new(secret));
            config.database.url = format!("postgres://restante:{secret}@db/restante").into();
            let collector = format!("http://restante:{secret}@collector:4318");
            config.otel.endpoint = Some(collector.into());
            config
        };
        let mut live = LiveConfig::new(config("one"));
        let reloaded = live.reload(&config("two")).unwrap();
        assert_eq!(reloaded.changed, Vec::<&str>::new());
        let secrets = [
            "pop3.certificate_password",
            "database.url",
            "admin.token",
            "otel.endpoint",
        ];
        assert_eq!(reloaded.need_restart, secrets);
    }

    #[test]
    fn settings_that_do_not_go_together_until_a_restart_change_nothing() {
        let mut config = Config::default();
        config.lmtp.port = 24;
        let mut live = LiveConfig::new(config.clone());
        // Without LMTP so long a name is possible, but LMTP goes on until the restart.
        config.lmtp.port = 0;
        config.pop3.server_name = "x".repeat(300);
        let error = live.reload(&config).unwrap_err().to_string();
        assert!(error.starts_with("pop3.server_name: LMTP"), "{error}");
        assert_eq!(live.current().pop3.server_name, "localhost");
    }

    /// Settings in which this one has another value than its default.
    fn with_another(setting: &Setting) -> Config {
        let texts = [
            "true",
            "false",
            "7",
            "300",
            "1d",
            "json",
            "0600",
            "192.0.2.1",
            "sqlite://other.db",
            "offer",
            "PLAIN",
            "own",
            "hide",
            "http://+:8082",
        ];
        let configs = texts.iter().filter_map(|text| {
            let line = format!("{} = \"{text}\"", setting.path);
            Some(load_text(&line).ok()?.config)
        });
        let mut others = configs.filter(|config| *config != Config::default());
        let other = others.next();
        other.unwrap_or_else(|| panic!("another value of {} is needed here", setting.path))
    }

    #[test]
    fn a_reload_reports_every_setting_by_when_it_changes() {
        for setting in Config::settings() {
            let wanted = with_another(setting);
            let mut live = LiveConfig::new(Config::default());
            let derived = live.derive(|config| Config::clone(config));
            let reloaded = live.reload(&wanted).unwrap();
            let (told, other, in_force) = match setting.change {
                Change::Reload => (reloaded.changed, reloaded.need_restart, wanted),
                Change::Restart => (reloaded.need_restart, reloaded.changed, Config::default()),
            };
            assert!(told.contains(&setting.path), "{}", setting.path);
            assert_eq!(other, Vec::<&str>::new(), "{}", setting.path);
            assert_eq!(*derived.current(), in_force, "{}", setting.path);
        }
    }
}

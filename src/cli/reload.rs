//! What SIGHUP does to the settings: the file is read again, and what can change does.

use std::path::Path;

use serde_json::Value;

use super::log::Level;
use crate::server::Server;
use crate::settings::{Config, Log, Pop3, Secret};

/// Reads the file again and takes up what it can. Open sessions go on as they began.
///
/// A file with a mistake changes nothing. The environment of a running process stays as it was,
/// and what it says still wins over the file.
pub(super) fn reload(file: Option<&Path>, in_force: &mut Config, server: &Server, level: &Level) {
    let wanted = match Config::load(file, std::env::vars_os()) {
        Ok(loaded) => loaded.config,
        Err(error) => {
            return tracing::error!(error = %error, "the settings stay as they were");
        }
    };
    let next = next(in_force, &wanted);
    if let Err(error) = level.change(&next.log.level) {
        return tracing::error!(error = %error, "the settings stay as they were");
    }
    server.change(&next.pop3);
    let locked_out = next.pop3.locked_out_by_binding();
    if let Some(locked_out) = locked_out.filter(|_| in_force.pop3.locked_out_by_binding().is_none())
    {
        tracing::warn!("{locked_out}");
    }
    for setting in differences(in_force, &next) {
        tracing::info!(setting, "a setting has changed");
    }
    for setting in differences(&next, &wanted) {
        tracing::warn!(setting, "a setting has changed, which needs a restart");
    }
    *in_force = next;
}

/// The settings in force, with those of the wanted ones that can change while the server runs.
fn next(in_force: &Config, wanted: &Config) -> Config {
    let (now, new) = (&in_force.pop3, &wanted.pop3);
    Config {
        log: Log {
            level: wanted.log.level.clone(),
            ..in_force.log.clone()
        },
        pop3: Pop3 {
            server_name: new.server_name.clone(),
            session_timeout: new.session_timeout,
            login_timeout: new.login_timeout,
            write_timeout: new.write_timeout,
            max_connections: new.max_connections,
            max_connections_per_address: new.max_connections_per_address,
            max_connections_before_login: new.max_connections_before_login,
            max_connections_per_user: new.max_connections_per_user,
            evict_idle_after: new.evict_idle_after,
            default_domain: new.default_domain.clone(),
            plaintext_auth: new.plaintext_auth.clone(),
            auth_mechanisms: new.auth_mechanisms.clone(),
            channel_binding: new.channel_binding,
            strict_alpn: new.strict_alpn,
            max_bad_commands: new.max_bad_commands,
            max_line_octets: new.max_line_octets,
            max_deletions_per_session: new.max_deletions_per_session,
            shutdown_timeout: new.shutdown_timeout,
            ..now.clone()
        },
        ..in_force.clone()
    }
}

/// The settings in which two differ, as their sections and keys.
fn differences(one: &Config, other: &Config) -> Vec<String> {
    let hidden = hidden_differences(one, other);
    let [one, other] = [one, other].map(|config| serde_json::to_value(config).unwrap_or_default());
    let sections = one.as_object().into_iter().flatten();
    let keys = sections.flat_map(|(section, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.map(move |(key, value)| (section, key, value))
    });
    let differ = |(section, key, value): &(&String, &String, &Value)| {
        other.get(section).and_then(|keys| keys.get(key)) != Some(*value)
    };
    let seen = keys.filter(differ);
    let mut names: Vec<_> = seen
        .map(|(section, key, _)| format!("{section}.{key}"))
        .collect();
    for name in hidden {
        if !names.iter().any(|seen| seen == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The settings with secrets in which two differ: serialised, all secrets look the same.
fn hidden_differences(one: &Config, other: &Config) -> Vec<&'static str> {
    let pairs = secrets(one).into_iter().zip(secrets(other));
    pairs
        .filter_map(|((name, before), (_, after))| (before != after).then_some(name))
        .collect()
}

fn secrets(config: &Config) -> [(&'static str, Option<&str>); 4] {
    let password = config.pop3.certificate_password.as_ref();
    [
        (
            "admin.token",
            config.admin.token.as_ref().map(Secret::expose),
        ),
        ("database.url", Some(&config.database.url)),
        ("otel.endpoint", config.otel.endpoint.as_deref()),
        ("pop3.certificate_password", password.map(Secret::expose)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_and_only_some_can_be_taken_up() {
        let in_force = Config::default();
        let mut wanted = Config::default();
        wanted.log.level = "debug".to_owned();
        wanted.pop3.port = 1110;
        wanted.pop3.max_bad_commands = 3;
        let next = next(&in_force, &wanted);
        assert_eq!(
            differences(&in_force, &next),
            ["log.level", "pop3.max_bad_commands"]
        );
        assert_eq!(differences(&next, &wanted), ["pop3.port"]);
    }

    #[test]
    fn a_changed_secret_is_named_although_all_secrets_look_alike() {
        let config = |secret: &str| {
            let mut config = Config::default();
            config.admin.token = Some(Secret::new(secret));
            config.pop3.certificate_password = Some(Secret::new(secret));
            config.database.url = format!("postgres://restante:{secret}@db/restante");
            config.otel.endpoint = Some(format!("http://restante:{secret}@collector:4318"));
            config
        };
        let (in_force, wanted) = (config("one"), config("two"));
        let next = next(&in_force, &wanted);
        assert_eq!(differences(&in_force, &next), Vec::<String>::new());
        assert_eq!(
            differences(&next, &wanted),
            [
                "admin.token",
                "database.url",
                "otel.endpoint",
                "pop3.certificate_password"
            ]
        );
        let shown = differences(&Config::default(), &wanted);
        assert_eq!(shown.len(), 4, "each is named once: {shown:?}");
    }
}

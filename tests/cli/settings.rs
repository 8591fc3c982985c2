//! What the file and the environment say.

use std::path::Path;

use super::file;
use crate::support::cli::{self, Cli};
use crate::support::mail::ADA;
use crate::support::place::{postgres, sqlite};

#[test]
fn a_mistake_in_the_settings_is_named_with_its_place_and_its_mend() {
    let place = sqlite();
    let file = |text: &str| {
        let file = file(&place, "restante.toml", text);
        let outcome = Cli::new(&place.url)
            .args([Path::new("--config"), &file])
            .args(["user", "list"])
            .run();
        outcome.failed(1).replace(file.to_str().unwrap(), "FILE")
    };
    let variable = |name: &str, value: &str| {
        let outcome = Cli::new(&place.url)
            .env(name, value)
            .args(["user", "list"])
            .run();
        outcome.failed(1)
    };
    assert_eq!(
        variable("POP3__MAX_CONNS_PER_USER", "7"),
        "restante: environment variable POP3__MAX_CONNS_PER_USER: there is no such setting; \
         did you mean Pop3__MaxConnectionsPerUser?\n"
    );
    assert_eq!(
        file("[pop3]\nmax_conns_per_user = 7\n"),
        "restante: FILE: pop3.max_conns_per_user: there is no such setting; \
         did you mean pop3.max_connections_per_user?\n"
    );
    assert!(file("[pop]\nport = 7\n").contains("no such section; did you mean [pop3]?"));
    for error in [
        variable("Pop3__SessionTimeout", "ten minutes"),
        file("[pop3]\nsession_timeout = \"ten minutes\"\n"),
    ] {
        assert!(
            error.contains("\"ten minutes\" is not a duration; write 10m, 90s"),
            "{error}"
        );
    }
    assert!(variable("Pop3__Port", "65536").contains("not a whole number from 0 to 65535"));
    assert!(file("[pop3\n").contains("is not valid TOML"));
    let missing = Cli::new(&place.url)
        .args(["--config", "/missing.toml", "user", "list"])
        .run();
    assert!(missing.failed(1).contains("cannot read /missing.toml"));
}

#[test]
fn the_environment_wins_over_the_file_and_both_name_the_database() {
    let [one, other] = [sqlite(), sqlite()];
    cli::run(&one.url, "user add one@example.com").ok();
    cli::run(&other.url, "user add other@example.com").ok();
    let text = format!(
        "[database]\nurl = \"{}\"\n\n[log]\nlevel = \"warn\"\n",
        other.url
    );
    let file = file(&other, "restante.toml", &text);
    let list = |environment: &[(&str, &str)]| {
        let mut command = cli::restante();
        command.args(["user", "list", "--config"]).arg(&file);
        let output = command.envs(environment.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list(&[]).contains("other@example.com"));
    for name in ["Database__Url", "DATABASE__URL", "database__url"] {
        assert!(
            list(&[(name, &one.url)]).contains("one@example.com"),
            "{name}"
        );
    }
}

#[test]
fn a_connection_string_names_a_database_of_postgresql() {
    let Some(place) = postgres() else {
        return;
    };
    cli::run(&place.url, "user add ada@example.com").ok();
    let url = url::Url::parse(&place.url).unwrap();
    let (port, database) = (url.port().unwrap(), url.path().trim_start_matches('/'));
    let text = format!("Host=127.0.0.1;Port={port};Database={database};Username=postgres");
    let mut command = cli::restante();
    command.env("ConnectionStrings__DefaultConnection", text);
    let output = command.args(["user", "list"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains(ADA));
}

//! The command line: what operators type.
//!
//! Only here is anything printed. Results go to stdout, all else to stderr.

mod check;
mod clock;
mod config;
mod deliver;
mod demo;
mod endpoint;
mod export;
mod health;
mod import;
mod keys;
mod log;
mod man;
mod output;
mod reload;
mod restore;
mod room;
mod serve;
mod service_user;
mod sessions;
mod systemd;
mod users;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use tokio::signal::unix::SignalKind;

use crate::settings::{Config, Loaded};
use crate::store::{Database, OpenError, give_up_some_reserve};

/// The exit status of a command that failed (`sysexits.h` has none for any failure).
const FAILED: u8 = 1;

/// A POP3 server that serves maildrops from SQLite or PostgreSQL.
///
/// Users log in with an address and a key. Each session works on a snapshot of the maildrop, and
/// QUIT deletes all that it has marked, or nothing. All commands may be used while the server
/// runs.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_long_help = SETTINGS)]
struct Cli {
    /// The file with the settings (TOML, or JSON if its name ends in .json).
    #[arg(long, value_name = "FILE", global = true, env = "RESTANTE_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// The part on settings, at the end of the help of all commands.
const SETTINGS: &str = "\
Settings:
  Each has a default. A file of settings wins over it (--config), and the environment wins over the
  file: Pop3__Port=1110, in any case. The most needed are Database__Url (sqlite://FILE or
  postgres://USER:PASSWORD@HOST/NAME), Pop3__ServerName, Pop3__CertificatePath and
  Pop3__CertificateKeyPath. `restante config` prints all of them, and `restante check` tells whether
  they can be used.

Exit status:
  0 done, 1 failed, 2 the arguments make no sense. `deliver` has its own, for MTAs.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server in the foreground.
    ///
    /// It logs to stderr. SIGTERM or Ctrl-C stops it: no new sessions are taken, and those that
    /// are logged in may go on to their QUIT for `Pop3__ShutdownTimeout`; a second signal ends it
    /// at once. SIGHUP reads certificates and settings again. Nothing is deleted for a
    /// session that does not reach its QUIT. Under systemd it says when it is ready, feeds the
    /// watchdog, and takes the sockets of socket units.
    ///
    /// Root starts it with --user: ports below 1024 and certificates are taken as root, everything
    /// else is done as that user.
    ///
    /// Exit status: 0 stopped by a signal, 1 it could not start, or a second signal ended it.
    Serve(serve::Serve),
    /// Run a server with sample mail on loopback, to try things out.
    ///
    /// It needs no settings, prints what to type next, and leaves nothing behind.
    Demo,
    /// Add, list, disable and remove users.
    #[command(subcommand)]
    User(users::UserCommand),
    /// Make, list and revoke the keys that open maildrops.
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Store the message on stdin in a user's maildrop.
    ///
    /// This is what an MTA calls. Status 0 means that the message will survive a power cut.
    ///
    /// Exit status: 0 stored, 67 no such user, 65 bad message, 73 the maildrop is full, 75 try
    /// again later.
    Deliver(deliver::Deliver),
    /// Import mail: an mbox file, a Maildir, an .eml file or a folder of them.
    ///
    /// A message that is there already is not imported again, so an import that was broken off
    /// can be repeated.
    ///
    /// Exit status: 0 all imported, 1 something was skipped.
    Import(import::Import),
    /// Export a user's mail: to an mbox, a Maildir or a folder of .eml files.
    ///
    /// Nothing that exists is overwritten, and nothing incomplete is left. An import of what was
    /// exported has the same octets; a Maildir keeps the unique-ids too.
    Export(export::Export),
    /// Bring back what a session has deleted or what has expired, while it is kept.
    ///
    /// `Pop3__DeletedRetention` says how long that is; it must have been set before. The messages
    /// return to their places, with their unique-ids.
    Restore(restore::Restore),
    /// Show what the sessions of the running server are doing, or end one.
    Sessions(sessions::Sessions),
    /// Ask the running server how it is.
    ///
    /// Exit status: 0 healthy or degraded, 1 unhealthy or not there.
    Health {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show whether the clock by which mail expires is trusted, or accept it.
    ///
    /// When the clock of the database has jumped by more than a day, nothing expires and deleted
    /// mail is kept, until the clock is right again or this command accepts it.
    ///
    /// Exit status: 0 it is trusted, or accepted now; 1 it has jumped.
    Clock(clock::Clock),
    /// Bring the database's schema up to date.
    ///
    /// All commands that use the database do it by themselves; this one does nothing else, for
    /// upgrades step by step.
    Migrate,
    /// Show whether the server could start, and what to do if not.
    ///
    /// It looks at the settings, ports, database, certificate and limit of open files. Nothing is
    /// started and nothing changed. Run it as the user that the server runs as.
    ///
    /// Exit status: 0 all is well or there are only warnings, 1 there is a problem.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the settings in force and where each came from.
    ///
    /// The output has the form of the file that --config takes. Secrets are shown as ***.
    Config {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a script that lets a shell complete commands and options.
    ///
    /// For bash: `restante completions bash > /etc/bash_completion.d/restante`
    Completions(man::Completions),
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    Man(man::Man),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain_arguments(&error),
    };
    let fallback = match &cli.command {
        // An MTA keeps the message and tries again; any other status would bounce it.
        Command::Deliver(_) => deliver::TRY_LATER,
        Command::Serve(_)
        | Command::Demo
        | Command::User(_)
        | Command::Key(_)
        | Command::Import(_)
        | Command::Export(_)
        | Command::Restore(_)
        | Command::Sessions(_)
        | Command::Health { .. }
        | Command::Clock(_)
        | Command::Migrate
        | Command::Check { .. }
        | Command::Config { .. }
        | Command::Completions(_)
        | Command::Man(_) => FAILED,
    };
    match actix_rt::System::new().block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("restante: {error:#}");
            ExitCode::from(fallback)
        }
    }
}

/// Prints help or the mistake in the arguments. A mistake in an MTA's configuration must not
/// bounce mail, so for `deliver` it is a reason to try later.
fn explain_arguments(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let delivers = std::env::args_os().any(|argument| argument == "deliver");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if delivers => ExitCode::from(deliver::TRY_LATER),
        code => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    get_errors_for_long_files().context("while setting up signals")?;
    let file = cli.config.as_deref();
    let configured = || configure(file);
    match cli.command {
        Command::Serve(options) => serve::start(&options, load(file)?, file).await,
        Command::Demo => demo::run().await,
        Command::User(command) => {
            users::run(command, &open_by_reserve(&configured()?).await?).await
        }
        Command::Key(command) => keys::run(command, &open_by_reserve(&configured()?).await?).await,
        Command::Deliver(command) => deliver::run(command, open(&configured()?).await?).await,
        Command::Import(command) => import::run(command, open(&configured()?).await?).await,
        Command::Export(command) => {
            export::run(command, open_by_reserve(&configured()?).await?).await
        }
        Command::Restore(command) => {
            restore::run(command, &open_by_reserve(&configured()?).await?).await
        }
        Command::Sessions(command) => sessions::run(&command, &configured()?),
        Command::Health { json } => health::run(json, &configured()?),
        Command::Clock(command) => clock::run(&command, &open(&configured()?).await?).await,
        Command::Migrate => migrate(&configured()?).await,
        Command::Check { json } => check::run(file, json).await,
        Command::Config { json } => config::run(&load(file)?, json),
        Command::Completions(shell) => man::completions(Cli::command(), &shell),
        Command::Man(folder) => man::pages(Cli::command(), &folder),
    }
}

/// A program that writes more than its limit allows is to get an error, and not a signal that ends
/// the process. The handler stays for the life of the process.
fn get_errors_for_long_files() -> std::io::Result<()> {
    let signal = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    tokio::signal::unix::signal(signal).map(drop)
}

/// Reads the settings and starts to log.
fn configure(file: Option<&Path>) -> anyhow::Result<Config> {
    let loaded = load(file)?;
    log::start(&loaded.config.log)?;
    log_warnings(&loaded);
    Ok(loaded.config)
}

fn log_warnings(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
}

fn load(file: Option<&Path>) -> anyhow::Result<Loaded> {
    Ok(Config::load(file, std::env::vars_os())?)
}

/// Opens the configured database with its schema up to date.
async fn open(config: &Config) -> anyhow::Result<Database> {
    Ok(open_and_migrate(config).await?.0)
}

/// Opens the database for a command that stores no mail: a full disk has the reserve for it.
async fn open_by_reserve(config: &Config) -> anyhow::Result<Database> {
    Ok(migrate_by_reserve(config).await?.0)
}

/// Opens the database; returns the number of changes of the schema that were applied.
async fn migrate_by_reserve(config: &Config) -> Result<(Database, usize), OpenError> {
    loop {
        match open_and_migrate(config).await {
            Err(OpenError::DiskFull(_)) if give_up_some_reserve(&config.database.url) => {}
            opened => return opened,
        }
    }
}

async fn open_and_migrate(config: &Config) -> Result<(Database, usize), OpenError> {
    let (url, max_connections) = (&config.database.url, config.database.max_connections);
    let database = Database::open_with(url, max_connections).await?;
    let applied = database.migrate().await?;
    database.set_min_free_space(config.database.min_free_space);
    Ok((database, applied))
}

async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    let (database, applied) = migrate_by_reserve(config).await?;
    database
        .close()
        .await
        .context("while closing the database")?;
    output::print(&format!(
        "{applied} schema changes applied, the schema is up to date"
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_every_argument_is_explained() {
        fn look_at(command: &clap::Command, name: &str) {
            let about = command.get_about().unwrap().to_string();
            assert!((10..=75).contains(&about.len()), "{name}: {about}");
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string);
                let help = help.unwrap_or_default();
                assert!(help.len() > 5, "{name} {}: {help}", argument.get_id());
            }
            for command in command.get_subcommands() {
                look_at(command, &format!("{name} {}", command.get_name()));
            }
        }
        let mut cli = Cli::command();
        cli.build();
        look_at(&cli, "restante");
    }
}

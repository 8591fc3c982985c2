//! The command line: what operators type.
//!
//! Only here is anything printed. Results go to stdout, all else to stderr.

mod check;
mod config;
mod deliver;
mod demo;
mod import;
mod keys;
mod log;
mod output;
mod serve;
mod systemd;
mod users;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::settings::{Config, Loaded};
use crate::store::Database;

/// The exit status of a command that failed (`sysexits.h` has none for "anything").
const FAILED: u8 = 1;

/// A POP3 server that serves maildrops from SQLite or PostgreSQL.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// Read settings from this TOML file; the environment (`Pop3__Port=110`) wins over it.
    #[arg(long, value_name = "FILE", global = true, env = "RESTANTE_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server in the foreground, until SIGTERM or Ctrl-C.
    Serve,
    /// Run a server with sample mail on loopback, to try things out; nothing of it remains.
    Demo,
    /// Add, list, disable and remove users.
    #[command(subcommand)]
    User(users::UserCommand),
    /// Make, list and revoke the keys that open maildrops.
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Store the message on stdin in a user's maildrop.
    ///
    /// Exit status: 0 stored, 67 no such user, 65 bad message, 75 try again later.
    Deliver(deliver::Deliver),
    /// Import mail into a user's maildrop: an mbox file, a Maildir, an .eml file or a folder of
    /// them.
    ///
    /// A message that is there already is not imported again, so an import that was broken off
    /// can be repeated. Exit status: 0 all imported, 1 something was skipped.
    Import(import::Import),
    /// Bring the database's schema up to date (serve and all others do it by themselves).
    Migrate,
    /// Tell whether the server could start: settings, ports, database, certificate, open files.
    ///
    /// Nothing is started and nothing changed; whatever is wrong comes with its mend. Run it as
    /// the user that the server runs as. Exit status: 0 all is well or there are only warnings,
    /// 1 there is a problem.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the settings in force and where each came from; secrets are shown as ***.
    ///
    /// What is printed has the form of the file that --config takes.
    Config {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
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
        Command::Serve
        | Command::Demo
        | Command::User(_)
        | Command::Key(_)
        | Command::Import(_)
        | Command::Migrate
        | Command::Check { .. }
        | Command::Config { .. } => FAILED,
    };
    match actix_rt::System::new().block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("restante: {error:#}");
            ExitCode::from(fallback)
        }
    }
}

/// Prints help or what is wrong with the arguments. A mistake in an MTA's configuration is not to
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
    let configured = || configure(cli.config.as_deref());
    match cli.command {
        Command::Serve => serve::run(&configured()?).await,
        Command::Demo => demo::run().await,
        Command::User(command) => users::run(command, &open(&configured()?).await?).await,
        Command::Key(command) => keys::run(command, &open(&configured()?).await?).await,
        Command::Deliver(command) => deliver::run(command, open(&configured()?).await?).await,
        Command::Import(command) => import::run(command, open(&configured()?).await?).await,
        Command::Migrate => migrate(&configured()?).await,
        Command::Check { json } => check::run(cli.config.as_deref(), json).await,
        Command::Config { json } => config::run(&load(cli.config.as_deref())?, json),
    }
}

/// Reads the settings and starts to log as they say.
fn configure(file: Option<&Path>) -> anyhow::Result<Config> {
    let loaded = load(file)?;
    log::start(&loaded.config.log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded.config)
}

fn load(file: Option<&Path>) -> anyhow::Result<Loaded> {
    Ok(Config::load(file, std::env::vars_os())?)
}

/// Opens the configured database with its schema up to date.
async fn open(config: &Config) -> anyhow::Result<Database> {
    let database = Database::open(&config.database.url).await?;
    database.migrate().await?;
    Ok(database)
}

async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    let database = Database::open(&config.database.url).await?;
    let applied = database.migrate().await?;
    database
        .close()
        .await
        .context("while closing the database")?;
    output::print(&format!(
        "{applied} schema changes applied, the schema is up to date"
    ))?;
    Ok(ExitCode::SUCCESS)
}

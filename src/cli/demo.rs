//! `restante demo`: a server to try things out with.

use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;

use super::serve::Signals;
use super::{log, output};
use crate::accounts::{Accounts, KeyOptions, SCOPE_POP3};
use crate::admin::{self, token};
use crate::demo_mail;
use crate::net::{ListenerKind, ListeningSocket};
use crate::server::{Parts, Preloaded, Server};
use crate::settings::{Config, LogSettings};
use crate::store::{Database, MessageWriter};

/// The port of a demo, if it is free.
const PORT: u16 = 1110;

/// The user of the demo.
const ADDRESS: &str = "ada@example.com";

/// The time between the arrivals of two messages.
const APART: Duration = Duration::from_secs(600);

/// Time for open sessions after Ctrl-C.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn run() -> anyhow::Result<ExitCode> {
    let level = "warn".into();
    let format = LogSettings::default().format;
    let (_level, _lines) = log::start_with_thread(&LogSettings { level, format }, None)?;
    let mut signals = Signals::new()?;
    let folder = tempfile::Builder::new()
        .prefix("restante-demo-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir();
    let folder = folder.context("while making a folder for the demo")?;
    let url = format!("sqlite://{}", folder.path().join("demo.db").display());
    let database = Database::open(&url).await?;
    database.migrate().await?;
    let key = fill(&database).await?;
    let here = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let socket = ListeningSocket::tcp(here, PORT, ListenerKind::Pop3)
        .or_else(|_| ListeningSocket::tcp(here, 0, ListenerKind::Pop3))?;
    let mut config = Config::default();
    // Its token lies beside its mail.
    config.database.url = url.into();
    let preloaded = Preloaded::new(&config)?;
    let store = preloaded.store_in(database, &config);
    let mut parts = Parts::of_pop3(preloaded, store, vec![socket]);
    // The demo is of use without its page, too, where another server has the port.
    let page = match admin::bind(&config.admin) {
        Ok(Some(endpoint)) => {
            let token = token::of_server(&config)?;
            let endpoint = endpoint.guarded_by(&token);
            let address = endpoint.address()?;
            parts.admin = Some(endpoint);
            let token = token.text();
            format!("\nSee who is connected:    http://{address}/#token={token} (in a browser)")
        }
        Ok(None) | Err(_) => String::new(),
    };
    let server = Server::start(config, parts)?;
    let address = server.addresses().first().copied();
    let address = address.context("the demo does not listen")?;
    output::print(&explanation(&address.to_string(), &key, &page))?;
    signals.next().await;
    server.stop(STOP_TIMEOUT).await;
    folder.close().context("while removing the demo's folder")?;
    Ok(ExitCode::SUCCESS)
}

async fn fill(database: &Database) -> anyhow::Result<String> {
    let accounts = Accounts::new(database.clone());
    let user = accounts.add(ADDRESS, &[]).await?;
    let messages = demo_mail::messages();
    let mut received_at = SystemTime::now() - APART * u32::try_from(messages.len())?;
    let mut prepared = Vec::new();
    for message in messages {
        let mut delivery = MessageWriter::new(database.clone());
        delivery.write(&message).await?;
        prepared.push((delivery.finish(), received_at));
        received_at += APART;
    }
    database.store(&[user], prepared).await?;
    let options = KeyOptions {
        name: "demo".into(),
        scopes: vec![SCOPE_POP3.into()],
        lifetime: None,
        networks: Default::default(),
        short: false,
    };
    Ok(accounts.create_key(ADDRESS, options).await?.key)
}

fn explanation(server: &str, key: &str, page: &str) -> String {
    let login = ADDRESS.replace('@', "%40");
    format!(
        "A POP3 server with sample mail listens on {server}.

List the messages:       curl pop3://{login}:{key}@{server}/
Read the first one:      curl pop3://{login}:{key}@{server}/1
See the conversation:    curl -v pop3://{login}:{key}@{server}/1{page}

In a mail client: server and port as above, no encryption, user name {ADDRESS},
and as the password {key}

Ctrl-C ends it; nothing of it remains."
    )
}

//! Restante as `docs/MTA.md` sets it up for a mail server.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::recipes::{recipe, with};
use crate::support::client::Client;
use crate::support::daemon::Daemon;
use crate::support::postgres::free_port;
use crate::support::{eventually, mail, place, place::Place};

/// How a mail server reaches Restante.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Tcp,
    Socket,
}

pub(super) const BOTH_WAYS: [Way; 2] = [Way::Tcp, Way::Socket];

/// Where the recipes have the socket.
const SOCKET: &str = "/run/restante-lmtp/lmtp.sock";

/// A user and their key.
pub(super) struct User {
    pub(super) address: String,
    pub(super) key: String,
}

/// A Restante that takes mail over LMTP.
pub(super) struct Site {
    pub(super) place: Place,
    pub(super) users: Vec<User>,
    pub(super) port: u16,
    /// For the server of this site and the mail server in front of it.
    pub(super) folder: TempDir,
    further: Vec<(&'static str, &'static str)>,
    daemon: Option<Daemon>,
}

impl Site {
    /// Sets one up whose socket a group may use, if there is one to use it.
    pub(super) fn open(users: &[&str], group: Option<&str>) -> Self {
        Self::open_with(users, group, &[])
    }

    /// The same with further settings.
    pub(super) fn open_with(
        users: &[&str],
        group: Option<&str>,
        further: &[(&'static str, &'static str)],
    ) -> Self {
        let place = place::sqlite();
        let user = |address: &&str| User {
            address: (*address).to_owned(),
            key: mail::fill(&place.url, address, &[]),
        };
        let users = users.iter().map(user).collect();
        let folder = tempfile::tempdir().unwrap();
        // Mail servers come in as users of their own.
        set_mode(folder.path(), 0o755);
        let mut site = Self {
            place,
            users,
            port: free_port(),
            folder,
            further: further.to_vec(),
            daemon: None,
        };
        site.make_folder_of_socket(group);
        site.start();
        site
    }

    /// As `systemd-tmpfiles` does it by the recipe.
    fn make_folder_of_socket(&self, group: Option<&str>) {
        let line = recipe("/etc/tmpfiles.d/restante-lmtp.conf");
        let words: Vec<_> = line.split_whitespace().collect();
        let ["d", "/run/restante-lmtp", mode, "restante", "postfix", "-"] = words[..] else {
            panic!("{line}");
        };
        let folder = self.socket().parent().unwrap().to_owned();
        std::fs::create_dir(&folder).unwrap();
        if let Some(group) = group {
            let chgrp = Command::new("chgrp").arg(group).arg(&folder).status();
            assert!(chgrp.unwrap().success());
        }
        set_mode(&folder, u32::from_str_radix(mode, 8).unwrap());
    }

    /// Where the socket is.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("restante-lmtp").join("lmtp.sock")
    }

    /// Starts the server, if it isn't running.
    pub(super) fn start(&mut self) {
        let port = self.port.to_string();
        let socket = self.socket().display().to_string();
        let tcp = recipe("restante.toml: over TCP");
        let unix = recipe("restante.toml: over a Unix socket");
        let unix = with(&unix, "[lmtp]\n", "");
        let config = with(&tcp, "= 24\n", &format!("= {port}\n")) + &with(&unix, SOCKET, &socket);
        let file = self.folder.path().join("restante.toml");
        std::fs::write(&file, config).unwrap();
        let mut settings = self.further.clone();
        let file = file.display().to_string();
        settings.extend([("RESTANTE_CONFIG", &*file), ("Lmtp__Port", &port)]);
        let daemon = Daemon::start_with(&self.place.url, &settings);
        eventually("LMTP", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        self.daemon = Some(daemon);
    }

    /// Ends the server by `kill -9`.
    pub(super) fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    /// What of the recipe's lines is other here.
    pub(super) fn fill_in(&self, text: &str, way: Way) -> String {
        match way {
            Way::Tcp => text.to_owned(),
            Way::Socket => with(text, SOCKET, &self.socket().display().to_string()),
        }
    }

    pub(super) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    /// A user by name.
    pub(super) fn user(&self, address: &str) -> &User {
        let mut users = self.users.iter();
        users.find(|user| user.address == address).unwrap()
    }

    /// A POP3 session of a user.
    pub(super) fn login(&self, address: &str) -> Client {
        self.daemon().login(address, &self.user(address).key)
    }

    /// What lies in a user's maildrop.
    pub(super) fn messages(&self, address: &str) -> Vec<Vec<u8>> {
        let mut client = self.login(address);
        let stat = client.ok("STAT");
        let count: usize = stat.split(' ').nth(1).unwrap().parse().unwrap();
        let messages = (1..=count).map(|number| client.body(&format!("RETR {number}")));
        let messages = messages.collect();
        client.ok("QUIT");
        messages
    }

    /// Waits for so many messages in a user's maildrop.
    pub(super) fn wait_for(&self, address: &str, count: usize) -> Vec<Vec<u8>> {
        eventually("the mail", || self.come(address, count))
    }

    /// What lies in a user's maildrop, if it is so many messages.
    pub(super) fn come(&self, address: &str, count: usize) -> Option<Vec<Vec<u8>>> {
        let messages = self.messages(address);
        (messages.len() >= count).then_some(messages)
    }
}

/// Sets the permissions of a file.
pub(super) fn set_mode(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

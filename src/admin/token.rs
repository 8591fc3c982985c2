//! The token of the admin endpoint: the one in the settings, or one that the server makes.
//!
//! A token that is made is kept in a file that only the server's user can read: beside a database of
//! SQLite, else in a state directory. The commands look for it in the same places.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::identity::new_secret;
use crate::settings::Config;
use crate::store::sqlite_file;

/// The name of the file in a state directory. Beside a database, it follows its name and a hyphen.
const FILE_NAME: &str = "admin-token";

/// The state directory of the service on Debian and in a container.
const STATE_DIRECTORY: &str = "/var/lib/restante";

/// The name of our folder in a state directory of several programs.
const PROGRAM: &str = "restante";

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The token that a caller must present.
#[derive(Clone)]
pub(crate) struct Token {
    text: String,
    origin: Origin,
}

/// The origin of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `Admin__Token` or `Admin__TokenPath`.
    Set,
    /// Made by the server and kept in this file.
    File(PathBuf),
    /// Made by the server, which could not store it: no caller knows it.
    Unkept,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Returns the token itself.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    #[cfg(test)]
    pub(super) fn of_test(text: &str, is_set: bool) -> Self {
        let origin = if is_set { Origin::Set } else { Origin::Unkept };
        let text = text.to_owned();
        Self { text, origin }
    }

    /// Returns its origin.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Returns the token that a server with these settings asks for. If none is set, the one of an earlier
/// start is used, or a new one is made.
///
/// # Errors
/// If a token is set and can't be read.
pub(crate) fn of_server(config: &Config) -> anyhow::Result<Token> {
    if let Some(token) = set(config)? {
        return Ok(token);
    }
    let text = new_secret();
    for file in places(config) {
        match keep(&file, &text) {
            Ok(text) => {
                let origin = Origin::File(file);
                return Ok(Token { text, origin });
            }
            Err(error) => {
                let file = file.display();
                tracing::debug!(error = %error, "the admin token can't be kept in {file}");
            }
        }
    }
    tracing::warn!(
        "the admin endpoint asks for a token that could not be kept anywhere, so only its probes \
         can be used: set Admin__Token or Admin__TokenPath"
    );
    let origin = Origin::Unkept;
    Ok(Token { text, origin })
}

/// Returns the token that a command presents to a server with these settings, if it has one.
///
/// # Errors
/// If a token is set and can't be read, or this user may not read the server's.
pub(crate) fn of_command(config: &Config) -> anyhow::Result<Option<Token>> {
    if let Some(token) = set(config)? {
        return Ok(Some(token));
    }
    let mut forbidden = None;
    for file in places(config) {
        match read(&file) {
            Ok(text) => {
                let origin = Origin::File(file);
                return Ok(Some(Token { text, origin }));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                forbidden.get_or_insert(file);
            }
            Err(_) => {}
        }
    }
    match forbidden {
        None => Ok(None),
        Some(file) => anyhow::bail!(
            "the admin endpoint's token is in {}, which this user may not read: run this as the \
             server's user or as root, or set Admin__Token",
            file.display()
        ),
    }
}

/// Returns the token in the settings, if there is one.
///
/// # Errors
/// If it can't be read.
pub(crate) fn set(config: &Config) -> anyhow::Result<Option<Token>> {
    let token = config.admin.token()?;
    Ok(token.map(|text| Token {
        text,
        origin: Origin::Set,
    }))
}

/// Returns the files that may hold a token, the best first.
fn places(config: &Config) -> Vec<PathBuf> {
    if let Ok(Some(database)) = sqlite_file(&config.database.url) {
        let mut file = OsString::from(database);
        file.push("-");
        file.push(FILE_NAME);
        return vec![file.into()];
    }
    let folders = state_directories(|name| std::env::var_os(name));
    let mut files: Vec<_> = folders.iter().map(|it| it.join(FILE_NAME)).collect();
    files.dedup();
    files
}

/// Returns the state directories, the best first: of systemd, of the service, of the user.
fn state_directories(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let folder = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|it| it.is_absolute())
    };
    let of_systemd = variable("STATE_DIRECTORY");
    // There may be several.
    let of_systemd = of_systemd
        .as_ref()
        .and_then(|it| std::env::split_paths(it).next());
    let of_service = Path::new(STATE_DIRECTORY);
    let of_service = of_service.is_dir().then(|| of_service.to_owned());
    let of_home = || folder("HOME").map(|home| home.join(".local/state"));
    let of_user = folder("XDG_STATE_HOME").or_else(of_home);
    let of_user = of_user.map(|it| it.join(PROGRAM));
    of_systemd
        .into_iter()
        .chain(of_service)
        .chain(of_user)
        .collect()
}

fn read(file: &Path) -> io::Result<String> {
    let text = fs::read_to_string(file)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(text.to_owned())
}

/// Returns the token in the file; if there is none, writes this one and returns it.
fn keep(file: &Path, text: &str) -> io::Result<String> {
    match read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    if !folder.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(folder)?;
    }
    // The file is renamed into place when it is complete.
    let mut made = NamedTempFile::new_in(folder)?;
    made.as_file()
        .set_permissions(Permissions::from_mode(FILE_MODE))?;
    writeln!(made, "{text}")?;
    made.as_file().sync_all()?;
    match made.persist_noclobber(file) {
        Ok(_) => Ok(text.to_owned()),
        // Another server was first, or the file was empty.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => match read(file) {
            Ok(text) => Ok(text),
            Err(_) => {
                error.file.persist(file).map_err(|error| error.error)?;
                Ok(text.to_owned())
            }
        },
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(url: &str) -> Config {
        let mut config = Config::default();
        config.database.url = url.into();
        config
    }

    #[test]
    fn a_token_is_made_once_for_its_user_alone_and_found_by_commands() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/mail.db", folder.path().display());
        let config = configured(&url);
        assert!(of_command(&config).unwrap().is_none());
        let file = folder.path().join("mail.db-admin-token");
        // An empty file holds no token.
        fs::write(&file, "\n").unwrap();
        let made = of_server(&config).unwrap();
        assert_eq!(made.origin(), &Origin::File(file.clone()));
        assert_eq!(made.text().len(), 43);
        assert!(!format!("{made:?}").contains(made.text()));
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(of_server(&config).unwrap().text(), made.text());
        let found = of_command(&config).unwrap().unwrap();
        assert_eq!(found.text(), made.text());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_token_that_is_set_is_kept_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = configured(&format!("sqlite://{}/mail.db", folder.path().display()));
        config.admin.token = Some(crate::settings::SecretText::new("hunter2"));
        for token in [
            of_server(&config).unwrap(),
            of_command(&config).unwrap().unwrap(),
        ] {
            assert_eq!((token.text(), token.origin()), ("hunter2", &Origin::Set));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_token_that_can_be_kept_nowhere_is_made_all_the_same() {
        let token = of_server(&configured("sqlite:///dev/null/mail.db")).unwrap();
        assert_eq!(token.origin(), &Origin::Unkept);
        assert_eq!(token.text().len(), 43);
    }

    #[test]
    fn the_state_directory_is_systemd_s_or_the_user_s() {
        let folders = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let mut folders = state_directories(variable);
            folders.retain(|it| it != Path::new(STATE_DIRECTORY));
            folders
        };
        let (systemd, home) = (
            ("STATE_DIRECTORY", "/state/a:/state/b"),
            ("HOME", "/home/ada"),
        );
        let state = ("XDG_STATE_HOME", "/xdg");
        for (variables, expected) in [
            (&[systemd][..], &["/state/a"][..]),
            (&[home], &["/home/ada/.local/state/restante"]),
            (&[state, home], &["/xdg/restante"]),
            (
                &[systemd, home],
                &["/state/a", "/home/ada/.local/state/restante"],
            ),
            (&[("HOME", "home")], &[]),
            (&[], &[]),
        ] {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(folders(variables), expected, "{variables:?}");
        }
    }
}

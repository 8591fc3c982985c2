//! Mail that an operator wants to import, read piece by piece.
//!
//! What lies on a disk may be of any size, so no message is ever in memory as a whole: a
//! [`Source`] hands out pieces of about 64 KiB. Their octets are those of the file; whoever stores
//! them brings the line ends into canonical form.

mod files;
#[cfg(test)]
mod fixtures;
mod folder;
mod header;
mod identity;
mod maildir;
mod maildir_folders;
mod maildir_name;
pub(crate) mod mbox;
mod opening;
mod server;
mod uidl_format;
pub(crate) mod uidlist;
mod unpack;

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use files::Files;
use mbox::Mbox;
use opening::{Folder, Opened, Seen};
use server::Server;
use uidlist::UidList;
use unpack::{Message, Packing};

pub use identity::Identity;
pub use maildir::Elsewhere;
pub use server::{Access, Address, ServerError};
pub use uidl_format::{BadUidlFormat, UidlFormat};

/// How much of a message is read at a time.
const PIECE_OCTETS: usize = 64 * 1024;

/// Mail to import: an mbox file, a Maildir, an .eml file or a folder of them, or the maildrop of
/// another POP3 server.
#[derive(Debug)]
pub struct Source {
    total_octets: u64,
    form: Form,
    has_uid_list: bool,
    /// Has the source its messages in the order in which its server had them?
    is_ordered: bool,
    elsewhere: Elsewhere,
}

/// Which folders of a Maildir are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Folders {
    /// The inbox alone, which is what a POP3 server serves.
    #[default]
    Inbox,
    /// All of them.
    All,
}

/// What UIDL called a message where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldId {
    /// This.
    Told(String),
    /// Something that is not known, unless the message itself says it in a field X-UIDL.
    Unknown,
    /// Nothing: no client of POP3 has seen it, since it was in a subfolder.
    NeverServed,
}

#[derive(Debug)]
enum Form {
    Mbox(Box<Mbox<File>>),
    Files(Box<Files>),
    Server(Box<Server>),
}

impl OldId {
    /// What UIDL called it, if that is known.
    pub fn told(&self) -> Option<&str> {
        match self {
            Self::Told(told) => Some(told),
            Self::Unknown | Self::NeverServed => None,
        }
    }
}

/// What a source holds next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A message; read it with [`Source::read`] until that returns false.
    Message {
        /// Its file, or where in the mbox it begins.
        name: String,
        /// When it was received, if the source knows. Otherwise the message may say it: see
        /// [`received_at`].
        received_at: Option<SystemTime>,
        /// What UIDL called it there.
        old_id: OldId,
        /// How many octets it has, if the source says so; to read it may take long then.
        octets: Option<u64>,
    },
    /// Something that is no message, and why it was left out.
    Skipped {
        /// Its file, or where in the mbox it begins.
        name: String,
        /// Why it was left out.
        reason: String,
    },
}

/// Why there is nothing to import.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The path leads nowhere.
    #[error("{} does not exist", .0.display())]
    NotFound(PathBuf),
    /// The operating system refuses to read it.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A device, a pipe or a socket.
    #[error("{} is neither a file nor a folder", .0.display())]
    Special(PathBuf),
    /// A file of no octets, or a Maildir without a message.
    #[error("{} holds no message: it is empty", .0.display())]
    Empty(PathBuf),
    /// The list of a Maildir's unique-ids can't be used.
    #[error("the unique-ids of {} can't be read: {reason}", path.display())]
    UidList {
        /// The Maildir.
        path: PathBuf,
        /// What is wrong.
        reason: io::Error,
    },
    /// Another program uses the mbox; it may be free later.
    #[error("{} is in use: {by}", path.display())]
    Locked {
        /// The mbox.
        path: PathBuf,
        /// Who has locked it, and how.
        by: String,
    },
    /// The format of unique-ids asks for names of files.
    #[error(
        "{} is an mbox, whose messages have no file names: a format for it has %u and %v",
        .0.display()
    )]
    NoFileNames(PathBuf),
    /// A file that is neither an mbox nor a message.
    #[error(
        "{} is no mail: expected an mbox, whose first line begins with \"From \", or a message, \
         whose name ends in .eml or whose first line is a header field like \"Subject: Hello\"",
        .0.display()
    )]
    NotMail(PathBuf),
    /// An mbox that is packed.
    #[error(
        "{} is an mbox that is packed with {packing}: unpack it first, and import what comes out",
        path.display()
    )]
    PackedMbox {
        /// The file.
        path: PathBuf,
        /// How it is packed.
        packing: Packing,
    },
    /// A folder that is no Maildir and has no .eml file either.
    #[error(
        "{} holds no message: expected a Maildir, with the folders cur and new, or files that end \
         in .eml (an mbox inside a folder is imported by its own path)",
        .0.display()
    )]
    NoMessages(PathBuf),
}

impl Source {
    /// Looks at what is there, and finds out in which form.
    ///
    /// # Errors
    /// If it holds no mail, or can't be read.
    pub fn open(path: &Path, format: &UidlFormat, folders: Folders) -> Result<Self, SourceError> {
        match opening::open(path).map_err(|error| SourceError::new(path, error))? {
            Opened::Folder(folder) => open_folder(folder, path, format, folders),
            Opened::File(file, seen) => open_file(file, path, &seen, format),
            Opened::Special => Err(SourceError::Special(path.to_owned())),
        }
    }

    /// Logs in to another server. What is asked there blocks the thread.
    ///
    /// # Errors
    /// If it is not there, can't be trusted, or lets nobody in.
    pub fn connect(
        address: &Address,
        access: &Access,
        password: &str,
    ) -> Result<Self, ServerError> {
        let server = Server::open(address, access, password)?;
        Ok(Self {
            total_octets: server.total_octets(),
            has_uid_list: true,
            is_ordered: true,
            form: Form::Server(Box::new(server)),
            elsewhere: Elsewhere::default(),
        })
    }

    /// Does the source itself say what UIDL called its messages?
    pub fn has_uid_list(&self) -> bool {
        self.has_uid_list
    }

    /// Has the source its messages in the order in which its server had them?
    pub fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// What is in other folders of a Maildir than its inbox and was not asked for.
    pub fn elsewhere(&self) -> Elsewhere {
        self.elsewhere
    }

    /// How many messages their user has deleted in Thunderbird, which are still in the file and are
    /// not imported.
    pub fn expunged(&self) -> usize {
        match &self.form {
            Form::Mbox(mbox) => mbox.expunged(),
            Form::Files(_) | Form::Server(_) => 0,
        }
    }

    /// What UIDL called the messages, as far as that is known beforehand.
    pub fn old_ids(&self) -> Vec<String> {
        let told = |old_id: &OldId| old_id.told().map(str::to_owned);
        match &self.form {
            Form::Mbox(mbox) => mbox.old_ids().filter_map(|old_id| told(&old_id)).collect(),
            Form::Files(files) => files.old_ids().filter_map(told).collect(),
            Form::Server(server) => server.old_ids().filter_map(told).collect(),
        }
    }

    /// How many octets there are to read, all messages together.
    pub fn total_octets(&self) -> u64 {
        self.total_octets
    }

    /// How many of them are done, whether they were read or skipped.
    pub fn octets_read(&self) -> u64 {
        let octets = match &self.form {
            Form::Mbox(mbox) => mbox.octets_read(),
            Form::Files(files) => files.octets_read(),
            Form::Server(server) => server.octets_read(),
        };
        // A file that grows meanwhile does not take the progress past its end.
        octets.min(self.total_octets)
    }

    /// Goes on to the next item, past what is left of the current message.
    ///
    /// What cannot be opened is an [`Item::Skipped`]. So is the rest of an mbox that cannot be
    /// read to its end.
    pub fn next_item(&mut self) -> Option<Item> {
        match &mut self.form {
            Form::Mbox(mbox) => mbox.next_item(),
            Form::Files(files) => files.next_item(),
            Form::Server(server) => server.next_item(),
        }
    }

    /// Appends the next piece of the current message to `out`; false says that it has ended.
    ///
    /// After an error the message is incomplete, and [`Source::next_item`] goes on behind it.
    pub fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        match &mut self.form {
            Form::Mbox(mbox) => mbox.read(out),
            Form::Files(files) => files.read(out),
            Form::Server(server) => server.read(out),
        }
    }

    /// What is odd about the current message, which has been read to its end, and no reason to
    /// leave it out.
    pub fn remark(&self) -> Option<String> {
        match &self.form {
            Form::Files(files) => files.remark(),
            Form::Mbox(_) | Form::Server(_) => None,
        }
    }
}

impl SourceError {
    fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            Self::NotFound(path)
        } else {
            Self::Unreadable { path, source }
        }
    }
}

/// When a message was received, as far as its beginning says.
pub fn received_at(beginning: &[u8]) -> Option<SystemTime> {
    header::received_at(beginning)
}

/// What UIDL called a message on the server that has written so into its header.
pub fn x_uidl(beginning: &[u8]) -> Option<String> {
    header::x_uidl(beginning)
}

fn open_folder(
    folder: Folder,
    path: &Path,
    format: &UidlFormat,
    folders: Folders,
) -> Result<Source, SourceError> {
    let refused = |error| SourceError::new(path, error);
    let Some(inbox) = maildir::inbox(&folder) else {
        let entries = folder::messages_below(&folder).map_err(refused)?;
        if entries.iter().all(|entry| entry.left_out.is_some()) {
            return Err(SourceError::NoMessages(path.to_owned()));
        }
        let octets = entries.iter().map(|entry| entry.octets).sum();
        return Ok(Source::of_files(octets, Files::below(folder, entries)));
    };
    let list = folder.folder(&inbox);
    let list = list.and_then(|inbox| UidList::read(&inbox, format));
    let list = list.map_err(|reason| SourceError::UidList {
        path: path.join(&inbox),
        reason,
    })?;
    let found = maildir::maildir(&folder, &inbox, list.as_ref(), folders).map_err(refused)?;
    if found.entries.is_empty() && found.elsewhere.messages == 0 {
        return Err(SourceError::Empty(path.to_owned()));
    }
    let octets = found.entries.iter().map(|entry| entry.octets).sum();
    Ok(Source {
        has_uid_list: list.is_some(),
        is_ordered: list.is_some(),
        elsewhere: found.elsewhere,
        ..Source::of_files(octets, Files::of_maildir(folder, found.entries))
    })
}

fn open_file(
    mut file: File,
    path: &Path,
    seen: &Seen,
    format: &UidlFormat,
) -> Result<Source, SourceError> {
    let refused = |error| SourceError::new(path, error);
    let start = unpack::beginning_of(&mut file).map_err(refused)?;
    file.rewind().map_err(refused)?;
    if start.is_empty() {
        return Err(SourceError::Empty(path.to_owned()));
    }
    // An .eml file is one message, also where a program has left a From_ line in front of it.
    let is_eml = folder::is_eml(path);
    if !is_eml && let Some(first) = mbox::first_from_line(&start) {
        return open_mbox(file, path, first, format);
    }
    let message = Message::open(file).map_err(refused)?;
    match message.packing() {
        Some(packing) if !is_eml && mbox::first_from_line(message.beginning()).is_some() => {
            let path = path.to_owned();
            Err(SourceError::PackedMbox { path, packing })
        }
        _ if is_eml || begins_with_header_field(message.beginning()) => {
            let files = Files::one(path, seen, message);
            Ok(Source::of_files(seen.octets, files))
        }
        Some(_) | None => Err(SourceError::NotMail(path.to_owned())),
    }
}

fn open_mbox(
    file: File,
    path: &Path,
    first: u64,
    format: &UidlFormat,
) -> Result<Source, SourceError> {
    let mbox = mbox::open(file, path, first, format, PIECE_OCTETS);
    let mbox = mbox.map_err(|error| SourceError::new(path, error))?;
    let mbox = mbox.map_err(|by| SourceError::Locked {
        path: path.to_owned(),
        by,
    })?;
    if mbox.has_uids() && format.needs_file() {
        return Err(SourceError::NoFileNames(path.to_owned()));
    }
    Ok(Source {
        total_octets: mbox.octets(),
        has_uid_list: mbox.has_uids(),
        is_ordered: true,
        elsewhere: Elsewhere::default(),
        form: Form::Mbox(Box::new(mbox)),
    })
}

impl Source {
    fn of_files(total_octets: u64, files: Files) -> Self {
        Self {
            total_octets,
            form: Form::Files(Box::new(files)),
            has_uid_list: false,
            is_ordered: false,
            elsewhere: Elsewhere::default(),
        }
    }
}

/// Whether it looks like `Name: value`, so that no program or picture passes for a message.
fn begins_with_header_field(octets: &[u8]) -> bool {
    let Some((name, value)) = octets
        .iter()
        .position(|octet| *octet == b':')
        .and_then(|colon| octets.split_at_checked(colon))
    else {
        return false;
    };
    let is_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
    let is_blank = |octet: &u8| b" \t\r\n".contains(octet);
    !name.is_empty() && name.iter().all(is_name) && value.get(1).is_none_or(is_blank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn open(path: &Path) -> Result<Source, SourceError> {
        Source::open(path, &UidlFormat::default(), Folders::Inbox)
    }

    fn written(name: &str, octets: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, octets).unwrap();
        (folder, path)
    }

    fn refusal(name: &str, octets: &[u8]) -> SourceError {
        let (_folder, path) = written(name, octets);
        open(&path).unwrap_err()
    }

    /// All messages of a source, and the names of what was skipped.
    fn read_all(source: &mut Source) -> (Vec<Vec<u8>>, Vec<String>) {
        let (mut messages, mut skipped) = (Vec::new(), Vec::new());
        while let Some(item) = source.next_item() {
            match item {
                Item::Message { .. } => {
                    let mut message = Vec::new();
                    while source.read(&mut message).unwrap() {}
                    messages.push(message);
                }
                Item::Skipped { name, .. } => skipped.push(name),
            }
        }
        (messages, skipped)
    }

    #[test]
    fn what_is_not_there_is_said_to_be_missing() {
        let error = open(Path::new("no/such/file")).unwrap_err();
        assert!(matches!(error, SourceError::NotFound(_)));
        assert_eq!(error.to_string(), "no/such/file does not exist");
    }

    #[test]
    fn an_empty_file_is_refused_whatever_its_name() {
        for name in ["a.mbox", "a.eml", "a"] {
            assert!(matches!(refusal(name, b""), SourceError::Empty(_)));
        }
    }

    #[test]
    fn a_file_that_is_no_mail_is_refused_with_what_was_expected() {
        for octets in [
            b"Dear Sir: hello\n".as_slice(),
            b"\x89PNG\r\n\x1a\n: ",
            b"https://example.org\n",
            b": nameless\n",
            b"From the desk of Ada\nwith love\n",
            b"\nSubject: no\n",
            b"no colon",
        ] {
            let error = refusal("inbox.mbox", octets);
            assert!(matches!(error, SourceError::NotMail(_)));
            let text = error.to_string();
            assert!(text.contains("inbox.mbox is no mail: expected an mbox, whose"));
        }
    }

    #[test]
    fn a_device_is_refused() {
        let error = open(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(error, SourceError::Special(_)));
    }

    #[test]
    fn an_empty_folder_and_one_without_messages_are_refused() {
        let (folder, path) = written("notes.txt", b"Subject: no\n");
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(error, SourceError::NoMessages(_)));
        fs::remove_file(path).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(error, SourceError::NoMessages(_)));
        fs::create_dir(folder.path().join("cur")).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(error, SourceError::Empty(_)));
    }

    #[test]
    fn one_message_is_known_by_its_name_or_its_first_line() {
        for (name, octets) in [
            ("letter.EML", b"\0 anything at all".as_slice()),
            (
                "1700000000.M1P1.host",
                b"Return-Path: <a@example.org>\n\nhi",
            ),
            ("letter", b"Subject:\r\n folded\r\n"),
            ("letter", b"X_y:"),
        ] {
            let (_folder, path) = written(name, octets);
            let mut source = open(&path).unwrap();
            assert_eq!(source.total_octets(), octets.len() as u64);
            assert_eq!(source.octets_read(), 0);
            assert_eq!(read_all(&mut source), (vec![octets.to_vec()], vec![]));
            assert_eq!(source.octets_read(), source.total_octets());
        }
    }

    #[test]
    fn a_file_that_begins_with_a_from_line_is_an_mbox_unless_it_is_an_eml() {
        let octets = b"From a\nSubject: 1\n\nFrom b\n\nFrom c\nSubject: 2\n\nhi\n";
        let (_folder, path) = written("saved", octets);
        let mut source = open(&path).unwrap();
        let name = format!("mbox {}, message 1 (octet 0)", path.display());
        assert!(matches!(source.next_item(), Some(Item::Message { name: n, .. }) if n == name));
        drop(source);
        let mut source = open(&path).unwrap();
        let (messages, skipped) = read_all(&mut source);
        assert_eq!(
            messages,
            [b"Subject: 1\n".to_vec(), b"Subject: 2\n\nhi\n".to_vec()]
        );
        let name = format!("mbox {}, message 2 (octet 19)", path.display());
        assert_eq!(skipped, [name]);
        assert_eq!(source.octets_read(), octets.len() as u64);
    }

    #[test]
    fn an_eml_file_is_one_message_without_its_from_line() {
        let from = "From ada@example.org Wed Feb  1 19:00:04 2006\n";
        let text = format!("Subject: 1\n\n>From x\n\nFrom here on it is easy\n\n{from}A: 2\n");
        for from in [
            from,
            "From ada\n",
            "From - Wed Feb  1 19:00:04 2006\r\n",
            "",
        ] {
            let (folder, path) = written("saved.eml", format!("{from}{text}").as_bytes());
            for path in [&path, folder.path()] {
                let (messages, skipped) = read_all(&mut open(path).unwrap());
                assert_eq!(
                    (messages, skipped),
                    (vec![text.clone().into_bytes()], vec![])
                );
            }
        }
        let (_folder, path) = written("prose.eml", b"From here on\nit is easy\n");
        let (messages, _) = read_all(&mut open(&path).unwrap());
        assert_eq!(messages, [b"From here on\nit is easy\n"]);
    }

    #[test]
    fn an_mbox_that_grows_while_it_is_read_is_told() {
        let (_folder, path) = written("mail", b"From a\nSubject: 1\n\nhello\n");
        let mut source = open(&path).unwrap();
        let longer = [fs::read(&path).unwrap(), b"\nFrom b\nSubject: 2\n".to_vec()];
        fs::write(&path, longer.concat()).unwrap();
        let (messages, skipped) = read_all(&mut source);
        assert_eq!(messages, [b"Subject: 1\n\nhello\n"]);
        assert_eq!(skipped, [format!("mbox {}", path.display())]);
        assert_eq!(source.octets_read(), source.total_octets());
    }

    #[test]
    fn an_mbox_that_another_program_uses_is_refused() {
        let (_folder, path) = written("mail", b"From a\nSubject: 1\n");
        let source = open(&path).unwrap();
        let refused = open(&path).unwrap_err();
        assert!(matches!(refused, SourceError::Locked { .. }), "{refused}");
        drop(source);
        open(&path).unwrap();
    }

    #[test]
    fn the_progress_does_not_pass_the_end_of_what_grows_meanwhile() {
        let grow = |path: &Path| {
            let longer = [fs::read(path).unwrap(), b"more".to_vec()].concat();
            fs::write(path, longer).unwrap();
        };
        let (_folder, path) = written("mail", b"Subject: 1\n\nhello");
        let mut source = open(&path).unwrap();
        grow(&path);
        let (messages, _) = read_all(&mut source);
        assert!(messages[0].ends_with(b"more"));
        assert_eq!(source.octets_read(), source.total_octets());

        let (folder, first) = written("1.eml", b"Subject: 1\n");
        fs::write(folder.path().join("2.eml"), b"Subject: 2\n").unwrap();
        let mut source = open(folder.path()).unwrap();
        grow(&first);
        source.next_item().unwrap();
        while source.read(&mut Vec::new()).unwrap() {}
        assert_eq!(source.octets_read(), 11);
        source.next_item().unwrap();
        assert_eq!(source.octets_read(), 11);
    }
}

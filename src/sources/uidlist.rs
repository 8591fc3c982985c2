//! The lists in which other servers keep the order and the unique-ids of a Maildir's messages.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{self, Read};

use super::maildir_name;
use super::opening::Folder;
use super::uidl_format::{Facts, UidlFormat};

/// The file of Dovecot's list.
const DOVECOT: &str = "dovecot-uidlist";

/// The file of Courier's list.
const COURIER: &str = "courierpop3dsizelist";

/// Maximum size of a list that is read, in octets: about 700,000 messages.
const MAX_LIST_OCTETS: u64 = 64 * 1024 * 1024;

/// The entries of a list, by the names of the files without flags.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UidList {
    listed: HashMap<String, Listed>,
    /// The numbers of the lines that can't be understood, as where it was cut off.
    pub(super) bad_lines: Vec<usize>,
}

/// The entry of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its place among the others.
    pub(super) place: usize,
    /// Its unique-id.
    pub(super) unique_id: String,
}

impl UidList {
    /// Reads the list of a Maildir; none if it has none.
    ///
    /// # Errors
    /// If there is one and it can't be read or understood: without it, every client would fetch
    /// everything again.
    pub(super) fn read(maildir: &Folder, format: &UidlFormat) -> io::Result<Option<Self>> {
        if let Some(text) = text(maildir, DOVECOT)? {
            let list = dovecot(&text, format);
            return list.map(Some).ok_or_else(|| unknown(DOVECOT));
        }
        if let Some(text) = text(maildir, COURIER)? {
            return courier(&text).map(Some).ok_or_else(|| unknown(COURIER));
        }
        Ok(None)
    }

    /// Returns the entry of the file of this name, with any flags.
    pub(super) fn of(&self, file: &str) -> Option<&Listed> {
        self.listed.get(maildir_name::base(file))
    }
}

fn text(maildir: &Folder, name: &str) -> io::Result<Option<String>> {
    let file = match maildir.file(name) {
        Ok((file, _)) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
    };
    let mut octets = Vec::new();
    let read = file.take(MAX_LIST_OCTETS + 1).read_to_end(&mut octets)?;
    if read as u64 > MAX_LIST_OCTETS {
        let reason = format!("{name} has more than {} MiB", MAX_LIST_OCTETS >> 20);
        return Err(io::Error::other(reason));
    }
    // Names of files may hold any octets, and one that does has no unique-id at worst.
    Ok(Some(String::from_utf8_lossy(&octets).into_owned()))
}

fn unknown(name: &str) -> io::Error {
    let what = format!("{name} is not in a form that is known here");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Version 3 begins with `3 V<uidvalidity> N<next uid> G<guid>`, and has lines of the form
/// `UID FIELDS... :FILE`. Version 1 begins with `1 UIDVALIDITY NEXT`, and has `UID FILE`.
fn dovecot(text: &str, format: &UidlFormat) -> Option<UidList> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next()?.split(' ').collect();
    let version_3 = match *header.first()? {
        "3" => true,
        "1" => false,
        _ => return None,
    };
    let uidvalidity = if version_3 {
        header.iter().find_map(|field| field.strip_prefix('V'))?
    } else {
        header.get(1)?
    };
    let uidvalidity: u32 = uidvalidity.parse().ok()?;
    let (mut messages, mut bad_lines) = (Vec::new(), Vec::new());
    for (number, line) in (2..).zip(lines).filter(|(_, line)| !line.is_empty()) {
        match dovecot_line(line, version_3, uidvalidity, format) {
            Some(message) => messages.push(message),
            None => bad_lines.push(number),
        }
    }
    // Of a file that is listed twice, Dovecot heeds the later line.
    messages.sort_by_key(|message| message.uid);
    let by_file = messages
        .into_iter()
        .map(|message| (message.file.clone(), message));
    let mut messages: Vec<_> = by_file.collect::<HashMap<_, _>>().into_values().collect();
    messages.sort_by_key(|message| (message.order, message.uid));
    let listed = messages.into_iter().enumerate().map(|(place, message)| {
        let unique_id = message.unique_id;
        (message.file, Listed { place, unique_id })
    });
    Some(UidList {
        listed: listed.collect(),
        bad_lines,
    })
}

/// Dovecot sorts what has no order, or none that it understands, as if it had this one.
const NO_ORDER: u64 = u32::MAX as u64;

/// A message in Dovecot's list.
#[derive(Debug)]
struct DovecotMessage {
    /// The order of POP3, if it is another than that of the UIDs. Those that have none come last.
    order: u64,
    uid: u32,
    file: String,
    unique_id: String,
}

fn dovecot_line(
    line: &str,
    version_3: bool,
    uidvalidity: u32,
    format: &UidlFormat,
) -> Option<DovecotMessage> {
    let (uid, rest) = line.split_once(' ')?;
    let uid: u32 = uid.parse().ok()?;
    let (fields, file) = match rest.strip_prefix(':') {
        _ if !version_3 => ("", rest),
        // The file is the word that begins with a colon; fields may hold one.
        Some(file) => ("", file),
        None => rest.split_once(" :")?,
    };
    let file = maildir_name::base(file);
    let field = |key| fields.split(' ').find_map(|field| field.strip_prefix(key));
    let facts = Facts {
        uid,
        uidvalidity,
        file,
        guid: field('G').filter(|guid| !guid.is_empty()),
    };
    let unique_id = match field('P') {
        // What Dovecot has saved wins; an empty field means the name of the file.
        Some("") => file.to_owned(),
        Some(saved) => saved.to_owned(),
        None => format.apply(&facts),
    };
    let order = field('O').and_then(|order| order.parse().ok());
    Some(DovecotMessage {
        order: order.unwrap_or(NO_ORDER),
        uid,
        file: file.to_owned(),
        unique_id,
    })
}

/// Begins with `/2 NEXT UIDVALIDITY` (or `/3`), and has lines `FILE OCTETS UID:UIDVALIDITY`. With a
/// UIDVALIDITY of 0 the unique-id goes without it, and with a UID of 0 it is the name of the file.
fn courier(text: &str) -> Option<UidList> {
    let mut lines = text.lines();
    let header = lines.next()?;
    if !(header.starts_with("/2 ") || header.starts_with("/3 ")) {
        return None;
    }
    let mut list = UidList::default();
    // A file may be listed twice, so this is not the number of files.
    let mut place = 0;
    for (number, line) in (2..).zip(lines).filter(|(_, line)| !line.is_empty()) {
        match courier_line(line) {
            Some((file, unique_id)) => {
                list.listed.insert(file, Listed { place, unique_id });
                place += 1;
            }
            None => list.bad_lines.push(number),
        }
    }
    Some(list)
}

/// The file and the unique-id of a message.
fn courier_line(line: &str) -> Option<(String, String)> {
    // The name of a file may hold blanks.
    let mut words = line.rsplitn(3, ' ');
    let mut numbers = words.next()?.split(':');
    let _octets = words.next()?;
    let file = maildir_name::base(words.next()?);
    let mut number = || -> Option<u64> { numbers.next()?.parse().ok() };
    let unique_id = match (number()?, number()?) {
        (0, _) => courier_file_id(file),
        (uid, 0) => format!("UID{uid}"),
        (uid, uidvalidity) => format!("UID{uid}-{uidvalidity}"),
    };
    Some((file.to_owned(), unique_id))
}

/// The name of a file as Courier says it: with `+2B` for a plus, for instance.
fn courier_file_id(file: &str) -> String {
    let mut id = String::new();
    for octet in file.bytes() {
        match octet {
            b'\'' | b'"' | b'+' => write!(id, "+{octet:02X}"),
            0x21..=0x7e => write!(id, "{}", char::from(octet)),
            _ => write!(id, "+{octet:02X}"),
        }
        .expect("a string takes all that is written to it");
    }
    id
}

/// Reads any octets as each kind of list.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let format = UidlFormat::default();
    for list in [dovecot(&text, &format), courier(&text)]
        .into_iter()
        .flatten()
    {
        let places = list.listed.values().map(|listed| listed.place);
        let places: std::collections::HashSet<usize> = places.collect();
        assert_eq!(places.len(), list.listed.len(), "two have the same place");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn said(list: &UidList, file: &str) -> Option<(usize, String)> {
        let listed = list.of(file)?;
        Some((listed.place, listed.unique_id.clone()))
    }

    #[test]
    fn dovecot_s_list_tells_order_and_unique_ids_whatever_the_flags() {
        let text = "3 V1795385651 N9 Gb4c0ffee\n\
            7 :30.M3.host,S=10:2,S\n\
            2 W99 :20.M2.host\n\
            5 P000001 W7 :10.M1.host:2,\n\
            8 P :40.M4.host\n\
            6 Gabcdef :50.M5.host\n\
            9 Pa:1 W7 :70.M7.host:2,\n";
        let list = dovecot(text, &UidlFormat::default()).unwrap();
        let expected = |place, unique_id: &str| Some((place, unique_id.to_owned()));
        assert_eq!(
            said(&list, "20.M2.host:2,RS"),
            expected(0, "000000026b036933")
        );
        assert_eq!(said(&list, "10.M1.host"), expected(1, "000001"));
        assert_eq!(
            said(&list, "50.M5.host:2,"),
            expected(2, "000000066b036933")
        );
        assert_eq!(
            said(&list, "30.M3.host,S=10"),
            expected(3, "000000076b036933")
        );
        assert_eq!(said(&list, "40.M4.host"), expected(4, "40.M4.host"));
        assert_eq!(said(&list, "70.M7.host:2,S"), expected(5, "a:1"));
        assert_eq!(said(&list, "60.host"), None);
        let list = dovecot(text, &"%g".parse().unwrap()).unwrap();
        assert_eq!(said(&list, "50.M5.host"), expected(2, "abcdef"));
        assert_eq!(said(&list, "20.M2.host"), expected(0, "20.M2.host"));
    }

    #[test]
    fn the_old_form_of_dovecot_s_list_is_read_too() {
        let list = dovecot("1 5 3\n1 a.host:2,S\n2 b.host\n", &"%v.%u".parse().unwrap()).unwrap();
        assert_eq!(said(&list, "a.host"), Some((0, "5.1".into())));
        assert_eq!(said(&list, "b.host:2,S"), Some((1, "5.2".into())));
    }

    #[test]
    fn dovecot_s_list_may_have_an_order_of_its_own() {
        let text = "3 V7 N9 G0\n\
            1 :a\n\
            2 O20 Pp2 :b\n\
            3 O3 :c:2,S\n\
            4 W9 O20 :d\n\
            5 Ox :e\n\
            6 Gg O0 S4 :f\n\
            7 :a\n";
        let list = dovecot(text, &UidlFormat::default()).unwrap();
        let order = ["f", "c", "b", "d", "e", "a"];
        for (place, file) in order.iter().enumerate() {
            assert_eq!(said(&list, file).unwrap().0, place, "{file}");
        }
        assert_eq!(said(&list, "b").unwrap().1, "p2");
        // It is listed twice, and the later line counts.
        assert_eq!(said(&list, "a").unwrap().1, "0000000700000007");
    }

    #[test]
    fn a_list_knows_a_file_whatever_separates_its_flags() {
        let text = "3 V7 N9 G0\n1 :a,S=4\n2 :b-2,S=4\n3 :c;2,S\n";
        let list = dovecot(text, &UidlFormat::default()).unwrap();
        for (file, place) in [
            ("a,S=4;2,S", 0),
            ("a,S=4!2,", 0),
            ("b-2,S=4:2,S", 1),
            ("c", 2),
        ] {
            assert_eq!(said(&list, file).unwrap().0, place, "{file}");
        }
        let list = courier("/2 9 1\na b!2,S 10 1:2\n'+\"é\u{7f} 10 0:0\n").unwrap();
        assert_eq!(said(&list, "a b:2,RS"), Some((0, "UID1-2".into())));
        let odd = said(&list, "'+\"é\u{7f}").unwrap().1;
        assert_eq!(odd, "+27+2B+22+C3+A9+7F");
    }

    #[test]
    fn courier_s_list_tells_order_and_unique_ids() {
        let text = "/2 12 1700000000\n\
            30.host:2,S 100 11:1700000000\n\
            10.host 200 9:0\n\
            20.host,S=1 300 0:0\n\
            40.host 400 12:1700000000:1\n";
        let list = courier(text).unwrap();
        for (file, place, unique_id) in [
            ("30.host", 0, "UID11-1700000000"),
            ("10.host:2,", 1, "UID9"),
            ("20.host,S=1:2,S", 2, "20.host,S=1"),
            ("40.host", 3, "UID12-1700000000"),
        ] {
            assert_eq!(said(&list, file), Some((place, unique_id.into())), "{file}");
        }
    }

    #[test]
    fn a_list_that_is_not_understood_is_no_empty_list() {
        let format = UidlFormat::default();
        for text in ["", "4 V1 N2\n", "3 N2\n", "what?\n"] {
            assert_eq!(dovecot(text, &format), None, "{text:?}");
        }
        for text in ["", "/1 1 1\n"] {
            assert_eq!(courier(text), None, "{text:?}");
        }
        // A line that is not keeps no other away, and is told.
        let cut = dovecot("3 V1 N4\nx :a\n1 :b.host\n2 a\n3 ", &format).unwrap();
        assert_eq!((cut.listed.len(), cut.bad_lines), (1, vec![2, 4, 5]));
        let cut = courier("/2 1 1\na 1\nb 1 2:3\nc 1 x:y\n").unwrap();
        assert_eq!((cut.listed.len(), cut.bad_lines), (1, vec![2, 4]));
    }

    #[test]
    fn a_list_that_can_not_be_read_is_no_empty_list() {
        let format = UidlFormat::default();
        let folder = tempfile::tempdir().unwrap();
        let maildir = super::super::fixtures::opened(folder.path());
        assert_eq!(UidList::read(&maildir, &format).unwrap(), None);
        let path = folder.path().join(DOVECOT);
        fs::write(&path, "nonsense").unwrap();
        let refused = UidList::read(&maildir, &format).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("dovecot-uidlist is not in a form")
        );
        // It may be one hole.
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(MAX_LIST_OCTETS + 1).unwrap();
        let refused = UidList::read(&maildir, &format).unwrap_err();
        assert_eq!(refused.to_string(), "dovecot-uidlist has more than 64 MiB");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let refused = UidList::read(&maildir, &format).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("dovecot-uidlist: it is a symbolic link")
        );
    }

    #[test]
    fn a_file_that_courier_lists_twice_takes_the_place_of_no_other() {
        let list = courier("/2 4 1\na 0 3:0\na 0 4:0\nb 0 5:0\n").unwrap();
        assert_eq!(said(&list, "a"), Some((1, "UID4".into())));
        assert_eq!(said(&list, "b"), Some((2, "UID5".into())));
    }
}

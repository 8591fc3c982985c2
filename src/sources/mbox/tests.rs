use std::io::Cursor;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::from_line::FROM;
use proptest::prelude::*;

/// The size of what is in memory, in tests that do not vary it.
const SMALL: usize = 16;

/// A From_ line as most programs write it.
const A: &str = "From ada@example.org Wed Feb  1 19:00:04 2006\n";

/// One a minute later.
const B: &str = "From bob@example.org Wed Feb  1 19:01:04 2006\n";

fn mbox(file: &[u8], piece_octets: usize) -> Mbox<Cursor<&[u8]>> {
    let octets = file.len() as u64;
    let path = Path::new("inbox");
    let first = first_from_line(file).unwrap_or_default();
    let format = UidlFormat::default();
    Mbox::new(
        Cursor::new(file),
        octets,
        path,
        first,
        &format,
        piece_octets,
    )
    .unwrap()
}

/// All messages; an empty one stands for what was skipped.
fn messages<R: Read + Seek>(mut mbox: Mbox<R>) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some(item) = mbox.next_item() {
        let mut message = Vec::new();
        if matches!(item, Item::Message { .. }) {
            while mbox.read(&mut message).unwrap() {}
        }
        messages.push(message);
    }
    messages
}

fn texts(file: &str) -> Vec<String> {
    let messages = messages(mbox(file.as_bytes(), SMALL)).into_iter();
    messages.map(|m| String::from_utf8(m).unwrap()).collect()
}

fn old_ids(file: &str) -> Vec<Option<String>> {
    let mbox = mbox(file.as_bytes(), SMALL);
    let ids = mbox.old_ids();
    ids.map(|id| id.told().map(str::to_owned)).collect()
}

#[test]
fn one_empty_line_before_a_from_line_or_the_end_is_no_part_of_a_message() {
    assert_eq!(
        texts(&format!("{A}A: 1\n\nhi\n\n{B}A: 2\n\nho\n\n")),
        ["A: 1\n\nhi\n", "A: 2\n\nho\n"]
    );
    let crlf = format!("{A}A: 1\n\nhi\n\n{B}A: 2\n\nho\n\n").replace('\n', "\r\n");
    assert_eq!(texts(&crlf), ["A: 1\r\n\r\nhi\r\n", "A: 2\r\n\r\nho\r\n"]);
    assert_eq!(
        texts(&format!("{A}A: 1\n\n\n\n{B}A: 2\n\n\n\n")),
        ["A: 1\n\n\n", "A: 2\n\n\n"]
    );
    assert_eq!(
        texts(&format!("{A}A: 1\n\n{B}A: 2\n")),
        ["A: 1\n", "A: 2\n"]
    );
}

#[test]
fn a_file_without_empty_lines_has_as_many_messages_as_from_lines() {
    assert_eq!(
        texts(&format!("{A}A: 1\n\nhi\n{B}A: 2\n\n{A}A: 3\n{B}A: 4\n\nho")),
        ["A: 1\n\nhi\n", "A: 2\n", "A: 3\n", "A: 4\n\nho"]
    );
}

#[test]
fn a_line_of_a_body_that_is_no_from_line_stays_in_it() {
    for body in [
        "hi\nFrom now on\n",
        "hi\n\nFrom the quay we took the early ferry.\n",
        "hi\n\nFrom here on it is easy",
        "my mailbox says\nFrom ada@example.org Wed Feb  1 19:00:04 2006\nand no more\n",
        "what is\n\nFrom ada@example.org Wed Feb  1 19:00:04 2006\ndo you know\n",
        "From x\nSubject: y\n",
        "hi\n\nFrom \nHere\nTo\nHere\n",
    ] {
        let file = format!("{A}A: 1\n\n{body}\n{B}A: 2\n");
        let texts = texts(&file);
        assert_eq!(texts.len(), 2, "{file}");
        assert!(texts[0].contains(body), "{file}");
    }
}

#[test]
fn a_quoted_from_loses_one_quote_wherever_it_is() {
    assert_eq!(
        texts(&format!("{A}>From x\n\n>>From y\n>>>>From z\n")),
        ["From x\n\n>From y\n>>>From z\n"]
    );
    let others = ">\n>>Fromage\n> From x\n a>From x\n>from x\n>From\n>Fro";
    assert_eq!(texts(&format!("{A}{others}")), [others]);
    assert_eq!(texts(&format!("{A}a: b\n\n>From ")), ["a: b\n\nFrom "]);
}

#[test]
fn a_writer_that_leaves_a_from_unquoted_quotes_none() {
    assert_eq!(
        texts(&format!(
            "{A}A: 1\n\n>From x\n\nFrom y\n\n{B}A: 2\n\n>From z\nFrom y\n"
        )),
        ["A: 1\n\n>From x\n\nFrom y\n", "A: 2\n\nFrom z\nFrom y\n"]
    );
}

#[test]
fn the_octets_of_a_message_stay_as_they_are() {
    let message = b"A: \0\xff\r\r\n\nB\n\r\n\n\r";
    let file = [A.as_bytes(), message].concat();
    assert_eq!(messages(mbox(&file, SMALL)), [message]);
}

#[test]
fn a_message_without_octets_is_skipped() {
    assert_eq!(texts(&format!("{A}\n{B}A: 2\n\n{A}")), ["", "A: 2\n", ""]);
    assert_eq!(texts(A), [""]);
    assert_eq!(texts("From a"), [""]);
    // Without dates, too, if the first line has none.
    assert_eq!(
        texts("From a\n\nFrom b\nA: 2\n\nFrom c\n"),
        ["", "A: 2\n", ""]
    );
}

#[test]
fn a_truncated_last_message_is_kept() {
    for end in ["Fro", "From", "From ", ">>", "\r"] {
        assert_eq!(
            texts(&format!("{A}A: 1\n\n{end}")),
            [format!("A: 1\n\n{end}")]
        );
    }
}

#[test]
fn thunderbird_s_from_lines_have_neither_sender_nor_date() {
    assert_eq!(
        texts("From \r\nA: 1\r\n\r\nhi\r\n>From x\r\n\r\nFrom \r\nA: 2\r\nB: 3\r\n\r\n"),
        ["A: 1\r\n\r\nhi\r\nFrom x\r\n", "A: 2\r\nB: 3\r\n"]
    );
    let file = "From - Wed Feb  1 19:00:04 2006\nX-Mozilla-Status: 0001\n\
        X-Mozilla-Status2: 00000000\nX-Mozilla-Keys:       \nA: 1\n\nhi\n\n\
        From - Wed Feb  1 19:01:04 2006\nX-Mozilla-Status: 0009\nA: 2\n\nho\n\n\
        From ada@example.org Wed Feb  1 19:02:04 2006\nX-Mozilla-Status: 0009\nA: 3\n\n";
    // Who sends a message can't have it taken for a deleted one.
    assert_eq!(
        texts(file),
        ["A: 1\n\nhi\n", "X-Mozilla-Status: 0009\nA: 3\n"]
    );
    assert_eq!(mbox(file.as_bytes(), SMALL).expunged(), 1);
}

#[test]
fn what_stands_in_front_of_the_first_message_is_no_part_of_it() {
    for before in ["\n", "\r\n\r\n", "\u{feff}", "\u{feff}\n"] {
        assert_eq!(texts(&format!("{before}{A}A: 1\n\nhi\n")), ["A: 1\n\nhi\n"]);
    }
    // An MTA that was given a From_ line has put its own in front of it.
    assert_eq!(texts(&format!("{A}{B}A: 1\n\nhi\n")), ["A: 1\n\nhi\n"]);
}

#[test]
fn a_length_is_heeded_where_it_leads_to_a_from_line_or_the_end() {
    let quoted = format!("{B}A: x\n\n>From y\n\n{A}z\n");
    let octets = quoted.len();
    for (between, end) in [("\n", "\n"), ("", ""), ("\n\n\n", "\n\n"), ("\r\n", "\r\n")] {
        let message = format!("A: 1\nContent-Length: {octets}\nB: 2\n\n{quoted}");
        let file = format!("{A}{message}{between}{B}{message}{end}");
        let expected = format!("A: 1\nB: 2\n\n{quoted}");
        assert_eq!(texts(&file), [expected.clone(), expected], "{between:?}");
    }
    // The body has no line end of its own.
    let file = format!("{A}A: 1\nContent-Length: 2\n\nhi\n{B}A: 2\ncontent-length: 2\n\nho");
    assert_eq!(texts(&file), ["A: 1\n\nhi", "A: 2\n\nho"]);
    let file = format!("{A}A: 1\nContent-Length: 0\n\n\n{B}A: 2\nContent-Length: 0\n\n");
    assert_eq!(texts(&file), ["A: 1\n\n", "A: 2\n\n"]);
}

#[test]
fn what_a_program_has_written_beside_a_right_length_is_no_part_of_the_message() {
    // As mutt does it, and as old servers did.
    for fields in [
        "Status: RO\nContent-Length: 3\nLines: 1\n",
        "Content-Length: 3\nStatus: O\nX-UID: 7\n",
        "Content-Length: 3\n",
    ] {
        let file = format!("{A}Status: ill\nLines: 9\nA: 1\n{fields}\nhi\n\n{B}A: 2\n");
        assert_eq!(
            texts(&file)[0],
            "Status: ill\nLines: 9\nA: 1\n\nhi\n",
            "{fields}"
        );
    }
    let file = format!("{A}Content-Length: 3\nStatus: RO\nA: 1\nStatus: O\n\nhi\n\n{B}A: 2\n");
    assert_eq!(texts(&file)[0], "Status: RO\nA: 1\nStatus: O\n\nhi\n");
}

#[test]
fn a_wrong_length_is_no_length() {
    for length in [
        "3",
        "4",
        "5",
        "99999",
        "18446744073709551615",
        "-3",
        "x",
        "",
    ] {
        let file = format!("{A}Content-Length: {length}\n\nhi\n>From x\n\n{B}A: 2\n\nho\n");
        assert_eq!(
            texts(&file),
            [
                format!("Content-Length: {length}\n\nhi\nFrom x\n"),
                "A: 2\n\nho\n".into()
            ],
            "{length}"
        );
    }
    // It leads to a line of the body that is no From_ line.
    let file = format!("{A}Content-Length: 3\n\nhi\n\nFrom here on\nit is\n\n{B}A: 2\n");
    assert_eq!(texts(&file).len(), 2);
    // Of two, the right one is the store's.
    let file = format!("{A}Content-Length: 9\nContent-Length: 3\n\nhi\n\n{B}A: 2\n");
    assert_eq!(texts(&file), ["Content-Length: 9\n\nhi\n", "A: 2\n"]);
}

#[test]
fn a_length_is_heeded_whatever_has_become_of_the_line_ends() {
    let body = format!("one\n\n{B}A: 2\n\n");
    let lines = body.lines().count();
    let file = |counted: usize| format!("{A}A: 1\nContent-Length: {counted}\n\n{body}\n{B}A: 3\n");
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let expected = [format!("A: 1\n\n{body}"), "A: 3\n".to_owned()];
    // Counted with LF alone, and with CRLF.
    for counted in [body.len(), body.len() + lines] {
        assert_eq!(texts(&file(counted)), expected);
        assert_eq!(
            texts(&crlf(&file(counted))),
            expected.clone().map(|text| crlf(&text))
        );
    }
}

#[test]
fn a_server_s_fields_are_taken_off_and_are_the_unique_ids() {
    let file = "From ada@example.org Wed Feb  1 19:00:04 2006\n\
        Subject: one\nX-IMAPbase: 1138820404 0000000005 Junk\n NonJunk\n\
        X-UID: 1   \nStatus: RO\nX-Status: A\nX-Keywords: Junk\nContent-Length: 46\n\n\
        Hello\n\nFrom the quay we took the early ferry.\n\n\
        From bob@example.org Wed Feb  1 19:01:04 2006\n\
        Subject: two\nX-UID: 5\nContent-Length: 8\n\n>From x\n\n\
        From bob@example.org Wed Feb  1 19:02:04 2006\n\
        X-UID: 900\nSubject: three\n\n>From y\n\n";
    assert_eq!(
        texts(file),
        [
            "Subject: one\n\nHello\n\nFrom the quay we took the early ferry.\n",
            "Subject: two\n\n>From x\n",
            // It is not served unquoted, so clients do not know it so.
            "Subject: three\n\n>From y\n",
        ]
    );
    assert_eq!(
        old_ids(file),
        [
            Some("0000000143e10534".into()),
            Some("0000000543e10534".into()),
            Some("0000000643e10534".into()),
        ]
    );
    assert!(mbox(file.as_bytes(), SMALL).has_uids());
}

#[test]
fn fields_that_a_stranger_wrote_are_his() {
    let message = "X-UID: 7\nStatus: RO\nX-Keywords: a\n\nhi\n";
    let file = format!("{A}{message}\n{B}X-IMAPbase: 5 9\n{message}");
    let second = format!("X-IMAPbase: 5 9\n{message}");
    assert_eq!(texts(&file), [message.to_owned(), second]);
    assert_eq!(old_ids(&file), [None, None]);
    assert!(!mbox(file.as_bytes(), SMALL).has_uids());
}

#[test]
fn the_message_in_which_a_server_keeps_its_own_is_none() {
    let internal = "From MAILER-DAEMON Wed Feb  1 19:00:04 2006\n\
        Date: 01 Feb 2006 19:00:04 +0000\n\
        From: Mail System Internal Data <MAILER-DAEMON@example.org>\n\
        Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n\
        Message-ID: <1138820404@example.org>\n\
        X-IMAP: 1138820404 0000000002\nStatus: RO\n\n\
        This text is part of the internal format of your mail folder, and is not\n\
        a real message.  It is created automatically by the mail system software.\n\n";
    let file = format!("{internal}{A}X-UID: 2\nA: 1\n\n{B}A: 2\n");
    assert_eq!(texts(&file), ["A: 1\n", "A: 2\n"]);
    let ids = ["0000000243e10534", "0000000343e10534"].map(|id| Some(id.to_owned()));
    assert_eq!(old_ids(&file), ids);
    assert_eq!(texts(internal).len(), 0);
    // Somebody who writes about it is no server.
    let file = format!(
        "{A}Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 5 2\n\n{B}A: 2\n"
    );
    assert_eq!(texts(&file).len(), 2);
}

#[test]
fn the_from_line_tells_when_a_message_came() {
    let sender = format!("{}@example.org", "x".repeat(1000));
    let file = format!(
        "From a Thu Jan  1 00:01:00 1970\nA: 1\n\nFrom \nA: 2\n\n\
         From {sender} Thu Jan  1 00:02:00 1970\nA: 3\n"
    );
    let mut mbox = mbox(file.as_bytes(), SMALL);
    let item = |name: &str, seconds: Option<u64>| Item::Message {
        name: name.to_owned(),
        received_at: seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds)),
        old_id: OldId::Unknown,
        octets: None,
    };
    let [first, second, third] = [
        item("mbox inbox, message 1 (octet 0)", Some(60)),
        item("mbox inbox, message 2 (octet 38)", None),
        item("mbox inbox, message 3 (octet 50)", Some(120)),
    ];
    assert_eq!(mbox.next_item(), Some(first));
    assert_eq!(mbox.next_item(), Some(second));
    assert_eq!(mbox.next_item(), Some(third));
    assert_eq!(mbox.next_item(), None);
    assert_eq!(mbox.octets_read(), file.len() as u64);
}

#[test]
fn a_message_arrives_in_pieces_and_its_rest_can_be_skipped() {
    let line = "x".repeat(10_000);
    let file = format!("{A}{line}\n\n{B}A: 2\n");
    let mut mbox = mbox(file.as_bytes(), 100);
    mbox.next_item().unwrap();
    let mut piece = Vec::new();
    assert!(mbox.read(&mut piece).unwrap());
    assert!((100..9000).contains(&piece.len()));
    mbox.next_item().unwrap();
    piece.clear();
    while mbox.read(&mut piece).unwrap() {}
    assert_eq!(piece, b"A: 2\n");
    assert!(!mbox.read(&mut piece).unwrap());
}

/// A file that others change while it is read.
struct Changing(std::rc::Rc<std::cell::RefCell<Cursor<Vec<u8>>>>);

impl Read for Changing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(out)
    }
}

impl Seek for Changing {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.borrow_mut().seek(to)
    }
}

#[test]
fn what_is_rewritten_while_it_is_read_is_not_imported() {
    let text = format!("A: 1\n\n{}\n", "x".repeat(10_000));
    let file = format!("{A}{text}\n{B}{text}\n{A}{text}");
    let octets = file.len() as u64;
    let shared = std::rc::Rc::new(std::cell::RefCell::new(Cursor::new(file.into_bytes())));
    let (path, format) = (Path::new("inbox"), UidlFormat::default());
    let changing = Changing(shared.clone());
    let mut mbox = Mbox::new(changing, octets, path, 0, &format, SMALL).unwrap();
    mbox.next_item().unwrap();
    let mut message = Vec::new();
    while mbox.read(&mut message).unwrap() {}
    assert_eq!(message, text.as_bytes());
    mbox.next_item().unwrap();
    shared.borrow_mut().get_mut().drain(..100);
    let read = loop {
        match mbox.read(&mut message) {
            Ok(true) => {}
            other => break other,
        }
    };
    assert!(read.is_err());
    let Some(Item::Skipped { name, reason }) = mbox.next_item() else {
        panic!("nothing was skipped");
    };
    assert!(name.starts_with("mbox inbox, from octet "), "{name}");
    assert!(reason.starts_with("the rest cannot be read: "), "{reason}");
    assert_eq!(mbox.next_item(), None);
    assert!(!mbox.read(&mut message).unwrap());
}

/// The forms of mbox, as simple writers make them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Quotes "From ", and nothing that is quoted already.
    Mboxo,
    /// Quotes that too.
    Mboxrd,
    /// Quotes like mboxo, and counts what it has written.
    Mboxcl,
    /// Counts, and quotes nothing.
    Mboxcl2,
}

/// Where a header ends: its last line, without the empty one behind it.
fn end_of_header(message: &[u8]) -> usize {
    let mut at = 0;
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if matches!(line, b"\n" | b"\r\n") {
            return at;
        }
        at += line.len();
    }
    at
}

fn quoted(message: &[u8], form: Form) -> Vec<u8> {
    let mut out = Vec::new();
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        let quotes = line.iter().take_while(|octet| **octet == b'>').count();
        let quotes = if form == Form::Mboxrd { quotes } else { 0 };
        if form != Form::Mboxcl2 && line[quotes..].starts_with(FROM) {
            out.push(b'>');
        }
        out.extend(line);
    }
    out
}

fn write(messages: &[(Form, Vec<u8>)], line_end: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    for (form, message) in messages {
        file.extend(b"From ada@example.org Sat Jan  3 01:05:34 1996");
        file.extend(line_end);
        let message = quoted(message, *form);
        let header = end_of_header(&message);
        let (header, rest) = message.split_at(header);
        file.extend(header);
        if matches!(form, Form::Mboxcl | Form::Mboxcl2) {
            let end = if rest.starts_with(b"\r\n") { 2 } else { 1 };
            let body = rest.len() - end.min(rest.len());
            file.extend(format!("Content-Length: {body}").as_bytes());
            file.extend(line_end);
        }
        file.extend(rest);
        file.extend(line_end);
    }
    file
}

/// Any message with a header; in mboxrd any octets come back, elsewhere a "From " is nowhere but in
/// the body.
fn message(form: Form) -> impl Strategy<Value = (Form, Vec<u8>)> {
    let quoted_by_sender: &[u8] = match form {
        // What was quoted before can't be told from what they quote.
        Form::Mboxo | Form::Mboxcl => b"text",
        Form::Mboxrd | Form::Mboxcl2 => b"\n>From ",
    };
    let bare: &[u8] = match form {
        // Its quotes stay: a length counts them, so no reader knows whose they are.
        Form::Mboxcl => b"text",
        Form::Mboxo | Form::Mboxrd | Form::Mboxcl2 => b"\nFrom ",
    };
    let parts: [&[u8]; 9] = [
        bare,
        quoted_by_sender,
        b"\n>",
        b">",
        b"\n",
        b"\r\n",
        b"\r",
        b"Fro",
        b"text",
    ];
    let separator = b"\n\nFrom bob@example.org Sat Jan  3 01:05:34 1996\nSubject: y\n\n".as_slice();
    let separator = if form == Form::Mboxcl {
        b"\n"
    } else {
        separator
    };
    let part = prop_oneof![
        6 => proptest::sample::select(parts.to_vec()).prop_map(<[u8]>::to_vec),
        1 => Just(separator.to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(part, 0..40).prop_map(move |parts| {
        let mut message = [b"Subject: x\n\n".to_vec(), parts.concat()].concat();
        // An mbox cannot tell whether the last line had an end.
        if !message.ends_with(b"\n") {
            message.push(b'\n');
        }
        (form, message)
    })
}

fn form() -> impl Strategy<Value = Form> {
    proptest::sample::select(vec![Form::Mboxo, Form::Mboxrd, Form::Mboxcl, Form::Mboxcl2])
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let parts: [&[u8]; 12] = [
        b"From ",
        b"\nFrom ",
        b"\n>",
        b">",
        b"\n",
        b"\r\n",
        b"Content-Length: ",
        b"9\n\n",
        A.as_bytes(),
        b"X-IMAPbase: 1 2\n",
        b"X-UID: 1\n",
        b"text",
    ];
    let part = prop_oneof![
        4 => proptest::sample::select(parts.to_vec()).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn what_was_written_in_any_form_is_read_back(
        written in proptest::collection::vec(form().prop_flat_map(message), 1..5),
        piece_octets in 0usize..400,
    ) {
        let file = write(&written, b"\n");
        let written: Vec<_> = written.into_iter().map(|(_, message)| message).collect();
        prop_assert_eq!(messages(mbox(&file, piece_octets)), written);
    }

    #[test]
    fn what_was_written_as_mboxrd_is_read_back_whatever_it_is(
        bodies in proptest::collection::vec(message(Form::Mboxrd), 1..5),
        crlf in any::<bool>(),
        piece_octets in 0usize..80,
    ) {
        let file = write(&bodies, if crlf { b"\r\n" } else { b"\n" });
        let written: Vec<_> = bodies.into_iter().map(|(_, message)| message).collect();
        prop_assert_eq!(messages(mbox(&file, piece_octets)), written);
    }

    #[test]
    fn any_file_reads_the_same_however_little_of_it_is_in_memory(
        file in anything(),
        piece_octets in 0usize..80,
    ) {
        let file = [A.as_bytes(), &file].concat();
        let whole = messages(mbox(&file, 1 << 16));
        prop_assert_eq!(messages(mbox(&file, piece_octets)), whole);
    }
}

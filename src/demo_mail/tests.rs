use std::collections::HashSet;
use std::sync::LazyLock;

use jiff::fmt::rfc2822;

use super::*;

static MESSAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(messages);
const BARE_LF_AT: usize = 9;

/// The header of a message and its body, if it has one.
fn split(message: &[u8]) -> (String, Option<&[u8]>) {
    let end = message.windows(4).position(|octets| octets == b"\r\n\r\n");
    let (header, body) = match end {
        Some(at) => (&message[..at + 2], Some(&message[at + 4..])),
        None => (message, None),
    };
    (String::from_utf8(header.to_vec()).unwrap(), body)
}

/// The body of the message that has this in its header.
fn body(in_header: &str) -> &'static [u8] {
    let mut all = MESSAGES.iter().map(|message| split(message));
    let found = all.find(|(header, _)| header.contains(in_header));
    found.unwrap().1.unwrap()
}

fn attachment(body: &[u8]) -> Vec<u8> {
    let body = str::from_utf8(body).unwrap();
    let (_, encoded) = body.split_once("base64\r\n\r\n").unwrap();
    let (encoded, end) = encoded.split_once("--=_").unwrap();
    assert!(end.ends_with("_=--\r\n"));
    BASE64_MIME.decode(encoded.as_bytes()).unwrap()
}

#[test]
fn they_are_the_same_every_time() {
    assert_eq!(messages(), *MESSAGES);
}

#[test]
fn every_header_is_complete_and_they_are_in_order() {
    let mut ids = HashSet::new();
    let mut dates = Vec::new();
    for message in MESSAGES.iter() {
        let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
        let (header, _) = text.split_once("\n\n").unwrap_or((&text, ""));
        assert!(header.is_ascii());
        let field = |name: &str| {
            let mut lines = header.lines();
            lines.find_map(|line| line.strip_prefix(name)).unwrap()
        };
        // This checks the day of the week, too.
        dates.push(rfc2822::parse(field("Date: ")).unwrap());
        assert!(ids.insert(field("Message-ID: ").to_owned()));
        for name in ["From: ", "To: ", "Subject: "] {
            assert!(!field(name).is_empty());
        }
    }
    assert!(dates.is_sorted());
}

#[test]
fn everybody_lives_at_example_com_or_example_org() {
    for message in MESSAGES.iter() {
        for host in message.split(|octet| *octet == b'@').skip(1) {
            assert!(host.starts_with(b"example.com") || host.starts_with(b"example.org"));
        }
    }
}

#[test]
fn one_has_bare_lf_and_all_others_end_their_lines_with_crlf() {
    for (at, message) in MESSAGES.iter().enumerate() {
        let ends_with_crlf = |line: &[u8]| line.ends_with(b"\r\n");
        let mut lines = message.split_inclusive(|octet| *octet == b'\n');
        if at == BARE_LF_AT {
            assert!(!message.contains(&b'\r') && message.ends_with(b"\n"));
        } else {
            assert!(lines.all(ends_with_crlf));
        }
    }
}

#[test]
fn one_line_is_very_long_and_no_other_is() {
    let lines = MESSAGES
        .iter()
        .flat_map(|m| m.split(|octet| *octet == b'\n'));
    let long: Vec<usize> = lines.map(<[u8]>::len).filter(|n| *n > 998).collect();
    // Its CR is counted.
    assert_eq!(long, [LONG_LINE_OCTETS + 1]);
}

#[test]
fn the_telegram_begins_with_a_dot_and_has_lines_of_them() {
    let body = str::from_utf8(body("TELEGRAM")).unwrap();
    assert!(body.starts_with('.'));
    assert!(body.contains("\r\n.\r\n..\r\n...end"));
    assert!(body.ends_with("\r\n.\r\n"));
}

#[test]
fn one_has_a_header_only_and_one_has_an_empty_body() {
    let bodies = || MESSAGES.iter().map(|message| split(message).1);
    // The one with bare LF has no empty line with CRLF either.
    assert_eq!(bodies().filter(Option::is_none).count(), 2);
    assert_eq!(bodies().filter(|body| *body == Some(b"")).count(), 1);
}

#[test]
fn every_body_is_encoded_as_its_header_says() {
    let utf_8 = str::from_utf8(body("charset=utf-8\r\nContent-Transfer-Encoding: 8bit"));
    assert!(utf_8.unwrap().contains("ein Päckchen"));

    let latin_1 = body("charset=iso-8859-1");
    assert!(latin_1.starts_with(b"Ch\xe8re Madame") && !latin_1.contains(&b'?'));

    let quoted = str::from_utf8(body("quoted-printable")).unwrap();
    assert!(quoted.is_ascii() && quoted.contains("=\r\n") && quoted.contains("=3D"));
    assert!(quoted.split("\r\n").all(|line| line.len() <= 76));

    let flowed = str::from_utf8(body("format=flowed")).unwrap();
    assert!(flowed.contains("> Should anyone ask about the smell, it is the Roquefort. It \r\n"));

    let alternative = str::from_utf8(body("multipart/alternative")).unwrap();
    assert_eq!(alternative.matches("\r\n--perforation\r\n").count(), 2);
    assert!(alternative.ends_with("</html>\r\n--perforation--\r\n"));
}

#[test]
fn the_attachments_are_what_they_say() {
    let table = String::from_utf8(attachment(body("shelves"))).unwrap();
    assert_eq!(table.lines().count(), 41);
    assert!(table.lines().all(|line| line.split(',').count() == 4));

    assert!((5_000_000..5_500_000).contains(&body("concert").len()));
    let sound = attachment(body("concert"));
    assert!(sound.starts_with(b"RIFF") && sound[8..].starts_with(b"WAVEfmt "));
    let number = |at: usize| u32::from_le_bytes(sound[at..at + 4].try_into().unwrap());
    assert_eq!(number(4) as usize, sound.len() - 8);
    assert_eq!(number(40) as usize, sound.len() - 44);
}

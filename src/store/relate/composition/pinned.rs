//! Messages as version 1 composes them, octet for octet.
//!
//! The files of `pinned/` are never changed, and neither are the rows here: a client has seen such
//! messages. A composition that gives other octets is another version, with files of its own.

use std::path::Path;

use super::tests::{compose, plain_mail};
use super::*;

/// Rows, and the name of the file that holds what they become.
type Example = (
    &'static str,
    Mail,
    Vec<NamedRecipient>,
    Vec<(Attachment, Vec<u8>)>,
);

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn to(id: u128, name: Option<&str>, address: &str) -> NamedRecipient {
    NamedRecipient {
        id,
        kind: RecipientKind::To,
        address: address.to_owned(),
        name: name.map(str::to_owned),
    }
}

fn cc(id: u128, name: Option<&str>, address: &str) -> NamedRecipient {
    NamedRecipient {
        kind: RecipientKind::Cc,
        ..to(id, name, address)
    }
}

fn bcc(id: u128, name: Option<&str>, address: &str) -> NamedRecipient {
    NamedRecipient {
        kind: RecipientKind::Bcc,
        ..to(id, name, address)
    }
}

fn attachment(
    id: u128,
    file_name: &str,
    content_type: &str,
    content: &[u8],
) -> (Attachment, Vec<u8>) {
    let octets = u64::try_from(content.len()).unwrap();
    let (file_name, content_type) = (file_name.to_owned(), content_type.to_owned());
    (
        Attachment {
            id,
            file_name,
            content_type,
            octets,
        },
        content.to_vec(),
    )
}

/// Three mails as Relate Mail stores them.
fn stored() -> Vec<Example> {
    let dots = Mail {
        text: text("first\r\n.\r\n..two\r\nlast\r\n"),
        ..plain_mail()
    };
    let same = Mail {
        id: 0x5222_2222_2222_4222_8222_2222_2222_2222,
        from_name: None,
        subject: "Same Message-ID again".to_owned(),
        text: text("x"),
        ..plain_mail()
    };
    let mixed = Mail {
        id: 0x5333_3333_3333_4333_8333_3333_3333_3333,
        message_id: format!("{}@sender.example", "long".repeat(30)),
        subject: "UIDL too long".to_owned(),
        html: text("<p>x</p>"),
        received_at_us: 1_767_312_000_000_000,
        ..same.clone()
    };
    vec![
        (
            "dots.eml",
            dots,
            vec![
                cc(
                    0x6111_1111_1111_4111_8111_1111_1111_1113,
                    Some("Bob"),
                    "bob@example.com",
                ),
                cc(
                    0x6111_1111_1111_4111_8111_1111_1111_1112,
                    None,
                    "alias@example.com",
                ),
                to(
                    0x6111_1111_1111_4111_8111_1111_1111_1111,
                    Some("Alice"),
                    "Alice@Example.com",
                ),
            ],
            vec![],
        ),
        (
            "one_line.eml",
            same,
            vec![to(1, None, "alice@example.com")],
            vec![],
        ),
        (
            "mixed.eml",
            mixed,
            vec![
                bcc(1, None, "alice@example.com"),
                to(2, None, "ghost@example.com"),
            ],
            vec![attachment(
                1,
                "a.bin",
                "application/octet-stream",
                b"\x00\xff\x0a\x2e",
            )],
        ),
    ]
}

/// Bodies.
fn bodies() -> Vec<Example> {
    let alternative = Mail {
        text: text("Grüße,\nCarol"),
        html: text("<p>Gr&uuml;&szlig;e,<br>Carol</p>\n"),
        in_reply_to: text("second@example.com"),
        references: text(
            "<first@example.com> <second@example.com> <a-rather-long-id-of-another-mail@elsewhere.example>",
        ),
        ..plain_mail()
    };
    let html = Mail {
        text: text(""),
        html: text("<p>one\rtwo\nthree\r\n\r</p>"),
        ..plain_mail()
    };
    let long_line = Mail {
        text: text(&format!("short\n{}\n", "0123456789".repeat(100))),
        ..plain_mail()
    };
    let boundary = Mail {
        text: text("--=_51111111111141118111111111111111_alternative--\r\n"),
        html: text("<p>html</p>"),
        ..plain_mail()
    };
    let empty = Mail {
        from_address: String::new(),
        from_name: None,
        subject: "(No Subject)".to_owned(),
        text: None,
        message_id: String::new(),
        ..plain_mail()
    };
    vec![
        (
            "alternative.eml",
            alternative,
            vec![to(1, None, "alice@example.com")],
            vec![],
        ),
        ("html.eml", html, vec![], vec![]),
        ("long_line.eml", long_line, vec![], vec![]),
        ("boundary_in_the_text.eml", boundary, vec![], vec![]),
        ("no_sender_no_body.eml", empty, vec![], vec![]),
    ]
}

/// Names, subjects and addresses.
fn fields() -> Vec<Example> {
    let long_subject = Mail {
        subject: "a subject of many words ".repeat(8).trim_end().to_owned(),
        ..plain_mail()
    };
    let names = Mail {
        from_address: "grüße@bücher.example".to_owned(),
        from_name: text("Jörg Müller"),
        subject: "🎉 Ein sehr langer Betreff mit Umlauten: äöüß, und noch 漢字 dazu, damit er gefaltet wird 🎉".to_owned(),
        ..plain_mail()
    };
    let injection = Mail {
        message_id: "x@y>\r\nBcc: eve@example.org".to_owned(),
        from_address: "carol@sender.example>\r\nBcc: <eve@example.org".to_owned(),
        from_name: text("Carol\" <eve@example.org>,\r\nBcc: \"x"),
        subject: "Hello\r\nBcc: eve@example.org\r\n\r\nnot the body".to_owned(),
        in_reply_to: text("z\r\n\r\nnot the body"),
        references: text("<a@b>\r\nBcc:\teve@example.org\r\n\r\nno"),
        ..plain_mail()
    };
    let look_alike = Mail {
        from_name: text("=?utf-8?q?Eve?="),
        subject: "  =?utf-8?B?RXZl?= =?x  ".to_owned(),
        ..plain_mail()
    };
    let crowd = (1..=8).map(|id| {
        let name = ["Ada Lovelace", "Dr. Bob", "Smith, John", "O'Neil (work)"]
            [usize::try_from(id % 4).unwrap()];
        to(id, Some(name), &format!("user{id}@department.example.com"))
    });
    vec![
        ("long_subject.eml", long_subject, crowd.collect(), vec![]),
        (
            "names.eml",
            names,
            vec![
                to(1, Some("😀"), "smile@bücher.example"),
                cc(2, Some("Nobody"), ""),
            ],
            vec![],
        ),
        (
            "injection.eml",
            injection,
            vec![to(1, Some("a\nb"), "a@b, eve@example.org")],
            vec![attachment(
                1,
                "a.txt\"\r\nBcc: eve@example.org\r\n\r\n",
                "text/plain\r\nBcc: eve@example.org",
                b"x",
            )],
        ),
        (
            "look_alike.eml",
            look_alike,
            vec![to(
                1,
                Some("a_b=c?"),
                "=?utf-8?q?eve=40example.org?=@example.com",
            )],
            vec![],
        ),
    ]
}

/// Attachments.
fn files() -> Vec<Example> {
    let octets: Vec<u8> = (0..=255).collect();
    let attachments = vec![
        attachment(9, "Überweisung €.pdf", "application/pdf", &octets),
        attachment(8, "", "text/csv", b"a,b\n"),
        attachment(7, "empty", "image/png", b""),
        attachment(
            6,
            "my report (final).docx",
            "multipart/mixed",
            &octets[..57],
        ),
        attachment(5, "../\"quoted\\name\"", "message/rfc822", &octets[..58]),
        attachment(
            4,
            &"ein langer Name mit Umlauten äöü ".repeat(4),
            "nonsense",
            &octets[..114],
        ),
    ];
    vec![(
        "files.eml",
        Mail {
            text: None,
            ..plain_mail()
        },
        vec![to(1, None, "alice@example.com")],
        attachments,
    )]
}

#[test]
fn what_clients_have_seen_stays_the_same_to_the_octet() {
    assert_eq!(VERSION, 1);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/relate/composition/pinned");
    let examples = [stored(), bodies(), fields(), files()].concat();
    for (name, mail, recipients, attachments) in &examples {
        let composed = compose(mail, recipients, attachments);
        let path = folder.join(name);
        let pinned = std::fs::read(path).unwrap();
        assert!(
            composed == pinned,
            "{name} is another message now:\n{}",
            String::from_utf8_lossy(&composed)
        );
    }
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(files, examples.len());
}

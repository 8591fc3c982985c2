//! What comes out of a composed mail is what was put in: read again by a parser that shares no code
//! with the composition.

use std::collections::HashMap;

use mail_parser::{
    Addr, Address, HeaderName, Message, MessageParser, MessagePart, MimeHeaders, PartType,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// An attachment with its octets.
type WithOctets = (Attachment, Vec<u8>);

/// Reads a whole mail in pieces of these sizes, over and over.
fn read(
    composition: &Composition,
    contents: &HashMap<u128, Vec<u8>>,
    cuts: &[u32],
    begin: u64,
) -> Vec<u8> {
    let mut octets = Vec::new();
    for cut in cuts.iter().cycle() {
        let offset = begin + u64::try_from(octets.len()).unwrap();
        match composition.part_at(offset, *cut) {
            Part::End => break,
            Part::Octets(piece) => {
                assert!(
                    !piece.is_empty() && piece.len() <= usize::try_from((*cut).max(1)).unwrap()
                );
                octets.extend_from_slice(&piece);
            }
            Part::Attachment {
                id,
                from,
                octets: count,
                skip,
            } => {
                assert!(from % 57 == 0 && count > 0 && count <= (*cut).max(57));
                let from = usize::try_from(from).unwrap();
                let range = &contents[&id][from..from + usize::try_from(count).unwrap()];
                let piece = encode(range, skip);
                assert!(!piece.is_empty());
                octets.extend_from_slice(&piece);
            }
        }
    }
    octets
}

/// Composes a mail and reads it as a whole.
pub(super) fn compose(
    mail: &Mail,
    recipients: &[NamedRecipient],
    attachments: &[WithOctets],
) -> Vec<u8> {
    let rows: Vec<Attachment> = attachments.iter().map(|(row, _)| row.clone()).collect();
    let contents = attachments
        .iter()
        .map(|(row, octets)| (row.id, octets.clone()));
    let composition = Composition::new(mail, &recipient_lines(recipients), &rows);
    let octets = read(&composition, &contents.collect(), &[65_536], 0);
    assert_eq!(composition.octets(), u64::try_from(octets.len()).unwrap());
    octets
}

fn parse(octets: &[u8]) -> Message<'_> {
    MessageParser::new().parse(octets).expect("a message")
}

/// Texts that mean something in a header, a body or a file name.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = vec![
        "\r\n",
        "\n",
        "\r",
        "\t",
        " ",
        "  ",
        "\"",
        "\\",
        "<",
        ">",
        "@",
        ",",
        ";",
        ":",
        "(",
        ")",
        "=?utf-8?q?x?=",
        "=?utf-8?B?eA==?=",
        "?=",
        "=?",
        "=",
        "'",
        "%41",
        "*",
        ".",
        "..",
        "\r\nBcc: eve@example.org\r\n\r\n",
        "=_00000000000000000000000000000007",
        "--=_00000000000000000000000000000007_mixed--",
        "\0",
        "\u{1b}",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "é",
        "e\u{301}",
        "漢字",
        "😀",
        "a",
        "word",
        "Dr.",
        "/",
        "../",
        "a@b.example",
    ];
    let long = prop_oneof![
        Just("w".repeat(90)),
        Just("ü".repeat(60)),
        Just("x".repeat(1200)),
        Just("ab ".repeat(60))
    ];
    let piece = prop_oneof![
        8 => proptest::sample::select(pieces).prop_map(str::to_owned),
        2 => any::<char>().prop_map(String::from),
        2 => "[ -~]{1,12}",
        1 => long,
    ];
    vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

/// Names as people have them, and others.
fn name() -> impl Strategy<Value = Option<String>> {
    option::of(prop_oneof![
        hostile(),
        "[A-Z][a-z]{1,9} [A-Z][a-z.,']{1,9}",
        "\\PC{1,30}",
    ])
}

/// Addresses that a header can hold.
fn usable_address() -> impl Strategy<Value = String> {
    let domain = prop_oneof![
        "[a-z0-9]{1,8}(-[a-z0-9]{1,5})?\\.example",
        Just("bücher.example".to_owned()),
        Just("例え.テスト".to_owned()),
        Just("[192.0.2.1]".to_owned()),
    ];
    let local = "[a-zA-Z0-9!#$%&'*+/^_`{|}~-]{1,12}(\\.[a-z0-9]{1,9}){0,2}";
    (local, domain).prop_map(|(local, domain)| format!("{local}@{domain}"))
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => usable_address(),
        1 => Just(String::new()),
        2 => hostile(),
        2 => (hostile(), hostile()).prop_map(|(local, domain)| format!("{local}@{domain}")),
        1 => hostile().prop_map(|local| format!("{local}@example.org")),
    ]
}

fn recipients() -> impl Strategy<Value = Vec<NamedRecipient>> {
    let kind = proptest::sample::select(vec![
        RecipientKind::To,
        RecipientKind::Cc,
        RecipientKind::Bcc,
    ]);
    let row = (any::<u128>(), kind, address(), name());
    let row = row.prop_map(|(id, kind, address, name)| NamedRecipient {
        id,
        kind,
        address,
        name,
    });
    vec(row, 0..6)
}

fn attachments() -> impl Strategy<Value = Vec<WithOctets>> {
    let content_type = prop_oneof![
        3 => "(application|image|x-a)/[a-z0-9.+-]{1,20}",
        1 => Just("multipart/mixed".to_owned()),
        1 => Just("MESSAGE/rfc822".to_owned()),
        1 => hostile(),
    ];
    let file_name = prop_oneof![hostile(), "\\PC{0,200}", "[a-z]{1,90}\\.[a-z]{3}"];
    let octets = prop_oneof![
        vec(any::<u8>(), 0..4),
        vec(any::<u8>(), 54..60),
        vec(any::<u8>(), 0..400)
    ];
    let row = (any::<u128>(), file_name, content_type, octets);
    let row = row.prop_map(|(id, file_name, content_type, content)| {
        let octets = u64::try_from(content.len()).unwrap();
        (
            Attachment {
                id,
                file_name,
                content_type,
                octets,
            },
            content,
        )
    });
    vec(row, 0..4)
}

fn mail() -> impl Strategy<Value = Mail> {
    let ids = prop_oneof![hostile(), "[a-z0-9.]{1,20}@[a-z]{1,9}\\.example"];
    let body = || option::of(prop_oneof![hostile(), "(\\PC{0,40}(\r\n|\n|\r)?){0,5}"]);
    let id = prop_oneof![Just(7_u128), any::<u128>()];
    let head = (id, ids, address(), name(), hostile(), any::<i64>());
    let rest = (body(), body(), option::of(hostile()), option::of(hostile()));
    (head, rest).prop_map(|(head, rest)| {
        let (id, message_id, from_address, from_name, subject, received_at_us) = head;
        let (text, html, in_reply_to, references) = rest;
        Mail {
            id,
            message_id,
            from_address,
            from_name,
            subject,
            text,
            html,
            received_at_us,
            in_reply_to,
            references,
        }
    })
}

/// The names and addresses of a field; a group without addresses is a name without one.
fn named(address: Option<&Address<'_>>) -> Vec<(String, String)> {
    let pair = |addr: &Addr<'_>| {
        (
            addr.name().unwrap_or_default().to_owned(),
            addr.address().unwrap_or_default().to_owned(),
        )
    };
    match address {
        None => Vec::new(),
        Some(Address::List(list)) => list.iter().map(pair).collect(),
        Some(Address::Group(groups)) => groups
            .iter()
            .flat_map(|group| {
                let nobody = (
                    group.name.as_deref().unwrap_or_default().to_owned(),
                    String::new(),
                );
                if group.addresses.is_empty() {
                    vec![nobody]
                } else {
                    group.addresses.iter().map(pair).collect()
                }
            })
            .collect(),
    }
}

/// Is that what became of a name and an address?
fn is_same(found: &(String, String), name: Option<&str>, address: &str, nobody: &str) -> bool {
    let name = name.unwrap_or_default();
    if address.is_empty() {
        return found.1.is_empty() && found.0 == if name.is_empty() { nobody } else { name };
    }
    if found.1 == "invalid@internationalized-address.invalid" {
        let shown = if name.is_empty() {
            address.to_owned()
        } else {
            format!("{name} <{address}>")
        };
        return found.0 == shown;
    }
    // Written as it is, but for quotes that it needs and the domain.
    let (local, domain) = address.rsplit_once('@').unwrap();
    let (found_local, found_domain) = found.1.rsplit_once('@').unwrap();
    let ascii = idna::domain_to_ascii_cow(domain.as_bytes(), idna::AsciiDenyList::EMPTY);
    let is_domain = found_domain == domain
        || ascii.is_ok_and(|ascii| found_domain == ascii)
        || found_domain.contains("xn--");
    found.0 == name && found_local.trim_matches('"') == local.trim_matches('"') && is_domain
}

fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace('\r', "\n")
        .replace('\n', "\r\n")
}

/// Parts that are no multipart: those of the body, and the attachments.
fn leaves<'a, 'b>(
    message: &'a Message<'b>,
) -> (Vec<&'a MessagePart<'b>>, Vec<&'a MessagePart<'b>>) {
    let parts = message.parts.iter();
    let leaves = parts.filter(|part| !matches!(part.body, PartType::Multipart(_)));
    leaves.partition(|part| part.content_disposition().is_none())
}

fn check_body(mail: &Mail, message: &Message<'_>, is_single: bool) -> Result<(), TestCaseError> {
    let (bodies, _) = leaves(message);
    let text = mail.text.as_deref().filter(|text| !text.is_empty());
    let html = mail.html.as_deref().filter(|html| !html.is_empty());
    let mut expected: Vec<(&str, String)> = Vec::new();
    if text.is_some() || html.is_none() {
        expected.push(("plain", with_crlf(text.unwrap_or_default())));
    }
    expected.extend(html.map(|html| ("html", with_crlf(html))));
    prop_assert_eq!(bodies.len(), expected.len());
    for (part, (subtype, mut expected)) in bodies.iter().zip(expected) {
        prop_assert_eq!(part.content_type().unwrap().subtype(), Some(subtype));
        prop_assert_eq!(
            part.content_type().unwrap().attribute("charset"),
            Some("utf-8")
        );
        let is_base64 = part.content_transfer_encoding() == Some("base64");
        if is_single && !is_base64 && !expected.is_empty() && !expected.ends_with("\r\n") {
            expected.push_str("\r\n");
        }
        let (PartType::Text(found) | PartType::Html(found)) = &part.body else {
            return Err(TestCaseError::fail("no text"));
        };
        prop_assert_eq!(found.as_ref(), expected);
    }
    Ok(())
}

fn check_attachments(rows: &[WithOctets], message: &Message<'_>) -> Result<(), TestCaseError> {
    let mut rows: Vec<&WithOctets> = rows.iter().collect();
    rows.sort_by_key(|(row, _)| row.id);
    let (_, parts) = leaves(message);
    prop_assert_eq!(parts.len(), rows.len());
    for (part, (row, octets)) in parts.iter().zip(rows) {
        prop_assert!(part.content_disposition().unwrap().is_attachment());
        prop_assert_eq!(part.attachment_name().unwrap_or_default(), &row.file_name);
        prop_assert_eq!(part.contents(), octets);
        let found = part.content_type().unwrap();
        let found = format!("{}/{}", found.ctype(), found.subtype().unwrap_or_default());
        let is_octets = found == "application/octet-stream";
        prop_assert!(is_octets || found == row.content_type.to_ascii_lowercase());
        prop_assert!(
            !is_octets || row.content_type.len() > 60 || !row.content_type.starts_with("x-a/")
        );
    }
    Ok(())
}

/// Header blocks: of the mail, and of each part.
fn check_headers(octets: &[u8], message: &Message<'_>) -> Result<(), TestCaseError> {
    let allowed = [
        "Date",
        "From",
        "To",
        "Cc",
        "Message-ID",
        "In-Reply-To",
        "References",
        "Subject",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
        "Content-Disposition",
    ];
    for (at, part) in message.parts.iter().enumerate() {
        let begin = usize::try_from(part.offset_header).unwrap();
        let end = usize::try_from(part.offset_body).unwrap();
        let block = std::str::from_utf8(&octets[begin..end]).unwrap();
        prop_assert!(block.is_ascii() && block.ends_with("\r\n"));
        let mut names: Vec<&str> = Vec::new();
        for line in block
            .split_terminator("\r\n")
            .filter(|line| !line.is_empty())
        {
            prop_assert!(
                line.bytes().all(|octet| (0x20..0x7f).contains(&octet)),
                "{line:?}"
            );
            prop_assert!(line.len() <= 998);
            let text = line.strip_prefix(' ').unwrap_or_else(|| {
                let (name, text) = line.split_once(':').unwrap();
                names.push(name);
                text.trim_start()
            });
            prop_assert!(!text.is_empty() || line == "Subject:");
            let can_fold = text.contains(' ') && !text.contains('"');
            prop_assert!(line.len() <= 78 || !can_fold, "{line:?}");
            // In brackets, it is no encoded word.
            prop_assert!(
                line.len() <= 76 || !text.starts_with("=?utf-8?"),
                "{line:?}"
            );
        }
        let is_inner = at > 0;
        prop_assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
        prop_assert!(!is_inner || names.iter().all(|name| name.starts_with("Content-")));
        let order: Vec<usize> = names
            .iter()
            .map(|name| allowed.iter().position(|it| it == name).unwrap())
            .collect();
        prop_assert!(is_inner || order.is_sorted_by(|a, b| a < b), "{names:?}");
    }
    Ok(())
}

fn check_canonical(octets: &[u8]) -> Result<(), TestCaseError> {
    prop_assert!(octets.ends_with(b"\r\n") && !octets.contains(&0));
    for line in octets
        .strip_suffix(b"\r\n")
        .unwrap()
        .split(|octet| *octet == b'\n')
    {
        prop_assert!(line.len() <= 999);
        let inside = line.strip_suffix(b"\r").unwrap_or(line);
        prop_assert!(!inside.contains(&b'\r'));
    }
    let bare = octets
        .windows(2)
        .filter(|two| two[1] == b'\n' && two[0] != b'\r')
        .count();
    prop_assert_eq!(bare, 0);
    Ok(())
}

/// A mail with nothing odd about it.
pub(super) fn plain_mail() -> Mail {
    Mail {
        id: 0x5111_1111_1111_4111_8111_1111_1111_1111,
        message_id: "m1@sender.example".to_owned(),
        from_address: "carol@sender.example".to_owned(),
        from_name: Some("Carol".to_owned()),
        subject: "Dots".to_owned(),
        text: Some("text\r\n".to_owned()),
        html: None,
        received_at_us: 1_767_225_600_000_000,
        in_reply_to: None,
        references: None,
    }
}

/// The first lines of a mail that begin with this.
fn lines(mail: &Mail, begin: &str) -> Vec<String> {
    let octets = compose(mail, &[], &[]);
    let text = String::from_utf8(octets).unwrap().replace("\r\n ", " ");
    let lines = text.split("\r\n").filter(|line| line.starts_with(begin));
    lines.map(str::to_owned).collect()
}

#[test]
fn an_id_stays_as_it_is_if_a_header_can_hold_it() {
    let long = format!("{}@x.example", "i".repeat(400));
    let exact = [
        "a@b.example",
        "no-at-sign",
        "a..b@[x]",
        "=?utf-8?q?x?=@y",
        "\"a b\"@c.example",
        &long,
    ];
    for id in exact {
        let mail = Mail {
            message_id: id.to_owned(),
            in_reply_to: Some(id.to_owned()),
            ..plain_mail()
        };
        assert_eq!(lines(&mail, "Message-ID"), [format!("Message-ID: <{id}>")]);
        assert_eq!(
            lines(&mail, "In-Reply-To"),
            [format!("In-Reply-To: <{id}>")]
        );
    }
}

#[test]
fn any_other_id_is_the_same_one_in_a_mail_and_its_replies() {
    let long = "i".repeat(981);
    let mut seen = Vec::new();
    for id in [
        "a b@c",
        "a>@b",
        "x\r\nBcc: eve@example.org",
        "\0",
        "é@b",
        " a@b",
        &long,
    ] {
        let references = Some(format!("<first@x> <{id}>"));
        let mail = Mail {
            message_id: id.to_owned(),
            in_reply_to: Some(id.to_owned()),
            references,
            ..plain_mail()
        };
        let found = lines(&mail, "Message-ID: <")
            .concat()
            .replace("Message-ID: ", "");
        assert!(
            found.ends_with("@id.invalid>") && found.len() == 45,
            "{found}"
        );
        assert_eq!(
            lines(&mail, "In-Reply-To"),
            [format!("In-Reply-To: {found}")]
        );
        if !id.contains(['>', ' ']) {
            assert_eq!(
                lines(&mail, "References"),
                [format!("References: <first@x> {found}")]
            );
        }
        assert!(!seen.contains(&found));
        seen.push(found);
    }
    let none = Mail {
        message_id: String::new(),
        in_reply_to: Some(String::new()),
        ..plain_mail()
    };
    assert_eq!(
        lines(&none, "Message-ID"),
        ["Message-ID: <51111111111141118111111111111111@id.invalid>"]
    );
    assert!(lines(&none, "In-Reply-To").is_empty());
}

#[test]
fn references_are_ids_in_brackets() {
    for (stored, written) in [
        ("<a@b> <c@d>", "<a@b> <c@d>"),
        ("<a@b><c@d>\r\n\t< e@f >", "<a@b> <c@d> <e@f>"),
        ("a@b c@d<e@f>", "<a@b> <c@d> <e@f>"),
        ("<\"a b\"@c> <> <cut@of", "<\"a b\"@c> <cut@of>"),
    ] {
        let mail = Mail {
            references: Some(stored.to_owned()),
            ..plain_mail()
        };
        assert_eq!(
            lines(&mail, "References"),
            [format!("References: {written}")]
        );
    }
    for nothing in ["", " \r\n", "<>", "< > <<<"] {
        let mail = Mail {
            references: Some(nothing.to_owned()),
            ..plain_mail()
        };
        assert!(lines(&mail, "References").is_empty(), "{nothing}");
    }
}

#[test]
fn addresses_that_no_header_can_hold_are_shown_in_the_name() {
    let refused = [
        "nobody",
        "@",
        "a@",
        "@b",
        "a@b@c",
        "a@b\r\nBcc: e@f",
        "a\0@b",
        "a\"b@c",
        "<a@b>",
        "a@b, c@d",
        "a@b>",
        "a(c)@b",
        "é@b",
        "a@b c",
        "a@b.",
        "a@-\u{3002}x",
        "=?utf-8?q?x=40y?=@z",
        "\"a\\\"b\"@c",
        " a@b",
        "a@[x]y",
    ];
    for address in refused {
        let words = address::mailbox(Some("Carol"), address, "nobody");
        let (last, name) = words.split_last().unwrap();
        assert_eq!(
            last, "<invalid@internationalized-address.invalid>",
            "{address}"
        );
        assert!(
            name.iter()
                .all(|word| word.starts_with("=?utf-8?") && word.ends_with("?="))
        );
    }
    let written = [
        ("a..b@c", "<\"a..b\"@c>"),
        ("a b@c", "<\"a b\"@c>"),
        ("\"a b\"@c", "<\"a b\"@c>"),
        ("o'hara+x@C.Example", "<o'hara+x@C.Example>"),
        ("a@Bücher.example", "<a@xn--Bcher-kva.example>"),
        ("a@[IPv6:::1]", "<a@[IPv6:::1]>"),
        ("a@h_1", "<a@h_1>"),
    ];
    for (address, word) in written {
        assert_eq!(address::mailbox(None, address, "nobody"), [word]);
    }
}

#[test]
fn dates_are_in_utc_and_never_fail() {
    for (time_us, shown) in [
        (1_769_900_595_999_999, "Sat, 31 Jan 2026 23:03:15 +0000"),
        (-1, "Wed, 31 Dec 1969 23:59:59 +0000"),
        (i64::MAX, "Thu, 30 Dec 9999 22:00:00 +0000"),
        (i64::MIN, "Mon, 01 Jan 0001 00:00:00 +0000"),
    ] {
        assert_eq!(date(time_us), format!("Date: {shown}\r\n"));
    }
}

#[test]
fn unknown_kinds_of_recipients_are_not_shown() {
    for (text, kind) in [
        ("To", RecipientKind::To),
        ("Cc", RecipientKind::Cc),
        ("Bcc", RecipientKind::Bcc),
        ("to", RecipientKind::Bcc),
    ] {
        assert_eq!(RecipientKind::from_column(text), kind);
    }
}

/// The octets of a large attachment are never asked for at once.
#[test]
fn a_large_attachment_is_read_in_small_ranges() {
    let row = Attachment {
        id: 1,
        file_name: "a".to_owned(),
        content_type: "a/b".to_owned(),
        octets: 5_000_000_000,
    };
    let composition = Composition::new(&plain_mail(), "", &[row]);
    assert!(composition.octets() > 6_842_105_000 && composition.octets() < 6_842_107_000);
    let Part::Attachment {
        from, octets, skip, ..
    } = composition.part_at(6_000_000_000, 65_536)
    else {
        panic!("not the attachment");
    };
    assert!(octets <= 65_536 && skip < 78 && from % 57 == 0 && from > 4_000_000_000);
}

proptest! {
    #[test]
    fn what_comes_out_is_what_was_put_in(mail in mail(), recipients in recipients(), attachments in attachments()) {
        let octets = compose(&mail, &recipients, &attachments);
        check_canonical(&octets)?;
        let message = parse(&octets);
        check_headers(&octets, &message)?;
        prop_assert_eq!(message.subject().unwrap_or_default(), &mail.subject);
        let from = named(message.from());
        prop_assert_eq!(from.len(), 1);
        prop_assert!(is_same(&from[0], mail.from_name.as_deref(), &mail.from_address, "undisclosed-sender"), "{from:?}");
        for (kind, found) in [(RecipientKind::To, message.to()), (RecipientKind::Cc, message.cc())] {
            let mut rows: Vec<&NamedRecipient> = recipients.iter().filter(|row| row.kind == kind).collect();
            rows.sort_by_key(|row| row.id);
            let found = named(found);
            prop_assert_eq!(found.len(), rows.len());
            for (found, row) in found.iter().zip(rows) {
                prop_assert!(is_same(found, row.name.as_deref(), &row.address, "undisclosed-recipients"), "{found:?}");
            }
        }
        prop_assert!(message.bcc().is_none());
        prop_assert!(message.header(HeaderName::MessageId).is_some());
        let is_single = message.parts.len() == 1;
        check_body(&mail, &message, is_single)?;
        check_attachments(&attachments, &message)?;
    }

    #[test]
    fn a_usable_address_is_written_as_such(address in usable_address(), name in name()) {
        let line = recipient_lines(&[NamedRecipient { id: 1, kind: RecipientKind::To, address: address.clone(), name }]);
        let (local, domain) = address.rsplit_once('@').unwrap();
        let ascii = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
        let expected = format!(" <{local}@{ascii}>\r\n");
        prop_assert!(line.ends_with(&expected) || address.contains("=?"), "{line}");
    }

    #[test]
    fn the_order_of_rows_does_not_matter(
        mail in mail(),
        (recipients, shuffled) in recipients().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
        (attachments, moved) in attachments().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
    ) {
        prop_assert_eq!(compose(&mail, &recipients, &attachments), compose(&mail, &shuffled, &moved));
    }

    #[test]
    fn the_way_the_mail_is_read_does_not_matter(
        mail in mail(),
        attachments in attachments(),
        cuts in vec(prop_oneof![0u32..5, 50u32..200, any::<u32>()], 1..6),
        from in 0.0..1.0f64,
    ) {
        let whole = compose(&mail, &[], &attachments);
        let rows: Vec<Attachment> = attachments.iter().map(|(row, _)| row.clone()).collect();
        let contents: HashMap<u128, Vec<u8>> = attachments.into_iter().map(|(row, octets)| (row.id, octets)).collect();
        let composition = Composition::new(&mail, "", &rows);
        prop_assert_eq!(&read(&composition, &contents, &cuts, 0), &whole);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "any offset will do")]
        let begin = (from * whole.len() as f64) as usize;
        prop_assert_eq!(&read(&composition, &contents, &cuts, u64::try_from(begin).unwrap()), &whole[begin..]);
    }
}

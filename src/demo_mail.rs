//! Letters for a demonstration: a fortnight in the mailbag of a small post office.
//!
//! They are the same every time, and between them they have what makes mail difficult to carry.

use data_encoding::BASE64_MIME;

/// The length of the one line in the register that nobody ever broke.
const LONG_LINE_OCTETS: usize = 100 * 1024;

/// The messages, in the order in which they were sent.
pub fn messages() -> Vec<Vec<u8>> {
    vec![
        crlf(PLAIN_TEXT),
        crlf(QUOTED_PRINTABLE),
        crlf(FLOWED_REPLY),
        crlf(HTML_ALTERNATIVE),
        with_attachment(INVENTORY, "text/csv", "shelves.csv", &inventory()),
        crlf(UTF_8),
        latin_1(ISO_8859_1),
        crlf(DOTS),
        with_long_line(),
        BARE_LF.into(),
        crlf(HEADER_ONLY),
        crlf(EMPTY_BODY),
        with_attachment(POST_HORN, "audio/wav", "posthorn.wav", &post_horn()),
    ]
}

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn latin_1(text: &str) -> Vec<u8> {
    let octet = |c| u8::try_from(c).unwrap_or(b'?');
    text.replace('\n', "\r\n").chars().map(octet).collect()
}

/// A message of two parts: the text behind the given header, and a file.
fn with_attachment(header_and_text: &str, media_type: &str, name: &str, file: &[u8]) -> Vec<u8> {
    let boundary = format!("=_{name}_=");
    let (header, text) = header_and_text.split_once("\n\n").unwrap_or_default();
    let mut message = crlf(&format!(
        "{header}\n\
         MIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=\"{boundary}\"\n\n\
         --{boundary}\n\
         Content-Type: text/plain; charset=us-ascii\n\n\
         {text}\n\
         --{boundary}\n\
         Content-Type: {media_type}; name=\"{name}\"\n\
         Content-Disposition: attachment; filename=\"{name}\"\n\
         Content-Transfer-Encoding: base64\n\n"
    ));
    message.extend(BASE64_MIME.encode(file).bytes());
    message.extend(crlf(&format!("--{boundary}--\n")));
    message
}

fn inventory() -> Vec<u8> {
    let mut table = "shelf,addressee,items,days waiting\r\n".to_owned();
    let addressees = ["Okafor", "Dubois", "a circus", "Lindqvist", "the sea"];
    for (shelf, addressee) in (1..=40).zip(addressees.iter().cycle()) {
        let items = shelf % 7 + 1;
        let days = shelf * shelf % 365;
        table += &format!("{shelf},{addressee},{items},{days}\r\n");
    }
    table.into_bytes()
}

/// Four minutes of post horn as a WAV file: 8000 samples of 16 bits a second, on one channel.
fn post_horn() -> Vec<u8> {
    const RATE: u32 = 8000;
    const SECONDS: u32 = 240;
    const OCTETS: u32 = RATE * SECONDS * 2;
    const MELODY: [u32; 12] = [262, 330, 392, 392, 523, 392, 330, 392, 262, 262, 196, 262];

    let mut file = b"RIFF".to_vec();
    file.extend((36 + OCTETS).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(RATE.to_le_bytes());
    file.extend((RATE * 2).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(OCTETS.to_le_bytes());
    let notes = MELODY.iter().cycle().take((SECONDS * 4) as usize);
    for sample in notes.flat_map(|pitch| (0..RATE / 4).map(move |at| at * pitch % RATE)) {
        // A triangle wave: whole numbers are the same on every machine, sines are not.
        let height = sample.abs_diff(RATE / 2);
        file.extend(i16::try_from(height).unwrap_or_default().to_le_bytes());
    }
    file
}

fn with_long_line() -> Vec<u8> {
    let mut line: String = (1..8000)
        .map(|number| format!("parcel {number}, "))
        .collect();
    line.truncate(LONG_LINE_OCTETS);
    crlf(&format!("{LONG_LINE}{line}\n"))
}

const PLAIN_TEXT: &str = "\
Return-Path: <henriette@example.org>
Received: from counter.example.org (counter.example.org [192.0.2.25])
\tby post.example.org with ESMTPS id 4TqK2m; Mon, 2 Mar 2026 08:00:04 +0100
Date: Mon, 2 Mar 2026 08:00:00 +0100
From: Henriette Lindqvist <henriette@example.org>
To: Basil Okafor <basil@example.com>
Subject: Welcome to the poste restante
Message-ID: <20260302.welcome@example.org>

Dear Basil,

your letters now wait for you at our counter until you call for them.
From Monday to Saturday somebody is here; on Sundays only the cat is.

We keep everything for as long as you like. We read nothing, not even
the postcards, although the cat has been seen sitting on them.

Henriette Lindqvist
Postmistress
";

const QUOTED_PRINTABLE: &str = "\
Date: Tue, 3 Mar 2026 09:12:44 +0100
From: =?utf-8?Q?Marguerite_Duch=C3=AAne?= <marguerite@example.com>
To: Henriette Lindqvist <henriette@example.org>
Subject: =?utf-8?Q?A_parcel_of_cheese_=E2=80=93_please_hurry?=
Message-ID: <20260303.cheese@example.com>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Dear Madame Lindqvist,

I posted a Camembert, a Roquefort and a Brie de Meaux to your counter on=20
Friday. The Camembert was declared =E2=80=9Cfragile=E2=80=9D, the Roquefort=
 =E2=80=9Calready broken=E2=80=9D.

Postage was 12,40 =E2=82=AC, that is: price =3D weight =C3=97 courage.=20

Should anyone ask about the smell, it is the Roquefort. It always is.

Marguerite Duch=C3=AAne
";

// The lines that flow end in a space, which is written so that no editor takes it away.
const FLOWED_REPLY: &str = "\
Date: Tue, 3 Mar 2026 11:30:00 +0100
From: Henriette Lindqvist <henriette@example.org>
To: Marguerite <marguerite@example.com>
Subject: Re: A parcel of cheese - please hurry
Message-ID: <20260303.cheese-reply@example.org>
In-Reply-To: <20260303.cheese@example.com>
References: <20260303.cheese@example.com>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii; format=flowed

On 3 March, Marguerite wrote:
> Should anyone ask about the smell, it is the Roquefort. It\x20
> always is.

Somebody asked. It was the fire brigade, who were very understanding\x20
once we had opened the window, and even more so once we had opened\x20
the parcel.

The Brie left on its own at about ten. We have noted the direction.

--\x20
Henriette Lindqvist, Postmistress
";

const HTML_ALTERNATIVE: &str = "\
Date: Wed, 4 Mar 2026 10:00:00 +0000
From: The Philatelist <news@example.com>
To: Basil Okafor <basil@example.com>
Subject: This week: the stamp that was printed the right way up
Message-ID: <20260304.news@example.com>
List-Id: The Philatelist <news.example.com>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=\"perforation\"

This text is for programs that do not know of envelopes with two letters in them.
--perforation
Content-Type: text/plain; charset=us-ascii

THE PHILATELIST

Collectors are in uproar: a whole sheet was printed without an error.
Read on: https://example.com/stamps?sheet=1&error=none
--perforation
Content-Type: text/html; charset=us-ascii

<html>
  <body style=\"font-family: serif\">
    <h1>The Philatelist</h1>
    <p>Collectors are in <em>uproar</em>: a whole sheet was printed without an error.</p>
    <p><a href=\"https://example.com/stamps?sheet=1&amp;error=none\">Read on</a></p>
  </body>
</html>
--perforation--
";

const INVENTORY: &str = "\
Date: Thu, 5 Mar 2026 17:55:10 +0100
From: Counter Four <counter4@example.org>
To: Henriette Lindqvist <henriette@example.org>
Cc: Basil Okafor <basil@example.com>
Subject: What is on the shelves
Message-ID: <20260305.shelves@example.org>

Attached is the inventory. The column \"addressee\" is as written on the
envelopes; please do not ask me how one delivers to the sea. It has
called for its letters twice this winter, and we gave them to it.
";

const UTF_8: &str = "\
Date: Fri, 6 Mar 2026 13:37:00 +0100
From: =?utf-8?B?SsO8cmdlbiBXZWnDnw==?= <juergen@example.org>
To: Basil Okafor <basil@example.com>
Subject: =?utf-8?B?UG9zdGxhZ2VybmQg4pyJ?=
Message-ID: <20260306.postlagernd@example.org>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Sehr geehrter Herr Okafor,

für Sie lagert hier ein Päckchen (Größe: „länglich“, Gewicht: „überraschend“).
Bitte bringen Sie einen Ausweis mit, und für den Rückweg ein zweites Paar Hände.

На конверте написано «до востребования», 封筒には「局留め」とあります,
so we are quite sure that it is for the poste restante. 📮

Jürgen Weiß
";

const ISO_8859_1: &str = "\
Date: Sat, 7 Mar 2026 08:15:00 +0100
From: =?iso-8859-1?Q?Marguerite_Duch=EAne?= <marguerite@example.com>
To: Henriette Lindqvist <henriette@example.org>
Subject: =?iso-8859-1?Q?Le_fromage_est_arriv=E9?=
Message-ID: <20260307.fromage@example.com>
MIME-Version: 1.0
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: 8bit

Chère Madame,

le Brie est rentré à la maison, fatigué mais fier. Il a traversé la forêt,
le marché aux poissons et, si j'en crois son odeur, un été entier.

À bientôt, et merci encore pour la fenêtre ouverte !
Marguerite Duchêne
";

const DOTS: &str = "\
Date: Mon, 9 Mar 2026 06:00:00 +0100
From: Telegraph Office <telegraph@example.org>
To: Basil Okafor <basil@example.com>
Subject: TELEGRAM STOP
Message-ID: <20260309.stop@example.org>

. is what we send for the letter E STOP
.
..
...end of the letters E, I and S STOP
....

.. .-.. .. -.- . -- .- .. .-..
THE LINE ABOVE SAYS ALL OF IT STOP
THE LINE BELOW IS WHERE WE STOP STOP
.
";

const LONG_LINE: &str = "\
Date: Tue, 10 Mar 2026 15:20:00 +0100
From: Counter Four <counter4@example.org>
To: Henriette Lindqvist <henriette@example.org>
Subject: The register of parcels, without a break
Message-ID: <20260310.register@example.org>

You asked for the register in one line. Here it is:
";

const BARE_LF: &str = "\
Date: Wed, 11 Mar 2026 02:00:00 +0000
From: Sorting Machine <sorter@example.org>
To: Counter Four <counter4@example.org>
Subject: Nightly report
Message-ID: <20260311.report@example.org>

letters sorted:       4711
letters unsorted:        1
reason: was shaped like a boomerang, came back

This machine was built elsewhere and ends its lines in its own way.
";

const HEADER_ONLY: &str = "\
Date: Thu, 12 Mar 2026 12:00:00 +0100
From: Basil Okafor <basil@example.com>
To: Henriette Lindqvist <henriette@example.org>
Subject: I have put everything on the envelope, as you can see
Message-ID: <20260312.envelope@example.com>
";

const EMPTY_BODY: &str = "\
Date: Thu, 12 Mar 2026 12:04:30 +0100
From: Basil Okafor <basil@example.com>
To: Henriette Lindqvist <henriette@example.org>
Subject: And in this one I forgot the letter
Message-ID: <20260312.forgotten@example.com>

";

const POST_HORN: &str = "\
Date: Fri, 13 Mar 2026 19:00:00 +0100
From: The Post Horn Society <horn@example.com>
To: Basil Okafor <basil@example.com>, Henriette Lindqvist <henriette@example.org>
Subject: Recording of our spring concert
Message-ID: <20260313.concert@example.com>

Attached is the concert in full. It lasts four minutes and has one melody,
which we play until somebody opens the gate. That is the tradition.
";

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::fmt::rfc2822;
    use std::collections::HashSet;
    use std::sync::LazyLock;

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
        assert!(
            flowed.contains("> Should anyone ask about the smell, it is the Roquefort. It \r\n")
        );

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
}

//! Messages for a demonstration: two weeks in the mail of a small post office.
//!
//! They are the same every time, and have among them what is difficult about mail: each file in
//! `src/demo_mail` is a message as it is sent.

use data_encoding::BASE64_MIME;

/// The length of the one line that is much longer than RFC 5322 allows.
const LONG_LINE_OCTETS: usize = 100 * 1024;

/// Returns the messages in the order in which they were sent.
pub fn messages() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("demo_mail/01_welcome.eml").into(),
        include_bytes!("demo_mail/02_cheese.eml").into(),
        include_bytes!("demo_mail/03_cheese_reply.eml").into(),
        include_bytes!("demo_mail/04_newsletter.eml").into(),
        include_bytes!("demo_mail/05_shelves.eml").into(),
        include_bytes!("demo_mail/06_postlagernd.eml").into(),
        include_bytes!("demo_mail/07_fromage.eml").into(),
        include_bytes!("demo_mail/08_telegram.eml").into(),
        with_long_line(include_bytes!("demo_mail/09_register.eml")),
        include_bytes!("demo_mail/10_nightly_report.eml").into(),
        include_bytes!("demo_mail/11_envelope.eml").into(),
        include_bytes!("demo_mail/12_forgotten.eml").into(),
        with_recording(include_bytes!("demo_mail/13_concert.eml")),
    ]
}

/// Returns the message with a line behind it that no file should have.
fn with_long_line(message: &[u8]) -> Vec<u8> {
    let parcels = (1..8000).map(|number| format!("parcel {number}, "));
    let mut line: String = parcels.collect();
    line.truncate(LONG_LINE_OCTETS);
    [message, line.as_bytes(), b"\r\n"].concat()
}

/// Returns the message, which ends where its attachment begins, with 5 MB of it and the end.
fn with_recording(message: &[u8]) -> Vec<u8> {
    let recording = BASE64_MIME.encode(&post_horn());
    let end = b"--=_posthorn.wav_=--\r\n";
    [message, recording.as_bytes(), end].concat()
}

/// Returns four minutes of post horn as a WAV file: 8000 samples of 16 bits a second, on one channel.
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

#[cfg(test)]
mod tests;

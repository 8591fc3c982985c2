//! The messages that transcripts speak of.

const ONE: &[u8] = b"Subject: one\r\n\r\nfirst\r\n"; // 23 octets
const TWO: &[u8] = b"Subject: two\r\n\r\nsecond.\r\n"; // 25 octets
const THREE: &[u8] = b"Subject: three\r\n\r\nthe third\r\n"; // 29 octets
const DOTS: &[u8] = b"Subject: dots\r\n\r\n.\r\n..\r\n.hidden file\r\na.b\r\n...\r\n";
const DOT_FIRST: &[u8] = b".signature: none\r\n\r\nbody\r\n";
const DOT_LAST: &[u8] = b"Subject: end\r\n\r\nlast line:\r\n.";
const NO_BLANK_LINE: &[u8] = b"Subject: all header\r\nX-Body: none\r\n";
const NO_HEADER: &[u8] = b"\r\nbody without a header\r\n";
const BARE_LINE_FEEDS: &[u8] = b"Subject: unix\n\none\n.two\n";
const EIGHT_BIT: &[u8] = b"Subject: caf\xe9\r\n\r\n\0\x01 bare \r CR\r\n\xff\xfe\r\n";
const BLANK_LINES_AT_THE_END: &[u8] = b"Subject: blank\r\n\r\nbody\r\n\r\n\r\n";
const TEN_LINES: &[u8] = b"Subject: ten\r\nX-Note: folded\r\n over two lines\r\n\r\n\
    1\r\n2\r\n\r\n4\r\n.5\r\n6\r\n7\r\n8\r\n9\r\n10\r\n";

/// The messages of a maildrop, oldest first, as they arrived.
pub(super) fn maildrop(name: &str) -> Option<Vec<Vec<u8>>> {
    let messages: &[&[u8]] = match name {
        "no_messages" => &[],
        "one_message" => &[ONE],
        "two_messages" => &[ONE, TWO],
        "three_messages" => &[ONE, TWO, THREE],
        "dots" => &[DOTS],
        "dot_first" => &[DOT_FIRST],
        "dot_last" => &[DOT_LAST],
        "no_blank_line" => &[NO_BLANK_LINE],
        "no_header" => &[NO_HEADER],
        "bare_line_feeds" => &[BARE_LINE_FEEDS],
        "eight_bit" => &[EIGHT_BIT],
        "blank_lines_at_the_end" => &[BLANK_LINES_AT_THE_END],
        "ten_lines" => &[TEN_LINES],
        "twelve_messages" => {
            let numbered = |n| format!("Subject: {n}\r\n\r\n").into_bytes();
            return Some((1..=12).map(numbered).collect());
        }
        _ => return None,
    };
    Some(messages.iter().map(|message| message.to_vec()).collect())
}

/// A message that is delivered while sessions go on.
pub(super) fn message(name: &str) -> Option<&'static [u8]> {
    match name {
        "one" => Some(ONE),
        "two" => Some(TWO),
        "three" => Some(THREE),
        _ => None,
    }
}

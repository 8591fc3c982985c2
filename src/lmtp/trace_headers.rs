//! The trace headers in front of a delivered message.

use std::io::Write;
use std::time::SystemTime;

use lmtp::{Address, Envelope, ReversePath};

use crate::net::Peer;

/// Returns the header lines for one recipient: Return-Path and Received (RFC 5321, section 4.4),
/// and Delivered-To with the address of the maildrop.
pub(super) fn trace_headers<R>(
    envelope: &Envelope<R>,
    trace: &Trace<'_>,
    recipient: &Address,
    maildrop: &str,
) -> Vec<u8> {
    let Trace {
        peer,
        server_name,
        id,
        received_at,
    } = trace;
    let sender = envelope.sender.as_ref();
    let sender = sender.map_or(&[][..], ReversePath::as_bytes);
    let client = &envelope.client;
    let address = match peer {
        Peer::Tcp(address) if address.is_ipv6() && address.ip().to_canonical().is_ipv6() => {
            format!(" ([IPv6:{}])", address.ip())
        }
        Peer::Tcp(address) => format!(" ([{}])", address.ip().to_canonical()),
        Peer::Local => String::new(),
    };
    // RFC 2033 with RFC 3848; RFC 6531, section 4.3.
    let protocol = if envelope.utf8 { "UTF8LMTP" } else { "LMTP" };
    let mut trace_headers = return_path(sender);
    // Writing into memory does not fail.
    let _ = write!(
        trace_headers,
        "Delivered-To: {maildrop}\r\n\
         Received: from {client}{address}\r\n\
         \tby {server_name} with {protocol} id {id}\r\n\
         \tfor <"
    );
    trace_headers.extend_from_slice(recipient.as_bytes());
    let _ = write!(trace_headers, ">; {}\r\n", date(*received_at));
    trace_headers
}

/// Returns the Return-Path line of a sender that has no control characters and is empty for `<>`.
pub(crate) fn return_path(sender: &[u8]) -> Vec<u8> {
    [b"Return-Path: <", sender, b">\r\n"].concat()
}

/// Where, when and from whom a message was received.
pub(super) struct Trace<'a> {
    pub(super) peer: Peer,
    pub(super) server_name: &'a str,
    pub(super) id: &'a str,
    pub(super) received_at: SystemTime,
}

/// Formats a time as RFC 5322, section 3.3 does, in UTC.
fn date(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_trace_headers_say_from_whom_through_whom_and_for_whom() {
        let rules = Arc::new(lmtp::Rules {
            server_name: "pop.example.org".into(),
            max_octets: 1,
        });
        let mut session = lmtp::Session::new(rules);
        let mut lines = ["LHLO mx.example.org", "MAIL FROM:<bob@example.com>"].into_iter();
        let mut next = "RCPT TO:<Ada+x@example.org>";
        let chunk = loop {
            let line = lines.next().unwrap_or(next);
            match session.receive(wire::Line::Text(line.as_bytes())) {
                lmtp::Step::Reply(_, after) => session = after,
                lmtp::Step::Lookup(lookup) => (_, session) = lookup.found(()),
                lmtp::Step::Chunk(chunk) => break chunk,
                lmtp::Step::Receive(..) | lmtp::Step::Skip(..) | lmtp::Step::Close(_) => {
                    panic!("{line} is refused")
                }
            }
            if line == next {
                next = "BDAT 0 LAST";
            }
        };
        let envelope = chunk.envelope();
        let written = |peer: Peer| {
            let trace = Trace {
                peer,
                server_name: "pop.example.org",
                id: "abc",
                received_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_759_200),
            };
            let trace_headers = trace_headers(
                envelope,
                &trace,
                &envelope.recipients[0].0,
                "ada@example.org",
            );
            String::from_utf8(trace_headers).unwrap()
        };
        assert_eq!(
            written(Peer::Local),
            "Return-Path: <bob@example.com>\r\n\
             Delivered-To: ada@example.org\r\n\
             Received: from mx.example.org\r\n\
             \tby pop.example.org with LMTP id abc\r\n\
             \tfor <Ada+x@example.org>; Fri, 27 Nov 2026 06:00:00 +0000\r\n"
        );
        let from = |address: &str| written(Peer::Tcp(address.parse().unwrap()));
        assert!(from("192.0.2.1:25").contains("from mx.example.org ([192.0.2.1])\r\n"));
        assert!(from("[2001:db8::1]:25").contains(" ([IPv6:2001:db8::1])\r\n"));
        assert!(from("[::ffff:192.0.2.1]:25").contains(" ([192.0.2.1])\r\n"));
    }
}

//! Time of receipt and unique-id, from the header of a message.

use std::time::SystemTime;

/// The unique-id that another server has left in a message.
pub(super) fn x_uidl(beginning: &[u8]) -> Option<String> {
    let value = field(beginning, "X-UIDL")?;
    Some(value.trim().to_owned())
}

/// Returns when the last server on its way took the message, by its first Received field, or else
/// when it was written, by its Date.
pub(super) fn received_at(beginning: &[u8]) -> Option<SystemTime> {
    let received = field(beginning, "Received");
    let received = received.and_then(|value| date(value.rsplit_once(';')?.1));
    received.or_else(|| date(&field(beginning, "Date")?))
}

fn date(text: &str) -> Option<SystemTime> {
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    SystemTime::try_from(date.timestamp()).ok()
}

/// The value of the first field of this name, unfolded.
fn field(beginning: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(beginning);
    let mut lines = text.lines().take_while(|line| !line.is_empty());
    let value = lines.by_ref().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim_end().eq_ignore_ascii_case(name).then_some(value)
    })?;
    let folded = lines.take_while(|line| line.starts_with([' ', '\t']));
    Some(folded.fold(value.to_owned(), |value, line| value + line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_header_is_found_and_one_of_the_body_is_not() {
        let message = b"Subject: X-UIDL: no\r\nx-uidl:\r\n 4f2c\r\nX-UIDL: second\r\n\r\nbody";
        assert_eq!(x_uidl(message).as_deref(), Some("4f2c"));
        assert_eq!(x_uidl(b"Subject: none\n\nX-UIDL: body\n"), None);
        assert_eq!(x_uidl(b"X-UIDL: abc"), Some("abc".into()));
    }

    #[test]
    fn the_first_received_field_tells_the_time() {
        let message = b"Return-Path: <a@b>\r\nReceived: from a by b\r\n\tfor <c>; \
            Fri, 27 Nov 2026 07:00:00 +0100 (CET)\r\n\
            Received: from x; Thu, 1 Jan 1970 00:00:00 +0000\r\n\r\n";
        let since = received_at(message)
            .unwrap()
            .duration_since(SystemTime::UNIX_EPOCH);
        assert_eq!(since.unwrap().as_secs(), 1_795_759_200);
        assert_eq!(received_at(b"Received: nonsense\r\n\r\n"), None);
        let written = b"Received: nonsense\r\nDate: Fri, 27 Nov 2026 07:00:00 +0100\r\n\r\n";
        assert_eq!(received_at(written), received_at(message));
    }
}

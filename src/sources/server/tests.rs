use super::*;

fn parsed(text: &str) -> Option<(bool, String, String)> {
    let address = ServerAddress::parse(text)?.ok()?;
    Some((address.tls, address.user.clone(), address.place()))
}

#[test]
fn an_address_names_user_host_and_port() {
    let is = |tls, user: &str, place: &str| Some((tls, user.to_owned(), place.to_owned()));
    assert_eq!(
        parsed("pop3://ada@mail.example"),
        is(false, "ada", "mail.example:110")
    );
    assert_eq!(
        parsed("pop3s://ada%40example.org@mail.example:1995/"),
        is(true, "ada@example.org", "mail.example:1995")
    );
    assert_eq!(
        parsed("pop3s://ada@example.org@[2001:db8::1]"),
        is(true, "ada@example.org", "[2001:db8::1]:995")
    );
    assert!(
        ServerAddress::parse("Maildir").is_none() && ServerAddress::parse("imap://a@b").is_none()
    );
}

#[test]
fn an_address_that_can_not_be_used_is_refused() {
    for text in [
        "pop3://mail.example",
        "pop3://@mail.example",
        "pop3s://ada@",
        "pop3://ada@mail.example/INBOX",
        "pop3://ada%0d%0aDELE@mail.example",
    ] {
        let refused = ServerAddress::parse(text).unwrap();
        assert!(
            matches!(refused, Err(ServerError::NotAnAddress(_))),
            "{text}"
        );
    }
    let refused = ServerAddress::parse("pop3://ada:secret@mail.example").unwrap();
    assert!(matches!(refused, Err(ServerError::PasswordInAddress)));
}

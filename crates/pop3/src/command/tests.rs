use super::*;
use proptest::prelude::*;

fn message(number: u64) -> MessageNumber {
    MessageNumber::new(number).unwrap()
}

#[test]
fn keywords_have_any_case() {
    assert_eq!(Command::parse(b"nOoP"), Ok(Command::Noop));
    assert_eq!(Command::parse(b"retr 7"), Ok(Command::Retr(message(7))));
}

#[test]
fn a_secret_may_contain_spaces_and_is_never_printed() {
    let Ok(Command::Pass(secret)) = Command::parse(b"PASS  two words ") else {
        panic!("no PASS");
    };
    assert_eq!(secret.expose(), b" two words ");
    assert_eq!(format!("{:?}", Command::Pass(secret)), "Pass(***)");
}

#[test]
fn numbers_are_digits_only() {
    for bad in [
        "RETR",
        "RETR ",
        "RETR   ",
        "RETR +1",
        "RETR -1",
        "RETR 1 2",
        "RETR x",
        "RETR 1x",
        "RETR 1\t",
        "LIST 1 2",
        "LIST 1  2",
        "TOP 1",
        "TOP 1 ",
        "TOP 1 -1",
        "TOP 1 2 3",
        "RETR \u{661}",
    ] {
        let parsed = Command::parse(bad.as_bytes());
        assert!(
            matches!(parsed, Err(SyntaxError::Form(_))),
            "{bad:?}: {parsed:?}"
        );
    }
}

#[test]
fn message_zero_and_huge_numbers_are_no_message() {
    for bad in [
        "RETR 0",
        "DELE 0",
        "TOP 0 1",
        "LIST 4294967296",
        "UIDL 99999999999999999999999",
    ] {
        assert_eq!(
            Command::parse(bad.as_bytes()),
            Err(SyntaxError::NoSuchMessage),
            "{bad}"
        );
    }
}

#[test]
fn a_huge_number_of_lines_means_all() {
    assert_eq!(
        Command::parse(b"TOP 1 99999999999999999999999"),
        Ok(Command::Top(message(1), u32::MAX))
    );
    assert_eq!(Command::parse(b"TOP 1 0"), Ok(Command::Top(message(1), 0)));
}

#[test]
fn commands_without_arguments_refuse_one() {
    for word in ["CAPA", "NOOP", "QUIT", "RSET", "STAT", "STLS"] {
        for tail in [" x", "  x", " x "] {
            let line = format!("{word}{tail}");
            assert_eq!(
                Command::parse(line.as_bytes()),
                Err(SyntaxError::TakesNoArgument(word))
            );
        }
    }
}

#[test]
fn spaces_at_the_end_and_several_between_words_are_no_fault() {
    for (line, tidy) in [
        ("CAPA ", "CAPA"),
        ("DELE 1 ", "DELE 1"),
        ("DELE  1", "DELE 1"),
        ("LIST ", "LIST"),
        ("LIST   ", "LIST"),
        ("LIST  1 ", "LIST 1"),
        ("NOOP  ", "NOOP"),
        ("QUIT ", "QUIT"),
        ("RETR   1  ", "RETR 1"),
        ("RSET ", "RSET"),
        ("STAT  ", "STAT"),
        ("STLS ", "STLS"),
        ("TOP  1   0 ", "TOP 1 0"),
        ("UIDL ", "UIDL"),
        ("UIDL  1 ", "UIDL 1"),
        ("USER  ada@example.com ", "USER ada@example.com"),
        // Those in the name of a key are a part of it.
        ("USER ada#My  Phone ", "USER ada#My  Phone"),
        ("AUTH ", "AUTH"),
        ("AUTH  PLAIN ", "AUTH PLAIN"),
        ("AUTH PLAIN  = ", "AUTH PLAIN ="),
        ("AUTH PLAIN  AGEAYg== ", "AUTH PLAIN AGEAYg=="),
    ] {
        let parsed = Command::parse(line.as_bytes());
        assert!(parsed.is_ok(), "{line:?}: {parsed:?}");
        assert_eq!(parsed, Command::parse(tidy.as_bytes()), "{line:?}");
    }
}

#[test]
fn a_line_of_spaces_or_one_that_begins_with_one_is_no_command() {
    for line in ["", " ", "   ", " STAT", "  QUIT"] {
        let parsed = Command::parse(line.as_bytes());
        assert_eq!(parsed, Err(SyntaxError::UnknownCommand), "{line:?}");
    }
}

#[test]
fn auth_names_a_mechanism_and_may_bring_a_response() {
    let plain = |response| Ok(Command::Auth(Mechanism::Plain, response));
    assert_eq!(Command::parse(b"AUTH"), Ok(Command::Mechanisms));
    assert_eq!(Command::parse(b"auth plain"), plain(None));
    assert_eq!(
        Command::parse(b"AUTH PLAIN ="),
        plain(Some(Secret::new([])))
    );
    assert_eq!(
        Command::parse(b"AUTH PLAIN AGEAYg=="),
        plain(Some(Secret::new(*b"\0a\0b")))
    );
    for bad in [
        "AUTH PLAIN AGEAYg",
        "AUTH PLAIN AGEA Yg==",
        "AUTH PLAIN AGEAYg== x",
        "AUTH PLAIN AGEAYg==\t",
        "AUTH PLAIN !",
        "AUTH PLAIN ==",
    ] {
        let refused = Command::parse(bad.as_bytes());
        assert_eq!(refused, Err(SyntaxError::NotBase64), "{bad}");
    }
    for bad in ["AUTH PLAI", "AUTH PLAIN-PLUS x", "AUTH CRAM-MD5"] {
        let refused = Command::parse(bad.as_bytes());
        assert_eq!(refused, Err(SyntaxError::NoSuchMechanism), "{bad}");
    }
}

#[test]
fn a_name_is_one_word_of_text() {
    assert_eq!(
        Command::parse("USER jürgen@example.com".as_bytes()),
        Ok(Command::User("jürgen@example.com".into()))
    );
    for bad in [
        &b"USER"[..],
        b"USER ",
        b"USER a b",
        b"USER \xff",
        b"USER a\0",
    ] {
        assert!(Command::parse(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_line_is_a_command_or_refused(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Command::parse(&line);
    }

    #[test]
    fn every_number_is_read_as_it_is_written(n in 1u32.., k in any::<u32>()) {
        prop_assert_eq!(
            Command::parse(format!("TOP {n} {k}").as_bytes()),
            Ok(Command::Top(message(n.into()), k))
        );
    }
}

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the one step that it wants"
)]

use data_encoding::BASE64;
use proptest::prelude::*;

use super::scram_tests::{NONCE, challenged, keys};
use super::*;
use crate::sasl::{ChannelBinding, Mechanisms};
use crate::testing::{LIMITS, Phase, replied, talk};

pub(super) const CLEAR: Policy = Policy {
    stls_offered: true,
    secrets_allowed: false,
    scram_offered: true,
    channel_bound: false,
    mechanisms: Mechanisms::ALL,
    channel_binding: ChannelBinding::Offer,
    certified: false,
    expire_days: None,
    limits: LIMITS,
};

pub(super) const TLS: Policy = Policy {
    stls_offered: false,
    secrets_allowed: true,
    channel_bound: true,
    ..CLEAR
};

const CERTIFIED: Policy = Policy {
    certified: true,
    ..TLS
};

/// Says these lines; all but the last have an immediate reply.
pub(super) fn say_all(policy: Policy, lines: &[&str]) -> AuthorizationStep {
    let (last, lines) = lines.split_last().unwrap();
    let mut session = Authorization::new(policy);
    for line in lines {
        session = talk(session, line).1;
    }
    session.say(last)
}

pub(super) fn replied_to_all(policy: Policy, lines: &[&str]) -> (String, Authorization) {
    replied(say_all(policy, lines))
}

pub(super) fn credentials(step: AuthorizationStep) -> Credentials {
    match step {
        AuthorizationStep::Login(login) => login.credentials().clone(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn base64(text: &str) -> String {
    BASE64.encode(text.as_bytes())
}

fn ada() -> Credentials {
    ada_as(None)
}

fn ada_as(identity: Option<&str>) -> Credentials {
    Credentials::Secret {
        name: "ada@example.com".into(),
        identity: identity.map(Into::into),
        secret: Secret::new("a key"),
    }
}

#[test]
fn plain_may_come_with_the_command_or_after_it() {
    let plain = base64("\0ada@example.com\0a key");
    let at_once = say_all(TLS, &[&format!("AUTH PLAIN {plain}")]);
    assert_eq!(credentials(at_once), ada());
    let (challenge, session) = talk(Authorization::new(TLS), "AUTH PLAIN");
    assert_eq!(challenge, "+ \r\n");
    assert_eq!(credentials(session.say(&plain)), ada());
}

#[test]
fn plain_may_tell_an_identity_and_whose_it_is_is_found_out_at_the_login() {
    for identity in ["ADA@example.com", "bob@example.com", "no address"] {
        let said = base64(&format!("{identity}\0ada@example.com\0a key"));
        let shown = credentials(say_all(TLS, &["AUTH PLAIN", &said]));
        assert_eq!(shown, ada_as(Some(identity)));
    }
}

#[test]
fn login_asks_for_the_name_and_then_for_the_secret() {
    let (name, secret) = (base64("ada@example.com"), base64("a key"));
    let (prompt, session) = talk(Authorization::new(TLS), "AUTH LOGIN");
    assert_eq!(prompt, format!("+ {}\r\n", base64("Username:")));
    let (prompt, session) = talk(session, &name);
    assert_eq!(prompt, format!("+ {}\r\n", base64("Password:")));
    assert_eq!(credentials(session.say(&secret)), ada());
    let name_at_once = format!("AUTH LOGIN {name}");
    let step = say_all(TLS, &[&name_at_once, &secret]);
    assert_eq!(credentials(step), ada());
}

#[test]
fn external_may_say_which_address_is_meant() {
    let meant = |name: Option<&str>| Credentials::Certificate {
        name: name.map(Into::into),
    };
    assert_eq!(
        credentials(say_all(CERTIFIED, &["AUTH EXTERNAL ="])),
        meant(None)
    );
    assert_eq!(
        credentials(say_all(CERTIFIED, &["AUTH EXTERNAL", ""])),
        meant(None)
    );
    let ada = format!("AUTH EXTERNAL {}", base64("ada@example.com"));
    let step = say_all(CERTIFIED, &[&ada]);
    assert_eq!(credentials(step), meant(Some("ada@example.com")));
    let (reply, _) = replied_to_all(TLS, &["AUTH EXTERNAL ="]);
    assert!(reply.starts_with("-ERR "), "{reply}");
}

#[test]
fn what_is_offered_is_what_is_possible_now() {
    let all = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL PLAIN LOGIN";
    let no_scram = Policy {
        scram_offered: false,
        ..TLS
    };
    let nothing = Policy {
        scram_offered: false,
        ..CLEAR
    };
    for (policy, offered) in [
        (CLEAR, "SCRAM-SHA-256"),
        (TLS, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"),
        (CERTIFIED, all),
        (no_scram, "PLAIN LOGIN"),
        (nothing, ""),
    ] {
        let (capa, session) = talk(Authorization::new(policy), "CAPA");
        let sasl = capa.lines().find_map(|line| line.strip_prefix("SASL "));
        assert_eq!(sasl.unwrap_or_default(), offered);
        let (listed, mut session) = talk(session, "AUTH");
        let listed: Vec<_> = listed.lines().skip(1).collect();
        assert_eq!(listed.join(" "), format!("{offered} .").trim_start());
        for mechanism in all.split(' ') {
            let (reply, next) = talk(session, &format!("AUTH {mechanism}"));
            let possible = offered.split(' ').any(|it| it == mechanism);
            assert_eq!(reply.starts_with("+ "), possible, "{mechanism}: {reply}");
            session = if possible { talk(next, "*").1 } else { next };
        }
    }
}

#[test]
fn a_mechanism_that_is_not_allowed_is_neither_announced_nor_accepted() {
    for allowed in Mechanism::ALL {
        let policy = Policy {
            mechanisms: [allowed].into_iter().collect(),
            ..CERTIFIED
        };
        let (capa, mut session) = talk(Authorization::new(policy), "CAPA");
        assert!(capa.contains(&format!("\r\nSASL {}\r\n", allowed.as_str())));
        for mechanism in Mechanism::ALL {
            let (reply, next) = talk(session, &format!("AUTH {}", mechanism.as_str()));
            assert_eq!(reply.starts_with("+ "), mechanism == allowed, "{reply}");
            session = talk(next, "*").1;
        }
    }
    let nothing = Policy {
        mechanisms: [].into_iter().collect(),
        ..CERTIFIED
    };
    let (capa, session) = talk(Authorization::new(nothing), "CAPA");
    assert!(
        !capa.contains("SASL") && capa.contains("\r\nUSER\r\n"),
        "{capa}"
    );
    assert!(talk(session, "AUTH").0.ends_with("\r\n.\r\n"));
}

#[test]
fn the_bound_form_of_scram_is_announced_and_accepted_as_the_operator_has_it() {
    use ChannelBinding::{Auto, Never, Offer};
    for (channel_binding, announced, accepted) in [
        (Auto, false, true),
        (Offer, true, true),
        (Never, false, false),
    ] {
        let policy = Policy {
            channel_binding,
            ..TLS
        };
        let (capa, session) = talk(Authorization::new(policy), "CAPA");
        assert_eq!(capa.contains("-PLUS"), announced, "{channel_binding:?}");
        let (listed, session) = talk(session, "AUTH");
        assert_eq!(listed.contains("-PLUS"), announced, "{channel_binding:?}");
        let (reply, _) = talk(session, "AUTH SCRAM-SHA-256-PLUS");
        assert_eq!(reply.starts_with("+ "), accepted, "{channel_binding:?}");
    }
}

#[test]
fn a_star_cancels_and_what_follows_is_a_command_again() {
    for lines in [
        &["AUTH PLAIN"][..],
        &["AUTH LOGIN"],
        &["AUTH LOGIN", "YWRh"],
        &["AUTH EXTERNAL"],
        &["AUTH SCRAM-SHA-256"],
    ] {
        let (_, session) = replied_to_all(CERTIFIED, lines);
        let (reply, session) = talk(session, "*");
        assert!(reply.starts_with("-ERR "), "{reply}");
        assert!(talk(session, "CAPA").0.starts_with("+OK "));
    }
}

#[test]
fn a_response_that_is_no_base64_or_too_long_ends_the_exchange_only() {
    let too_long = |session: Authorization| session.receive(Line::TooLong);
    for spoil in [
        &(|session: Authorization| session.say("!")) as &dyn Fn(Authorization) -> AuthorizationStep,
        &(|session: Authorization| session.say("QUIT\0")),
        &(|session: Authorization| session.say("AGEAYg")),
        &too_long,
    ] {
        let (_, session) = talk(Authorization::new(TLS), "AUTH PLAIN");
        let (reply, session) = replied::<Authorization>(spoil(session));
        assert!(reply.starts_with("-ERR "), "{reply}");
        assert!(talk(session, "CAPA").0.starts_with("+OK "));
    }
}

#[test]
fn a_response_may_be_longer_than_a_command() {
    let session = Authorization::new(TLS);
    assert_eq!(session.max_line_octets(), 255);
    let (_, session) = talk(session, "AUTH PLAIN");
    assert_eq!(session.max_line_octets(), MAX_RESPONSE_OCTETS);
    assert_eq!(talk(session, "*").1.max_line_octets(), 255);
}

#[test]
fn auth_forgets_the_user_before_it() {
    let (_, session) = talk(Authorization::new(TLS), "USER ada@example.com");
    let (_, session) = talk(session, "AUTH PLAIN");
    let (_, session) = talk(session, "*");
    assert!(talk(session, "PASS key").0.starts_with("-ERR "));
}

#[test]
fn exchanges_that_fail_end_the_session_in_time() {
    let mut session = Authorization::new(TLS);
    for _ in 1..TLS.limits.bad_commands {
        session = talk(talk(session, "AUTH PLAIN").1, "!").1;
    }
    let last = talk(session, "AUTH PLAIN").1.say("!");
    assert!(matches!(last, AuthorizationStep::Close(_)), "{last:?}");
}

proptest! {
    #[test]
    fn no_exchange_panics_or_lets_anybody_in(
        mechanism in proptest::sample::select(&["PLAIN", "LOGIN", "EXTERNAL", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"][..]),
        responses in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80).prop_map(|it| BASE64.encode(&it)),
                "[npy=,ar0-9\\x00]{0,30}".prop_map(|it| base64(&it)),
                "(n|y|p=tls-exporter),(a=x)?,n=x,r=y(,z)?".prop_map(|it| base64(&it)),
                "c=[A-Za-z=]{0,8},r=[a-z-]{0,30},p=[A-Za-z=]{0,44}".prop_map(|it| base64(&it)),
                ".{0,20}",
            ],
            0..6,
        ),
    ) {
        let mut session = talk(Authorization::new(CERTIFIED), &format!("AUTH {mechanism}")).1;
        for response in &responses {
            session = match session.say(response) {
                AuthorizationStep::Verifier(lookup) => {
                    challenged(lookup.found(keys(&["pencil"]), NONCE, Some(b"channel"))).1
                }
                AuthorizationStep::Reply(reply, session) => {
                    prop_assert!(reply.as_bytes().ends_with(b"\r\n"));
                    session
                }
                AuthorizationStep::Login(login) => {
                    let proven = matches!(login.credentials(), Credentials::Proven { .. });
                    prop_assert!(!proven);
                    return Ok(());
                }
                _ => return Ok(()),
            };
        }
    }
}

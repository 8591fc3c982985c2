use super::*;
use crate::testing::{PLAIN, Phase, login, maildrop, talk, text};

#[test]
fn pass_counts_only_right_after_user() {
    let (_, session) = talk(Authorization::new(PLAIN), "USER ada@example.com");
    let (_, session) = talk(session, "CAPA");
    let (reply, _) = talk(session, "PASS key");
    assert_eq!(reply, "-ERR send USER first\r\n");
}

#[test]
fn the_third_wrong_key_ends_the_session() {
    let mut session = Authorization::new(PLAIN);
    for _ in 1..MAX_LOGIN_FAILURES {
        let (reply, next) = login(session).refused(LoginRefusal::Credentials);
        assert!(text(&reply).starts_with("-ERR [AUTH] "));
        session = next.unwrap();
    }
    let (_, next) = login(session).refused(LoginRefusal::Credentials);
    assert!(next.is_none());
}

#[test]
fn faults_that_are_not_the_clients_do_not_count_as_wrong_keys() {
    let mut session = Authorization::new(PLAIN);
    for why in [LoginRefusal::Unavailable, LoginRefusal::TooManySessions].repeat(5) {
        session = login(session).refused(why).1.unwrap();
    }
}

#[test]
fn a_secret_is_refused_where_it_may_not_be_sent() {
    let policy = Policy {
        stls_offered: true,
        secrets_allowed: false,
        ..PLAIN
    };
    let (reply, session) = talk(Authorization::new(policy), "USER ada@example.com");
    assert!(
        reply.starts_with("-ERR [AUTH] ") && reply.contains("STLS"),
        "{reply}"
    );
    let (capabilities, session) = talk(session, "CAPA");
    assert!(!capabilities.contains("USER") && capabilities.contains("\r\nSTLS\r\n"));
    assert!(matches!(
        session.say("STLS"),
        AuthorizationStep::StartTls(..)
    ));
}

#[test]
fn capa_tells_after_how_many_days_a_message_may_go() {
    for (expire_days, line) in [
        (None, "\r\nEXPIRE NEVER\r\n"),
        (Some(1), "\r\nEXPIRE 1\r\n"),
        (Some(36_500), "\r\nEXPIRE 36500\r\n"),
    ] {
        let policy = Policy {
            expire_days,
            ..PLAIN
        };
        let (capabilities, _) = talk(Authorization::new(policy), "CAPA");
        assert!(capabilities.contains(line), "{capabilities}");
    }
}

#[test]
fn capabilities_after_login_are_those_before_it_less_stls() {
    let policy = Policy {
        stls_offered: true,
        ..PLAIN
    };
    let (before, session) = talk(Authorization::new(policy), "CAPA");
    let (_, session) = login(session).granted(maildrop(&[]), Access::Full);
    let (after, session) = talk(session, "CAPA");
    assert_eq!(before.replace("STLS\r\n", ""), after);
    assert!(talk(session, "STLS").0.starts_with("-ERR "));
}

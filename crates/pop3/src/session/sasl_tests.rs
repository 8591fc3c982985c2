#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the one step that it wants"
)]

use std::num::NonZeroU32;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::sasl::{
    Candidates, ChannelBinding, MAX_RESPONSE_OCTETS, Mechanism, Mechanisms, Verifier,
};
use wire::Secret;

const CLEAR: Policy = Policy {
    stls_offered: true,
    secrets_allowed: false,
    scram_offered: true,
    channel_bound: false,
    mechanisms: Mechanisms::ALL,
    channel_binding: ChannelBinding::Offer,
    certified: false,
    expire_days: None,
    limits: Limits {
        bad_commands: 20,
        line_octets: 255,
    },
};

const TLS: Policy = Policy {
    stls_offered: false,
    secrets_allowed: true,
    channel_bound: true,
    ..CLEAR
};

const CERTIFIED: Policy = Policy {
    certified: true,
    ..TLS
};

fn say(session: Session, line: &str) -> Step {
    session.receive(Line::Text(line.as_bytes()))
}

/// Says these lines; all but the last have an immediate reply.
fn say_all(policy: Policy, lines: &[&str]) -> Step {
    let (last, lines) = lines.split_last().unwrap();
    let mut session = Session::new(policy);
    for line in lines {
        session = talk(session, line).1;
    }
    say(session, last)
}

fn talk(session: Session, line: &str) -> (String, Session) {
    replied(say(session, line))
}

fn replied(step: Step) -> (String, Session) {
    match step {
        Step::Reply(reply, session) => {
            let text = String::from_utf8(reply.as_bytes().to_vec()).unwrap();
            (text, session)
        }
        other => panic!("{other:?}"),
    }
}

fn challenged((reply, session): (Reply, Option<Session>)) -> (String, Session) {
    replied(Step::Reply(reply, session.unwrap()))
}

fn credentials(step: Step) -> Credentials {
    match step {
        Step::Login(login) => login.credentials().clone(),
        other => panic!("{other:?}"),
    }
}

fn base64(text: &str) -> String {
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
    let (challenge, session) = talk(Session::new(TLS), "AUTH PLAIN");
    assert_eq!(challenge, "+ \r\n");
    assert_eq!(credentials(say(session, &plain)), ada());
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
fn scram_may_tell_an_identity_and_whose_it_is_is_found_out_with_the_keys() {
    let said = base64("n,a=bob@example.com,n=ada@example.com,r=nonce");
    let Step::Verifier(lookup) = say_all(TLS, &["AUTH SCRAM-SHA-256", &said]) else {
        panic!("no lookup")
    };
    assert_eq!(lookup.identity(), Some("bob@example.com"));
    assert_eq!(Client::UNBOUND.begin("SCRAM-SHA-256").identity(), None);
}

#[test]
fn login_asks_for_the_name_and_then_for_the_secret() {
    let (name, secret) = (base64("ada@example.com"), base64("a key"));
    let (prompt, session) = talk(Session::new(TLS), "AUTH LOGIN");
    assert_eq!(prompt, format!("+ {}\r\n", base64("Username:")));
    let (prompt, session) = talk(session, &name);
    assert_eq!(prompt, format!("+ {}\r\n", base64("Password:")));
    assert_eq!(credentials(say(session, &secret)), ada());
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
    let (reply, _) = replied(say_all(TLS, &["AUTH EXTERNAL ="]));
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
        let (capa, session) = talk(Session::new(policy), "CAPA");
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
        let (capa, mut session) = talk(Session::new(policy), "CAPA");
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
    let (capa, session) = talk(Session::new(nothing), "CAPA");
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
        let (capa, session) = talk(Session::new(policy), "CAPA");
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
        let (_, session) = replied(say_all(CERTIFIED, lines));
        let (reply, session) = talk(session, "*");
        assert!(reply.starts_with("-ERR "), "{reply}");
        assert!(talk(session, "CAPA").0.starts_with("+OK "));
    }
}

#[test]
fn a_response_that_is_no_base64_or_too_long_ends_the_exchange_only() {
    let too_long = |session: Session| session.receive(Line::TooLong);
    for spoil in [
        &(|session| say(session, "!")) as &dyn Fn(Session) -> Step,
        &(|session| say(session, "QUIT\0")),
        &(|session| say(session, "AGEAYg")),
        &too_long,
    ] {
        let (_, session) = talk(Session::new(TLS), "AUTH PLAIN");
        let (reply, session) = replied(spoil(session));
        assert!(reply.starts_with("-ERR "), "{reply}");
        assert!(talk(session, "CAPA").0.starts_with("+OK "));
    }
}

#[test]
fn a_response_may_be_longer_than_a_command() {
    let session = Session::new(TLS);
    assert_eq!(session.max_line_octets(), 255);
    let (_, session) = talk(session, "AUTH PLAIN");
    assert_eq!(session.max_line_octets(), MAX_RESPONSE_OCTETS);
    assert_eq!(talk(session, "*").1.max_line_octets(), 255);
}

#[test]
fn auth_forgets_the_user_before_it() {
    let (_, session) = talk(Session::new(TLS), "USER ada@example.com");
    let (_, session) = talk(session, "AUTH PLAIN");
    let (_, session) = talk(session, "*");
    assert!(talk(session, "PASS key").0.starts_with("-ERR "));
}

#[test]
fn exchanges_that_fail_end_the_session_in_time() {
    let mut session = Session::new(TLS);
    for _ in 1..TLS.limits.bad_commands {
        session = talk(talk(session, "AUTH PLAIN").1, "!").1;
    }
    let last = say(talk(session, "AUTH PLAIN").1, "!");
    assert!(matches!(last, Step::Close(_)), "{last:?}");
}

/// A client of SCRAM as RFC 5802, section 3 describes it, with the secret "pencil".
struct Client {
    header: &'static str,
    channel: &'static [u8],
    first: &'static str,
}

const NONCE: &str = "server-nonce";
const SALT: &[u8] = b"salt";
const ITERATIONS: NonZeroU32 = NonZeroU32::new(2).unwrap();

impl Client {
    const BOUND: Self = Self {
        header: "p=tls-exporter,,",
        channel: b"channel",
        first: "n=ada@example.com#phone,r=client-nonce",
    };
    const UNBOUND: Self = Self {
        header: "n,,",
        channel: b"",
        first: "n=ada@example.com,r=client-nonce",
    };

    fn begin(&self, mechanism: &str) -> VerifierLookup {
        let first = base64(&format!("{}{}", self.header, self.first));
        match say_all(TLS, &[&format!("AUTH {mechanism}"), &first]) {
            Step::Verifier(lookup) => lookup,
            other => panic!("{other:?}"),
        }
    }

    fn prove(&self, secret: &str, challenge: &str) -> String {
        let challenge = challenge.strip_prefix("+ ").unwrap().trim_end();
        let challenge = BASE64.decode(challenge.as_bytes()).unwrap();
        let challenge = String::from_utf8(challenge).unwrap();
        let binding = BASE64.encode(&[self.header.as_bytes(), self.channel].concat());
        let without_proof = format!("c={binding},r=client-nonce{NONCE}");
        let signed = format!("{},{challenge},{without_proof}", self.first);
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(secret.as_bytes(), SALT, ITERATIONS.get(), &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let signature = mac(&Sha256::digest(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(signature)
            .map(|(k, s)| k ^ s)
            .collect();
        base64(&format!("{without_proof},p={}", BASE64.encode(&proof)))
    }
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// The keys of a user, numbered from 7 on.
fn keys(secrets: &[&str]) -> Candidates {
    let mut candidates = Candidates::new(SALT, ITERATIONS);
    for (key, secret) in (7..).zip(secrets) {
        let verifier = Verifier::new(&Secret::new(*secret), SALT, ITERATIONS);
        assert!(candidates.add(key, verifier));
    }
    candidates
}

#[test]
fn scram_ends_with_the_proofs_of_both_sides() {
    for (client, mechanism, name) in [
        (Client::UNBOUND, "SCRAM-SHA-256", "ada@example.com"),
        (Client::BOUND, "SCRAM-SHA-256-PLUS", "ada@example.com#phone"),
    ] {
        let lookup = client.begin(mechanism);
        assert_eq!(lookup.name(), name);
        let bound = mechanism.ends_with("PLUS").then_some("tls-exporter");
        assert_eq!(lookup.binding(), bound);
        let channel = bound.map(|_| &b"channel"[..]);
        let keys = keys(&["pen", "pencil"]);
        let (challenge, session) = challenged(lookup.found(keys, NONCE, channel));
        let (proof, session) = talk(session, &client.prove("pencil", &challenge));
        let proof = BASE64.decode(proof["+ ".len()..].trim_end().as_bytes());
        assert!(proof.unwrap().starts_with(b"v="));
        let proven = Credentials::Proven {
            name: name.into(),
            key: 8,
        };
        assert_eq!(credentials(say(session, "")), proven);
    }
}

#[test]
fn a_wrong_proof_is_a_login_that_fails() {
    let elsewhere = &b"other channel"[..];
    let (one, none) = (&["pencil"][..], &[][..]);
    for (client, mechanism, secrets, secret, channel) in [
        (Client::UNBOUND, "SCRAM-SHA-256", one, "pen", None),
        (Client::UNBOUND, "SCRAM-SHA-256", none, "pencil", None),
        (
            Client::BOUND,
            "SCRAM-SHA-256-PLUS",
            one,
            "pencil",
            Some(elsewhere),
        ),
    ] {
        let lookup = client.begin(mechanism);
        let (challenge, session) = challenged(lookup.found(keys(secrets), NONCE, channel));
        let shown = credentials(say(session, &client.prove(secret, &challenge)));
        assert!(matches!(shown, Credentials::Disproven { .. }), "{shown:?}");
    }
}

#[test]
fn who_begins_logins_and_does_not_end_them_is_sent_away() {
    let mut session = Session::new(TLS);
    let begin = format!("AUTH SCRAM-SHA-256 {}", base64("n,,n=ada,r=nonce"));
    for _ in 0..MAX_LOGIN_FAILURES {
        let Step::Verifier(lookup) = say(session, &begin) else {
            panic!("no lookup")
        };
        let (_, challenge) = challenged(lookup.found(keys(&[]), NONCE, None));
        let (_, next) = talk(challenge, "*");
        session = talk(next, "CAPA").1;
    }
    assert!(matches!(say(session, &begin), Step::Close(_)));
}

#[test]
fn a_client_that_has_seen_no_binding_where_there_is_tls_was_deceived() {
    let said = base64("y,,n=ada@example.com,r=client-nonce");
    let binding = |policy, channel_binding| Policy {
        channel_binding,
        ..policy
    };
    let unbound: Mechanisms = [Mechanism::ScramSha256].into_iter().collect();
    for (policy, deceived) in [
        (TLS, true),
        (CLEAR, true),
        (
            Policy {
                stls_offered: false,
                ..CLEAR
            },
            false,
        ),
        // Where the server has not announced it, the client tells the truth.
        (binding(TLS, ChannelBinding::Auto), false),
        (binding(CLEAR, ChannelBinding::Auto), false),
        (binding(TLS, ChannelBinding::Never), false),
        (
            Policy {
                mechanisms: unbound,
                ..TLS
            },
            false,
        ),
    ] {
        let step = say_all(policy, &["AUTH SCRAM-SHA-256", &said]);
        let refused = matches!(step, Step::Reply(..));
        assert_eq!(refused, deceived, "{policy:?}: {step:?}");
    }
}

#[test]
fn a_channel_that_cannot_be_bound_is_refused_before_any_proof() {
    let lookup = Client::BOUND.begin("SCRAM-SHA-256-PLUS");
    let (reply, session) = challenged(lookup.found(keys(&["pencil"]), NONCE, None));
    assert!(reply.starts_with("-ERR "), "{reply}");
    assert!(talk(session, "CAPA").0.starts_with("+OK "));
}

#[test]
fn who_sends_more_after_the_servers_proof_is_not_logged_in() {
    let lookup = Client::UNBOUND.begin("SCRAM-SHA-256");
    let (challenge, session) = challenged(lookup.found(keys(&["pencil"]), NONCE, None));
    let (_, session) = talk(session, &Client::UNBOUND.prove("pencil", &challenge));
    let (reply, session) = talk(session, "YQ==");
    assert!(reply.starts_with("-ERR "), "{reply}");
    assert!(talk(session, "STAT").0.starts_with("-ERR "));
}

#[test]
fn nothing_secret_is_in_the_debug_form_of_a_session() {
    let (_, session) = replied(say_all(TLS, &["AUTH LOGIN", &base64("ada")]));
    let login = say(session, &base64("sesame"));
    let lookup = Client::UNBOUND.begin("SCRAM-SHA-256");
    let challenging = lookup.found(keys(&["pencil"]), NONCE, None);
    for shown in [format!("{login:?}"), format!("{challenging:?}")] {
        assert!(
            !shown.contains("sesame") && shown.contains("***"),
            "{shown}"
        );
    }
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
        let mut session = talk(Session::new(CERTIFIED), &format!("AUTH {mechanism}")).1;
        for response in &responses {
            session = match say(session, response) {
                Step::Verifier(lookup) => {
                    challenged(lookup.found(keys(&["pencil"]), NONCE, Some(b"channel"))).1
                }
                Step::Reply(reply, session) => {
                    prop_assert!(reply.as_bytes().ends_with(b"\r\n"));
                    prop_assert!(!matches!(session, Session::Transaction(_)));
                    session
                }
                Step::Login(login) => {
                    let proven = matches!(login.credentials(), Credentials::Proven { .. });
                    prop_assert!(!proven);
                    return Ok(());
                }
                _ => return Ok(()),
            };
        }
    }
}

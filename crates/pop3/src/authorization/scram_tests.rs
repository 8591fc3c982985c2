#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the one step that it wants"
)]

use std::num::NonZeroU32;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::sasl_tests::{CLEAR, TLS, base64, credentials, replied_to_all, say_all};
use super::*;
use crate::sasl::{Candidates, ChannelBinding, Mechanisms, Verifier};
use crate::testing::{Phase, replied, talk};

pub(super) fn challenged(
    (reply, session): (Reply, Option<Authorization>),
) -> (String, Authorization) {
    replied(AuthorizationStep::Reply(reply, session.unwrap()))
}

/// A client of SCRAM as RFC 5802, section 3 describes it, with the secret "pencil".
struct Client {
    header: &'static str,
    channel: &'static [u8],
    first: &'static str,
}

pub(super) const NONCE: &str = "server-nonce";
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
            AuthorizationStep::Verifier(lookup) => lookup,
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
pub(super) fn keys(secrets: &[&str]) -> Candidates {
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
        assert_eq!(credentials(session.say("")), proven);
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
        let shown = credentials(session.say(&client.prove(secret, &challenge)));
        assert!(matches!(shown, Credentials::Disproven { .. }), "{shown:?}");
    }
}

#[test]
fn who_begins_logins_and_does_not_end_them_is_sent_away() {
    let mut session = Authorization::new(TLS);
    let begin = format!("AUTH SCRAM-SHA-256 {}", base64("n,,n=ada,r=nonce"));
    for _ in 0..MAX_LOGIN_FAILURES {
        let AuthorizationStep::Verifier(lookup) = session.say(&begin) else {
            panic!("no lookup")
        };
        let (_, challenge) = challenged(lookup.found(keys(&[]), NONCE, None));
        let (_, next) = talk(challenge, "*");
        session = talk(next, "CAPA").1;
    }
    assert!(matches!(session.say(&begin), AuthorizationStep::Close(_)));
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
        // If the server has not announced it, the client's claim is true.
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
        let refused = matches!(step, AuthorizationStep::Reply(..));
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
    let (_, session) = replied_to_all(TLS, &["AUTH LOGIN", &base64("ada")]);
    let login = session.say(&base64("sesame"));
    let lookup = Client::UNBOUND.begin("SCRAM-SHA-256");
    let challenging = lookup.found(keys(&["pencil"]), NONCE, None);
    for shown in [format!("{login:?}"), format!("{challenging:?}")] {
        assert!(
            !shown.contains("sesame") && shown.contains("***"),
            "{shown}"
        );
    }
}

#[test]
fn scram_may_tell_an_identity_and_whose_it_is_is_found_out_with_the_keys() {
    let said = base64("n,a=bob@example.com,n=ada@example.com,r=nonce");
    let AuthorizationStep::Verifier(lookup) = say_all(TLS, &["AUTH SCRAM-SHA-256", &said]) else {
        panic!("no lookup")
    };
    assert_eq!(lookup.identity(), Some("bob@example.com"));
    assert_eq!(Client::UNBOUND.begin("SCRAM-SHA-256").identity(), None);
}

//! Arbitrary responses of a client in a SASL exchange: nothing panics, and no client proves a key
//! that it does not have.
#![no_main]

use std::num::NonZeroU32;

use arbitrary::Arbitrary;
use data_encoding::BASE64;
use libfuzzer_sys::fuzz_target;
use pop3::{
    Authorization, AuthorizationStep, Candidates, ChannelBinding, Credentials, Limits,
    LoginRefusal, Mechanism, Mechanisms, Policy, Verifier,
};
use wire::{Line, Secret};

/// An action of the client.
#[derive(Debug, Arbitrary)]
enum Act<'a> {
    /// Begins an exchange.
    Auth(u8, Option<&'a [u8]>),
    /// Answers, in base64.
    Answer(&'a [u8]),
    /// Answers with a proof of SCRAM that fits the nonce.
    Prove(&'a [u8], [u8; 32]),
    /// Sends a line as it is.
    Line(&'a [u8]),
    /// Sends a line that is too long.
    TooLong,
}

const POLICY: Policy = Policy {
    stls_offered: false,
    secrets_allowed: true,
    scram_offered: true,
    channel_bound: true,
    mechanisms: Mechanisms::ALL,
    channel_binding: ChannelBinding::Auto,
    certified: true,
    expire_days: None,
    limits: Limits {
        bad_commands: 1000,
        line_octets: 255,
    },
};

const NONCE: &str = "server-nonce";

fuzz_target!(|acts: Vec<Act<'_>>| {
    let mut session = Authorization::new(POLICY);
    for act in acts {
        let Some(next) = take(step(session, &act)) else {
            return;
        };
        session = next;
    }
});

fn step(session: Authorization, act: &Act<'_>) -> AuthorizationStep {
    let line = match act {
        Act::Auth(mechanism, response) => {
            let mechanism = Mechanism::ALL[usize::from(*mechanism) % Mechanism::ALL.len()];
            let response = response.map(|it| format!(" {}", encoded(it)));
            format!(
                "AUTH {}{}",
                mechanism.as_str(),
                response.unwrap_or_default()
            )
            .into_bytes()
        }
        Act::Answer(octets) => BASE64.encode(octets).into_bytes(),
        Act::Prove(client_nonce, proof) => {
            let nonce = String::from_utf8_lossy(client_nonce);
            let proof = BASE64.encode(proof);
            let last = format!("c=biws,r={nonce}{NONCE},p={proof}");
            BASE64.encode(last.as_bytes()).into_bytes()
        }
        Act::Line(line) => line.iter().copied().filter(|it| *it != b'\n').collect(),
        Act::TooLong => return session.receive(Line::TooLong),
    };
    session.receive(Line::Text(&line))
}

fn encoded(response: &[u8]) -> String {
    match response {
        [] => "=".to_owned(),
        octets => BASE64.encode(octets),
    }
}

fn take(step: AuthorizationStep) -> Option<Authorization> {
    let (reply, session) = match step {
        AuthorizationStep::Reply(reply, session) => (reply, Some(session)),
        AuthorizationStep::Quit(reply) | AuthorizationStep::Close(reply) => (reply, None),
        AuthorizationStep::Verifier(lookup) => {
            let mut candidates = Candidates::new(b"salt", NonZeroU32::MIN);
            for (key, secret) in [(1, "key"), (2, "another")] {
                let verifier = Verifier::new(&Secret::new(secret), b"salt", NonZeroU32::MIN);
                assert!(candidates.add(key, verifier));
            }
            let channel = lookup.binding().map(|_| &b"channel"[..]);
            lookup.found(candidates, NONCE, channel)
        }
        AuthorizationStep::Login(login) => {
            let proven = matches!(login.credentials(), Credentials::Proven { .. });
            assert!(!proven, "a proof was made without the key");
            login.refused(LoginRefusal::Unavailable)
        }
        AuthorizationStep::StartTls(_) => panic!("STLS is not offered"),
    };
    assert!(reply.as_bytes().ends_with(b"\r\n"));
    session
}

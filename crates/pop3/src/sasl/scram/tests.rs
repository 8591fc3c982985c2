use super::*;

/// The example of RFC 7677, section 3.
const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

fn verifier() -> Verifier {
    let salt = BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    Verifier::new(
        &Secret::new("pencil"),
        &salt,
        NonZeroU32::new(4096).unwrap(),
    )
}

fn first(
    message: &str,
    mechanism: Mechanism,
    announces_binding: bool,
) -> Result<ClientFirst, ScramError> {
    ClientFirst::read(&Secret::new(message), mechanism, announces_binding)
}

fn candidates(secrets: &[&str]) -> Candidates {
    let Verifier {
        salt, iterations, ..
    } = verifier();
    let mut candidates = Candidates::new(&salt, iterations);
    for (key, secret) in (7..).zip(secrets) {
        let verifier = Verifier::new(&Secret::new(*secret), &salt, iterations);
        assert!(candidates.add(key, verifier));
    }
    candidates
}

fn proving(message: &str, secrets: &[&str]) -> (String, Proving) {
    let first = first(message, Mechanism::ScramSha256, false).unwrap();
    first.challenge(candidates(secrets), SERVER_NONCE, b"")
}

#[test]
fn the_example_of_the_rfc_is_right() {
    let (challenge, proving) = proving(CLIENT_FIRST, &["pencil"]);
    assert_eq!(
        challenge,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let proof = proving.verify(&Secret::new(CLIENT_FINAL)).unwrap();
    let (answer, acknowledged) = proof.unwrap();
    assert_eq!(answer, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!((acknowledged.name.as_str(), acknowledged.key), ("user", 7));
}

#[test]
fn a_proof_may_fit_any_of_the_keys_and_is_answered_by_that_one() {
    for (secrets, key) in [
        (&["pencil", "pen"][..], 7),
        (&["pen", "pencil"], 8),
        (&["pen", "ink", "pencil", "chalk"], 9),
    ] {
        let (_, proving) = proving(CLIENT_FIRST, secrets);
        let proof = proving.verify(&Secret::new(CLIENT_FINAL)).unwrap();
        let (answer, acknowledged) = proof.unwrap();
        assert_eq!(answer, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(acknowledged.key, key);
    }
    for secrets in [&[][..], &["pen"], &["pen", "ink"]] {
        let (_, proving) = proving(CLIENT_FIRST, secrets);
        let proof = proving.verify(&Secret::new(CLIENT_FINAL));
        assert!(proof.unwrap().is_none(), "{secrets:?}");
    }
}

#[test]
fn the_last_of_as_many_keys_as_are_tried_fits_and_one_more_is_not_taken() {
    let Verifier {
        salt, iterations, ..
    } = verifier();
    let mut candidates = Candidates::new(&salt, iterations);
    for (key, filler) in (1..).zip(1..u8::try_from(Candidates::MAX).unwrap()) {
        let mut other = verifier();
        other.stored_key = [filler; 32];
        assert!(candidates.add(key, other));
    }
    assert!(candidates.add(4711, verifier()));
    assert!(!candidates.add(4712, verifier()));
    assert_eq!(candidates.keys().len(), Candidates::MAX);
    let first = first(CLIENT_FIRST, Mechanism::ScramSha256, false).unwrap();
    let (_, proving) = first.challenge(candidates, SERVER_NONCE, b"");
    let proof = proving.verify(&Secret::new(CLIENT_FINAL)).unwrap();
    assert_eq!(proof.unwrap().1.key, 4711);
}

#[test]
fn a_key_of_another_salt_or_number_of_iterations_is_no_candidate() {
    let Verifier {
        salt, iterations, ..
    } = verifier();
    let secret = Secret::new("pencil");
    let mut candidates = Candidates::new(&salt, iterations);
    assert!(!candidates.add(1, Verifier::new(&secret, b"other", iterations)));
    assert!(!candidates.add(2, Verifier::new(&secret, &salt, NonZeroU32::MIN)));
    assert_eq!(candidates.keys().len(), 0);
    assert_eq!(format!("{candidates:?}"), "***");
}

#[test]
fn a_message_is_as_long_as_allowed_and_no_longer() {
    let nonce = "x".repeat(MAX_MESSAGE_OCTETS - "n,,n=u,r=".len());
    let longest = format!("n,,n=u,r={nonce}");
    assert!(first(&longest, Mechanism::ScramSha256, false).is_ok());
    let longer = first(&format!("{longest}x"), Mechanism::ScramSha256, false);
    assert_eq!(longer.map(|_| ()), Err(ScramError::Form));
}

#[test]
fn any_other_proof_is_wrong() {
    for changed in [
        CLIENT_FINAL.replace("p=dHz", "p=dHa"),
        CLIENT_FINAL.replace("k0,", "k1,"),
        CLIENT_FINAL.replace("c=biws", "c=eSws"),
        CLIENT_FINAL.replace("k0,", "k0,x=y,"),
    ] {
        let (_, proving) = proving(CLIENT_FIRST, &["pen", "pencil"]);
        let proof = proving.verify(&Secret::new(changed.as_str()));
        assert!(proof.unwrap().is_none(), "{changed}");
    }
}

#[test]
fn what_is_no_final_message_is_refused() {
    for bad in [
        "",
        "c=biws",
        "c=biws,r=x,p=",
        "r=x,c=biws,p=AAAA",
        "p=AAAA",
        "c=!,r=x,p=AA==",
    ] {
        let (_, proving) = proving(CLIENT_FIRST, &["pencil"]);
        let refused = proving.verify(&Secret::new(bad)).map(|_| ());
        assert_eq!(refused, Err(ScramError::Form), "{bad}");
    }
}

#[test]
fn the_first_message_says_who_and_how() {
    let said = first("n,a=A=2Cb,n=a=2Cb,r=x", Mechanism::ScramSha256, true).unwrap();
    assert_eq!((said.name.as_str(), said.binding), ("a,b", None));
    assert_eq!(said.identity.as_deref(), Some("A,b"));
    let bound = "p=tls-exporter,,n=ada#phone,r=x,ext=1";
    let said = first(bound, Mechanism::ScramSha256Plus, true).unwrap();
    assert_eq!(said.name, "ada#phone");
    assert_eq!(said.binding.as_deref(), Some("tls-exporter"));
}

#[test]
fn a_first_message_that_will_not_do_is_refused() {
    use Mechanism::{ScramSha256, ScramSha256Plus};
    for (message, mechanism, why) in [
        ("", ScramSha256, ScramError::Form),
        ("n,,", ScramSha256, ScramError::Form),
        ("n,,n=,r=x", ScramSha256, ScramError::Form),
        ("n,,n=u=2,r=x", ScramSha256, ScramError::Form),
        ("n,,n=u,r=", ScramSha256, ScramError::Form),
        ("n,,n=u", ScramSha256, ScramError::Form),
        ("x,,n=u,r=x", ScramSha256, ScramError::Form),
        ("n,b=u,n=u,r=x", ScramSha256, ScramError::Form),
        ("n,,m=x,n=u,r=x", ScramSha256, ScramError::Extension),
        ("n,a=,n=u,r=x", ScramSha256, ScramError::Form),
        ("n,a=v=2,n=u,r=x", ScramSha256, ScramError::Form),
        ("p=tls-exporter,,n=u,r=x", ScramSha256, ScramError::Binding),
        ("n,,n=u,r=x", ScramSha256Plus, ScramError::Binding),
        ("y,,n=u,r=x", ScramSha256, ScramError::Downgrade),
    ] {
        let refused = first(message, mechanism, true).map(|_| ());
        assert_eq!(refused, Err(why), "{message}");
    }
}

#[test]
fn a_verifier_is_kept_as_text_and_never_printed() {
    let text = verifier().to_string();
    assert!(text.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"));
    assert_eq!(text.parse(), Ok(verifier()));
    assert_eq!(format!("{:?}", verifier()), "***");
    for bad in ["", "SCRAM-SHA-256$0:AA==$AA==:AA==", "SCRAM-SHA-1$1:$:"] {
        assert_eq!(bad.parse::<Verifier>(), Err(BadVerifier), "{bad}");
    }
}

//! SCRAM-SHA-256 on the side of the server (RFC 5802, RFC 7677).
//!
//! The secret does not go over the wire, and what is stored of it is not the secret: but whoever has
//! that and overhears an exchange, too, can prove the secret from then on (RFC 5802, section 9).
//! Names and secrets are compared as they are: a key is ASCII, which `SASLprep` does not change.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Mechanism, name_of, text};
use wire::Secret;

/// The octets of a SHA-256.
type Hash = [u8; 32];

/// What is stored of a secret for SCRAM. It does not open anything by itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    stored_key: Hash,
    server_key: Hash,
}

/// Why a text is no [`Verifier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a verifier has the form SCRAM-SHA-256$iterations:salt$stored-key:server-key")]
pub struct BadVerifier;

/// What a client's proof may fit: the keys of a user, since the client says at most whose it has.
///
/// All have one salt and one number of iterations, which the client is told before it proves
/// anything. Without a key no proof fits, and the client can't tell that from a wrong one.
#[derive(Clone)]
pub struct Candidates {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    keys: Vec<(i64, Verifier)>,
}

impl Candidates {
    /// So many keys a proof is tried against, whether there are so many or not: the time that it
    /// takes tells nothing about them.
    pub const MAX: usize = 64;

    /// No keys yet.
    pub fn new(salt: &[u8], iterations: NonZeroU32) -> Self {
        Self {
            salt: salt.to_vec(),
            iterations,
            keys: Vec::new(),
        }
    }

    /// Adds a key with its verifier. Returns false if it can't be one of them: it has another salt
    /// or number of iterations, or there are [`MAX`](Self::MAX).
    pub fn add(&mut self, key: i64, verifier: Verifier) -> bool {
        let fits = verifier.salt == self.salt && verifier.iterations == self.iterations;
        let added = fits && self.keys.len() < Self::MAX;
        if added {
            self.keys.push((key, verifier));
        }
        added
    }

    /// The keys, in the order in which they were added.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (i64, &Verifier)> {
        self.keys.iter().map(|(key, verifier)| (*key, verifier))
    }

    /// The salt in base64 and the number of iterations, as the client is told them.
    pub fn told(&self) -> (String, NonZeroU32) {
        (BASE64.encode(&self.salt), self.iterations)
    }

    /// The key that this proof fits. It takes the same time whether there is one or not.
    fn proven_by(&self, proof: &Hash, signed: &[&[u8]]) -> Option<&(i64, Verifier)> {
        let no_key = Hash::default();
        let mut found = None;
        for at in 0..Self::MAX {
            let candidate = self.keys.get(at);
            let stored_key = candidate.map_or(&no_key, |(_, verifier)| &verifier.stored_key);
            let signature = hmac(stored_key, signed);
            let client_key: Vec<u8> = proof.iter().zip(signature).map(|(p, s)| p ^ s).collect();
            let right = bool::from(Sha256::digest(client_key).ct_eq(stored_key));
            found = candidate.filter(|_| right).or(found);
        }
        found
    }
}

impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Verifier {
    /// The verifier of a secret.
    ///
    /// The iterations make guessing slow, which matters only where a secret can be guessed.
    pub fn new(secret: &Secret, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = Hash::default();
        pbkdf2::pbkdf2_hmac::<Sha256>(secret.expose(), salt, iterations.get(), &mut salted);
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: Sha256::digest(hmac(&salted, &[b"Client Key"])).into(),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
    }
}

/// The form in which PostgreSQL keeps them, too.
impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored_key, server_key] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|it| BASE64.encode(it));
        let iterations = self.iterations;
        write!(
            f,
            "SCRAM-SHA-256${iterations}:{salt}${stored_key}:{server_key}"
        )
    }
}

impl FromStr for Verifier {
    type Err = BadVerifier;

    fn from_str(text: &str) -> Result<Self, BadVerifier> {
        let read = || {
            let (iterations, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
            let (salt, keys) = rest.split_once('$')?;
            let (stored_key, server_key) = keys.split_once(':')?;
            let octets = |text: &str| BASE64.decode(text.as_bytes()).ok();
            Some(Self {
                salt: octets(salt)?,
                iterations: iterations.parse().ok()?,
                stored_key: octets(stored_key)?.try_into().ok()?,
                server_key: octets(server_key)?.try_into().ok()?,
            })
        };
        read().ok_or(BadVerifier)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why an exchange can't go on, whatever the secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScramError {
    #[error("this is no message of SCRAM that is expected here (RFC 5802, section 7)")]
    Form,
    #[error("the message asks for an extension that is not known here")]
    Extension,
    #[error("SCRAM-SHA-256-PLUS binds the channel, and SCRAM-SHA-256 does not")]
    Binding,
    #[error("this kind of channel binding is not possible on this connection")]
    BindingKind,
    #[error("channel binding is offered here, and somebody has told the client otherwise")]
    Downgrade,
}

/// The client's first message: who it is.
#[derive(Debug)]
pub(crate) struct ClientFirst {
    /// The user, and after a `#` the name of the key if it is told.
    pub(crate) name: String,
    /// An address of the user whose maildrop is to be opened, if it is told.
    pub(crate) identity: Option<String>,
    /// How the channel is bound, such as `tls-exporter`.
    pub(crate) binding: Option<String>,
    gs2_header: String,
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// Reads the message. `announces_binding` tells whether the client should know of the -PLUS
    /// form: if it says that it has seen none, somebody has kept it from the client.
    pub(crate) fn read(
        message: &Secret,
        mechanism: Mechanism,
        announces_binding: bool,
    ) -> Result<Self, ScramError> {
        let message = message_text(message)?;
        let (flag, rest) = message.split_once(',').ok_or(ScramError::Form)?;
        let (identity, bare) = rest.split_once(',').ok_or(ScramError::Form)?;
        let binding = match flag.split_once('=') {
            Some(("p", kind)) => Some(kind.to_owned()),
            None if flag == "y" && announces_binding => return Err(ScramError::Downgrade),
            None if flag == "n" || flag == "y" => None,
            Some(_) | None => return Err(ScramError::Form),
        };
        if binding.is_some() != (mechanism == Mechanism::ScramSha256Plus) {
            return Err(ScramError::Binding);
        }
        let mut fields = bare.split(',');
        let mut name = fields.next().ok_or(ScramError::Form)?;
        if name.starts_with("m=") {
            return Err(ScramError::Extension);
        }
        name = name.strip_prefix("n=").ok_or(ScramError::Form)?;
        let name = saslname(name).ok_or(ScramError::Form)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let nonce = nonce.filter(|it| is_nonce(it)).ok_or(ScramError::Form)?;
        let identity = match identity.strip_prefix("a=") {
            Some(identity) => Some(saslname(identity).ok_or(ScramError::Form)?),
            None if identity.is_empty() => None,
            None => return Err(ScramError::Form),
        };
        let header = message.len() - bare.len();
        Ok(Self {
            name,
            identity,
            binding,
            gs2_header: message.get(..header).unwrap_or_default().to_owned(),
            nonce: nonce.to_owned(),
            bare: bare.to_owned(),
        })
    }

    /// The challenge to prove it, and what the proof must fit.
    pub(crate) fn challenge(
        self,
        candidates: Candidates,
        server_nonce: &str,
        channel: &[u8],
    ) -> (String, Proving) {
        let nonce = self.nonce + server_nonce;
        let (salt, iterations) = candidates.told();
        let server_first = format!("r={nonce},s={salt},i={iterations}");
        let proving = Proving {
            candidates,
            binding: [self.gs2_header.as_bytes(), channel].concat(),
            messages: format!("{},{server_first}", self.bare),
            name: self.name,
            nonce,
        };
        (server_first, proving)
    }
}

/// What the client's proof must fit.
#[derive(Debug)]
pub(crate) struct Proving {
    /// Who the client says it is.
    pub(crate) name: String,
    candidates: Candidates,
    /// The GS2 header and the channel's octets, as both sides must see them.
    binding: Vec<u8>,
    /// The first messages of both sides, of which the proof is made.
    messages: String,
    nonce: String,
}

/// A proof that was good.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    /// Who the client is.
    pub(crate) name: String,
    /// The key that it has proven to know.
    pub(crate) key: i64,
}

impl Proving {
    /// Looks at the client's final message.
    ///
    /// `Ok` has the server's own proof, or nothing if the client's is wrong.
    pub(crate) fn verify(
        &self,
        message: &Secret,
    ) -> Result<Option<(String, Acknowledged)>, ScramError> {
        let message = message_text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Form)?;
        let proof = BASE64.decode(proof.as_bytes()).ok();
        let proof: Hash = proof
            .and_then(|proof| proof.try_into().ok())
            .ok_or(ScramError::Form)?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c="));
        let binding = binding.and_then(|it| BASE64.decode(it.as_bytes()).ok());
        let binding = binding.ok_or(ScramError::Form)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let nonce = nonce.ok_or(ScramError::Form)?;
        let signed = [self.messages.as_bytes(), b",", without_proof.as_bytes()];
        let proven = self.candidates.proven_by(&proof, &signed);
        let right = binding.ct_eq(&self.binding) & nonce.as_bytes().ct_eq(self.nonce.as_bytes());
        let Some((key, verifier)) = proven.filter(|_| bool::from(right)) else {
            return Ok(None);
        };
        let signature = BASE64.encode(&hmac(&verifier.server_key, &signed));
        let (name, key) = (self.name.clone(), *key);
        Ok(Some((format!("v={signature}"), Acknowledged { name, key })))
    }
}

/// The most octets that a message may have: each candidate's key signs all of them.
const MAX_MESSAGE_OCTETS: usize = 2048;

fn message_text(message: &Secret) -> Result<String, ScramError> {
    let message = Some(message.expose()).filter(|it| it.len() <= MAX_MESSAGE_OCTETS);
    message.and_then(text).ok_or(ScramError::Form)
}

fn hmac(key: &Hash, parts: &[&[u8]]) -> Hash {
    // A hash is one of the keys of any length that HMAC takes, so this is never the default.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Hash::default();
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A name with `=2C` for a comma and `=3D` for an equals sign.
fn saslname(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = [("2C", ','), ("3D", '=')]
            .iter()
            .find_map(|(code, character)| Some((character, part.strip_prefix(code)?)))?;
        name.push(*character);
        name.push_str(rest);
    }
    name_of(name.as_bytes())
}

/// Printable ASCII without a comma, and some of it.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
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
}

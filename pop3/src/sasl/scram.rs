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

use super::{Mechanism, is_same, name_of, text};
use crate::command::Secret;

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

impl Verifier {
    /// A verifier that no secret fits, to be told apart from others by nobody.
    pub fn of_nobody(salt: &[u8], iterations: NonZeroU32) -> Self {
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: Hash::default(),
            server_key: Hash::default(),
        }
    }

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
    #[error("a key opens its own user's maildrop only")]
    Identity,
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
        let message = text(message.expose()).ok_or(ScramError::Form)?;
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
        if let Some(identity) = identity.strip_prefix("a=") {
            let identity = saslname(identity).ok_or(ScramError::Form)?;
            if !is_same(&identity, &name) {
                return Err(ScramError::Identity);
            }
        } else if !identity.is_empty() {
            return Err(ScramError::Form);
        }
        let header = message.len() - bare.len();
        Ok(Self {
            name,
            binding,
            gs2_header: message.get(..header).unwrap_or_default().to_owned(),
            nonce: nonce.to_owned(),
            bare: bare.to_owned(),
        })
    }

    /// The challenge to prove it, and what the proof must fit.
    ///
    /// `key` is whose verifier it is; without one, no proof is good enough.
    pub(crate) fn challenge(
        self,
        key: Option<i64>,
        verifier: Verifier,
        server_nonce: &str,
        channel: &[u8],
    ) -> (String, Proving) {
        let nonce = self.nonce + server_nonce;
        let (salt, iterations) = (BASE64.encode(&verifier.salt), verifier.iterations);
        let server_first = format!("r={nonce},s={salt},i={iterations}");
        let proving = Proving {
            key,
            verifier,
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
    key: Option<i64>,
    verifier: Verifier,
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
        let message = text(message.expose()).ok_or(ScramError::Form)?;
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
        let signature = hmac(&self.verifier.stored_key, &signed);
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(p, s)| p ^ s).collect();
        let right = Sha256::digest(client_key).ct_eq(&self.verifier.stored_key)
            & binding.ct_eq(&self.binding)
            & nonce.as_bytes().ct_eq(self.nonce.as_bytes());
        let Some(key) = self.key.filter(|_| bool::from(right)) else {
            return Ok(None);
        };
        let signature = BASE64.encode(&hmac(&self.verifier.server_key, &signed));
        let name = self.name.clone();
        Ok(Some((format!("v={signature}"), Acknowledged { name, key })))
    }
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

    fn proving(message: &str, key: Option<i64>) -> (String, Proving) {
        let first = first(message, Mechanism::ScramSha256, false).unwrap();
        first.challenge(key, verifier(), SERVER_NONCE, b"")
    }

    #[test]
    fn the_example_of_the_rfc_is_right() {
        let (challenge, proving) = proving(CLIENT_FIRST, Some(7));
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
    fn any_other_proof_is_wrong() {
        for changed in [
            CLIENT_FINAL.replace("p=dHz", "p=dHa"),
            CLIENT_FINAL.replace("k0,", "k1,"),
            CLIENT_FINAL.replace("c=biws", "c=eSws"),
            CLIENT_FINAL.replace("k0,", "k0,x=y,"),
        ] {
            let (_, proving) = proving(CLIENT_FIRST, Some(7));
            let proof = proving.verify(&Secret::new(changed.as_str()));
            assert!(proof.unwrap().is_none(), "{changed}");
        }
        let (_, proving) = proving(CLIENT_FIRST, None);
        let proof = proving.verify(&Secret::new(CLIENT_FINAL));
        assert!(proof.unwrap().is_none(), "nobody's verifier");
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
            let (_, proving) = proving(CLIENT_FIRST, Some(7));
            let refused = proving.verify(&Secret::new(bad)).map(|_| ());
            assert_eq!(refused, Err(ScramError::Form), "{bad}");
        }
    }

    #[test]
    fn the_first_message_says_who_and_how() {
        let said = first("n,a=A=2Cb,n=a=2Cb,r=x", Mechanism::ScramSha256, true).unwrap();
        assert_eq!((said.name.as_str(), said.binding), ("a,b", None));
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
            ("n,a=v,n=u,r=x", ScramSha256, ScramError::Identity),
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

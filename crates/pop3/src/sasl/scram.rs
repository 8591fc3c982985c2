//! SCRAM-SHA-256 on the side of the server (RFC 5802, RFC 7677).
//!
//! The secret neither goes over the wire nor is stored. But an attacker who has the stored verifier
//! and overhears an exchange can impersonate the client from then on (RFC 5802, section 9).
//! Names and secrets are compared without `SASLprep`: a key is ASCII, which it does not change.

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

/// The stored form of a secret for SCRAM. It does not log in by itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    stored_key: Hash,
    server_key: Hash,
}

/// A text that is no [`Verifier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a verifier has the form SCRAM-SHA-256$iterations:salt$stored-key:server-key")]
pub struct BadVerifier;

/// The keys of a user, one of which a client may prove.
///
/// All share one salt and one number of iterations, which the client gets before it proves
/// anything. If there is no key, every proof fails in the same way as a wrong one.
#[derive(Clone)]
pub struct Candidates {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    keys: Vec<(u128, Verifier)>,
}

impl Candidates {
    /// Maximum number of keys, and the number of trials for each proof. So the duration of a proof
    /// does not reveal how many keys a user has.
    pub const MAX: usize = 64;

    /// Returns an empty set of keys.
    pub fn new(salt: &[u8], iterations: NonZeroU32) -> Self {
        Self {
            salt: salt.to_vec(),
            iterations,
            keys: Vec::new(),
        }
    }

    /// Adds a key with its verifier. Returns false if it has another salt or number of iterations,
    /// or there are [`MAX`](Self::MAX) already.
    pub fn add(&mut self, key: u128, verifier: Verifier) -> bool {
        let fits = verifier.salt == self.salt && verifier.iterations == self.iterations;
        let added = fits && self.keys.len() < Self::MAX;
        if added {
            self.keys.push((key, verifier));
        }
        added
    }

    /// Returns the keys, in the order in which they were added.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (u128, &Verifier)> {
        self.keys.iter().map(|(key, verifier)| (*key, verifier))
    }

    /// Returns the salt in base64 and the number of iterations, for the client.
    pub fn told(&self) -> (String, NonZeroU32) {
        (BASE64.encode(&self.salt), self.iterations)
    }

    /// Returns the key that this proof belongs to. The duration does not depend on the key.
    fn proven_by(&self, proof: &Hash, signed: &[&[u8]]) -> Option<&(u128, Verifier)> {
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
    /// Computes the verifier of a secret.
    ///
    /// The iterations slow down guessing, which matters for secrets that can be guessed.
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

/// Writes the form in which PostgreSQL stores verifiers, too.
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

/// An exchange that fails with any secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScramError {
    #[error("malformed SCRAM message (RFC 5802, section 7)")]
    Form,
    #[error("unsupported SCRAM extension")]
    Extension,
    #[error("SCRAM-SHA-256-PLUS needs channel binding, SCRAM-SHA-256 excludes it")]
    Binding,
    #[error("this type of channel binding is not available on this connection")]
    BindingKind,
    #[error("channel binding is offered here, but the client was told otherwise")]
    Downgrade,
}

/// The client's first message, which names the user.
#[derive(Debug)]
pub(crate) struct ClientFirst {
    /// The user, and after a `#` the name of the key if it is given.
    pub(crate) name: String,
    /// The address of the user whose maildrop is to be opened, if it is given.
    pub(crate) identity: Option<String>,
    /// The type of channel binding, such as `tls-exporter`.
    pub(crate) binding: Option<String>,
    gs2_header: String,
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// Parses the message. `announces_binding` is true if the client should know of the -PLUS form:
    /// if the client has not seen it, an attacker has removed it.
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

    /// Returns the challenge and the state that verifies its proof.
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

/// The state that verifies a client's proof.
#[derive(Debug)]
pub(crate) struct Proving {
    /// The user that the client claims to be.
    pub(crate) name: String,
    candidates: Candidates,
    /// The GS2 header and the channel's octets, as both sides must see them.
    binding: Vec<u8>,
    /// The first messages of both sides, of which the proof is made.
    messages: String,
    nonce: String,
}

/// A valid proof.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    /// The user.
    pub(crate) name: String,
    /// The key that the client has proven.
    pub(crate) key: u128,
}

impl Proving {
    /// Verifies the client's final message.
    ///
    /// Returns the server's own proof, or `None` if the client's is wrong.
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

/// Maximum octets of a message: each candidate's key signs all of them.
const MAX_MESSAGE_OCTETS: usize = 2048;

fn message_text(message: &Secret) -> Result<String, ScramError> {
    let message = Some(message.expose()).filter(|it| it.len() <= MAX_MESSAGE_OCTETS);
    message.and_then(text).ok_or(ScramError::Form)
}

fn hmac(key: &Hash, parts: &[&[u8]]) -> Hash {
    // HMAC takes keys of any length, so this never fails.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Hash::default();
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Decodes a name with `=2C` for a comma and `=3D` for an equals sign.
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

/// Returns true for printable ASCII that is not empty. Its commas were split off before.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic())
}

#[cfg(test)]
mod tests;

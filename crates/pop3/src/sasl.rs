//! The SASL mechanisms that AUTH takes (RFC 5034), as values.

mod scram;

use data_encoding::BASE64;

use crate::command::without_blanks;
use crate::policy::Policy;
use wire::Secret;

pub use scram::{BadVerifier, Candidates, Verifier};

pub(crate) use scram::{Acknowledged, ClientFirst, Proving, ScramError};

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// SCRAM-SHA-256, bound to the TLS connection (RFC 7677, RFC 5802).
    ScramSha256Plus,
    /// SCRAM-SHA-256: the secret is proven and not sent (RFC 7677).
    ScramSha256,
    /// EXTERNAL: the certificate that the client has shown (RFC 4422, appendix A).
    External,
    /// PLAIN: name and secret at once (RFC 4616).
    Plain,
    /// LOGIN: name and secret one after the other (draft-murchison-sasl-login).
    Login,
}

impl Mechanism {
    /// All of them, the strongest first, in which order they are announced.
    pub const ALL: [Self; 5] = [
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::External,
        Self::Plain,
        Self::Login,
    ];

    /// Its registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::External => "EXTERNAL",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The mechanism of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let named = |it: &Self| name.eq_ignore_ascii_case(it.as_str().as_bytes());
        Self::ALL.into_iter().find(named)
    }

    /// Returns true if AUTH accepts it on this connection.
    pub(crate) fn is_accepted(self, policy: &Policy) -> bool {
        policy.allows(self)
            && match self {
                Self::ScramSha256Plus => policy.scram_offered && policy.channel_bound,
                Self::ScramSha256 => policy.scram_offered,
                Self::External => policy.certified,
                Self::Plain | Self::Login => policy.secrets_allowed,
            }
    }

    /// The names that CAPA and AUTH list on this connection.
    pub(crate) fn announced(policy: &Policy) -> impl Iterator<Item = &'static str> {
        let listed = |it: &Self| {
            let hidden =
                *it == Self::ScramSha256Plus && policy.channel_binding != ChannelBinding::Offer;
            !hidden && it.is_accepted(policy)
        };
        Self::ALL.into_iter().filter(listed).map(Self::as_str)
    }

    /// The first challenge in base64: empty, but for LOGIN's prompt.
    pub(crate) fn first_challenge(self) -> &'static str {
        match self {
            Self::Login => PROMPT_FOR_NAME,
            Self::ScramSha256Plus | Self::ScramSha256 | Self::External | Self::Plain => "",
        }
    }
}

/// A set of mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms(u8);

impl Mechanisms {
    /// All mechanisms.
    pub const ALL: Self = Self(u8::MAX);

    /// Returns true if this one is in the set.
    pub const fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & mechanism.bit() != 0
    }
}

impl FromIterator<Mechanism> for Mechanisms {
    fn from_iter<T: IntoIterator<Item = Mechanism>>(mechanisms: T) -> Self {
        let bits = mechanisms.into_iter().map(Mechanism::bit);
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

/// Whether SCRAM-SHA-256-PLUS is announced and accepted inside TLS.
///
/// Clients that choose it without being able to bind (`mutt` and `neomutt` as Debian builds them) are
/// locked out where it is announced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// It is not announced, and accepted from a client that asks for it by name.
    #[default]
    Auto,
    /// It is announced, and a client that says it has not seen it is refused (RFC 5802, section 6).
    Offer,
    /// It is neither announced nor accepted.
    Never,
}

/// `Username:`, the first prompt of LOGIN.
const PROMPT_FOR_NAME: &str = "VXNlcm5hbWU6";

/// `Password:`, its second prompt.
pub(crate) const PROMPT_FOR_SECRET: &str = "UGFzc3dvcmQ6";

/// The longest line of a SASL exchange, in octets with its CRLF: what RFC 4954, section 4 takes to
/// be enough for all mechanisms (RFC 5034 says nothing of it).
pub const MAX_RESPONSE_OCTETS: usize = 12_288;

/// Decodes a client's response from base64. It may be a secret.
pub(crate) fn decode(response: &[u8]) -> Option<Secret> {
    BASE64.decode(response).ok().map(Secret::new)
}

/// Encodes a challenge in base64.
pub(crate) fn encode(challenge: &str) -> String {
    BASE64.encode(challenge.as_bytes())
}

/// Reads the message of PLAIN.
///
/// # Errors
/// If the message is not of the form `[authzid] NUL authcid NUL passwd` (RFC 4616, section 2).
pub(crate) fn plain(message: &Secret) -> Result<Plain, &'static str> {
    const FORM: &str = "PLAIN needs [identity] NUL name NUL key";
    let mut parts = message.expose().split(|octet| *octet == 0);
    let (Some(identity), Some(name), Some(secret), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(FORM);
    };
    if secret.is_empty() {
        return Err(FORM);
    }
    let identity = text(without_blanks(identity)).ok_or(FORM)?;
    Ok(Plain {
        identity: Some(identity).filter(|it| !it.is_empty()),
        name: name_of(name).ok_or(FORM)?,
        secret: Secret::new(secret),
    })
}

/// The parts of PLAIN's message.
#[derive(Debug)]
pub(crate) struct Plain {
    /// The address of the user whose maildrop is to be opened, if it is given.
    pub(crate) identity: Option<String>,
    /// The user.
    pub(crate) name: String,
    /// The key.
    pub(crate) secret: Secret,
}

/// A name as a client may send it: an address, which is one word, and after a `#` the name of a
/// key, which may be several. Spaces around it are not a part of it.
pub(crate) fn name_of(octets: &[u8]) -> Option<String> {
    let name = text(without_blanks(octets))?;
    let (address, _) = name.split_once('#').unwrap_or((&name, ""));
    let is_word = !address.is_empty() && !address.contains(char::is_whitespace);
    (is_word && !name.contains(char::is_control)).then_some(name)
}

pub(crate) fn text(octets: &[u8]) -> Option<String> {
    std::str::from_utf8(octets).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_has_three_parts() {
        let said = plain(&Secret::new(*b"\0ada@example.com\0two words")).unwrap();
        assert_eq!(said.name, "ada@example.com");
        assert_eq!(said.identity, None);
        assert_eq!(said.secret.expose(), b"two words");
        let said = plain(&Secret::new(*b" a@example.com \0 ada@example.com\0 key ")).unwrap();
        assert_eq!(said.identity.as_deref(), Some("a@example.com"));
        assert_eq!(said.name, "ada@example.com");
        assert_eq!(said.secret.expose(), b" key ");
        for bad in [
            &b""[..],
            b"ada\0key",
            b"\0ada\0",
            b"\0\0key",
            b"\0ada\0key\0",
            b"\0a da\0key",
            b"\0\xff\0key",
            b"\xff\0ada\0key",
        ] {
            assert!(plain(&Secret::new(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_one_word_and_the_name_of_a_key_may_be_several() {
        for name in ["ada@example.com", "ada@example.com#My Phone", "ada#a#b"] {
            assert_eq!(name_of(name.as_bytes()).as_deref(), Some(name));
            let padded = format!("  {name} ");
            assert_eq!(name_of(padded.as_bytes()).as_deref(), Some(name));
        }
        for bad in [
            "",
            " ",
            "#phone",
            "a da",
            "ada\t",
            "a da#phone",
            "ada#pho\tne",
            "ada\0",
        ] {
            assert_eq!(name_of(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_mechanism_has_a_name_in_any_case() {
        for mechanism in Mechanism::ALL {
            let name = mechanism.as_str();
            assert_eq!(Mechanism::named(name.as_bytes()), Some(mechanism));
            let name = name.to_lowercase();
            assert_eq!(Mechanism::named(name.as_bytes()), Some(mechanism));
        }
        assert_eq!(Mechanism::named(b"PLAI"), None);
    }

    #[test]
    fn a_set_has_what_was_put_in() {
        let none: Mechanisms = [].into_iter().collect();
        let some: Mechanisms = [Mechanism::External, Mechanism::Login]
            .into_iter()
            .collect();
        for mechanism in Mechanism::ALL {
            let is_in = matches!(mechanism, Mechanism::External | Mechanism::Login);
            assert_eq!(some.contains(mechanism), is_in, "{mechanism:?}");
            assert!(Mechanisms::ALL.contains(mechanism) && !none.contains(mechanism));
        }
    }

    #[test]
    fn the_prompts_are_what_they_seem() {
        for (prompt, text) in [
            (PROMPT_FOR_NAME, "Username:"),
            (PROMPT_FOR_SECRET, "Password:"),
        ] {
            assert_eq!(prompt, BASE64.encode(text.as_bytes()));
        }
    }
}

//! Random names: unique-ids, sessions, servers, keys.

use data_encoding::{BASE64URL_NOPAD, Encoding, Specification};
use pop3::UniqueId;
use std::sync::LazyLock;

/// Lower case and digits without those that look alike: a unique-id may become a file name.
static NAMES: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("0123456789abcdefghjkmnpqrstvwxyz");
    specification
        .encoding()
        .expect("the alphabet has 32 different characters")
});

/// Random octets from the system's generator.
///
/// # Panics
/// If the system has none: then no key would be a secret.
pub fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).expect("the system's random generator works");
    octets
}

/// A unique-id of 80 random bits in 16 characters: never the same twice in one maildrop.
///
/// It is short because a client that looks for new mail is sent all of them.
pub fn new_unique_id() -> UniqueId {
    UniqueId::new(NAMES.encode(&random::<10>())).expect("letters and digits are a unique-id")
}

/// A name of 120 random bits, in 24 characters.
pub fn new_name() -> String {
    NAMES.encode(&random::<15>())
}

/// 256 random bits in 43 characters that need no quoting in a URL.
pub fn new_secret() -> String {
    BASE64URL_NOPAD.encode(&random::<32>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_differ_and_have_24_characters() {
        let names: HashSet<String> = (0..1000).map(|_| new_name()).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 24));
        assert_eq!(new_unique_id().as_str().len(), 16);
        assert_eq!(new_secret().len(), 43);
    }
}

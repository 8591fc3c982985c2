//! The one form in which an address is stored, and the forms in which it may be asked for.
//!
//! An address has many spellings: capitals, `xn--` for a domain that is not ASCII (RFC 5890), one
//! character or two for an accented letter (Unicode's NFC and NFD). All of them are one address
//! here: the local-part is in lower case and NFC, the domain is in lower case, with U-labels.

use std::collections::HashSet;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

/// The longest address: `USER address` must fit into a command line of 255 octets.
pub const MAX_ADDRESS_OCTETS: usize = 248;

/// Every ASCII character that no domain has. `_` is none of them: names of machines have it.
const NOT_IN_A_DOMAIN: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// Characters with a meaning in a header, in an envelope or in a login name.
const NOT_IN_A_LOCAL_PART: &str = "\"#(),:;<>@[\\]";

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address: {reason}")]
pub struct InvalidAddress {
    text: String,
    reason: String,
}

/// Returns the form in which an address is stored.
///
/// # Errors
/// If it is not an address that mail can reach and a client can log in with.
pub(super) fn normalize(text: &str) -> Result<String, InvalidAddress> {
    let invalid = |reason: &str| InvalidAddress {
        text: text.to_owned(),
        reason: reason.to_owned(),
    };
    let form =
        format!("it must look like name@example.com, in at most {MAX_ADDRESS_OCTETS} octets");
    let (local, domain) = split(text).ok_or_else(|| invalid(&form))?;
    let local = lmtp::unquote(local);
    if local.is_empty() || local.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(invalid(&form));
    }
    if let Some(c) = local.chars().find(|c| NOT_IN_A_LOCAL_PART.contains(*c)) {
        return Err(invalid(&format!("the part before the @ may not have {c}")));
    }
    if text.chars().any(is_invisible) && !is_joined_in_domain_alone(text) {
        return Err(invalid("it has a character that nobody sees"));
    }
    let machine = lmtp::is_address_literal(domain).then(|| domain.to_lowercase());
    let domain = machine.or_else(|| normalize_domain(domain));
    let domain = domain.ok_or_else(|| invalid("what follows the @ is not a domain"))?;
    let address = format!("{}@{domain}", normalize_local(&local));
    // A client may log in with either form of its domain.
    let encoded = with_encoded_domain(&address).unwrap_or_default();
    if address.len().max(encoded.len()) > MAX_ADDRESS_OCTETS {
        return Err(invalid(&form));
    }
    Ok(address)
}

/// Returns the form in which an address is stored, or the text in lower case if it is no address.
pub(crate) fn normalize_or_lower(text: &str) -> String {
    normalize(text).unwrap_or_else(|_| text.to_lowercase())
}

/// Returns the forms in which an address may stand in the database, the likeliest first.
///
/// A row that was written before addresses had one form has the one that somebody typed in then. An
/// address of ASCII without `xn--` has one form alone, and the empty list is what no row can be.
pub(super) fn stored_forms(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let normal = (!is_plain(text)).then(|| normalize(text));
    let Some(Ok(address)) = normal else {
        return possible(vec![lower]);
    };
    // Unicode has capitals whose lower case is another letter in a domain (U+03A3, at its end).
    let same = normalize(&lower).is_ok_and(|form| form == address);
    let mut forms: Vec<String> = same.then_some(lower).into_iter().collect();
    let encoded = with_encoded_domain(&address);
    for form in std::iter::once(address).chain(encoded) {
        let (local, domain) = split(&form).unwrap_or_default();
        let domain_apart = format!("{local}@{}", decomposed(domain));
        let local_apart = format!("{}@{domain}", decomposed(local));
        let both_apart = decomposed(&form);
        forms.extend([form, domain_apart, local_apart, both_apart]);
    }
    possible(forms)
}

/// Returns the forms in which an address that a certificate is for may stand in the database.
///
/// Letters beyond ASCII have no other case here: some of them fold into ASCII, and would make
/// somebody else of the address.
pub(super) fn stored_forms_of_certified(text: &str) -> Vec<String> {
    let text = text.to_ascii_lowercase();
    let unicode = split(&text).and_then(|(local, domain)| {
        let unicode = normalize_domain(domain)?;
        let is_it = domain.is_ascii() || domain == unicode;
        is_it.then(|| format!("{local}@{unicode}"))
    });
    let encoded = unicode.as_deref().and_then(with_encoded_domain);
    possible(
        [Some(text), unicode, encoded]
            .into_iter()
            .flatten()
            .collect(),
    )
}

/// Returns the address to which a sub-address belongs: `ada@` for `ada+anything@`.
pub(super) fn without_detail(address: &str) -> Option<String> {
    let (local, domain) = split(address)?;
    let (name, _) = local.split_once('+')?;
    (!name.is_empty()).then(|| format!("{name}@{domain}"))
}

/// Returns a name without a domain as one in this domain: `ada#phone` as `ada@example.org#phone`.
pub(crate) fn in_domain(name: &str, domain: Option<&str>) -> String {
    let (address, key) = match name.find('#') {
        Some(at) => name.split_at(at),
        None => (name, ""),
    };
    match domain {
        Some(domain) if !address.contains('@') => format!("{address}@{domain}{key}"),
        Some(_) | None => name.to_owned(),
    }
}

/// Returns a domain in its one form: lower case, U-labels, no dot at its end. None if it is no
/// domain.
pub(crate) fn normalize_domain(domain: &str) -> Option<String> {
    let idna = Uts46::new();
    let (denied, hyphens) = (NOT_IN_A_DOMAIN, Hyphens::CheckFirstLast);
    let length = DnsLength::VerifyAllowRootDot;
    let ascii = idna.to_ascii(domain.as_bytes(), denied, hyphens, length);
    let ascii = ascii.ok()?;
    let ascii = ascii.strip_suffix('.').unwrap_or(&ascii);
    let (unicode, valid) = idna.to_unicode(ascii.as_bytes(), denied, hyphens);
    valid.ok()?;
    Some(unicode.into_owned())
}

fn normalize_local(local: &str) -> String {
    // The second time for letters whose lower case is more than one character.
    local
        .nfc()
        .collect::<String>()
        .to_lowercase()
        .nfc()
        .collect()
}

/// The address with A-labels, if they differ from its U-labels.
fn with_encoded_domain(address: &str) -> Option<String> {
    let (local, domain) = split(address).filter(|(_, domain)| !domain.is_ascii())?;
    let (hyphens, length) = (Hyphens::CheckFirstLast, DnsLength::Ignore);
    let ascii = Uts46::new().to_ascii(domain.as_bytes(), NOT_IN_A_DOMAIN, hyphens, length);
    Some(format!("{local}@{}", ascii.ok()?))
}

fn decomposed(text: &str) -> String {
    text.nfd().collect()
}

/// Is its lower case its one form?
fn is_plain(address: &str) -> bool {
    let odd = |octet: u8| !octet.is_ascii() || octet == b'"';
    let coded = |label: &[u8]| label.eq_ignore_ascii_case(b"xn--");
    !address.bytes().any(odd)
        && !address.ends_with('.')
        && !address.as_bytes().windows(4).any(coded)
}

fn split(address: &str) -> Option<(&str, &str)> {
    address.rsplit_once('@')
}

/// Those of the forms that may be in a row, each once.
fn possible(mut forms: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    // PostgreSQL's texts hold no NUL.
    let may_be =
        |form: &str| (1..=MAX_ADDRESS_OCTETS).contains(&form.len()) && !form.contains('\0');
    forms.retain(|form| may_be(form) && seen.insert(form.clone()));
    forms
}

/// Two of these join letters in the scripts of some languages. Where a domain may have them, IDNA
/// says (RFC 5892, appendix A).
fn is_joined_in_domain_alone(text: &str) -> bool {
    let joins = |c: char| c == '\u{200c}' || c == '\u{200d}';
    split(text).is_some_and(|(local, domain)| {
        !local.chars().any(is_invisible) && domain.chars().all(|c| !is_invisible(c) || joins(c))
    })
}

/// Characters that look like nothing, or turn others around: two addresses that differ in one of
/// them look the same. U+FFFD stands for octets that are no text.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NFC: &str = "jos\u{e9}@b\u{fc}cher.example";

    #[test]
    fn all_spellings_of_an_address_are_one() {
        for (spelling, form) in [
            ("Ada@Example.ORG", "ada@example.org"),
            ("ada@example.org.", "ada@example.org"),
            ("\"ada\"@example.org", "ada@example.org"),
            ("\"a..b\"@example.org", "a..b@example.org"),
            (NFC, NFC),
            ("JOS\u{c9}@B\u{dc}CHER.EXAMPLE", NFC),
            ("jose\u{301}@bu\u{308}cher.example", NFC),
            ("jose\u{301}@xn--bcher-kva.example", NFC),
            ("jos\u{e9}@XN--BCHER-KVA.Example.", NFC),
            ("ada@b\u{fc}cher\u{3002}example", "ada@b\u{fc}cher.example"),
            ("ada@\u{ff45}xample.org", "ada@example.org"),
            ("ada@stra\u{df}e.example", "ada@stra\u{df}e.example"),
            ("ada@xn--strae-oqa.example", "ada@stra\u{df}e.example"),
            ("ada@strasse.example", "ada@strasse.example"),
            ("\u{130}da@example.org", "i\u{307}da@example.org"),
            ("i\u{307}da@example.org", "i\u{307}da@example.org"),
            ("ada@\u{130}da.example", "ada@i\u{307}da.example"),
            ("ada@faß.de", "ada@faß.de"),
            ("ada@my_host", "ada@my_host"),
            ("ada@[192.0.2.1]", "ada@[192.0.2.1]"),
            ("ada@[IPv6:2001:DB8::1]", "ada@[ipv6:2001:db8::1]"),
            // With a joiner where Persian has it, and where no language has it.
            (
                "ada@\u{646}\u{627}\u{645}\u{647}\u{200c}\u{627}\u{6cc}.example",
                "ada@\u{646}\u{627}\u{645}\u{647}\u{200c}\u{627}\u{6cc}.example",
            ),
        ] {
            assert_eq!(normalize(spelling).as_deref(), Ok(form), "{spelling}");
        }
    }

    #[test]
    fn what_mail_can_not_reach_or_people_can_not_tell_apart_is_no_address() {
        for bad in [
            "ada",
            "@example.org",
            "ada@",
            "\"\"@example.org",
            "a da@example.org",
            "\"a da\"@example.org",
            "a@b@example.org",
            "<ada@example.org>",
            "ada@example.org>",
            "ada(x)@example.org",
            "ada,bob@example.org",
            "\"ada@example.org",
            "ada#phone@example.org",
            "ada@example..org",
            "ada@.example.org",
            "ada@example.org..",
            "ada@-example.org",
            "ada@example-.org",
            "ada@exam ple.org",
            "ada@example.org#x",
            "ada@[192.0.2]",
            "ada@xn--a.example",
            "ada@xn--bcher-kvb-.example",
            "ada@\u{2067}example.org",
            "ada\u{200b}@example.org",
            "ada\u{200d}@example.org",
            "ada\u{202e}@example.org",
            "ada\u{ad}@example.org",
            "\u{feff}ada@example.org",
            "ada@exa\u{200b}mple.org",
            "ada@exa\u{200d}mple.org",
            "ada@exa\u{ad}mple.org",
            "ada@exam\u{202e}ple.org",
            "ada\u{fffd}@example.org",
            "ada\u{85}@example.org",
            "ada\0@example.org",
            &format!("ada@{}.org", "x".repeat(64)),
            &format!("ada@{}", "\u{fc}".repeat(60)),
        ] {
            assert!(normalize(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn both_forms_of_the_longest_domain_fit_on_a_line() {
        let of = |octets: usize| {
            let domain = format!("{}.example", vec!["\u{fc}b"; 20].join("."));
            let encoded = with_encoded_domain(&format!("x@{domain}")).unwrap();
            format!("{}@{domain}", "x".repeat(octets - encoded.len() + 1))
        };
        assert!(normalize(&of(MAX_ADDRESS_OCTETS)).is_ok());
        assert!(normalize(&of(MAX_ADDRESS_OCTETS + 1)).is_err());
    }

    #[test]
    fn the_forms_of_an_address_are_those_in_which_it_was_ever_stored() {
        assert_eq!(stored_forms("Ada@Example.org"), ["ada@example.org"]);
        assert_eq!(stored_forms("a\0da@example.org"), [""; 0]);
        assert_eq!(stored_forms(&"x".repeat(MAX_ADDRESS_OCTETS + 1)), [""; 0]);
        assert_eq!(
            stored_forms("ada@example.org."),
            ["ada@example.org.", "ada@example.org"]
        );
        let forms = [
            NFC,
            "jos\u{e9}@bu\u{308}cher.example",
            "jose\u{301}@b\u{fc}cher.example",
            "jose\u{301}@bu\u{308}cher.example",
            "jos\u{e9}@xn--bcher-kva.example",
            "jose\u{301}@xn--bcher-kva.example",
        ];
        for asked in forms {
            let mut found = stored_forms(asked);
            assert_eq!(found[0], asked);
            found.sort_unstable();
            let mut expected = forms.to_vec();
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_certificate_is_for_the_address_in_it_alone() {
        for (certified, form) in [
            ("ADA@Example.org", "ada@example.org"),
            ("\u{212a}ay@example.org", "\u{212a}ay@example.org"),
            ("jos\u{c9}@example.org", "jos\u{c9}@example.org"),
        ] {
            assert_eq!(stored_forms_of_certified(certified), [form]);
        }
        let folded = stored_forms_of_certified("kay@e\u{212a}ample.org");
        assert!(!folded.contains(&"kay@ekample.org".to_owned()));
        let forms = stored_forms_of_certified("Ada@xn--bcher-kva.example");
        let expected = ["ada@xn--bcher-kva.example", "ada@b\u{fc}cher.example"];
        assert_eq!(forms, expected);
    }

    #[test]
    fn a_name_without_a_domain_is_in_the_default_one() {
        let domain = Some("example.org");
        for (name, whole) in [
            ("ada", "ada@example.org"),
            ("ada#My Phone", "ada@example.org#My Phone"),
            ("ada#a@b", "ada@example.org#a@b"),
            ("ada@example.com", "ada@example.com"),
            ("ada@example.com#x", "ada@example.com#x"),
        ] {
            assert_eq!(in_domain(name, domain), whole);
            assert_eq!(in_domain(name, None), name);
        }
    }

    proptest! {
        #[test]
        fn the_one_form_of_an_address_has_no_other(
            text in prop_oneof![".{1,12}@.{1,12}", "[a-zA-ZÀ-ʯΑ-ω가-힣.+]{1,9}@[a-zA-ZÀ-ʯΑ-ω가-힣.-]{1,12}"]
        ) {
            if let Ok(address) = normalize(&text) {
                prop_assert_eq!(normalize(&address), Ok(address.clone()));
                for form in stored_forms(&text) {
                    prop_assert_eq!(normalize(&form), Ok(address.clone()), "{}", form);
                    prop_assert!(stored_forms(&form).contains(&address));
                }
            }
        }
    }
}

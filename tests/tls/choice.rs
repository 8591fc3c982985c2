//! Which certificate a client gets.

use rcgen::KeyPair;
use tokio_rustls::rustls::crypto::ring::{self, cipher_suite};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, SignatureScheme};

use super::authority::Authority;
use super::{Folder, anybody, anybody_with, is_here, load, shake, text};
use crate::support::run;

#[test]
fn a_client_gets_the_certificate_for_the_name_it_asks_for() {
    let (folder, authority) = (Folder::new(), Authority::new("servers"));
    let one = authority.server(&["one.example.org", "pop.example.org"]);
    let wild = authority.server(&["*.example.org"]);
    let other = authority.server(&["Other.example.net", "special.example.org"]);
    let paths = [&one, &wild, &other].map(|issued| issued.both());
    let paths = paths.iter().enumerate();
    let paths = paths.map(|(at, both)| folder.write(&at.to_string(), both));
    let paths = paths.collect::<Vec<_>>().join(",");
    let tls = load(&[("Pop3__CertificatePath", &paths)]).unwrap();
    run(async || {
        for (name, expected) in [
            ("one.example.org", &one),
            ("POP.example.org", &one),
            ("other.example.net", &other),
            ("any.example.org", &wild),
            // The name itself goes before a wildcard.
            ("special.example.org", &other),
            // A wildcard is for one label: neither none nor two.
            ("example.org", &one),
            ("a.b.example.org", &one),
            ("unknown.example.com", &one),
            // No name at all is sent for an address.
            ("127.0.0.1", &one),
        ] {
            let shown = shake(&tls, anybody(), name).await.shown();
            assert_eq!(shown, expected.der(), "{name}");
        }
    });
}

#[test]
fn of_several_for_one_name_a_client_gets_the_one_whose_key_it_knows() {
    if !is_here("openssl") {
        return;
    }
    let (folder, authority) = (Folder::new(), Authority::new("servers"));
    let elliptic = authority.server(&["localhost"]);
    let edwards = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let edwards = authority.server_with("localhost", &edwards);
    folder.make_rsa("localhost");
    let rsa = CertificateDer::from_pem_file(folder.path("localhost.pem")).unwrap();
    let paths = format!(
        "{},{},{}",
        folder.write("elliptic.pem", elliptic.both()),
        folder.write("edwards.pem", edwards.both()),
        text(&folder.path("localhost.pem")),
    );
    let keys = paths.replace("localhost.pem", "localhost.key");
    let settings = [
        ("Pop3__CertificatePath", paths.as_str()),
        ("Pop3__CertificateKeyPath", &keys),
    ];
    let tls = load(&settings).unwrap();
    let knows = |scheme| anybody_with(ring::default_provider(), Some(vec![scheme]));
    let only = |suite| -> ClientConfig {
        let mut provider = ring::default_provider();
        provider.cipher_suites = vec![suite];
        anybody_with(provider, None)
    };
    run(async || {
        for (client, expected) in [
            (anybody(), elliptic.der()),
            (
                knows(SignatureScheme::ECDSA_NISTP256_SHA256),
                elliptic.der(),
            ),
            (knows(SignatureScheme::RSA_PSS_SHA256), rsa.clone()),
            (knows(SignatureScheme::ED25519), edwards.der()),
            // In TLS 1.2 the cipher suite tells the kind of key, too.
            (
                only(cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
                rsa.clone(),
            ),
            (
                only(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
                elliptic.der(),
            ),
        ] {
            assert_eq!(shake(&tls, client, "localhost").await.shown(), expected);
        }
    });
}

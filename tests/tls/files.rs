//! Each kind of file, and what is said of one that can't be used.

use std::time::SystemTime;

use rcgen::KeyPair;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::authority::{Authority, DAY};
use super::{Folder, anybody, is_here, load, shake, text};
use crate::support::run;

/// Handshakes with these settings; the chain that the client is shown.
fn chain_of(settings: &[(&str, &str)]) -> Vec<CertificateDer<'static>> {
    let tls = load(settings).unwrap_or_else(|error| panic!("{settings:?}: {error}"));
    run(async || {
        let shaken = shake(&tls, anybody(), "localhost").await;
        let client = shaken.client.unwrap();
        client.get_ref().1.peer_certificates().unwrap().to_vec()
    })
}

/// Why these settings can't be used.
fn mistake(settings: &[(&str, &str)]) -> String {
    load(settings).expect_err("a mistake")
}

#[test]
fn pem_is_read_in_one_file_or_two_with_any_kind_of_key() {
    let (folder, authority) = (Folder::new(), Authority::new("servers"));
    let other = Authority::new("others");
    for kind in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let issued = authority.server_with("localhost", &KeyPair::generate_for(kind).unwrap());
        let both = folder.write("both.pem", issued.both());
        let chain = chain_of(&[("Pop3__CertificatePath", &both)]);
        assert_eq!(chain, [issued.der()]);
        // In two files, with the authority and another, all in the wrong order.
        let certificates = other.pem.clone() + &authority.pem + &issued.pem;
        let certificate = folder.write("certificate.pem", certificates);
        let key = folder.write("key.pem", &issued.key);
        let settings = [
            ("Pop3__CertificatePath", certificate.as_str()),
            ("Pop3__CertificateKeyPath", &key),
        ];
        let chain = chain_of(&settings);
        let [authority, other] = [&authority, &other]
            .map(|it| CertificateDer::from_pem_slice(it.pem.as_bytes()).unwrap());
        assert_eq!(chain, [issued.der(), authority, other]);
    }
}

#[test]
fn der_is_read_too() {
    let (folder, issued) = (
        Folder::new(),
        Authority::new("servers").server(&["localhost"]),
    );
    let settings = [
        (
            "Pop3__CertificatePath",
            &folder.write("server.cer", issued.der()),
        ),
        (
            "Pop3__CertificateKeyPath",
            &folder.write("server.key", issued.key_der().secret_der()),
        ),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(chain_of(&settings), [issued.der()]);
}

#[test]
fn rsa_is_read_as_openssl_writes_it_encrypted_or_not() {
    if !is_here("openssl") {
        return;
    }
    let folder = Folder::new();
    folder.make_rsa("localhost");
    let certificate = CertificateDer::from_pem_file(folder.path("localhost.pem")).unwrap();
    folder.run("openssl rsa -in localhost.key -traditional -out pkcs1.key");
    folder.run("openssl pkey -in localhost.key -aes256 -passout pass:secret -out encrypted.key");
    let with = |key: &str, password: &str| {
        let [path, key] = [folder.path("localhost.pem"), folder.path(key)];
        let settings = [
            ("Pop3__CertificatePath", text(&path)),
            ("Pop3__CertificateKeyPath", text(&key)),
            ("Pop3__CertificatePassword", password),
        ];
        load(&settings).map(|_| chain_of(&settings))
    };
    for (key, password) in [
        ("localhost.key", ""),
        ("pkcs1.key", ""),
        ("encrypted.key", "secret"),
    ] {
        assert_eq!(with(key, password), Ok(vec![certificate.clone()]), "{key}");
    }
    let why = with("encrypted.key", "").unwrap_err();
    let file = folder.path("encrypted.key");
    let expected = "its private key is encrypted: set Pop3__CertificatePassword";
    assert_eq!(why, format!("cannot read {}: {expected}", file.display()));
    let why = with("encrypted.key", "wrong").unwrap_err();
    let expected = "its private key could not be decrypted by Pop3__CertificatePassword";
    assert!(
        why.starts_with(&format!("cannot read {}: {expected}", file.display())),
        "{why}"
    );
    folder.run("openssl rsa -in localhost.key -traditional -aes256 -passout pass:x -out old.key");
    let why = with("old.key", "x").unwrap_err();
    assert!(
        why.contains("old.key: its private key is encrypted in an old way"),
        "{why}"
    );
}

#[test]
fn pkcs12_is_read_with_a_password_an_empty_one_and_none() {
    if !is_here("openssl") {
        return;
    }
    let folder = Folder::new();
    folder.make_rsa("localhost");
    let rsa = CertificateDer::from_pem_file(folder.path("localhost.pem")).unwrap();
    let authority = Authority::new("servers");
    let issued = authority.server(&["localhost"]);
    folder.write("elliptic.pem", &issued.pem);
    folder.write("elliptic.key", &issued.key);
    folder.write("authority.pem", &authority.pem);
    let export = "openssl pkcs12 -export -in localhost.pem -inkey localhost.key";
    let none = "-nomac -keypbe NONE -certpbe NONE";
    for (how, password) in [
        ("-passout pass:secret", "secret"),
        ("-passout pass:", ""),
        ("-legacy -passout pass:secret", "secret"),
        ("-legacy -passout pass:", ""),
        (&format!("{none} -passout pass:"), ""),
        // A password for one file does not exclude another without.
        ("-passout pass:", "for another"),
        ("-passout pass:größer", "größer"),
    ] {
        // Known by its content, under any name.
        for name in ["server.p12", "server.pem"] {
            folder.run(&format!("{export} {how} -out {name}"));
            let path = folder.path(name);
            let settings = [
                ("Pop3__CertificatePath", text(&path)),
                ("Pop3__CertificatePassword", password),
            ];
            assert_eq!(chain_of(&settings), std::slice::from_ref(&rsa), "{how}");
        }
    }
    folder.run(
        "openssl pkcs12 -export -in elliptic.pem -inkey elliptic.key -certfile authority.pem \
         -passout pass:secret -out chain.pfx",
    );
    let path = folder.path("chain.pfx");
    let with = |password| {
        [
            ("Pop3__CertificatePath", text(&path)),
            ("Pop3__CertificatePassword", password),
        ]
    };
    let authority = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    assert_eq!(chain_of(&with("secret")), [issued.der(), authority]);
    let file = path.display();
    assert_eq!(
        mistake(&with("wrong")),
        format!(
            "cannot read {file}: it is PKCS#12, and Pop3__CertificatePassword is not its password"
        )
    );
    assert_eq!(
        mistake(&with("")),
        format!("cannot read {file}: it is PKCS#12 with a password: set Pop3__CertificatePassword")
    );
}

#[test]
fn pkcs12_without_a_password_is_read_as_gnutls_writes_it() {
    if !is_here("certtool") {
        return;
    }
    let (folder, issued) = (
        Folder::new(),
        Authority::new("servers").server(&["localhost"]),
    );
    folder.write("server.pem", &issued.pem);
    folder.write("server.key", &issued.key);
    for how in ["--null-password", "--empty-password"] {
        folder.run(&format!(
            "certtool --to-p12 --load-certificate server.pem --load-privkey server.key \
             --p12-name server {how} --outder --outfile server.p12"
        ));
        let path = folder.path("server.p12");
        let chain = chain_of(&[("Pop3__CertificatePath", text(&path))]);
        assert_eq!(chain, [issued.der()], "{how}");
    }
}

#[test]
fn a_folder_stands_for_the_certificates_in_it() {
    let (folder, authority) = (Folder::new(), Authority::new("servers"));
    let issued = authority.server(&["localhost"]);
    let other = authority.server(&["other.example.org"]);
    // As certbot has it.
    folder.write("cert.pem", &issued.pem);
    folder.write("chain.pem", &authority.pem);
    folder.write("fullchain.pem", issued.pem.clone() + &authority.pem);
    folder.write("privkey.pem", &issued.key);
    folder.write("README", "no certificate");
    folder.write("zz.CRT", other.both());
    let path = folder.path(".");
    let settings = [("Pop3__CertificatePath", text(&path))];
    let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    assert_eq!(chain_of(&settings), [issued.der(), root]);
    let known = load(&settings).unwrap().certificates();
    let files: Vec<_> = known
        .iter()
        .map(|it| it.file.file_name().unwrap())
        .collect();
    assert_eq!(files, ["fullchain.pem", "zz.CRT"]);
    assert_eq!(known[1].names, ["other.example.org"]);
    // What is there and can't be used is a mistake.
    folder.write("lonely.pem", authority.server(&["lonely.example.org"]).pem);
    let why = mistake(&settings);
    assert!(
        why.contains("lonely.pem: its private key belongs to another certificate"),
        "{why}"
    );
}

#[test]
fn a_certificate_tells_its_names_and_its_end() {
    let (folder, authority) = (Folder::new(), Authority::new("servers"));
    let end = SystemTime::UNIX_EPOCH + 30_000 * DAY;
    let issued = authority.server_until(&["One.example.org", "*.example.net"], end);
    let file = folder.write("server.pem", issued.both());
    let known = load(&[("Pop3__CertificatePath", &file)])
        .unwrap()
        .certificates();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].file.to_str(), Some(file.as_str()));
    assert_eq!(known[0].names, ["one.example.org", "*.example.net"]);
    assert_eq!(known[0].not_after, end);
}

#[test]
fn a_file_that_can_not_be_used_is_named_with_the_reason() {
    let (folder, authority) = (Folder::new(), Authority::new("servers"));
    let issued = authority.server(&["localhost"]);
    let certificate = folder.write("certificate.pem", &issued.pem);
    let key = folder.write("key.pem", &issued.key);
    let other = folder.write("other.pem", authority.server(&["localhost"]).key);
    let nothing = folder.write("nothing.pem", "");
    let garbage = folder.write("garbage.p12", "0\u{1}\u{1}\u{1}");
    let half = folder.write("half.pem", &issued.both()[..issued.pem.len() + 40]);
    let broken = folder.write("broken.p12", [0x30, 0x05, 2, 1, 3, 5, 0]);
    let missing = folder.path("missing.pem");
    let empty = folder.path("empty");
    std::fs::create_dir(&empty).unwrap();
    for (path, key, file, why) in [
        (
            text(&missing),
            "",
            text(&missing),
            "No such file or directory (os error 2)",
        ),
        (&nothing, "", &nothing, "it is not in PEM, PKCS#12 or DER"),
        (&garbage, "", &garbage, "it is not in PEM, PKCS#12 or DER"),
        (&half, "", &half, "its PEM is broken"),
        (&broken, "", &broken, "its PKCS#12 can't be read"),
        (
            &certificate,
            "",
            &certificate,
            "there is no private key beside it",
        ),
        (&key, "", &key, "there is no certificate in it"),
        (
            &certificate,
            &other,
            &certificate,
            "its private key belongs to another certificate",
        ),
        (
            &certificate,
            text(&missing),
            text(&missing),
            "No such file or directory (os error 2)",
        ),
    ] {
        let error = mistake(&[
            ("Pop3__CertificatePath", path),
            ("Pop3__CertificateKeyPath", key),
        ]);
        assert!(error.contains(&format!("{file}: {why}")), "{error}");
    }
    let error = mistake(&[("Pop3__CertificatePath", text(&empty))]);
    let expected = format!("there is no certificate in the folder {}", empty.display());
    assert!(error.starts_with(&expected), "{error}");
    let error = mistake(&[
        (
            "Pop3__CertificatePath",
            &format!("{certificate},{certificate}"),
        ),
        ("Pop3__CertificateKeyPath", &key),
    ]);
    assert_eq!(
        error,
        "Pop3__CertificateKeyPath names 1 files and Pop3__CertificatePath 2: \
         there is one key for each certificate, in the same order"
    );
}

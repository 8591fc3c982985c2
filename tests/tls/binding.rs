//! What a login can be bound to.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest, Sha256, Sha384};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};

use super::authority::Authority;
use super::{Anybody, Folder, anybody, load, shake};
use crate::support::run;

fn speaking(version: &'static SupportedProtocolVersion) -> ClientConfig {
    let provider = ring::default_provider();
    let verifier = Anybody {
        schemes: provider
            .signature_verification_algorithms
            .supported_schemes(),
        provider: provider.clone(),
    };
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

#[test]
fn both_ends_derive_the_same_binding_from_their_connection() {
    let (folder, authority) = (Folder::new(), Authority::new("servers"));
    let issued = authority.server(&["localhost"]);
    let file = folder.write("server.pem", issued.both());
    let tls = load(&[("Pop3__CertificatePath", &file)]).unwrap();
    run(async || {
        for version in [&TLS13, &TLS12] {
            let shaken = shake(&tls, speaking(version), "localhost").await;
            let (server, client) = (shaken.server.unwrap(), shaken.client.unwrap());
            let hash = Sha256::digest(issued.der()).to_vec();
            assert_eq!(server.channel_binding("tls-server-end-point"), Some(hash));
            let ours = server.channel_binding("tls-exporter");
            let label = b"EXPORTER-Channel-Binding";
            let theirs = client
                .get_ref()
                .1
                .export_keying_material([0; 32], label, Some(b""));
            // It is defined for TLS 1.3, and for TLS 1.2 with what we can't see.
            let theirs = (version == &TLS13).then(|| theirs.unwrap().to_vec());
            assert_eq!(ours, theirs);
            assert_eq!(server.channel_binding("tls-unique"), None);
        }
    });
}

#[test]
fn the_binding_to_a_certificate_uses_the_hash_of_its_signature() {
    let folder = Folder::new();
    let larger = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let edwards = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let signed_by_itself = |key: &KeyPair| {
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.self_signed(key).unwrap()
    };
    run(async || {
        for (key, hashed) in [(&larger, true), (&edwards, false)] {
            let certificate = signed_by_itself(key);
            let both = certificate.pem() + &key.serialize_pem();
            let file = folder.write("server.pem", both);
            let tls = load(&[("Pop3__CertificatePath", &file)]).unwrap();
            let server = shake(&tls, anybody(), "localhost").await.server.unwrap();
            let hash = hashed.then(|| Sha384::digest(certificate.der()).to_vec());
            assert_eq!(server.channel_binding("tls-server-end-point"), hash);
        }
    });
}

#[test]
fn a_resumed_session_has_a_binding_of_its_own() {
    let (folder, authority) = (Folder::new(), Authority::new("servers"));
    let file = folder.write("server.pem", authority.server(&["localhost"]).both());
    let tls = load(&[("Pop3__CertificatePath", &file)]).unwrap();
    let client = speaking(&TLS13);
    run(async || {
        let mut bindings = Vec::new();
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let shaken = shake(&tls, client.clone(), "localhost").await;
            assert_eq!(shaken.kind(), Some(kind));
            let server = shaken.server.as_ref().unwrap();
            bindings.push(server.channel_binding("tls-exporter").unwrap());
            shaken.take_ticket().await;
        }
        assert_ne!(bindings[0], bindings[1]);
    });
}

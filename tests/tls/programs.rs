//! openssl and curl, as they are, against the real server.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;
use std::time::SystemTime;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::authority::{Authority, DAY, mailbox};
use super::{Folder, is_here, text};
use crate::served::Served;
use crate::support::{cli, place};

/// A running server with two certificates.
struct Stage {
    folder: Folder,
    served: Served,
}

impl Stage {
    fn new(settings: &[(&str, &str)]) -> Self {
        let (folder, servers) = (Folder::new(), Authority::new("servers"));
        folder.write("servers.pem", &servers.pem);
        let local = servers.server(&["localhost", "127.0.0.1"]);
        let other = servers.server(&["other.example.org"]);
        let paths = format!(
            "{},{}",
            folder.write("local.pem", local.both()),
            folder.write("other.pem", other.both())
        );
        let ours = [("Pop3__CertificatePath", paths.as_str())];
        let served = Served::start_with_its_own(place::sqlite(), &[&ours, settings].concat());
        Self { folder, served }
    }

    /// Runs a program to its end: its exit status, and what it said.
    fn run(&self, command: &mut Command, stdin: &str) -> (Option<i32>, String) {
        let [input, output] = ["input", "output"].map(|name| self.folder.path(name));
        std::fs::write(&input, stdin).unwrap();
        let said = File::create(&output).unwrap();
        command.current_dir(self.folder.0.path());
        command.stdin(File::open(&input).unwrap());
        command.stdout(said.try_clone().unwrap()).stderr(said);
        let code = cli::wait(&mut command.spawn().unwrap());
        let said = std::fs::read(output).unwrap();
        (code, String::from_utf8_lossy(&said).into_owned())
    }

    /// A conversation of `openssl s_client`, on both ports: what it says of each.
    fn s_client(&self, options: &str) -> [(bool, String); 2] {
        self.s_client_says(options, "QUIT\n")
    }

    fn s_client_says(&self, options: &str, lines: &str) -> [(bool, String); 2] {
        let converse = |address: SocketAddr, how: &[&str]| {
            let mut openssl = Command::new("openssl");
            openssl.args([
                "s_client",
                "-crlf",
                "-ign_eof",
                "-connect",
                &address.to_string(),
            ]);
            openssl.args(["-CAfile", "servers.pem", "-verify_return_error"]);
            openssl.args(how).args(options.split(' '));
            let (code, said) = self.run(&mut openssl, lines);
            (code == Some(0) && said.contains("+OK"), said)
        };
        [
            converse(self.served.plain, &["-starttls", "pop3"]),
            converse(self.served.tls, &[]),
        ]
    }
}

#[test]
fn openssl_speaks_tls_1_2_and_1_3_and_nothing_older() {
    if !is_here("openssl") {
        return;
    }
    let stage = Stage::new(&[]);
    for (options, protocol) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for (well, said) in stage.s_client(options) {
            assert!(well && said.contains(&format!("New, {protocol}")), "{said}");
            assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        }
    }
    for options in ["-tls1_1", "-tls1"] {
        for (well, said) in stage.s_client(&format!("{options} -cipher DEFAULT@SECLEVEL=0")) {
            // It says so in an alert, and nothing is agreed.
            assert!(!well && said.contains("SSL alert number"), "{said}");
            assert!(said.contains("New, (NONE)"), "{said}");
        }
    }
}

#[test]
fn openssl_names_the_server_and_the_protocol() {
    if !is_here("openssl") {
        return;
    }
    let stage = Stage::new(&[]);
    for (name, file) in [
        ("localhost", "local.pem"),
        ("other.example.org", "other.pem"),
        ("unknown.example.org", "local.pem"),
    ] {
        let expected = CertificateDer::from_pem_file(stage.folder.path(file)).unwrap();
        for (well, said) in stage.s_client(&format!("-servername {name} -alpn pop3")) {
            assert!(well && said.contains("ALPN protocol: pop3"), "{said}");
            assert_eq!(
                CertificateDer::from_pem_slice(said.as_bytes()).unwrap(),
                expected
            );
        }
    }
    // With a dot at its end it is the same name, in any case.
    let expected = CertificateDer::from_pem_file(stage.folder.path("other.pem")).unwrap();
    for (well, said) in stage.s_client("-servername OTHER.example.org.") {
        assert!(well, "{said}");
        let shown = CertificateDer::from_pem_slice(said.as_bytes());
        assert_eq!(shown.unwrap(), expected);
    }
}

#[test]
fn openssl_that_asks_by_an_address_or_an_odd_name_gets_the_first_certificate() {
    if !is_here("openssl") {
        return;
    }
    let stage = Stage::new(&[]);
    let expected = CertificateDer::from_pem_file(stage.folder.path("local.pem")).unwrap();
    for name in [
        "127.0.0.1",
        "::1",
        "mail_1",
        "mail.example.org.",
        "xn--mller-kva.example",
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            for (well, said) in stage.s_client(&format!("{version} -servername {name}")) {
                assert!(well, "{name}: {said}");
                let shown = CertificateDer::from_pem_slice(said.as_bytes());
                assert_eq!(shown.unwrap(), expected, "{name}");
            }
        }
    }
}

#[test]
fn openssl_with_the_suites_of_old_clients_needs_gcm_and_the_key_of_the_certificate() {
    if !is_here("openssl") {
        return;
    }
    // The certificates have ECDSA keys.
    let stage = Stage::new(&[]);
    for (suite, gets_in) in [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", true),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", true),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", true),
        ("ECDHE-RSA-AES128-GCM-SHA256", false),
        ("ECDHE-ECDSA-AES128-SHA256", false),
        ("ECDHE-ECDSA-AES256-SHA", false),
        ("AES128-GCM-SHA256", false),
        ("DHE-RSA-AES128-GCM-SHA256", false),
    ] {
        for (well, said) in stage.s_client(&format!("-tls1_2 -cipher {suite}")) {
            assert_eq!(well, gets_in, "{suite}: {said}");
        }
    }
}

#[test]
fn openssl_that_asks_for_another_protocol_is_let_in_unless_it_is_strict() {
    if !is_here("openssl") {
        return;
    }
    let (lenient, strict) = (Stage::new(&[]), Stage::new(&[("Pop3__StrictAlpn", "true")]));
    for version in ["-tls1_2", "-tls1_3"] {
        for protocols in ["imap", "http/1.1", "h2,http/1.1", "POP3", "pop"] {
            for (well, said) in lenient.s_client(&format!("{version} -alpn {protocols}")) {
                assert!(well && said.contains("No ALPN negotiated"), "{said}");
            }
            for (well, said) in strict.s_client(&format!("{version} -alpn {protocols}")) {
                assert!(!well && said.contains("no application protocol"), "{said}");
            }
        }
        for stage in [&lenient, &strict] {
            for (well, said) in stage.s_client(&format!("{version} -alpn http/1.1,pop3")) {
                assert!(well && said.contains("ALPN protocol: pop3"), "{said}");
            }
            assert!(stage.s_client(version).iter().all(|(well, _)| *well));
        }
        // Either kind of client resumes by its ticket, and by that of the other.
        let name = "-servername localhost";
        for (first, then) in [("imap", "imap"), ("imap", "pop3"), ("pop3", "imap")] {
            let options = format!("{version} {name} -alpn {first} -sess_out session");
            assert!(lenient.s_client(&options).iter().all(|(well, _)| *well));
            for (well, said) in
                lenient.s_client(&format!("{version} {name} -alpn {then} -sess_in session"))
            {
                assert!(well && said.contains("Reused, "), "{first} {then}: {said}");
            }
        }
    }
}

#[test]
fn openssl_resumes_a_session_by_its_ticket() {
    if !is_here("openssl") {
        return;
    }
    let stage = Stage::new(&[]);
    for (options, protocol) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let name = "-servername localhost";
        for (well, said) in stage.s_client(&format!("{options} {name} -sess_out session")) {
            assert!(well && said.contains(&format!("New, {protocol}")), "{said}");
        }
        for (well, said) in stage.s_client(&format!("{options} {name} -sess_in session")) {
            assert!(
                well && said.contains(&format!("Reused, {protocol}")),
                "{said}"
            );
        }
        // A ticket is for the certificate that came with it.
        let name = "-servername other.example.org";
        for (well, said) in stage.s_client(&format!("{options} {name} -sess_in session")) {
            assert!(well && said.contains(&format!("New, {protocol}")), "{said}");
        }
    }
}

#[test]
fn curl_shows_a_certificate_and_a_revoked_or_foreign_one_is_refused() {
    if !is_here("curl") {
        return;
    }
    let (folder, clients) = (Folder::new(), Authority::new("clients"));
    let foreign = Authority::new("clients");
    let list = folder.write("clients.crl", clients.list(&[2], SystemTime::now() + DAY));
    let authority = folder.write("clients.pem", &clients.pem);
    let stage = Stage::new(&[("Pop3__ClientCaPath", &authority), ("Pop3__CrlPath", &list)]);
    let owner = stage.served.owner(&[b"one\r\n".to_vec()]);
    let names = [mailbox(&owner.address)];
    for (client, believed) in [
        (Some(clients.client(&names, 1)), true),
        (Some(clients.client(&names, 2)), false),
        (Some(foreign.client(&names, 1)), false),
        (None, true),
    ] {
        let [plain, tls] = [stage.served.plain.port(), stage.served.tls.port()];
        for url in [
            format!("pop3s://127.0.0.1:{tls}/1"),
            format!("pop3://127.0.0.1:{plain}/1"),
        ] {
            let mut curl = Command::new("curl");
            curl.args([
                "--silent",
                "--show-error",
                "--ssl-reqd",
                "--cacert",
                "servers.pem",
            ]);
            curl.args(["--user", &format!("{}:{}", owner.address, owner.key), &url]);
            if let Some(client) = &client {
                stage.folder.write("client.pem", client.both());
                curl.args(["--cert", text(&stage.folder.path("client.pem"))]);
            }
            let (code, said) = stage.run(&mut curl, "");
            assert_eq!(
                code == Some(0) && said == "one\r\n",
                believed,
                "{url}: {said}"
            );
        }
    }
}

#[test]
fn curl_logs_in_by_its_certificate() {
    if !is_here("curl") {
        return;
    }
    let (folder, clients) = (Folder::new(), Authority::new("clients"));
    let authority = folder.write("clients.pem", &clients.pem);
    let stage = Stage::new(&[
        ("Pop3__ClientCaPath", &authority),
        ("Pop3__CheckCertificateRevocation", "false"),
    ]);
    let owner = stage.served.owner(&[b"one\r\n".to_vec()]);
    let client = clients.client(&[mailbox(&owner.address)], 1);
    stage.folder.write("client.pem", client.both());
    let [plain, tls] = [stage.served.plain.port(), stage.served.tls.port()];
    for url in [
        format!("pop3s://127.0.0.1:{tls}/1"),
        format!("pop3://127.0.0.1:{plain}/1"),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--ssl-reqd"]);
        curl.args(["--cacert", "servers.pem", "--cert", "client.pem"]);
        curl.args(["--login-options", "AUTH=EXTERNAL"]);
        curl.args(["--user", &format!("{}:", owner.address), &url]);
        let said = stage.run(&mut curl, "");
        assert_eq!(said, (Some(0), "one\r\n".to_owned()), "{url}");
    }
}

#[test]
fn openssl_logs_in_by_a_certificate_alone() {
    if !is_here("openssl") {
        return;
    }
    let (folder, clients) = (Folder::new(), Authority::new("clients"));
    let list = folder.write("clients.crl", clients.list(&[], SystemTime::now() + DAY));
    let authority = folder.write("clients.pem", &clients.pem);
    let stage = Stage::new(&[("Pop3__ClientCaPath", &authority), ("Pop3__CrlPath", &list)]);
    let owner = stage.served.owner(&[b"one\r\n".to_vec()]);
    let other = stage.served.owner(&[]);
    let client = clients.client(&[mailbox(&owner.address)], 1);
    stage.folder.write("client.pem", client.both());
    let base64 = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    for (initial, logged_in) in [
        ("=".to_owned(), true),
        (base64(&owner.address), true),
        (base64(&other.address), false),
    ] {
        let lines = format!("AUTH EXTERNAL {initial}\nSTAT\nQUIT\n");
        for (well, said) in stage.s_client_says("-cert client.pem -key client.pem", &lines) {
            assert!(well, "{said}");
            assert_eq!(said.contains("+OK 1 5\r\n"), logged_in, "{said}");
        }
    }
}

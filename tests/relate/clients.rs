//! Clients that nobody here made.

use std::process::Command;

use super::{ALICE, ALICES_KEY, LONG_ID, Site, hex};

/// Reads and deletes everything with Python's poplib, and parses it with its email package.
const POPLIB: &str = r#"
import email, email.policy, poplib, sys
box = poplib.POP3('127.0.0.1', int(sys.argv[1]), timeout=60)
box.user(sys.argv[2])
box.pass_(sys.argv[3])
count, octets = box.stat()
sizes = [int(line.split()[1]) for line in box.list()[1]]
seen = 0
for number in range(1, count + 1):
    lines = box.retr(number)[1]
    octets_read = b''.join(line + b'\r\n' for line in lines)
    assert len(octets_read) == sizes[number - 1]
    mail = email.message_from_bytes(octets_read, policy=email.policy.default)
    assert not mail.defects, mail.defects
    assert mail['From'].addresses[0].addr_spec == 'carol@sender.example'
    seen += 1
    print(mail['Subject'], '|', mail.get_body(('plain',)).get_content().strip().replace('\r\n', '/'))
    for part in mail.iter_attachments():
        print(part.get_filename(), part.get_content().hex())
    box.dele(number)
assert octets == sum(sizes)
print(box.quit().decode())
"#;

fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no {program}");
    }
    found
}

#[test]
fn poplib_reads_what_was_written_and_deletes_it() {
    let Some(site) = Site::new() else { return };
    if !is_installed("python3") {
        return;
    }
    let daemon = site.serve();
    let port = daemon.address.port().to_string();
    let python = Command::new("python3")
        .args(["-c", POPLIB, &port, ALICE, ALICES_KEY])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&python.stdout);
    assert!(
        python.status.success(),
        "{}",
        String::from_utf8_lossy(&python.stderr)
    );
    for line in [
        "Dots | first/./..two/last",
        "UIDL too long | x",
        "a.bin 00ff0a2e",
        "3 messages",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(site.text("SELECT count(*) FROM \"Emails\""), "1");
}

#[test]
fn curl_and_fetchmail_read_the_same_maildrop() {
    let Some(site) = Site::new() else { return };
    let daemon = site.serve();
    let port = daemon.address.port();
    if is_installed("curl") {
        let curl = Command::new("curl")
            .args([
                "--silent",
                "--user",
                &format!("{ALICE}:{ALICES_KEY}"),
                "--request",
                "UIDL",
            ])
            .arg(format!("pop3://127.0.0.1:{port}/"))
            .output()
            .unwrap();
        let listing = String::from_utf8_lossy(&curl.stdout);
        assert!(listing.contains(&hex(LONG_ID)), "{listing}");
    }
    if is_installed("fetchmail") {
        let folder = tempfile::tempdir().unwrap();
        let inbox = folder.path().join("inbox");
        let settings = folder.path().join("fetchmailrc");
        let text = format!(
            "set no syslog\npoll localhost protocol pop3 service {port} username \"{ALICE}\" password \
             \"{ALICES_KEY}\" sslproto '' keep fetchall no rewrite mda \"cat >>{}\"\n",
            inbox.display()
        );
        std::fs::write(&settings, text).unwrap();
        crate::clients::set_mode(&settings, 0o600);
        let fetchmail = Command::new("fetchmail")
            .arg("--fetchmailrc")
            .arg(&settings)
            .arg("--pidfile")
            .arg(folder.path().join("pid"))
            .env("FETCHMAILHOME", folder.path())
            .output()
            .unwrap();
        let mail = std::fs::read_to_string(inbox).unwrap_or_default();
        assert!(mail.contains("Subject: Dots"), "{fetchmail:?}");
    }
}

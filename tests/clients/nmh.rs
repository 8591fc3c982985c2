//! nmh: inc and msgchk.

use super::*;

/// Debian keeps nmh's programs out of the way.
const FOLDER: &str = "/usr/bin/mh";

impl Post {
    /// A program of nmh, with what it needs to log in. The key is in `~/.netrc`.
    fn nmh(&self, program: &str, security: Security, sasl: bool) -> Command {
        self.write(".mh_profile", "Path: Mail\n");
        let key = &self.key;
        let netrc = format!("machine localhost login {ADA} password {key}\n");
        self.write(".netrc", &netrc);
        let mut command = Command::new(Path::new(FOLDER).join(program));
        command.args(["-host", "localhost", "-user", ADA]);
        command.args(["-port", &self.port(security).to_string()]);
        command.args(match security {
            Security::None => [].as_slice(),
            Security::Stls => &["-tls"],
            Security::Tls => &["-initialtls"],
        });
        if sasl {
            command.arg("-sasl");
        }
        command.env("SSL_CERT_FILE", self.certificate());
        command
    }

    /// Lets inc fetch everything into a folder of its own.
    fn inc(&self, security: Security, sasl: bool, truncate: bool) -> Vec<Vec<u8>> {
        let folder = self.folder.path().join("Mail/inbox");
        std::fs::create_dir_all(&folder).unwrap();
        let mut inc = self.nmh("inc", security, sasl);
        inc.arg(if truncate { "-truncate" } else { "-notruncate" });
        let outcome = self.run(inc.arg("-silent"));
        // With no mail it says so, and fails.
        let empty = outcome.stderr == "inc: no mail to incorporate\n";
        assert!(empty || outcome.code == Some(0), "{}", outcome.stderr);
        // What it knows about the folder lies there too.
        drop(std::fs::remove_file(folder.join(".mh_sequences")));
        let messages = files(&folder);
        std::fs::remove_dir_all(folder).unwrap();
        messages
    }
}

#[test]
fn nmh_checks_fetches_and_deletes() {
    if !is_here("mh/inc") {
        return;
    }
    let mut post = Post::with_plain_mail();
    let expected = sorted(post.messages.iter().map(|message| as_file(message)));
    let octets: usize = post.messages.iter().map(Vec::len).sum();
    for keys in ["one key", "three keys"] {
        if keys == "three keys" {
            post.add_keys();
        }
        for security in EVERY_SECURITY {
            for sasl in [false, true] {
                let who = format!("nmh, {security:?}, SASL {sasl}, {keys}");
                let said = post.run_well(&mut post.nmh("msgchk", security, sasl));
                let count = expected.len();
                assert_eq!(
                    String::from_utf8(said).unwrap(),
                    format!("{ADA} has {count} messages ({octets} bytes) on localhost\n"),
                    "{who}"
                );
                assert_same_mail(&post.inc(security, sasl, false), &expected, &who);
            }
        }
    }
    assert_eq!(post.left(), expected.len());
    let got = post.inc(Security::Tls, true, true);
    assert_same_mail(&got, &expected, "nmh, -truncate");
    assert_eq!(post.left(), 0);
    assert_eq!(post.inc(Security::None, true, true).len(), 0);
    post.assert_no_login_refused();
}

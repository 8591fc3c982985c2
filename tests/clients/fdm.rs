//! fdm.

use super::*;

impl Post {
    /// Lets fdm fetch what its cache does not know yet, into a Maildir; the messages there.
    fn fdm(&self, security: Security, keep: bool, name: &str) -> Vec<Vec<u8>> {
        let folder = self.folder.path().join(name);
        let maildir = self.maildir(&format!("{name}/inbox"));
        let (kind, starttls) = match security {
            Security::None => ("pop3", ""),
            Security::Stls => ("pop3", "starttls"),
            Security::Tls => ("pop3s", ""),
        };
        let settings = format!(
            "set no-received\n\
             set lock-file \"{}\"\n\
             action \"inbox\" maildir \"{}\"\n\
             account \"ada\" {kind} server \"localhost\" port {} user \"{ADA}\" pass \"{}\"\n\
             \tnew-only cache \"{}\" {starttls} {}\n\
             match all action \"inbox\"\n",
            folder.join("lock").display(),
            maildir.display(),
            self.port(security),
            self.key,
            folder.join("cache").display(),
            if keep { "keep" } else { "" },
        );
        let settings = self.write(&format!("{name}/fdm.conf"), &settings);
        let mut fdm = Command::new("fdm");
        // It never delivers as root.
        if std::fs::metadata(&folder).unwrap().uid() == 0 {
            set_mode(self.folder.path(), 0o755);
            let mut chown = Command::new("chown");
            self.run_well(chown.args(["-R", "nobody"]).arg(&folder));
            fdm = Command::new("runuser");
            fdm.args(["-u", "nobody", "--", "fdm"]);
        }
        fdm.arg("-f").arg(settings).arg("fetch");
        self.run_well(fdm.env("SSL_CERT_FILE", self.certificate()));
        files(&maildir.join("new"))
    }
}

#[test]
fn fdm_keeps_and_deletes() {
    if !is_here("fdm") {
        return;
    }
    let mut post = Post::with_plain_mail();
    let expected = sorted(post.messages.iter().map(|message| as_file(message)));
    for keys in ["one-key", "three-keys"] {
        if keys == "three-keys" {
            post.add_keys();
        }
        for security in EVERY_SECURITY {
            let name = format!("{security:?}-{keys}");
            for time in ["first", "again"] {
                let who = format!("fdm, {name}, {time}");
                assert_same_mail(&post.fdm(security, true, &name), &expected, &who);
            }
            assert_eq!(post.left(), expected.len());
        }
    }
    let got = post.fdm(Security::Tls, false, "delete");
    assert_same_mail(&got, &expected, "fdm, delete");
    assert_eq!(post.left(), 0);
    post.fdm(Security::Tls, false, "delete");
    post.assert_no_login_refused();
}

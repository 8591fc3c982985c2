//! mutt and `NeoMutt`, with what their users write into a muttrc.

use super::*;

/// Both take the same settings and keystrokes.
const PROGRAMS: [&str; 2] = ["mutt", "neomutt"];

impl Post {
    /// The URL of the maildrop. Its login name is an address, so one `@` of it is escaped.
    fn url(&self, security: Security) -> String {
        let scheme = match security {
            Security::None | Security::Stls => "pop",
            Security::Tls => "pops",
        };
        let (user, port) = (ADA.replace('@', "%40"), self.port(security));
        format!("{scheme}://{user}@localhost:{port}/")
    }

    /// Runs mutt on a terminal, with these settings and keystrokes.
    fn mutt(&self, program: &str, security: Security, settings: &str, keystrokes: &str) {
        let tls = if security == Security::None {
            "no"
        } else {
            "yes"
        };
        let settings = format!(
            "set pop_pass=\"{}\" pop_checkinterval=0 sleep_time=0\n\
             set ssl_ca_certificates_file=\"{}\" ssl_starttls={tls} ssl_force_tls={tls}\n\
             set mbox_type=maildir move=no quit=yes delete=yes copy=yes\n\
             set confirmappend=no confirmcreate=no folder=\"{}\"\n\
             {settings}\n\
             push \"{keystrokes}<quit>\"\n",
            self.key,
            self.certificate().display(),
            self.folder.path().display(),
        );
        let settings = self.write("muttrc", &settings);
        // A shell may give timeout a process group of its own, which then has no terminal.
        let mutt = format!(
            "timeout --foreground 30 {program} -n -F {}",
            settings.display()
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &mutt, "/dev/null"]);
        self.run_well(script.env("TERM", "xterm").env("LC_ALL", "C.UTF-8"));
    }

    /// `fetch-mail`: everything goes into the user's own mailbox.
    fn mutt_fetches_mail(&self, program: &str, security: Security, delete: bool) -> Vec<Vec<u8>> {
        let inbox = self.maildir(&format!("{program}-{security:?}-{}-{delete}", self.key));
        let settings = format!(
            "set pop_host=\"{}\" spoolfile=\"{}\" pop_delete={}",
            self.url(security),
            inbox.display(),
            if delete { "yes" } else { "no" },
        );
        self.mutt(program, security, &settings, "<fetch-mail>");
        // NeoMutt leaves what it has not shown yet in new, mutt moves it.
        let [new, cur] = ["new", "cur"].map(|part| files(&inbox.join(part)));
        sorted(new.into_iter().chain(cur))
    }
}

#[test]
fn mutt_and_neomutt_fetch_and_delete() {
    for program in PROGRAMS.into_iter().filter(|program| is_here(program)) {
        let mut post = Post::with_plain_mail();
        let expected = sorted(post.messages.iter().map(|message| as_file(message)));
        for keys in ["one key", "three keys"] {
            if keys == "three keys" {
                post.add_keys();
            }
            for security in EVERY_SECURITY {
                let got = post.mutt_fetches_mail(program, security, false);
                let who = format!("{program}, {security:?}, {keys}");
                assert_same_mail(&got, &expected, &who);
                assert_eq!(post.left(), expected.len(), "{who}");
            }
        }
        let got = post.mutt_fetches_mail(program, Security::Tls, true);
        assert_same_mail(&got, &expected, program);
        assert_eq!(post.left(), 0, "{program}");
        let again = post.mutt_fetches_mail(program, Security::None, true);
        assert_eq!(again.len(), 0, "{program}");
        post.assert_no_login_refused();
    }
}

#[test]
fn mutt_and_neomutt_open_the_maildrop_as_a_mailbox() {
    for program in PROGRAMS.into_iter().filter(|program| is_here(program)) {
        let post = Post::with_plain_mail();
        // They write the size of the body into the header of a copy.
        let expected = sorted(post.messages.iter().map(|message| body(&as_file(message))));
        for security in EVERY_SECURITY {
            let who = format!("{program}, {security:?}");
            let (cache, copies) = (post.maildir("cache"), post.folder.path().join("copies"));
            let settings = format!(
                "set spoolfile=\"{}\" message_cachedir=\"{}\"",
                post.url(security),
                cache.display(),
            );
            let copy = format!(
                "<tag-pattern>~A<enter><tag-prefix><copy-message>{}<enter>",
                copies.display()
            );
            let retrieved = post.retrieved_by(|| post.mutt(program, security, &settings, &copy));
            assert_eq!(retrieved, expected.len(), "{who}");
            let got = sorted(files(&copies.join("new")).iter().map(|file| body(file)));
            assert_same_mail(&got, &expected, &who);
            // It knows by the unique-ids what it has in its cache.
            std::fs::remove_dir_all(&copies).unwrap();
            let retrieved = post.retrieved_by(|| post.mutt(program, security, &settings, &copy));
            assert_eq!(retrieved, 0, "{who}, again");
            std::fs::remove_dir_all(&cache).unwrap();
            std::fs::remove_dir_all(&copies).unwrap();
        }
        post.assert_no_login_refused();
    }
}

#[test]
fn mutt_and_neomutt_delete_what_their_user_deletes() {
    for program in PROGRAMS.into_iter().filter(|program| is_here(program)) {
        let messages = ["one", "two", "three"].map(|it| format!("Subject: {it}\r\n\r\n{it}\r\n"));
        let post = Post::open(messages.map(String::into_bytes).to_vec());
        for (security, subject) in EVERY_SECURITY.into_iter().zip(["two", "one", "three"]) {
            let settings = format!("set spoolfile=\"{}\"", post.url(security));
            let delete = format!("<delete-pattern>~s {subject}<enter><sync-mailbox>");
            let before = post.left();
            post.mutt(program, security, &settings, &delete);
            assert_eq!(post.left(), before - 1, "{program}, {security:?}");
        }
    }
}

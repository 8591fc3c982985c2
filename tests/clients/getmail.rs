//! getmail 6.

use super::*;

impl Post {
    /// Lets getmail fetch what it has not seen, into a Maildir in its folder.
    fn getmail(&self, security: Security, keep: bool, folder: &Path) -> Outcome {
        let maildir = folder.join("inbox");
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(maildir.join(part)).unwrap();
        }
        // It never delivers as root.
        let mut user = "";
        if std::fs::metadata(folder).unwrap().uid() == 0 {
            set_mode(self.folder.path(), 0o755);
            let mut chown = Command::new("chown");
            self.run_well(chown.args(["-R", "nobody"]).arg(&maildir));
            user = "user = nobody";
        }
        let (kind, trust) = match security {
            Security::None | Security::Stls => ("SimplePOP3Retriever", String::new()),
            Security::Tls => (
                "SimplePOP3SSLRetriever",
                format!("ca_certs = {}", self.certificate().display()),
            ),
        };
        let settings = format!(
            "[retriever]\ntype = {kind}\nserver = localhost\nport = {}\nusername = {ADA}\n\
             password = {}\ntimeout = 15\n{trust}\n[destination]\ntype = Maildir\npath = {}/\n\
             {user}\n[options]\ndelete = {}\nread_all = false\nreceived = false\n\
             delivered_to = false\n",
            self.port(security),
            self.key,
            maildir.display(),
            !keep,
        );
        let settings = self.write("getmailrc", &settings);
        let mut getmail = Command::new("getmail");
        getmail.arg("--rcfile").arg(settings);
        self.run(getmail.arg("--getmaildir").arg(folder))
    }

    /// The same, until it has got over a fault of its own: it may miss that the process has ended
    /// which delivers a message, and then it waits for that process.
    fn getmail_from_scratch(&self, security: Security) -> PathBuf {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let folder = self.folder.path().join(format!("{security:?}-{attempt}"));
            std::fs::create_dir(&folder).unwrap();
            let outcome = self.getmail(security, true, &folder);
            if outcome.code == Some(0) {
                return folder;
            }
            let its_fault = outcome.stderr.contains("waiting child pid");
            assert!(its_fault && attempt < 5, "{}", outcome.stderr);
        }
    }
}

#[test]
fn getmail_keeps_and_deletes() {
    if !is_here("getmail") {
        return;
    }
    let post = Post::with_plain_mail();
    // It adds a Return-Path and folds long lines of the header.
    let expected = sorted(post.messages.iter().map(|m| body(&as_file(m))));
    let fetched = |folder: &Path| sorted(files(&folder.join("inbox/new")).iter().map(|f| body(f)));
    let folder = post.getmail_from_scratch(Security::Tls);
    assert_same_mail(&fetched(&folder), &expected, "getmail, inside TLS");
    let folder = post.getmail_from_scratch(Security::None);
    assert_same_mail(&fetched(&folder), &expected, "getmail, in clear");
    assert_eq!(post.left(), post.messages.len());
    // It has seen them all by their unique-ids, so now it only deletes.
    let outcome = post.getmail(Security::None, false, &folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_same_mail(&fetched(&folder), &expected, "getmail, again");
    assert_eq!(post.left(), 0);
}

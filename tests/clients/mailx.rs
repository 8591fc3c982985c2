//! s-nail and the movemail of GNU Mailutils: a maildrop as a mailbox, named by a URL.

use super::*;

const SUBJECTS: [&str; 3] = ["one", "two", "three"];

impl Post {
    /// Mail that needs no quoting in an mbox.
    fn with_mbox_mail() -> Self {
        let message = |it| {
            format!("From: {BOB}\r\nSubject: {it}\r\n\r\nThis is {it}.\r\n.\r\n..\r\n.dots\r\n")
        };
        Self::open(SUBJECTS.map(|it| message(it).into_bytes()).to_vec())
    }

    /// The maildrop's URL with the login name and the key in it.
    fn url_with_key(&self, [plain, tls]: [&str; 2], security: Security) -> String {
        let scheme = if security == Security::Tls {
            tls
        } else {
            plain
        };
        let (user, key, port) = (ADA.replace('@', "%40"), &self.key, self.port(security));
        format!("{scheme}://{user}:{key}@localhost:{port}")
    }

    /// Opens the maildrop with s-nail and does these commands.
    fn snail(&self, security: Security, commands: &[&str]) {
        let mut snail = Command::new("s-nail");
        snail.args(["-n", "-S", "v15-compat=yes", "-S"]);
        snail.arg(format!("tls-ca-file={}", self.certificate().display()));
        if security == Security::Stls {
            snail.args(["-S", "pop3-use-starttls"]);
        }
        for command in commands {
            snail.args(["-Y", command]);
        }
        let url = self.url_with_key(["pop3", "pop3s"], security);
        self.run_well(snail.arg("-f").arg(url));
    }

    /// Appends to an mbox what that doesn't have yet.
    fn movemail(&self, security: Security, keep: bool, mbox: &Path) {
        let mut movemail = Command::new("movemail");
        movemail.args(["--no-config", "--uidl"]);
        movemail.args(keep.then_some("--preserve"));
        movemail.arg(self.url_with_key(["pop", "pops"], security));
        self.run_well(movemail.arg(mbox));
    }

    /// Do these messages have the bodies that were delivered?
    fn assert_bodies(&self, mbox: &Path, who: &str) {
        let expected: Vec<_> = self.messages.iter().map(|it| body(&as_file(it))).collect();
        let mbox = std::fs::read_to_string(mbox).unwrap();
        let from_line = format!("From {BOB} ");
        let messages = mbox.split(&from_line).skip(1);
        let got = messages.map(|message| {
            // An empty line stands before the next From_ line.
            let message = message.strip_suffix("\n\n").unwrap();
            body(format!("{message}\n").as_bytes())
        });
        assert_same_mail(&got.collect::<Vec<_>>(), &expected, who);
    }
}

#[test]
fn snail_copies_and_deletes() {
    if !is_here("s-nail") {
        return;
    }
    let mut post = Post::with_mbox_mail();
    for keys in ["one key", "three keys"] {
        if keys == "three keys" {
            post.add_keys();
        }
        for security in EVERY_SECURITY {
            let who = format!("s-nail, {security:?}, {keys}");
            let copies = post.folder.path().join(&who);
            let copy = format!("copy * '{}'", copies.display());
            post.snail(security, &[&copy, "exit"]);
            post.assert_bodies(&copies, &who);
        }
    }
    for (left, security) in [2, 1, 0].into_iter().zip(EVERY_SECURITY) {
        post.snail(security, &["delete 1", "quit"]);
        assert_eq!(post.left(), left, "{security:?}");
    }
    post.assert_no_login_refused();
}

#[test]
fn movemail_moves_what_it_has_not_moved_yet() {
    if !is_here("movemail") {
        return;
    }
    let mut post = Post::with_mbox_mail();
    for keys in ["one key", "three keys"] {
        if keys == "three keys" {
            post.add_keys();
        }
        for security in EVERY_SECURITY {
            let who = format!("movemail, {security:?}, {keys}");
            let mbox = post.folder.path().join(&who);
            for _ in ["first", "again"] {
                post.movemail(security, true, &mbox);
                post.assert_bodies(&mbox, &who);
            }
        }
    }
    let mbox = post.folder.path().join("moved");
    post.movemail(Security::Tls, false, &mbox);
    post.assert_bodies(&mbox, "movemail, moved");
    assert_eq!(post.left(), 0);
    post.assert_no_login_refused();
}

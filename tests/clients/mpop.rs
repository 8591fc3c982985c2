//! mpop.

use super::*;

#[test]
fn mpop_keeps_and_deletes() {
    if !is_here("mpop") {
        return;
    }
    let post = Post::with_all_mail();
    let expected = sorted(post.messages.iter().map(|message| as_file(message)));
    for (security, keep) in [
        (Security::None, true),
        (Security::Stls, true),
        (Security::Tls, true),
        (Security::None, false),
    ] {
        let name = format!("{security:?}-{keep}");
        let maildir = post.maildir(&name);
        let settings = format!(
            "account default\nhost localhost\nport {}\nuser {ADA}\npassword {}\nauth user\n\
             tls {}\ntls_starttls {}\ntls_trust_file {}\nkeep {}\nreceived_header off\n\
             uidls_file {}\ndelivery maildir {}\n",
            post.port(security),
            post.key,
            on(security != Security::None),
            on(security == Security::Stls),
            post.certificate().display(),
            on(keep),
            post.folder.path().join(name + "-uidls").display(),
            maildir.display(),
        );
        let settings = post.write("mpoprc", &settings);
        let mut mpop = Command::new("mpop");
        mpop.arg("--quiet").arg("--file").arg(&settings);
        post.run_well(&mut mpop);
        let got = files(&maildir.join("new"));
        let who = format!("mpop, {security:?}, keep {keep}");
        assert_same_mail(&got, &expected, &who);
        assert_eq!(post.left(), if keep { post.messages.len() } else { 0 });
        // It remembers what it has seen by the unique-ids.
        let mut again = Command::new("mpop");
        post.run_well(again.arg("--quiet").arg("--file").arg(&settings));
        assert_eq!(files(&maildir.join("new")).len(), expected.len());
    }
}

#[test]
fn mpop_logs_in_as_it_likes_best_with_any_of_the_keys() {
    if !is_here("mpop") {
        return;
    }
    let mut post = Post::open(vec![b"Subject: one\r\n\r\nfirst\r\n".to_vec()]);
    for keys in ["one-key", "three-keys"] {
        if keys == "three-keys" {
            post.add_keys();
        }
        for security in EVERY_SECURITY {
            let who = format!("{security:?}-{keys}");
            let maildir = post.maildir(&who);
            let settings = format!(
                "account default\nhost localhost\nport {}\nuser {ADA}\npassword {}\n\
                 auth on\ntls {}\ntls_starttls {}\ntls_trust_file {}\nkeep on\n\
                 received_header off\nuidls_file {}\ndelivery maildir {}\n",
                post.port(security),
                post.key,
                on(security != Security::None),
                on(security == Security::Stls),
                post.certificate().display(),
                post.folder.path().join(format!("{who}-uidls")).display(),
                maildir.display(),
            );
            let settings = post.write("mpoprc", &settings);
            let mut mpop = Command::new("mpop");
            post.run_well(mpop.arg("--quiet").arg("--file").arg(&settings));
            assert_eq!(files(&maildir.join("new")).len(), 1, "{who}");
        }
    }
    post.assert_no_login_refused();
}

//! fetchmail.

use super::*;

#[test]
fn fetchmail_keeps_and_deletes() {
    if !is_here("fetchmail") {
        return;
    }
    let post = Post::with_plain_mail();
    let bodies = |messages: &[Vec<u8>]| sorted(messages.iter().map(|m| body(&as_file(m))));
    for (security, keep) in [
        (Security::None, true),
        (Security::Stls, true),
        (Security::Tls, true),
        (Security::None, false),
    ] {
        let inbox = tempfile::tempdir().unwrap();
        let deliver = format!(r#"cat >"$(mktemp {}/XXXXXX)""#, inbox.path().display());
        let deliver = post.write("deliver", &format!("#!/bin/sh\n{deliver}\n"));
        set_mode(&deliver, 0o700);
        let trust = format!(
            r#"sslcertck sslcertfile "{}""#,
            post.certificate().display()
        );
        let security_words = match security {
            Security::None => "sslproto ''".to_owned(),
            Security::Stls => format!("sslproto 'auto' {trust}"),
            Security::Tls => format!("ssl {trust}"),
        };
        let settings = format!(
            "set no syslog\nset invisible\npoll localhost protocol pop3 service {} \
             username \"{ADA}\" password \"{}\" {security_words} {} fetchall no rewrite \
             mda \"{}\"\n",
            post.port(security),
            post.key,
            if keep { "keep" } else { "no keep" },
            deliver.display(),
        );
        let settings = post.write("fetchmailrc", &settings);
        let mut fetchmail = Command::new("fetchmail");
        fetchmail
            .arg("--fetchmailrc")
            .arg(settings)
            .arg("--pidfile")
            .arg(post.folder.path().join("fetchmail.pid"))
            .arg("--verbose")
            .env("FETCHMAILHOME", post.folder.path());
        let log = post.run_well(&mut fetchmail);
        let log = String::from_utf8_lossy(&log);
        assert_eq!(log.contains("POP3> STLS"), security == Security::Stls);
        let got = sorted(files(inbox.path()).iter().map(|file| body(file)));
        let who = format!("fetchmail, {security:?}, keep {keep}");
        assert_same_mail(&got, &bodies(&post.messages), &who);
        assert_eq!(post.left(), if keep { post.messages.len() } else { 0 });
    }
}

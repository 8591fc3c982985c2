//! curl, the program.

use super::*;

impl Post {
    /// curl with what it needs to log in, and the URL that it begins with.
    pub(super) fn curl(&self, security: Security) -> (Command, String) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--user"])
            .arg(format!("{ADA}:{}", self.key))
            .arg("--cacert")
            .arg(self.certificate());
        let scheme = match security {
            Security::None | Security::Stls => "pop3",
            Security::Tls => "pop3s",
        };
        if security == Security::Stls {
            curl.arg("--ssl-reqd");
        }
        let port = self.port(security);
        (curl, format!("{scheme}://127.0.0.1:{port}"))
    }
}

#[test]
fn curl_lists_and_reads_every_message() {
    if !is_here("curl") {
        return;
    }
    let post = Post::with_all_mail();
    for security in EVERY_SECURITY {
        let (mut curl, url) = post.curl(security);
        let listing = post.run_well(curl.arg(format!("{url}/")));
        let lines = (1..).zip(&post.messages);
        let lines = lines.map(|(number, message)| format!("{number} {}\r\n", message.len()));
        assert_eq!(
            String::from_utf8(listing).unwrap(),
            lines.collect::<String>()
        );
        // All over one connection, each into a file of its own.
        let (mut curl, url) = post.curl(security);
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=post.messages.len() {
            curl.arg("--output")
                .arg(folder.path().join(number.to_string()));
            curl.arg(format!("{url}/{number}"));
        }
        post.run_well(&mut curl);
        let read = |number: usize| std::fs::read(folder.path().join(number.to_string())).unwrap();
        let got: Vec<_> = (1..=post.messages.len()).map(read).collect();
        assert_same_mail(&got, &post.messages, &format!("curl, {security:?}"));
    }
    assert_eq!(post.left(), post.messages.len());
}

#[test]
fn curl_asks_for_capabilities_and_deletes() {
    if !is_here("curl") {
        return;
    }
    let post = Post::open(vec![b"one\r\n".to_vec(), b"two\r\n".to_vec()]);
    let ask = |words: &[&str], path: &str| {
        let (mut curl, url) = post.curl(Security::None);
        let said = post.run_well(curl.args(words).arg(format!("{url}/{path}")));
        String::from_utf8(said).unwrap()
    };
    let capabilities = ask(&["-X", "CAPA"], "");
    for capability in ["TOP", "UIDL", "USER", "PIPELINING", "RESP-CODES"] {
        let mut lines = capabilities.lines();
        assert!(lines.any(|line| line == capability), "{capabilities}");
    }
    let ids = ask(&["-X", "UIDL"], "");
    let second = ids.lines().nth(1).unwrap().replacen("2 ", "1 ", 1);
    ask(&["-l", "-X", "DELE"], "1");
    assert_eq!(ask(&["-X", "UIDL"], ""), second + "\r\n");
    assert_eq!(ask(&[], "1"), "two\r\n");
}

#[test]
fn curl_is_told_that_the_key_is_wrong() {
    const LOGIN_DENIED: i32 = 67;
    if !is_here("curl") {
        return;
    }
    let post = Post::open(vec![b"one\r\n".to_vec()]);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--user", &format!("{ADA}:{}x", post.key)]);
    let port = post.port(Security::None);
    let outcome = post.run(curl.arg(format!("pop3://127.0.0.1:{port}/1")));
    assert_eq!(outcome.code, Some(LOGIN_DENIED), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, b"");
}

//! Clients that log in by AUTH.

use super::*;

const MESSAGE: &[u8] = b"Subject: one\r\n\r\nfirst\r\n";

#[test]
fn curl_logs_in_by_each_mechanism_that_it_has() {
    if !is_here("curl") {
        return;
    }
    let post = Post::open(vec![MESSAGE.to_vec()]);
    for security in EVERY_SECURITY {
        for mechanism in ["AUTH=PLAIN", "AUTH=LOGIN", "AUTH=*"] {
            for at_once in [&["--sasl-ir"][..], &[]] {
                let (mut curl, url) = post.curl(security);
                curl.args(["--login-options", mechanism]).args(at_once);
                let got = post.run_well(curl.arg(format!("{url}/1")));
                assert_eq!(got, MESSAGE, "{security:?} {mechanism} {at_once:?}");
            }
        }
    }
    let (mut curl, url) = post.curl(Security::Tls);
    curl.args(["--login-options", "AUTH=PLAIN", "--user"]);
    let wrong = post.run(curl.arg(format!("{ADA}:wrong")).arg(format!("{url}/1")));
    assert_eq!(wrong.code, Some(LOGIN_DENIED), "{}", wrong.stderr);
}

/// curl's exit status when a server takes no credentials of its.
const LOGIN_DENIED: i32 = 67;

#[test]
fn mpop_logs_in_by_scram_where_no_key_may_be_sent() {
    if !is_here("mpop") {
        return;
    }
    let never = [("Pop3__PlaintextAuth", "never")];
    let post = Post::open_with(vec![MESSAGE.to_vec()], &never);
    for (mechanism, fetched) in [("scram-sha-256", true), ("plain", false), ("user", false)] {
        let maildir = post.maildir(mechanism);
        let settings = format!(
            "account default\nhost localhost\nport {}\nuser {ADA}\npassword {}\n\
             auth {mechanism}\ntls off\nkeep on\nreceived_header off\nuidls_file {}\n\
             delivery maildir {}\n",
            post.port(Security::None),
            post.key,
            post.folder
                .path()
                .join(format!("{mechanism}-uidls"))
                .display(),
            maildir.display(),
        );
        let settings = post.write("mpoprc", &settings);
        let mut mpop = Command::new("mpop");
        let outcome = post.run(mpop.arg("--file").arg(&settings));
        assert_eq!(outcome.code == Some(0), fetched, "{}", outcome.stderr);
        let got = files(&maildir.join("new"));
        let expected: &[Vec<u8>] = if fetched { &[as_file(MESSAGE)] } else { &[] };
        assert_same_mail(&got, expected, mechanism);
    }
}

//! The commands of the program on such a database.

use super::{ALICE, BOB_ID, Site};
use crate::support::cli::Cli;

fn run(site: &Site, words: &str) -> String {
    Cli::new(&site.url).args(words.split(' ')).run().ok()
}

#[test]
fn users_and_keys_are_listed_and_changed_elsewhere() {
    let Some(site) = Site::new() else { return };
    let users: serde_json::Value = serde_json::from_str(&run(&site, "user list --json")).unwrap();
    assert_eq!(users[0]["address"], "Alice@Example.com");
    assert_eq!(users[0]["aliases"][0], "alias@example.com");
    assert_eq!(users[0]["messages"], 3);
    let keys = run(&site, &format!("key list {ALICE}"));
    assert!(
        keys.contains("Thunderbird") && keys.contains("smtp pop3"),
        "{keys}"
    );
    run(&site, &format!("key list {BOB_ID}"));
    for (command, code, words) in [
        ("user add eve@example.com", 1, "web page"),
        ("user remove bob@example.com", 1, "web page"),
        ("user disable bob@example.com", 1, "web page"),
        ("user quota bob@example.com --messages 3", 1, "no quotas"),
        ("key create bob@example.com --name x", 1, "web page"),
        (
            "key revoke 41111111-1111-4111-8111-111111111111",
            1,
            "web page",
        ),
        ("import bob@example.com /dev/null", 1, "own SMTP server"),
        ("deliver bob@example.com", 75, "own SMTP server"),
        ("clock", 1, "nothing expires"),
        ("key list eve@example.com", 1, "no user"),
    ] {
        let said = Cli::new(&site.url)
            .args(command.split(' '))
            .run()
            .failed(code);
        assert!(said.contains(words), "{command}: {said}");
    }
    let lmtp = Cli::new(&site.url)
        .args(["serve"])
        .env("Lmtp__Port", "2424")
        .env("Admin__Port", "0")
        .env("Pop3__BindAddress", "127.0.0.1")
        .env(
            "Pop3__Port",
            &crate::support::postgres::free_port().to_string(),
        )
        .run();
    assert_eq!(lmtp.code, Some(1));
    assert!(lmtp.stderr.contains("own SMTP server"), "{}", lmtp.stderr);
}

#[test]
fn an_export_is_what_sessions_see() {
    let Some(site) = Site::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail");
    let path = path.to_str().unwrap();
    let told = run(&site, &format!("export {ALICE} {path} --format eml"));
    assert!(told.contains("3 messages exported"), "{told}");
    let daemon = site.serve();
    let (mut alice, _) = super::try_login(&daemon, ALICE, super::ALICES_KEY);
    let mut exported: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .flatten()
        .map(|it| it.path())
        .collect();
    exported.sort();
    let mut exported: Vec<_> = exported
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    let mut seen: Vec<_> = (1..=3).map(|n| alice.body(&format!("RETR {n}"))).collect();
    exported.sort();
    seen.sort();
    assert!(exported == seen);
}

#[test]
fn missing_grants_are_named_with_the_statement_to_type() {
    let Some(site) = Site::new() else { return };
    run(&site, "migrate");
    site.sql(
        "DROP ROLE IF EXISTS narrow; CREATE ROLE narrow LOGIN; \
         GRANT USAGE ON SCHEMA restante TO narrow; \
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO narrow; \
         GRANT UPDATE (\"LastUsedAt\") ON \"SmtpApiKeys\" TO narrow",
    );
    let url = site.url.replace("postgres@", "narrow@");
    let said = Cli::new(&url).args(["check"]).run().stdout;
    for grant in [
        "GRANT UPDATE (\"IsRead\") ON public.\"EmailRecipients\" TO narrow;",
        "GRANT UPDATE (\"UserId\") ON public.\"EmailRecipients\" TO narrow;",
        "GRANT DELETE ON public.\"EmailRecipients\" TO narrow;",
        "GRANT DELETE ON public.\"Emails\" TO narrow;",
    ] {
        assert!(said.contains(grant), "{grant}: {said}");
    }
    assert!(!said.contains("GRANT SELECT"), "{said}");
    site.sql("DROP OWNED BY narrow; DROP ROLE narrow");
}

#[test]
fn a_role_without_any_grant_is_told_the_first_one_and_then_the_others() {
    let Some(site) = Site::new() else { return };
    site.sql("DROP ROLE IF EXISTS bare; CREATE ROLE bare LOGIN");
    let url = site.url.replace("postgres@", "bare@");
    let history = "GRANT SELECT ON public.\"__EFMigrationsHistory\" TO bare;";
    for command in ["check", "migrate", "user list"] {
        let outcome = Cli::new(&url).args(command.split(' ')).run();
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains(history), "{command}: {said}");
    }
    site.sql(history);
    let said = Cli::new(&url).args(["migrate"]).run().stderr;
    for grant in [
        "GRANT SELECT ON public.\"Emails\" TO bare;",
        "GRANT CREATE ON DATABASE",
    ] {
        assert!(said.contains(grant), "{grant}: {said}");
    }
    site.sql("DROP OWNED BY bare; DROP ROLE bare");
}

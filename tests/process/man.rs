//! What the command line tells of itself: manual pages and completions.

use std::process::Command;

use crate::support::cli;

#[test]
fn there_is_a_manual_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    cli::run("sqlite://unused", &format!("man {}", pages.display())).ok();
    for page in [
        "restante",
        "restante-serve",
        "restante-user-add",
        "restante-check",
    ] {
        let page = pages.join(format!("{page}.1"));
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains(".TH restante"), "{text}");
    }
    let first = std::fs::read_to_string(pages.join("restante.1")).unwrap();
    assert!(first.contains("Pop3__ServerName"), "{first}");
    let pages = std::fs::read_dir(&pages)
        .unwrap()
        .map(|page| page.unwrap().path());
    let output = Command::new("mandoc")
        .args(["-T", "lint", "-W", "error"])
        .args(pages)
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(_) => eprintln!("skipped: there is no mandoc here"),
    }
}

#[test]
fn shells_complete_commands_and_options() {
    let script = cli::run("sqlite://unused", "completions bash").ok();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restante.bash");
    std::fs::write(&file, script).unwrap();
    let asks = "source \"$0\"; COMP_WORDS=(restante user a); COMP_CWORD=2; \
                _restante restante a user; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", asks]).arg(&file).output();
    match output {
        Ok(output) => assert_eq!(String::from_utf8(output.stdout).unwrap(), "add\n"),
        Err(_) => eprintln!("skipped: there is no bash here"),
    }
    for shell in ["zsh", "fish"] {
        let script = cli::run("sqlite://unused", &format!("completions {shell}")).ok();
        assert!(script.contains("deliver"), "{script}");
    }
}

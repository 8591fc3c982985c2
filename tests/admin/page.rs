//! The page for people, in a real browser.

use std::io::Write;

use serde_json::{Value, json};

use super::{TOKEN, Watched};
use crate::lmtp::Mta;
use crate::support::browser::{Browser, ENTER, ESCAPE, TAB};
use crate::support::eventually;
use crate::support::mail::{ADA, BOB, fill, message};
use crate::support::place::sqlite;
use crate::support::postgres::free_port;

/// What is said where there is no Chromium.
const SKIPPED: &str =
    "tests of the admin page skipped: no chromium and chromedriver (install chromium-driver)\n";

const ROWS: &str = "document.querySelectorAll('#rows tr').length";

fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        std::io::stderr().write_all(SKIPPED.as_bytes()).unwrap();
    }
    browser
}

#[test]
fn a_session_is_seen_found_and_ended_by_keyboard() {
    let Some(browser) = browser() else { return };
    let place = sqlite();
    let ada = fill(&place.url, ADA, &[message(1, 2000), message(2, 3000)]);
    let bob = fill(&place.url, BOB, &[message(3, 200)]);
    let lmtp = free_port();
    let watched = Watched::start(&place.url, &[("Lmtp__Port", &lmtp.to_string())]);
    // The link has the token, which does not stay in the address.
    browser.open(&format!(
        "http://localhost:{}/#token={}",
        watched.admin.address.port(),
        TOKEN.replace(' ', "%20")
    ));
    browser.until("document.querySelector('#count').textContent === 'no sessions'");
    assert_eq!(browser.script("return location.hash"), "");
    browser.until("[...document.querySelectorAll('#health li')].length === 3");
    browser.until("document.querySelector('#health').textContent.includes('Healthy')");

    // An MTA appears by itself, although it has no user.
    let mut mta = Mta::hello(lmtp);
    browser.until("document.querySelector('#rows tr')?.firstChild.textContent === 'lmtp'");
    mta.expect("QUIT", "221");
    browser.until("document.querySelector('#count').textContent === 'no sessions'");

    // So does a client, and its commands are seen.
    let mut client = watched.daemon.login(ADA, &ada);
    browser.until(&format!("{ROWS} === 1"));
    client.ok("DELE 2");
    browser.until("document.querySelector('#rows').textContent.includes('after DELE')");
    let cell = "[...document.querySelector('#rows tr').children].map(cell => cell.textContent)";
    let row = browser.script(&format!("return {cell}"));
    assert_eq!((&row[0], &row[1]), (&json!("pop3"), &json!(ADA)), "{row}");
    assert_eq!(row[4], json!("TRANSACTION"), "{row}");
    assert_eq!((&row[8], &row[9]), (&json!("2"), &json!("1")), "{row}");

    // No more rows than are shown, however many sessions there are.
    let mut others: Vec<_> = (0..55).map(|_| watched.daemon.connect()).collect();
    others.push(watched.daemon.login(BOB, &bob));
    browser.until(&format!("{ROWS} === 50"));
    browser.until("document.querySelector('#count').textContent === '1 to 50 of 57 (57 in all)'");
    browser.script("document.querySelector('#newer').focus()");
    browser.keys(ENTER.to_string());
    browser.until(&format!("{ROWS} === 7"));
    if let Ok(file) = std::env::var("RESTANTE_SCREENSHOT") {
        screenshot(&browser, &watched, [&ada, &bob], &file);
    }

    // The search is on the server, so what stands on another page is found.
    browser.script("document.querySelector('#search').focus()");
    browser.keys("ada@ex");
    browser.until(&format!("{ROWS} === 1"));
    assert_eq!(browser.script("return document.activeElement.id"), "search");
    tab_to(&browser, "End the session of ada@example.com from ");
    browser.keys(ENTER.to_string());
    browser.until("document.querySelector('#ask').open");
    assert_eq!(browser.script("return document.activeElement.id"), "no");
    // Nothing happens unless it is wanted.
    browser.keys(ESCAPE.to_string());
    browser.until("!document.querySelector('#ask').open");
    client.ok("NOOP");
    browser.keys(ENTER.to_string());
    browser.until("document.querySelector('#ask').open");
    browser.keys(TAB.to_string());
    assert_eq!(browser.script("return document.activeElement.id"), "yes");
    browser.keys(ENTER.to_string());
    assert_eq!(client.read_to_end(), b"");
    browser.until(&format!("{ROWS} === 0"));
    browser.until(
        "document.querySelector('#notice').textContent.startsWith('ended the session of ada')",
    );
    assert_eq!(browser.script("return document.activeElement.id"), "search");
    let mut again = watched.daemon.login(ADA, &ada);
    assert!(again.ok("STAT").starts_with("+OK 2 "));

    // It asked nobody else, and broke none of its own rules.
    let asked = browser.script(
        "return performance.getEntriesByType('resource').map(it => it.name)\
         .filter(it => !it.startsWith(location.origin + '/api/'))",
    );
    assert_eq!(asked, json!([]));
    let complaints = browser.complaints();
    let of_page = complaints.as_array().unwrap().iter();
    let of_page: Vec<_> = of_page
        .filter(|it| !it.to_string().contains("favicon"))
        .collect();
    assert_eq!(of_page, Vec::<&Value>::new());
}

#[test]
fn the_page_is_dark_where_people_want_it_and_asks_for_the_token() {
    let Some(browser) = browser() else { return };
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 200)]);
    let watched = Watched::start(&place.url, &[("Admin__Token", "correct horse")]);
    let _client = watched.daemon.login(ADA, &key);
    browser.open(&format!(
        "http://127.0.0.1:{}/",
        watched.admin.address.port()
    ));
    browser.until("document.querySelector('#login').open");
    assert_eq!(browser.script(&format!("return {ROWS}")), 0);
    assert_eq!(browser.script("return document.activeElement.id"), "token");
    browser.keys(format!("wrong{ENTER}"));
    browser.until("document.querySelector('#login').open && !sessionStorage.getItem('token')");
    browser.until("document.querySelector('#token').value === ''");
    browser.until("document.querySelector('#login-error').textContent.includes('not the token')");
    browser.script("document.querySelector('#token').focus()");
    browser.keys(format!("correct horse{ENTER}"));
    browser.until(&format!("{ROWS} === 1"));
    assert_eq!(
        browser.script("return localStorage.length + document.cookie.length"),
        0
    );

    let ground = || browser.script("return getComputedStyle(document.body).backgroundColor");
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        browser.chromium(
            "Emulation.setEmulatedMedia",
            &json!({"features": [feature]}),
        );
        grounds.push(ground());
    }
    assert_eq!(grounds, ["rgb(251, 250, 248)", "rgb(22, 22, 20)"]);
    // It fits a small window, for any width of the table.
    let narrow = json!({"width": 500, "height": 800, "deviceScaleFactor": 1, "mobile": false});
    browser.chromium("Emulation.setDeviceMetricsOverride", &narrow);
    browser.until("document.documentElement.scrollWidth <= 500");
    let server_gone = watched.daemon;
    drop(server_gone);
    browser.until("document.querySelector('#notice').textContent.startsWith('not connected')");
    browser.until("!document.querySelector('#health').textContent.includes('Healthy')");
    browser.until("[...document.querySelectorAll('button.end')].every((it) => it.disabled)");
}

/// Goes on by Tab until the focus is on what has a label like this.
fn tab_to(browser: &Browser, label: &str) {
    for _ in 0..20 {
        browser.keys(TAB.to_string());
        let focused = browser.script("return document.activeElement.getAttribute('aria-label')");
        if focused
            .as_str()
            .is_some_and(|focused| focused.starts_with(label))
        {
            return;
        }
    }
    panic!("Tab does not lead to {label}");
}

/// Shows the page while something happens, for the documentation.
fn screenshot(browser: &Browser, watched: &Watched, [ada, bob]: [&str; 2], file: &str) {
    let look_for = |text: &str| {
        browser.script(&format!(
            "document.querySelector('#search').value = '{text}'; offset = 0; again()"
        ));
    };
    look_for("example");
    let mut others: Vec<_> = (0..3).map(|_| watched.daemon.login(BOB, bob)).collect();
    others[0].body("RETR 1");
    others[1].ok("STAT");
    eventually("a chart", || {
        for _ in 0..8 {
            let mut client = watched.daemon.login(ADA, ada);
            client.body("UIDL");
            client.body("RETR 1");
            client.ok("QUIT");
        }
        let points = browser.script("return charts.logins.length");
        (points.as_u64() > Some(12)).then_some(())
    });
    let shot = browser.chromium("Page.captureScreenshot", &json!({"format": "png"}));
    let image = data_encoding::BASE64.decode(shot["data"].as_str().unwrap().as_bytes());
    std::fs::write(file, image.unwrap()).unwrap();
    look_for("");
    browser.until(&format!("{ROWS} === 50"));
}

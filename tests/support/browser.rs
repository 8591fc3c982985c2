//! Chromium without a window, driven over `WebDriver` (W3C) by Debian's chromedriver.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::eventually;
use super::http::Http;
use super::postgres::free_port;

/// A browser with one page, which is ended on drop.
pub(crate) struct Browser {
    driver: Child,
    http: Http,
    session: String,
    _profile: TempDir,
}

/// Keys as `WebDriver` names them.
pub(crate) const TAB: char = '\u{e004}';
pub(crate) const ENTER: char = '\u{e007}';
pub(crate) const ESCAPE: char = '\u{e00c}';

impl Browser {
    /// Starts a browser; `None` if this machine has no Chromium or no chromedriver.
    pub(crate) fn start() -> Option<Self> {
        let there = |program: &str| {
            let mut asked = Command::new(program);
            asked
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            asked.status().is_ok_and(|status| status.success())
        };
        if !there("chromium") || !there("chromedriver") {
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut browser = Self {
            driver,
            http: Http::new(SocketAddr::from(([127, 0, 0, 1], port))),
            session: String::new(),
            _profile: profile,
        };
        eventually("chromedriver", || {
            std::net::TcpStream::connect(browser.http.address).ok()
        });
        let folder = browser._profile.path().join("profile");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1300,900",
            &format!("--user-data-dir={}", folder.display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let answer = browser.http.send("POST", "/session", &wanted);
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.json()["value"]["sessionId"]
            .as_str()
            .unwrap()
            .to_owned();
        browser.session = id;
        Some(browser)
    }

    /// Opens a page.
    pub(crate) fn open(&self, url: &str) {
        self.tell("url", &json!({"url": url}));
    }

    /// Runs a script in the page and returns its result.
    pub(crate) fn script(&self, script: &str) -> Value {
        self.tell("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression in the page is neither null nor false, and returns its value.
    pub(crate) fn until(&self, script: &str) -> Value {
        eventually(script, || {
            let value = self.script(&format!("return {script}"));
            (value != Value::Null && value != false).then_some(value)
        })
    }

    /// Types keys into the element that has the focus.
    pub(crate) fn keys(&self, keys: impl AsRef<str>) {
        let press = |key: char| {
            ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}))
        };
        let actions: Vec<_> = keys.as_ref().chars().flat_map(press).collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.tell("actions", &json!({"actions": [keyboard]}));
    }

    /// Returns the entries of the browser's console log.
    pub(crate) fn complaints(&self) -> Value {
        self.tell("se/log", &json!({"type": "browser"}))
    }

    /// Runs a command of the `DevTools` protocol of Chrome.
    pub(crate) fn chromium(&self, command: &str, parameters: &Value) -> Value {
        self.tell(
            "goog/cdp/execute",
            &json!({"cmd": command, "params": parameters}),
        )
    }

    fn tell(&self, what: &str, body: &Value) -> Value {
        let path = format!("/session/{}/{what}", self.session);
        let answer = self.http.send("POST", &path, body);
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        answer.json()["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session, and the driver after it.
        if !self.session.is_empty() && !std::thread::panicking() {
            let path = format!("/session/{}", self.session);
            drop(self.http.ask("DELETE", &path, ""));
        }
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

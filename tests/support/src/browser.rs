//! A real browser without a window, driven by the Chrome DevTools Protocol over two pipes.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::wait::{wait_for, within};

/// The names that Chromium has; `scripts/clients.sh` looks for the same.
const BROWSERS: [&str; 4] = ["chromium-headless-shell", "chromium", "google-chrome", "chrome"];

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    _process: Child,
    _profile: TempDir,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    /// Errors of scripts, refusals by a content security policy, and failed loads, in the order in which they came.
    complaints: VecDeque<String>,
}

impl Browser {
    /// Starts a browser with an empty page.
    ///
    /// # Panics
    /// Panics if there is no browser: `scripts/test.sh` installs one.
    pub async fn start() -> Self {
        let program = browser_program();
        let profile = tempfile::tempdir().expect("a folder for the profile");
        // The protocol is spoken on descriptors 3 and 4.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null", program])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the browser starts");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut browser = Self {
            _process: process,
            _profile: profile,
            input,
            output: BufReader::new(output),
            session: None,
            last: 0,
            complaints: VecDeque::new(),
        };
        let target = browser.send("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.send("Target.attachToTarget", attach).await;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.send(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    /// Sends a command of the protocol. Returns its result.
    ///
    /// # Panics
    /// Panics if the browser refuses it, or does not respond.
    pub async fn send(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let id = self.last;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.input.write_all(format!("{message}\0").as_bytes()).await.expect("the browser reads");
        within(&format!("the browser's response to {method}"), async {
            loop {
                let message = self.receive().await;
                if message["id"] == id {
                    assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                    return message["result"].clone();
                }
            }
        })
        .await
    }

    /// Returns the next message. Those that report an error are remembered.
    async fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.output.read_until(0, &mut bytes).await.expect("the browser writes");
        let text = bytes.strip_suffix(&[0]).expect("the browser is there");
        let message: Value = serde_json::from_slice(text).expect("JSON");
        let parameters = &message["params"];
        let complaint = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(&parameters["exceptionDetails"]),
            Some("Runtime.consoleAPICalled") if parameters["type"] == "error" => Some(&parameters["args"]),
            Some("Log.entryAdded") if parameters["entry"]["level"] == "error" => Some(&parameters["entry"]),
            _ => None,
        };
        self.complaints.extend(complaint.map(Value::to_string));
        message
    }

    /// Opens a URL.
    pub async fn open(&mut self, url: &str) {
        let result = self.send("Page.navigate", json!({ "url": url })).await;
        assert!(result["errorText"].is_null(), "{url}: {result}");
    }

    /// Returns the value of a JavaScript expression, or of its promise.
    ///
    /// # Panics
    /// Panics if it throws.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.send("Runtime.evaluate", parameters).await;
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Evaluates an expression until its value is neither null nor false. Returns it.
    pub async fn wait_for(&mut self, what: &str, expression: &str) -> Value {
        let browser = tokio::sync::Mutex::new(self);
        wait_for(what, async || {
            let value = browser.lock().await.evaluate(expression).await;
            (!matches!(value, Value::Null | Value::Bool(false))).then_some(value)
        })
        .await
    }

    /// Sets the width of the window, in pixels, and the theme that the system has: `light` or `dark`.
    pub async fn look(&mut self, width: u32, theme: &str) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.send("Emulation.setDeviceMetricsOverride", size).await;
        let theme = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.send("Emulation.setEmulatedMedia", theme).await;
    }

    /// Presses a key: a character, or the name of a key without one, such as `Tab` and `Enter`.
    pub async fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            _ => 0,
        };
        for kind in [if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "keyUp"] {
            let event = json!({ "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code });
            self.send("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Writes a picture of the window (PNG).
    pub async fn screenshot(&mut self, file: &Path) {
        let result = self.send("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes = STANDARD.decode(result["data"].as_str().expect("a picture")).expect("base64");
        std::fs::write(file, bytes).expect("the picture is written");
    }

    /// Returns everything that the browser has complained of.
    pub fn complaints(&self) -> Vec<&str> {
        self.complaints.iter().map(String::as_str).collect()
    }
}

/// Returns the name of the browser that this machine has.
///
/// # Panics
/// Panics if it has none.
#[must_use]
pub fn browser_program() -> &'static str {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let found = BROWSERS.into_iter().find(|name| folders.iter().any(|folder| folder.join(name).is_file()));
    found.expect("a browser: bash scripts/clients.sh installs one")
}

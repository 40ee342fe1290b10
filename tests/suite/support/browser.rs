//! Chromium without a window, driven by WebDriver.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const AXE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/browser/node_modules/axe-core/axe.min.js"
);

/// A browser. It ends with this.
pub struct Chromium {
    pub client: Client,
    session: String,
    /// Ends the browser when it is dropped.
    _driver: Child,
}

impl Chromium {
    pub async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver; run `make browser`");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = timeout(Duration::from_secs(30), async {
            loop {
                let line = lines
                    .next_line()
                    .await
                    .unwrap()
                    .expect("chromedriver starts");
                if let Some(port) = line.split("successfully on port ").nth(1) {
                    break port.trim_end_matches('.').to_owned();
                }
            }
        });
        let driver_url = format!(
            "http://127.0.0.1:{}",
            port.await.expect("chromedriver starts in time")
        );
        let capabilities = json!({
            "goog:chromeOptions": {"args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                "--window-size=1200,900", "--force-device-scale-factor=1",
            ]},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let client = ClientBuilder::rustls()
            .expect("TLS")
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&driver_url)
            .await
            .expect("a session of Chromium");
        let id = client.session_id().await.unwrap().expect("a session");
        Self {
            session: format!("{driver_url}/session/{id}"),
            client,
            _driver: driver,
        }
    }

    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    async fn command(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}/{path}", self.session);
        let response = reqwest::Client::new()
            .post(url)
            .json(body)
            .send()
            .await
            .unwrap();
        let answer: Value = response.json().await.unwrap();
        answer["value"].clone()
    }

    /// A command of the Chrome DevTools Protocol.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        self.command(
            "goog/cdp/execute",
            &json!({"cmd": command, "params": params}),
        )
        .await
    }

    /// The width and height of the page.
    pub async fn resize(&self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    pub async fn dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// What the page has written to the console since the last time, such as errors and violations of its policy.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.command("se/log", &json!({"type": "browser"})).await;
        let entries = log.as_array().expect("a log").iter();
        entries
            .filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG")
            .map(|entry| entry["message"].to_string())
            .collect()
    }

    /// The serious findings of axe.
    pub async fn axe(&self) -> Vec<String> {
        assert!(
            Path::new(AXE).exists(),
            "axe-core is missing; run `make npm`"
        );
        let source = std::fs::read_to_string(AXE).unwrap();
        self.client.execute(&source, Vec::new()).await.unwrap();
        let run = "const done = arguments[arguments.length - 1]; axe.run().then(found => done(found.violations), error => done([{impact: 'critical', id: String(error), nodes: []}]));";
        let found = self.client.execute_async(run, Vec::new()).await.unwrap();
        let serious = found
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| matches!(it["impact"].as_str(), Some("serious" | "critical")));
        serious
            .map(|it| {
                let nodes: Vec<&str> = it["nodes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|node| node["html"].as_str())
                    .collect();
                format!(
                    "{}: {nodes:?} {}",
                    it["id"], it["nodes"][0]["failureSummary"]
                )
            })
            .collect()
    }

    pub async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    pub async fn text(&self) -> String {
        let body = self.client.find(Locator::Css("body")).await.unwrap();
        body.text().await.unwrap()
    }

    /// Waits until the page says something.
    pub async fn says(&self, text: &str) {
        for _ in 0..200 {
            let found = self.client.find(Locator::Css("body")).await;
            if let Ok(body) = found
                && body.text().await.is_ok_and(|body| body.contains(text))
            {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("the page does not say {text}: {}", self.text().await);
    }

    /// Presses keys, wherever the focus is.
    pub async fn keys(&self, keys: &str) {
        let focus = self.client.active_element().await.unwrap();
        focus.send_keys(keys).await.unwrap();
    }

    pub async fn click(&self, css: &str) {
        let element = self.client.find(Locator::Css(css)).await;
        element
            .unwrap_or_else(|_| panic!("no {css}"))
            .click()
            .await
            .unwrap();
    }

    /// A picture of the page as it is shown, if pictures are asked for.
    pub async fn picture(&self, name: &str) {
        let Ok(folder) = std::env::var("SLIPWAY_TEST_SCREENSHOTS") else {
            return;
        };
        let picture = self.client.screenshot().await.unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), picture).unwrap();
    }

    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}

//! The console: its pages over HTTP as a browser without JavaScript gets them, and in a real browser.

mod browser;
mod forms;
mod pages;
mod setups;
mod webhooks;

use serde_json::{Value, json};

use crate::aws::Options;
use crate::aws::server::Setup;
use crate::support::server::Server;
use crate::support::sign_in::{Browser, IdentityProvider, Page, configure_sign_in};

/// A service on an AWS in memory, with people who can sign in.
pub struct Console {
    pub server: Server,
    pub provider: IdentityProvider,
    pub setup: Setup,
}

impl Console {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::new(Options::default());
        let provider = IdentityProvider::start(&setup.clock).await;
        configure_sign_in(&mut setup.settings, &provider.url);
        change(&mut setup);
        Self {
            server: setup.start().await,
            provider,
            setup,
        }
    }

    /// The browser of a person in this group, signed in.
    pub async fn signed_in(&self, group: &str) -> Browser {
        self.signed_in_as(&format!("{group}-1"), group).await
    }

    pub async fn signed_in_as(&self, subject: &str, group: &str) -> Browser {
        let browser = Browser::new(&self.server.url);
        let email = format!("{subject}@example.com");
        let person = json!({"sub": subject, "name": subject, "email": email, "email_verified": true, "groups": [group]});
        self.provider.person(person);
        assert_eq!(
            browser.sign_in("/auth/login?return_to=/console").await,
            "/console"
        );
        browser
    }

    /// Onboards an app by the API.
    pub async fn onboard(&self, name: &str) -> Value {
        self.server.onboard(&json!({ "name": name })).await
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// Sends a form as a browser does.
pub async fn submit(browser: &Browser, path: &str, fields: &[(&str, &str)]) -> Page {
    let body: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    let request = browser
        .request(reqwest::Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(body.join("&"));
    browser.send(request).await
}

fn encoded(text: &str) -> String {
    let hex = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(hex).collect()
}

/// Waits for the job that an action led to.
pub async fn ended(console: &Console, page: &Page) -> Value {
    assert_eq!(page.status, 303, "{}", page.text);
    let id = page.location.strip_prefix("/console/jobs/").unwrap();
    console.server.wait(id).await
}

//! An identity provider that people sign in with, over HTTP on loopback, and their browser. The provider signs in whom the
//! test says, without a page to do so.

use std::collections::{BTreeMap, HashMap};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use slipway::api::form::Form;
use slipway::clock::Clock;
use slipway::config::Settings;
use slipway::domain::role::Role;
use slipway::domain::scope::Scope;
use slipway::domain::sign_in::{GroupRule, SignInSettings};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::issuer::{Key, encoded, token};
use super::server::Setup;

pub const CLIENT: &str = "slipway";
pub const SECRET: &str = "a secret / of: tests";

/// The groups of the settings, each named after the role of its members. The one of `acme` has a scope.
pub const GROUPS: [(&str, Role); 4] = [
    ("admins", Role::Admin),
    ("approvers", Role::Approver),
    ("operators", Role::Operator),
    ("viewers", Role::Viewer),
];

/// Lets people sign in with a provider, by [`GROUPS`] and the group `acme`.
pub fn let_people_sign_in(setup: &mut Setup, issuer: &str) {
    configure_sign_in(&mut setup.settings, issuer);
}

/// The same, in the settings.
pub fn configure_sign_in(settings: &mut Settings, issuer: &str) {
    let mut groups: Vec<GroupRule> = GROUPS
        .into_iter()
        .map(|(group, role)| GroupRule {
            group: group.into(),
            role,
            scope: Scope::default(),
        })
        .collect();
    groups.push(GroupRule {
        group: "acme".into(),
        role: Role::Operator,
        scope: Scope::parse(&json!({"apps": ["acme-*"]}), "").unwrap(),
    });
    settings.oidc_allow_http = true;
    settings.sign_in_client_secret = Some(SECRET.to_owned().into());
    settings.sign_in = Some(SignInSettings {
        issuer: issuer.into(),
        client_id: CLIENT.into(),
        groups,
        ..SignInSettings::default()
    });
}

/// A code, and what belongs to it.
#[derive(Clone)]
struct Grant {
    challenge: String,
    redirect_uri: String,
    nonce: String,
    person: Value,
    /// When the person signed in.
    at: i64,
}

/// What makes the ID token of these claims.
type Forge = Box<dyn Fn(&Key, Value) -> String + Send>;

struct Provider {
    url: String,
    key: Key,
    /// The claims of the person who signs in next.
    person: Mutex<Value>,
    /// When the person signed in, if the provider remembers.
    signed_in_at: Mutex<Option<i64>>,
    grants: Mutex<HashMap<String, Grant>>,
    forge: Mutex<Option<Forge>>,
    is_down: Mutex<bool>,
    clock: Clock,
}

impl Provider {
    /// The time in seconds.
    fn now(&self) -> i64 {
        self.clock.now().millis() / 1000
    }
}

/// A running provider.
pub struct IdentityProvider {
    pub url: String,
    provider: Arc<Provider>,
    /// Ends with the provider.
    _server: JoinSet<()>,
}

impl IdentityProvider {
    /// A provider by this clock.
    pub async fn start(clock: &Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Arc::new(Provider {
            url: url.clone(),
            key: Key::rsa(),
            person: Mutex::new(json!({"sub": "nobody"})),
            signed_in_at: Mutex::default(),
            grants: Mutex::default(),
            forge: Mutex::default(),
            is_down: Mutex::default(),
            clock: clock.clone(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(redeem))
            .with_state(provider.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            provider,
            _server: server,
        }
    }

    /// Who signs in next. A provider remembers nobody who is new.
    pub fn person(&self, claims: Value) {
        *self.provider.person.lock().unwrap() = claims;
        *self.provider.signed_in_at.lock().unwrap() = None;
    }

    /// When the present person signed in with the provider, which remembers that.
    pub fn signed_in_at(&self, seconds: i64) {
        *self.provider.signed_in_at.lock().unwrap() = Some(seconds);
    }

    /// Makes ID tokens otherwise.
    pub fn forge(&self, forge: impl Fn(&Key, Value) -> String + Send + 'static) {
        *self.provider.forge.lock().unwrap() = Some(Box::new(forge));
    }

    /// A token with these claims over the usual ones, for whoever is not a browser.
    pub fn id_token(&self, over: &Value) -> String {
        let provider = &self.provider;
        let now = provider.now();
        let mut claims = json!({"iss": provider.url, "iat": now, "exp": now + 300});
        for (name, value) in over.as_object().unwrap() {
            claims[name] = value.clone();
        }
        signed(&provider.key, &claims)
    }

    pub fn break_down(&self) {
        *self.provider.is_down.lock().unwrap() = true;
    }
}

/// A token with these claims, as a provider signs it.
pub fn signed(key: &Key, claims: &Value) -> String {
    let header = json!({"alg": key.algorithm(), "kid": "k1", "typ": "JWT"});
    token(&header, claims, |signed| key.sign(signed))
}

async fn configuration(State(provider): State<Arc<Provider>>) -> Response {
    if *provider.is_down.lock().unwrap() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let url = &provider.url;
    Json(json!({
        "issuer": url, "jwks_uri": format!("{url}/keys"), "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "end_session_endpoint": format!("{url}/session/end"),
        "authorization_response_iss_parameter_supported": true,
    }))
    .into_response()
}

async fn keys(State(provider): State<Arc<Provider>>) -> Json<Value> {
    Json(json!({"keys": [provider.key.public("k1")]}))
}

/// Signs the person in, who signed in before unless the client wants it anew.
async fn authorize(
    State(provider): State<Arc<Provider>>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    let is = |name: &str, value: &str| asked.get(name).is_some_and(|given| given == value);
    let given = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let is_complete = is("response_type", "code")
        && is("client_id", CLIENT)
        && is("code_challenge_method", "S256")
        && given("scope").split(' ').any(|scope| scope == "openid")
        && !given("nonce").is_empty()
        && !given("state").is_empty();
    if !is_complete {
        return (StatusCode::BAD_REQUEST, format!("{asked:?}")).into_response();
    }
    let at = {
        let mut signed_in_at = provider.signed_in_at.lock().unwrap();
        if is("prompt", "login") {
            *signed_in_at = None;
        }
        *signed_in_at.get_or_insert_with(|| provider.now())
    };
    let grant = Grant {
        challenge: given("code_challenge"),
        redirect_uri: given("redirect_uri"),
        nonce: given("nonce"),
        person: provider.person.lock().unwrap().clone(),
        at,
    };
    let code = format!("{:032x}", fastrand::u128(..));
    let back = format!(
        "{}?code={code}&state={}&iss={}",
        grant.redirect_uri,
        given("state"),
        provider.url.replace(':', "%3A").replace('/', "%2F")
    );
    provider.grants.lock().unwrap().insert(code, grant);
    Redirect::to(&back).into_response()
}

async fn redeem(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let form = Form::parse(&body).unwrap();
    let refuse =
        |status: StatusCode, error: &str| (status, Json(json!({"error": error}))).into_response();
    let client = format!("{CLIENT}:a%20secret%20%2F%20of%3A%20tests");
    let expected = format!("Basic {}", STANDARD.encode(client));
    if headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        != Some(&expected)
    {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let given = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let grant = provider.grants.lock().unwrap().remove(&given("code"));
    let challenge = encoded(digest(&SHA256, given("code_verifier").as_bytes()));
    let Some(grant) = grant.filter(|grant| {
        (&grant.challenge, &grant.redirect_uri) == (&challenge, &given("redirect_uri"))
    }) else {
        return refuse(StatusCode::BAD_REQUEST, "invalid_grant");
    };
    let mut claims = json!({
        "iss": provider.url, "aud": CLIENT, "iat": provider.now(), "exp": provider.now() + 300, "nonce": grant.nonce, "auth_time": grant.at,
    });
    for (name, value) in grant.person.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let id_token = match provider.forge.lock().unwrap().as_ref() {
        Some(forge) => forge(&provider.key, claims),
        None => signed(&provider.key, &claims),
    };
    Json(json!({"access_token": "unused", "token_type": "Bearer", "id_token": id_token}))
        .into_response()
}

/// A browser with cookies that follows no redirect by itself.
pub struct Browser {
    server: String,
    client: Client,
    cookies: Mutex<BTreeMap<String, String>>,
}

/// What a browser gets.
pub struct Page {
    pub status: u16,
    pub location: String,
    pub set_cookies: Vec<String>,
    pub headers: HeaderMap,
    pub text: String,
}

impl Browser {
    /// A new browser of a service at this URL.
    pub fn new(server: &str) -> Self {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none());
        Self {
            server: server.to_owned(),
            client: client.build().unwrap(),
            cookies: Mutex::default(),
        }
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.cookies.lock().unwrap().insert(name, value);
    }

    /// A request to a path of the service, with its cookies, as a page of the service sends it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let cookies: Vec<String> = {
            let cookies = self.cookies.lock().unwrap();
            cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        let request = self
            .client
            .request(method, format!("{}{path}", self.server));
        if cookies.is_empty() {
            request
        } else {
            request.header("cookie", cookies.join("; "))
        }
    }

    pub async fn get(&self, path: &str) -> Page {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str) -> Page {
        let request = self.request(Method::POST, path);
        self.send(request.header("sec-fetch-site", "same-origin"))
            .await
    }

    /// Sends a request and keeps the cookies of its answer.
    pub async fn send(&self, request: RequestBuilder) -> Page {
        let response = request.send().await.unwrap();
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let set_cookies: Vec<String> = headers.get_all("set-cookie").iter().map(text).collect();
        for cookie in &set_cookies {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.lock().unwrap().remove(name);
            } else {
                self.set_cookie(name, value);
            }
        }
        Page {
            status,
            location: headers.get("location").map(text).unwrap_or_default(),
            set_cookies,
            text: response.text().await.unwrap(),
            headers,
        }
    }

    /// Goes from the login to the provider, and comes back with the path of the callback.
    pub async fn authorize(&self, login: &str) -> String {
        let begun = self.get(login).await;
        assert_eq!(begun.status, 303, "{}", begun.text);
        let at_provider = self.client.get(&begun.location).send().await.unwrap();
        let status = at_provider.status();
        let back = at_provider.headers().get("location");
        let back = back.map(|url| url.to_str().unwrap().to_owned());
        let back = back.unwrap_or_else(|| panic!("{status}"));
        path_of(&back)
    }

    /// Signs in, which has to succeed, and returns where the browser is sent.
    pub async fn sign_in(&self, login: &str) -> String {
        let callback = self.authorize(login).await;
        let page = self.get(&callback).await;
        assert_eq!(page.status, 303, "{}", page.text);
        page.location
    }
}

/// The path and query of a URL.
pub fn path_of(url: &str) -> String {
    let rest = url.split_once("://").unwrap().1;
    format!("/{}", rest.split_once('/').unwrap().1)
}

/// A real provider: the npm package oidc-provider on Node. Ends with this.
pub struct NodeProvider {
    pub url: String,
    /// Its standard input is open as long as this lives.
    _child: Child,
}

impl NodeProvider {
    /// A provider with these accounts: the claims of each by its login.
    pub async fn start(accounts: &Value) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oidc_provider");
        assert!(
            std::path::Path::new(folder)
                .join("node_modules/installed")
                .exists(),
            "the packages of the provider are missing; run `make npm`"
        );
        let mut child = Command::new("node")
            .args(["provider.mjs", &accounts.to_string()])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = timeout(Duration::from_secs(60), lines.next_line()).await;
        let url = url.expect("the provider starts in time").unwrap();
        Self {
            url: url.expect("the provider starts"),
            _child: child,
        }
    }
}

/// Signs in at the URL that a terminal has shown, as a person does (RFC 8628): confirms the code, and logs in.
pub async fn confirm_device(provider: &NodeProvider, url: &str, login: &str) {
    let at_provider = Browser::new(&provider.url);
    let mut page = at_provider.get(&path_of(url)).await;
    for _ in 0..10 {
        if page.status == 303 || page.status == 302 {
            let next = page.location.strip_prefix(&provider.url);
            let next = next.unwrap_or(&page.location).to_owned();
            page = at_provider.get(&next).await;
            continue;
        }
        assert_eq!(page.status, 200, "{}", page.text);
        let Some(action) = attribute(&page.text, "action=\"") else {
            return;
        };
        let action = action.strip_prefix(&provider.url).unwrap_or(&action);
        let is_login = page.text.contains("name=\"login\"");
        let mut fields: Vec<String> = ["xsrf", "user_code", "confirm"]
            .into_iter()
            .filter_map(|name| {
                let value = attribute(&page.text, &format!("name=\"{name}\" value=\""))?;
                Some(format!("{name}={value}"))
            })
            .collect();
        fields.extend(is_login.then(|| format!("login={login}")));
        let request = at_provider.request(Method::POST, action);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        page = at_provider.send(request.body(fields.join("&"))).await;
    }
    panic!("the provider does not come to an end");
}

/// The text after a mark, up to the next quotation mark.
fn attribute(page: &str, mark: &str) -> Option<String> {
    let rest = page.split_once(mark)?.1;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Fills the provider's form in as a person does, following every redirect at the provider, and returns the path by which
/// the provider sends the browser back.
pub async fn log_in_at(
    provider: &NodeProvider,
    at_provider: &Browser,
    url: &str,
    login: &str,
) -> String {
    let mut page = at_provider.get(&path_of(url)).await;
    for _ in 0..10 {
        if page.status == 200 {
            let action = page.text.split("action=\"").nth(1).expect("a form");
            let action = action.split('"').next().unwrap();
            let request = at_provider.request(Method::POST, action);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            page = at_provider
                .send(request.body(format!("login={login}")))
                .await;
            continue;
        }
        assert!(
            (302..=303).contains(&page.status),
            "{}: {}",
            page.status,
            page.text
        );
        let is_own = page.location.starts_with('/') || page.location.starts_with(&provider.url);
        if !is_own {
            return path_of(&page.location);
        }
        let next = page
            .location
            .strip_prefix(&provider.url)
            .unwrap_or(&page.location)
            .to_owned();
        page = at_provider.get(&next).await;
    }
    panic!("the provider does not come to an end");
}

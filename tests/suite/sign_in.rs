//! People sign in with an identity provider.

use std::time::Duration;

use aws_lc_rs::hmac;
use reqwest::Method;
use serde_json::{Value, json};
use slipway::domain::public_url::PublicUrl;

use crate::api::{Answer, as_bearer, ask, get, id, idle, light, post, wait_for_state, working};
use crate::support::issuer::{Key, now, token};
use crate::support::server::{Server, Setup};
use crate::support::sign_in::{
    Browser, CLIENT, IdentityProvider, NodeProvider, Page, let_people_sign_in, log_in_at, path_of,
    signed,
};
use crate::support::unique;

const SESSION: &str = "slipway_session";

fn ana(groups: Value) -> Value {
    json!({
        "sub": "a-1", "name": "Ana Example", "email": "ana@example.com", "email_verified": true, "groups": groups,
    })
}

async fn started(setup: &mut Setup) -> (Server, IdentityProvider, Browser) {
    let provider = IdentityProvider::start(&setup.clock).await;
    let_people_sign_in(setup, &provider.url);
    let server = setup.start().await;
    let browser = Browser::new(&server.url);
    (server, provider, browser)
}

async fn answer(browser: &Browser, method: Method, path: &str) -> Answer {
    ask(browser.request(method, path)).await
}

fn refused(page: &Page, status: u16, says: &str) {
    assert_eq!(page.status, status, "{}", page.text);
    assert!(page.text.contains(says), "{}", page.text);
    assert!(page.text.contains("Sign in again"), "{}", page.text);
    let sessions = page
        .set_cookies
        .iter()
        .filter(|cookie| cookie.starts_with(SESSION));
    assert_eq!(sessions.count(), 0, "no session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_works_within_role_and_scope_and_signs_out() {
    let mut setup = idle();
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["staff", "acme"])));
    answer(&browser, Method::GET, "/v1/apps")
        .await
        .problem(401, "unauthorized");
    let begun = browser
        .get("/auth/login?return_to=/console%3Ftab%3D1")
        .await;
    assert_eq!(begun.headers["cache-control"], "no-store");
    assert_eq!(begun.headers["referrer-policy"], "no-referrer");
    let back = browser
        .sign_in("/auth/login?return_to=/console%3Ftab%3D1")
        .await;
    assert_eq!(back, "/console?tab=1");
    assert_eq!(
        browser.cookie("slipway_sign_in"),
        None,
        "is not needed any more"
    );

    // The API takes the session as it takes a token.
    let app = unique("acme");
    let job = ask(browser.request(Method::POST, "/v1/apps").json(&light(&app)))
        .await
        .expect(202);
    let other = light(&unique("other"));
    ask(browser.request(Method::POST, "/v1/apps").json(&other))
        .await
        .problem(403, "out_of_scope");
    answer(&browser, Method::GET, "/v1/tokens")
        .await
        .problem(403, "forbidden");
    let actor = job["requested_by"].as_str().unwrap();
    assert!(actor.starts_with("oidc:ana@example.com#"), "{actor}");
    let audit = get(&server, "/v1/audit").await.expect(200);
    let identity = json!({"issuer": provider.url, "subject": "a-1", "name": "Ana Example"});
    for action in ["session_started", "job_requested"] {
        let entries = audit["items"].as_array().unwrap();
        let entry = entries
            .iter()
            .find(|entry| entry["action"] == action)
            .unwrap();
        assert_eq!(
            (&entry["actor"], &entry["identity"]),
            (&json!(actor), &identity),
            "{entry}"
        );
    }
    let sessions = answer(&browser, Method::GET, "/v1/sessions")
        .await
        .expect(200);
    let session = &sessions["items"][0];
    assert_eq!(
        json!([
            session["name"],
            session["identity"],
            session["role"],
            session["scope"]
        ]),
        json!([actor, identity, "operator", {"apps": ["acme-*"]}])
    );
    assert!(
        !sessions
            .to_string()
            .contains(&browser.cookie(SESSION).unwrap())
    );

    // What was signed out stays signed out, also for who has kept the cookie.
    let stolen = browser.cookie(SESSION).unwrap();
    let out = browser.post("/auth/logout").await;
    assert_eq!(
        (out.status, out.location.as_str()),
        (303, "/auth/signed-out")
    );
    assert_eq!(browser.cookie(SESSION), None);
    let page = browser.get("/auth/signed-out").await;
    assert!(
        page.text.contains(&format!(
            "{}/session/end?client_id=slipway&amp;post_logout",
            provider.url
        )) || page.text.contains(&format!(
            "{}/session/end?client_id=slipway&#38;post_logout",
            provider.url
        )),
        "{}",
        page.text
    );
    browser.set_cookie(SESSION, &stolen);
    answer(&browser, Method::GET, "/v1/apps")
        .await
        .problem(401, "unauthorized");
    let audit = get(&server, "/v1/audit?action=session_ended")
        .await
        .expect(200);
    assert_eq!(
        json!([audit["items"][0]["cause"], audit["items"][0]["actor"]]),
        json!(["signed_out", actor])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_by_tls_are_of_this_host_alone_and_no_script_reads_them() {
    let mut setup = idle();
    setup.settings.public_url = Some(PublicUrl::parse("https://slipway.example.com").unwrap());
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["viewers"])));
    let begun = browser.get("/auth/login").await;
    let pending = &begun.set_cookies[0];
    assert!(pending.starts_with("__Host-slipway_sign_in="), "{pending}");
    assert!(pending.contains("Max-Age=600"), "{pending}");
    let callback = browser.authorize("/auth/login").await;
    let page = browser.get(&callback).await;
    let session = page
        .set_cookies
        .iter()
        .find(|cookie| cookie.starts_with("__Host-slipway_session="))
        .unwrap();
    for cookie in [pending, session] {
        for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
            assert!(cookie.contains(attribute), "{attribute}: {cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
    }
    answer(&browser, Method::GET, "/v1/apps").await.expect(200);

    // The name without its prefix, which a neighbour in the domain could set, is nobody's session.
    let neighbour = Browser::new(&server.url);
    neighbour.set_cookie(SESSION, &browser.cookie("__Host-slipway_session").unwrap());
    answer(&neighbour, Method::GET, "/v1/apps")
        .await
        .problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_answer_to_the_sign_in_of_this_browser_is_refused() {
    let mut setup = idle();
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["admins"])));
    let login = "/auth/login";

    // The state of another browser: an attacker's code would sign the victim in as the attacker.
    let attacker = Browser::new(&server.url);
    let callback_of_attacker = attacker.authorize(login).await;
    refused(&browser.get(&callback_of_attacker).await, 400, "expired");
    let own = browser.authorize(login).await;
    refused(&browser.get(&callback_of_attacker).await, 400, "replaced");
    for changed in [
        own.replace("state=", "state=0"),
        own.replace("state=", "other="),
        own.replace("state=", "state=&x="),
    ] {
        refused(&browser.get(&changed).await, 400, "replaced");
    }
    // Each of these ends the sign-in that it belongs to.
    let with = async |change: &dyn Fn(&str) -> String| {
        let own = browser.authorize(login).await;
        browser.get(&change(&own)).await
    };
    let issuer = provider.url.replace(':', "%3A").replace('/', "%2F");
    let other_issuer = with(&|own| own.replace(&issuer, "https%3A%2F%2Fevil.example")).await;
    refused(&other_issuer, 400, "not one of the identity provider");
    let no_issuer = with(&|own| own.replace("&iss=", "&x=")).await;
    refused(&no_issuer, 400, "not one of the identity provider");
    let other_code = with(&|own| own.replace("code=", "code=0")).await;
    refused(&other_code, 400, "not valid");
    let denied = with(&|own| own.replace("code=", "error=access_denied&x=")).await;
    refused(&denied, 403, "has not signed you in");
    let twice = browser.authorize(login).await;
    let twice = browser.get(&format!("{twice}&state=x")).await;
    assert_eq!(twice.status, 400, "{}", twice.text);

    // A code is good once, and a sign-in too.
    let own = browser.authorize(login).await;
    let sealed = browser.cookie("slipway_sign_in").unwrap();
    assert_eq!(browser.get(&own).await.status, 303);
    refused(&browser.get(&own).await, 400, "expired");
    browser.set_cookie("slipway_sign_in", &sealed);
    refused(&browser.get(&own).await, 400, "used before");

    // What the browser keeps is sealed.
    for forged in [
        "x",
        "a.b",
        &sealed[..sealed.len() - 4],
        &sealed.replace('.', ".AAAA"),
    ] {
        let own = browser.authorize(login).await;
        browser.set_cookie("slipway_sign_in", forged);
        refused(&browser.get(&own).await, 400, "expired");
    }
    // And good for ten minutes.
    let own = browser.authorize(login).await;
    setup.clock.advance(Duration::from_secs(10 * 60));
    refused(&browser.get(&own).await, 400, "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_that_is_not_for_this_sign_in_is_refused() {
    let mut setup = idle();
    let (_server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["admins"])));
    let over = |over: Value| {
        move |key: &Key, mut claims: Value| {
            for (name, value) in over.as_object().unwrap() {
                match value {
                    Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                    value => claims[name] = value.clone(),
                }
            }
            signed(key, &claims)
        }
    };
    for claims in [
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"nonce": ["x"]}),
        json!({"aud": "another"}),
        json!({"aud": ["another"]}),
        json!({"aud": [CLIENT, "another"]}),
        json!({"aud": [CLIENT, "another"], "azp": "another"}),
        json!({"azp": "another"}),
        json!({"iss": "https://evil.example"}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"exp": now() - 120}),
        json!({"exp": null}),
        json!({"iat": now() + 600}),
    ] {
        provider.forge(over(claims.clone()));
        let callback = browser.authorize("/auth/login").await;
        let page = browser.get(&callback).await;
        assert_eq!(page.status, 400, "{claims}: {}", page.text);
        refused(&page, 400, "not valid");
    }
    provider.forge(|_, claims| token(&json!({"alg": "none"}), &claims, |_| Vec::new()));
    let callback = browser.authorize("/auth/login").await;
    refused(&browser.get(&callback).await, 400, "not valid");
    provider.forge(|key, claims| {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &key.public_bytes());
        token(&json!({"alg": "HS256", "kid": "k1"}), &claims, |signed| {
            hmac::sign(&secret, signed).as_ref().to_vec()
        })
    });
    let callback = browser.authorize("/auth/login").await;
    refused(&browser.get(&callback).await, 400, "not valid");
    let other = Key::rsa();
    provider.forge(move |_, claims| signed(&other, &claims));
    let callback = browser.authorize("/auth/login").await;
    refused(&browser.get(&callback).await, 400, "not valid");
    provider.forge(over(json!({"aud": [CLIENT, "another"], "azp": CLIENT})));
    assert_eq!(browser.sign_in("/auth/login").await, "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_leads_to_no_other_server() {
    let mut setup = idle();
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["viewers"])));
    for path in [
        "//evil.example",
        "/%5Cevil.example",
        "%5C%5Cevil.example",
        "/%09/evil.example",
        "/%0A/evil.example",
        "https://evil.example",
        "evil.example",
        "javascript:alert(1)",
        "/%0D%0ASet-Cookie:%20a=b",
    ] {
        let login = format!("/auth/login?return_to={path}");
        ask(server.anonymous(Method::GET, &login))
            .await
            .problem(400, "invalid_parameters");
    }
    assert_eq!(
        browser
            .sign_in("/auth/login?return_to=/console%23top")
            .await,
        "/console#top"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sign_in_is_a_new_session_and_ends_the_one_before() {
    let mut setup = idle();
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["viewers"])));
    // A session that somebody else has planted is not taken over.
    browser.set_cookie(SESSION, &"0".repeat(64));
    browser.sign_in("/auth/login").await;
    let first = browser.cookie(SESSION).unwrap();
    assert_ne!(first, "0".repeat(64));
    provider.person(ana(json!(["admins"])));
    answer(&browser, Method::GET, "/v1/audit")
        .await
        .problem(403, "forbidden");
    browser.sign_in("/auth/login").await;
    let second = browser.cookie(SESSION).unwrap();
    assert_ne!(first, second);
    answer(&browser, Method::GET, "/v1/audit").await.expect(200);
    let old = Browser::new(&server.url);
    old.set_cookie(SESSION, &first);
    answer(&old, Method::GET, "/v1/apps")
        .await
        .problem(401, "unauthorized");
    let ended = get(&server, "/v1/audit?action=session_ended")
        .await
        .expect(200);
    assert_eq!(ended["items"][0]["cause"], "replaced");

    // A session is no token, and a token no session.
    ask(as_bearer(&server, &second, Method::GET, "/v1/apps"))
        .await
        .problem(401, "unauthorized");
    old.set_cookie(SESSION, &server.token("admin").await);
    answer(&old, Method::GET, "/v1/apps")
        .await
        .problem(401, "unauthorized");
    // Who sends a token is taken at it, whatever the cookie.
    let both = browser
        .request(Method::GET, "/v1/apps")
        .bearer_auth("not-a-token");
    ask(both).await.problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_it_is_unused_and_after_twelve_hours() {
    let mut setup = idle();
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["viewers"])));
    browser.sign_in("/auth/login").await;
    let is_alive = async || answer(&browser, Method::GET, "/v1/apps").await.status == 200;
    for _ in 0..13 {
        setup.clock.advance(Duration::from_secs(55 * 60));
        assert!(is_alive().await, "was used less than an hour ago");
    }
    setup.clock.advance(Duration::from_secs(10 * 60));
    assert!(!is_alive().await, "is older than twelve hours");
    browser.sign_in("/auth/login").await;
    setup.clock.advance(Duration::from_secs(60 * 60));
    assert!(!is_alive().await, "was unused for an hour");
    assert_eq!(
        server
            .service
            .store
            .expire_sessions(Duration::from_secs(3600))
            .await
            .unwrap(),
        1,
        "the one before ended when the browser signed in anew"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_no_group_has_no_access_and_a_change_of_groups_counts_at_the_next_sign_in() {
    let mut setup = idle();
    let (_server, provider, browser) = started(&mut setup).await;
    for groups in [
        json!(null),
        json!([]),
        json!(["Admins", "admin", "staff"]),
        json!({"admins": true}),
        json!([["admins"]]),
    ] {
        provider.person(ana(groups));
        let callback = browser.authorize("/auth/login").await;
        refused(
            &browser.get(&callback).await,
            403,
            "in no group that may use this server",
        );
    }
    provider.person(ana(json!("admins")));
    browser.sign_in("/auth/login").await;
    answer(&browser, Method::GET, "/v1/audit").await.expect(200);
    provider.person(ana(json!(["viewers"])));
    answer(&browser, Method::GET, "/v1/audit").await.expect(200);
    browser.sign_in("/auth/login").await;
    answer(&browser, Method::GET, "/v1/audit")
        .await
        .problem(403, "forbidden");
}

/// Names and addresses are what people choose: whoever has the same is somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_issuer_and_subject_whatever_the_name() {
    let mut setup = idle();
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["operators"])));
    browser.sign_in("/auth/login").await;
    let other = Browser::new(&server.url);
    let mut impostor = ana(json!(["operators"]));
    impostor["sub"] = json!("b-2");
    impostor["preferred_username"] = json!("ana@example.com");
    impostor["email_verified"] = json!(false);
    provider.person(impostor);
    other.sign_in("/auth/login").await;
    let of = async |browser: &Browser| {
        let sessions = answer(browser, Method::GET, "/v1/sessions")
            .await
            .expect(200);
        let items = sessions["items"].as_array().unwrap().clone();
        assert_eq!(items.len(), 1, "one's own");
        items[0].clone()
    };
    let (own, others) = (of(&browser).await, of(&other).await);
    assert_ne!(own["name"], others["name"]);
    let path = format!("/v1/sessions/{}", id(&own));
    answer(&other, Method::DELETE, &path)
        .await
        .problem(404, "not_found");
    // An address counts as such only when the provider has verified it.
    provider.person(json!({"sub": "c-3", "email": "root@example.com", "preferred_username": "<b>\u{1}x/y", "groups": ["viewers"]}));
    let third = Browser::new(&server.url);
    third.sign_in("/auth/login").await;
    let name = of(&third).await["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("oidc:_b__x_y#"), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_revoked_by_their_person_and_by_admins() {
    let mut setup = idle();
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["viewers"])));
    browser.sign_in("/auth/login").await;
    let phone = Browser::new(&server.url);
    phone.sign_in("/auth/login").await;
    let listed = answer(&browser, Method::GET, "/v1/sessions")
        .await
        .expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let of_phone = format!("/v1/sessions/{}", id(&listed["items"][0]));
    assert_eq!(
        answer(&browser, Method::DELETE, &of_phone).await.status,
        204
    );
    answer(&phone, Method::GET, "/v1/apps")
        .await
        .problem(401, "unauthorized");
    answer(&browser, Method::DELETE, &of_phone)
        .await
        .problem(404, "not_found");

    // A token of no person sees none; an admin sees all that he could have granted.
    let viewer = server.token("viewer").await;
    let none = ask(as_bearer(&server, &viewer, Method::GET, "/v1/sessions"))
        .await
        .expect(200);
    assert_eq!(none["items"], json!([]));
    let body = json!({"name": "an admin of acme", "role": "admin", "scope": {"apps": ["acme-*"]}});
    let made = post(&server, "/v1/tokens", &body).await.expect(201);
    let scoped = made["token"].as_str().unwrap();
    let none = ask(as_bearer(&server, scoped, Method::GET, "/v1/sessions"))
        .await
        .expect(200);
    assert_eq!(none["items"], json!([]), "it is for everything");
    let all = get(&server, "/v1/sessions").await.expect(200);
    let own = format!("/v1/sessions/{}", id(&all["items"][0]));
    ask(as_bearer(&server, scoped, Method::DELETE, &own))
        .await
        .problem(404, "not_found");
    assert_eq!(ask(server.request(Method::DELETE, &own)).await.status, 204);
    answer(&browser, Method::GET, "/v1/apps")
        .await
        .problem(401, "unauthorized");
    let audit = get(&server, "/v1/audit?action=session_ended")
        .await
        .expect(200);
    assert_eq!(audit["items"][0]["cause"], "revoked");
    assert_eq!(audit["items"][0]["actor"], "admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_does_nothing_with_the_cookie() {
    let mut setup = idle();
    setup.settings.cors_origins = "https://evil.example".into();
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["operators"])));
    browser.sign_in("/auth/login").await;
    let onboard = |headers: &[(&str, &str)]| {
        let body = light(&unique("acme"));
        let mut request = browser.request(Method::POST, "/v1/apps").json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    };
    let evil = ("origin", "https://evil.example");
    for headers in [
        vec![("sec-fetch-site", "cross-site"), evil],
        vec![
            ("sec-fetch-site", "same-site"),
            ("origin", "https://other.example.com"),
        ],
        vec![("sec-fetch-site", "cross-site")],
        vec![evil],
        vec![("origin", "null")],
    ] {
        ask(onboard(&headers)).await.problem(403, "cross_origin");
    }
    let out = browser.request(Method::POST, "/auth/logout");
    let out = ask(out.header("sec-fetch-site", "cross-site")).await;
    out.problem(403, "cross_origin");
    for headers in [
        vec![("sec-fetch-site", "same-origin")],
        vec![("sec-fetch-site", "none")],
        vec![("origin", server.url.as_str())],
        vec![],
    ] {
        ask(onboard(&headers)).await.expect(202);
    }
    // A page that may call by CORS does so with a token.
    let token = server.token("operator").await;
    let by_token =
        as_bearer(&server, &token, Method::POST, "/v1/apps").json(&light(&unique("acme")));
    ask(by_token
        .header("sec-fetch-site", "cross-site")
        .header(evil.0, evil.1))
    .await
    .expect(202);
    // No page of another origin reads what the cookie shows.
    let read = answer(&browser, Method::GET, "/v1/apps").await;
    assert_eq!(read.header("access-control-allow-credentials"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_claimed_by_who_has_just_signed_in() {
    let mut setup = idle();
    let (_server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["operators"])));
    browser.sign_in("/auth/login").await;
    let claim = async || {
        let path = "/v1/apps/nobody/credentials/AKIAIOSFODNN7EXAMPLE/claim";
        answer(&browser, Method::POST, path).await
    };
    claim().await.problem(404, "not_found");
    setup.clock.advance(Duration::from_secs(5 * 60));
    let refusal = claim().await.problem(403, "sign_in_again");
    assert_eq!(refusal["url"], "/auth/login?fresh=true");

    // The provider remembers the person: a sign-in without asking proves nothing.
    let earlier = slipway_now(&setup) - 400;
    provider.signed_in_at(earlier);
    browser.sign_in("/auth/login").await;
    claim().await.problem(403, "sign_in_again");
    // One that leaves out what asks the person anew proves nothing either.
    let begun = browser.get("/auth/login?fresh=true").await;
    assert!(
        begun.location.contains("prompt=login&max_age=0"),
        "{}",
        begun.location
    );
    provider.signed_in_at(earlier);
    let without = begun.location.replace("prompt=login", "x=y");
    let back = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let back = back.get(&without).send().await.unwrap();
    let callback = path_of(back.headers()["location"].to_str().unwrap());
    refused(&browser.get(&callback).await, 403, "auth_time");

    provider.person(ana(json!(["operators"])));
    assert_eq!(
        browser
            .sign_in("/auth/login?fresh=true&return_to=/console")
            .await,
        "/console"
    );
    claim().await.problem(404, "not_found");
}

fn slipway_now(setup: &Setup) -> i64 {
    setup.clock.now().millis() / 1000
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_an_own_request_by_session_or_by_a_token_of_the_own() {
    let mut setup = working();
    setup.settings.approvals.job_kinds = vec![slipway::domain::job_kind::JobKind::Onboard];
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["admins"])));
    browser.sign_in("/auth/login").await;
    let body = json!({"name": "ana's bot", "role": "approver"});
    let made = ask(browser.request(Method::POST, "/v1/tokens").json(&body))
        .await
        .expect(201);
    let bot = made["token"].as_str().unwrap();
    let approve = async |job: &Value, request: &dyn Fn(Method, &str) -> reqwest::RequestBuilder| {
        let approval = get(&server, &format!("/v1/jobs/{}/approval", id(job)))
            .await
            .expect(200);
        let path = format!("/v1/jobs/{}/approve", id(job));
        let body = json!({"plan_digest": approval["plan_digest"]});
        ask(request(Method::POST, &path).json(&body)).await
    };
    let by_session = ask(browser
        .request(Method::POST, "/v1/apps")
        .json(&light(&unique("acme"))))
    .await
    .expect(202);
    let by_bot = as_bearer(&server, bot, Method::POST, "/v1/apps").json(&light(&unique("acme")));
    let by_bot = ask(by_bot).await.expect(202);
    let second = Browser::new(&server.url);
    second.sign_in("/auth/login").await;
    for job in [&by_session, &by_bot] {
        approve(job, &|method, path| browser.request(method, path))
            .await
            .problem(403, "self_approval");
        approve(job, &|method, path| second.request(method, path))
            .await
            .problem(403, "self_approval");
        approve(job, &|method, path| as_bearer(&server, bot, method, path))
            .await
            .problem(403, "self_approval");
    }
    let other = Browser::new(&server.url);
    provider.person(json!({"sub": "b-2", "groups": ["approvers"]}));
    other.sign_in("/auth/login").await;
    for job in [&by_session, &by_bot] {
        approve(job, &|method, path| other.request(method, path))
            .await
            .expect(202);
        wait_for_state(&server, id(job), "succeeded").await;
    }
}

/// GitLab's user id is the subject of the person who signs in with GitLab.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_what_the_own_pipeline_requests() {
    let mut setup = idle();
    setup.settings.approvals.job_kinds = vec![slipway::domain::job_kind::JobKind::Onboard];
    let (server, provider, browser) = started(&mut setup).await;
    let rule = json!({
        "name": "shop", "issuer": provider.url, "audience": "https://slipway.example.com", "role": "operator",
        "claims": {"project_id": "77", "ref": "main"},
    });
    post(&server, "/v1/trust-rules", &rule).await.expect(201);
    let id_token = provider.id_token(&json!({
        "sub": "project_path:acme/shop:ref_type:branch:ref:main", "aud": "https://slipway.example.com", "user_id": "4711",
        "project_id": "77", "ref": "main",
    }));
    let exchange = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={id_token}\
         &subject_token_type=urn:ietf:params:oauth:token-type:id_token"
    );
    let request = server.anonymous(Method::POST, "/v1/oauth/token");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let granted = ask(request.body(exchange)).await.expect(200);
    let bearer = granted["access_token"].as_str().unwrap();
    let onboard = as_bearer(&server, bearer, Method::POST, "/v1/apps");
    let job = ask(onboard.json(&light(&unique("acme")))).await.expect(202);
    let approval = get(&server, &format!("/v1/jobs/{}/approval", id(&job)))
        .await
        .expect(200);
    let body = json!({"plan_digest": approval["plan_digest"]});
    let path = format!("/v1/jobs/{}/approve", id(&job));
    for (subject, status) in [("4711", 403), ("4712", 202)] {
        provider.person(json!({"sub": subject, "groups": ["approvers"]}));
        browser.sign_in("/auth/login").await;
        let answer = ask(browser.request(Method::POST, &path).json(&body)).await;
        answer.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_told_and_sessions_go_on() {
    let mut setup = idle();
    let (server, provider, browser) = started(&mut setup).await;
    provider.person(ana(json!(["viewers"])));
    browser.sign_in("/auth/login").await;
    server.stop().await;
    provider.break_down();
    let server = setup.start().await;
    let late = Browser::new(&server.url);
    refused(&late.get("/auth/login").await, 503, "does not answer");
    late.set_cookie(SESSION, &browser.cookie(SESSION).unwrap());
    answer(&late, Method::GET, "/v1/apps").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_settings_nobody_signs_in() {
    let setup = idle();
    let server = setup.start().await;
    for (method, path) in [
        (Method::GET, "/auth/login"),
        (Method::GET, "/auth/callback?code=x&state=y"),
        (Method::POST, "/auth/logout"),
        (Method::GET, "/auth/signed-out"),
    ] {
        ask(server.anonymous(method, path))
            .await
            .problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_with_a_real_provider() {
    let accounts = json!({
        "ana": {"name": "Ana Example", "email": "ana@example.com", "email_verified": true, "groups": ["operators"]},
        "eve": {"name": "Eve", "groups": ["staff"]},
    });
    let provider = NodeProvider::start(&accounts).await;
    let mut setup = idle();
    let_people_sign_in(&mut setup, &provider.url);
    let server = setup.start().await;
    let (browser, at_provider) = (Browser::new(&server.url), Browser::new(&provider.url));
    let claim = "/v1/apps/nobody/credentials/AKIAIOSFODNN7EXAMPLE/claim";

    let begun = browser.get("/auth/login?return_to=/console").await;
    let callback = log_in_at(&provider, &at_provider, &begun.location, "ana").await;
    assert!(callback.contains("&iss="), "{callback}");
    let page = browser.get(&callback).await;
    assert_eq!(
        (page.status, page.location.as_str()),
        (303, "/console"),
        "{}",
        page.text
    );
    let sessions = answer(&browser, Method::GET, "/v1/sessions")
        .await
        .expect(200);
    let identity = json!({"issuer": provider.url, "subject": "ana", "name": "Ana Example"});
    assert_eq!(sessions["items"][0]["identity"], identity);
    assert_eq!(sessions["items"][0]["role"], "operator");
    refused(&browser.get(&callback).await, 400, "expired");

    // The provider remembers Ana. A fresh sign-in asks her again all the same, and then her secrets are shown.
    let again = browser.get("/auth/login").await;
    let silent = at_provider.get(&path_of(&again.location)).await;
    assert!(
        silent.location.contains("/auth/callback"),
        "asks nothing: {}",
        silent.location
    );
    browser.get(&path_of(&silent.location)).await;
    answer(&browser, Method::POST, claim)
        .await
        .problem(403, "sign_in_again");
    let fresh = browser
        .get("/auth/login?fresh=true&return_to=/console")
        .await;
    let asked = at_provider.get(&path_of(&fresh.location)).await;
    assert!(
        asked.location.starts_with("/interaction/"),
        "{}",
        asked.location
    );
    let callback = log_in_at(&provider, &at_provider, &fresh.location, "ana").await;
    assert_eq!(browser.get(&callback).await.location, "/console");
    answer(&browser, Method::POST, claim)
        .await
        .problem(404, "not_found");

    // A code that was redeemed before, and one with another verifier.
    let begun = browser.get("/auth/login").await;
    let sealed = browser.cookie("slipway_sign_in").unwrap();
    let callback = log_in_at(&provider, &at_provider, &begun.location, "ana").await;
    assert_eq!(browser.get(&callback).await.status, 303);
    browser.set_cookie("slipway_sign_in", &sealed);
    refused(&browser.get(&callback).await, 400, "used before");
    let begun = browser.get("/auth/login").await;
    let callback = log_in_at(&provider, &at_provider, &begun.location, "ana").await;
    let later = browser.get("/auth/login").await;
    let state = |url: &str| {
        url.split("state=")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap()
            .to_owned()
    };
    let swapped = callback.replace(&state(&callback), &state(&later.location));
    refused(&browser.get(&swapped).await, 400, "not valid");

    let (other, at_provider) = (Browser::new(&server.url), Browser::new(&provider.url));
    let begun = other.get("/auth/login").await;
    let callback = log_in_at(&provider, &at_provider, &begun.location, "eve").await;
    refused(
        &other.get(&callback).await,
        403,
        "You are signed in to the identity provider as Eve",
    );
    let begun = other.get("/auth/login").await;
    let callback = log_in_at(
        &provider,
        &Browser::new(&provider.url),
        &begun.location,
        "nobody",
    )
    .await;
    refused(&other.get(&callback).await, 403, "has not signed you in");

    // The provider's own page for signing out.
    let out = browser.post("/auth/logout").await;
    let page = browser.get(&out.location).await;
    let link = page
        .text
        .split("href=\"")
        .find(|part| part.starts_with(&provider.url))
        .unwrap();
    let link = link
        .split('"')
        .next()
        .unwrap()
        .replace("&amp;", "&")
        .replace("&#38;", "&");
    let confirm = at_provider.get(&path_of(&link)).await;
    assert_eq!(confirm.status, 200, "{}", confirm.text);
}

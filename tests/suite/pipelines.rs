//! Pipelines call with nothing but their ID tokens.

use std::time::Duration;

use aws_lc_rs::hmac;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use slipway::clock::Clock;
use slipway::oidc::{IdToken, KeyCache, KeyCacheLimits, TokenError, VerifyError};

use crate::api::{Answer, as_bearer, ask, get, id, idle, light, post, wait_for_state, working};
use crate::support::database::new_database;
use crate::support::issuer::{Issuer, Key, encoded, now, token};
use crate::support::server::{Server, Setup};
use crate::support::unique;

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

fn setup() -> Setup {
    let mut setup = idle();
    setup.settings.oidc_allow_http = true;
    setup
}

fn rule(issuer: &Issuer, name: &str) -> Value {
    json!({
        "name": name, "issuer": issuer.url, "audience": "slipway", "role": "operator", "scope": {"apps": ["acme-*"]},
        "claims": {"repository_id": "77", "environment": "production"},
    })
}

async fn exchange(server: &Server, token: &str) -> Answer {
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ID_TOKEN),
    ];
    exchange_form(server, &form).await
}

async fn exchange_form(server: &Server, form: &[(&str, &str)]) -> Answer {
    let body: Vec<String> = form
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    ask(server
        .anonymous(Method::POST, "/v1/oauth/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.join("&")))
    .await
}

fn refused(answer: &Answer, code: &str) -> String {
    let problem = answer.problem(400, code);
    assert_eq!(problem["error_description"], problem["detail"]);
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_onboards_an_app_within_its_scope_with_nothing_but_its_id_token() {
    for key in [Key::rsa(), Key::ec()] {
        let (setup, issuer) = (setup(), Issuer::start(key).await);
        let server = setup.start().await;
        let made = post(&server, "/v1/trust-rules", &rule(&issuer, "shop"))
            .await
            .expect(201);
        let answer = exchange(&server, &issuer.token(&json!({}))).await;
        let granted = answer.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(
            json!([
                granted["token_type"],
                granted["expires_in"],
                granted["issued_token_type"]
            ]),
            json!([
                "Bearer",
                1800,
                "urn:ietf:params:oauth:token-type:access_token"
            ])
        );
        let token = granted["access_token"].as_str().unwrap();
        let onboard = async |name: &str| {
            ask(as_bearer(&server, token, Method::POST, "/v1/apps").json(&light(name))).await
        };
        let app = unique("acme");
        let job = onboard(&app).await.expect(202);
        onboard(&unique("other")).await.problem(403, "out_of_scope");
        ask(as_bearer(&server, token, Method::GET, "/v1/tokens"))
            .await
            .problem(403, "forbidden");

        // The audit tells who is behind the token.
        let actor = job["requested_by"].as_str().unwrap();
        assert!(actor.starts_with("oidc:shop/"), "{actor}");
        let audit = get(&server, "/v1/audit").await.expect(200);
        let identity = json!({
            "issuer": issuer.url, "subject": "repo:acme/shop:environment:production",
            "run_url": format!("{}/acme/shop/actions/runs/4711", issuer.url),
        });
        for action in ["job_requested", "token_exchanged"] {
            let entry = audit["items"]
                .as_array()
                .unwrap()
                .iter()
                .find(|entry| entry["action"] == action)
                .unwrap();
            assert_eq!(
                (&entry["identity"], &entry["actor"]),
                (&identity, &json!(actor)),
                "{entry}"
            );
        }
        let listed = get(&server, "/v1/tokens").await.expect(200);
        assert_eq!(listed["items"][0]["identity"], identity);

        // Who deletes the rule ends its tokens.
        let path = format!("/v1/trust-rules/{}", id(&made));
        assert_eq!(ask(server.request(Method::DELETE, &path)).await.status, 204);
        onboard(&unique("acme")).await.problem(401, "unauthorized");
        refused(
            &exchange(&server, &issuer.token(&json!({}))).await,
            "invalid_grant",
        );
        get(&server, &path).await.problem(404, "not_found");
    }
}

/// Each run has an ID token of its own. What one run of a pipeline has onboarded counts for the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_approves_the_first_app_of_a_pipeline_and_no_other() {
    let (mut setup, issuer) = (working(), Issuer::start(Key::rsa()).await);
    setup.settings.oidc_allow_http = true;
    setup.settings.approvals.first_app_of_pipeline = true;
    let server = setup.start().await;
    post(&server, "/v1/trust-rules", &rule(&issuer, "shop"))
        .await
        .expect(201);
    let onboard = async || {
        let granted = exchange(&server, &issuer.token(&json!({})))
            .await
            .expect(200);
        let token = granted["access_token"].as_str().unwrap();
        let body = light(&unique("acme"));
        let request = as_bearer(&server, token, Method::POST, "/v1/apps").json(&body);
        ask(request).await.expect(202)
    };
    // What is canceled and asked for by another kind of job is no less the first.
    let granted = exchange(&server, &issuer.token(&json!({}))).await;
    let granted = granted.expect(200);
    let token = granted["access_token"].as_str().unwrap();
    let body = light(&unique("acme"));
    let as_pipeline = |method, path: &str| as_bearer(&server, token, method, path);
    let waits = ask(as_pipeline(Method::POST, "/v1/apps").json(&body)).await;
    let cancel = format!("/v1/jobs/{}/cancel", id(&waits.expect(202)));
    ask(as_pipeline(Method::POST, &cancel)).await;
    let path = format!("/v1/apps/{}", body["name"].as_str().unwrap());
    let again = ask(as_pipeline(Method::PUT, &path).json(&body)).await;
    assert_eq!(again.expect(202)["state"], "awaiting_approval");

    let first = onboard().await;
    assert_eq!(first["state"], "awaiting_approval", "{first:#}");
    let approval = get(&server, &format!("/v1/jobs/{}/approval", id(&first)))
        .await
        .expect(200);
    assert_eq!(approval["reasons"], json!(["first_app_of_pipeline"]));
    let path = format!("/v1/jobs/{}/approve", id(&first));
    let body = json!({"plan_digest": approval["plan_digest"]});
    post(&server, &path, &body).await.expect(202);
    wait_for_state(&server, id(&first), "succeeded").await;
    let second = onboard().await;
    assert_eq!(second["needs_approval"], false, "{second:#}");
    wait_for_state(&server, id(&second), "succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_no_rule_accepts_is_refused() {
    let setup = setup();
    let (issuer, other) = (
        Issuer::start(Key::rsa()).await,
        Issuer::start(Key::rsa()).await,
    );
    let server = setup.start().await;
    post(&server, "/v1/trust-rules", &rule(&issuer, "shop"))
        .await
        .expect(201);
    // An issuer without a rule is not even asked.
    refused(
        &exchange(&server, &other.token(&json!({}))).await,
        "invalid_grant",
    );
    assert_eq!(other.fetches(), 0);
    // Nor is the token of one issuer one of another that is trusted as well.
    post(&server, "/v1/trust-rules", &rule(&other, "others"))
        .await
        .expect(201);
    refused(
        &exchange(&server, &other.token(&json!({"iss": issuer.url}))).await,
        "invalid_grant",
    );

    let time = now();
    for claims in [
        json!({"aud": "sts.amazonaws.com"}),
        json!({"aud": ["a", "b"]}),
        json!({"aud": null}),
        json!({"sub": null}),
        json!({"exp": null}),
        json!({"exp": "soon"}),
        json!({"exp": time - 61}),
        json!({"nbf": time + 120}),
        json!({"iat": time + 120}),
        json!({"repository_id": "78"}),
        json!({"repository_id": 77}),
        json!({"repository_id": null}),
        json!({"environment": "production2"}),
        json!({"environment": "Production"}),
        json!({"event_name": "pull_request"}),
        json!({"event_name": "pull_request_target"}),
        json!({"ref": "refs/pull/1/merge"}),
        json!({"pipeline_source": "merge_request_event"}),
    ] {
        let answer = exchange(&server, &issuer.token(&claims)).await;
        assert_eq!(answer.status, 400, "{claims}: {}", answer.text());
        refused(&answer, "invalid_grant");
    }
    for claims in [
        json!({"exp": time - 30}),
        json!({"nbf": time + 30, "iat": time + 30}),
        json!({"nbf": null, "iat": null}),
        json!({"aud": ["other", "slipway"]}),
    ] {
        let answer = exchange(&server, &issuer.token(&claims)).await;
        assert_eq!(answer.status, 200, "{claims}: {}", answer.text());
    }
    // A rule may accept pull requests.
    let mut pulls = rule(&issuer, "pulls");
    pulls["claims"]["environment"] = json!("preview");
    pulls["allow_pull_requests"] = json!(true);
    post(&server, "/v1/trust-rules", &pulls).await.expect(201);
    let pull = issuer.token(&json!({"event_name": "pull_request", "environment": "preview"}));
    exchange(&server, &pull).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_is_refused() {
    let (setup, issuer) = (setup(), Issuer::start(Key::rsa()).await);
    let server = setup.start().await;
    post(&server, "/v1/trust-rules", &rule(&issuer, "shop"))
        .await
        .expect(201);
    let claims = issuer.claims(&json!({}));
    let forger = Key::rsa();
    let jwk = forger.public("k1");
    let hs256 = |secret: &[u8]| {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        token(&json!({"alg": "HS256", "kid": "k1"}), &claims, |signed| {
            hmac::sign(&secret, signed).as_ref().to_vec()
        })
    };
    let genuine = issuer.token(&json!({}));
    let (signed, signature) = genuine.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let forged = [
        token(&json!({"alg": "none"}), &claims, |_| Vec::new()),
        token(&json!({"alg": "None", "kid": "k1"}), &claims, |_| {
            Vec::new()
        }),
        hs256(&issuer.key.public_bytes()),
        hs256(issuer.key.public("k1").to_string().as_bytes()),
        token(&json!({"alg": "RS256", "kid": "k1"}), &claims, |signed| {
            forger.sign(signed)
        }),
        token(
            &json!({"alg": "RS256", "kid": "k1", "jwk": jwk}),
            &claims,
            |signed| forger.sign(signed),
        ),
        token(
            &json!({"alg": "RS256", "kid": "k1", "jku": "http://127.0.0.1:9/keys", "x5u": "http://127.0.0.1:9"}),
            &claims,
            |signed| forger.sign(signed),
        ),
        token(
            &json!({"alg": "RS256", "kid": "k1", "crit": ["exp"]}),
            &claims,
            |signed| issuer.key.sign(signed),
        ),
        token(&json!({"alg": "ES256", "kid": "k1"}), &claims, |signed| {
            issuer.key.sign(signed)
        }),
        format!(
            "{header}.{}.{signature}",
            encoded(
                issuer
                    .claims(&json!({"repository_id": "77", "sub": "x"}))
                    .to_string()
            )
        ),
        format!("{signed}."),
        signed.to_owned(),
        "a.b.c".to_owned(),
        "x".repeat(20_000),
    ];
    for token in &forged {
        let answer = exchange(&server, token).await;
        assert_eq!(answer.status, 400, "{token}: {}", answer.text());
        refused(&answer, "invalid_grant");
    }
    exchange(&server, &genuine).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_id_token_is_exchanged_once() {
    let (setup, issuer) = (setup(), Issuer::start(Key::ec()).await);
    let server = setup.start().await;
    post(&server, "/v1/trust-rules", &rule(&issuer, "shop"))
        .await
        .expect(201);
    for claims in [json!({}), json!({"jti": null, "run_id": "1"})] {
        let token = issuer.token(&claims);
        let answers = join_all((0..8).map(|_| exchange(&server, &token))).await;
        let granted = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(granted, 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert!(refused(answer, "invalid_grant").contains("exchanged before"));
        }
    }
    // ECDSA signs the same claims in many ways; the id tells that it is the same token.
    let claims = json!({"jti": "one"});
    exchange(&server, &issuer.token(&claims)).await.expect(200);
    refused(
        &exchange(&server, &issuer.token(&claims)).await,
        "invalid_grant",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_one_replica_has_exchanged_is_refused_by_the_other() {
    let (mut first, issuer) = (setup(), Issuer::start(Key::ec()).await);
    first.settings.database_url = new_database().await;
    let mut second = Setup::new(first.place.clone());
    second.settings = first.settings.clone();
    let replicas = [first.start().await, second.start().await];
    post(&replicas[0], "/v1/trust-rules", &rule(&issuer, "shop"))
        .await
        .expect(201);
    for claims in [json!({}), json!({"jti": null, "run_id": "1"})] {
        let token = issuer.token(&claims);
        let each = (0..8).map(|turn| exchange(&replicas[turn % 2], &token));
        let answers = join_all(each).await;
        let granted = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(granted, 1);
        for replica in &replicas {
            let answer = exchange(replica, &token).await;
            assert!(refused(&answer, "invalid_grant").contains("exchanged before"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_is_as_rfc_8693_says() {
    let (setup, issuer) = (setup(), Issuer::start(Key::ec()).await);
    let server = setup.start().await;
    let token = issuer.token(&json!({}));
    let grant = ("grant_type", EXCHANGE);
    let subject = ("subject_token", token.as_str());
    let kind = ("subject_token_type", ID_TOKEN);
    for (form, code, error) in [
        (vec![subject, kind], "invalid_parameters", "invalid_request"),
        (vec![grant, kind], "invalid_parameters", "invalid_request"),
        (
            vec![grant, subject],
            "invalid_parameters",
            "invalid_request",
        ),
        (
            vec![grant, grant, subject, kind],
            "invalid_parameters",
            "invalid_request",
        ),
        (
            vec![grant, subject, ("subject_token_type", "saml2")],
            "invalid_parameters",
            "invalid_request",
        ),
        (
            vec![("grant_type", "password"), subject, kind],
            "unsupported_grant_type",
            "unsupported_grant_type",
        ),
        (vec![grant, subject, kind], "invalid_grant", "invalid_grant"),
    ] {
        let answer = exchange_form(&server, &form).await;
        assert_eq!(answer.problem(400, code)["error"], error);
    }
    let json = ask(server
        .anonymous(Method::POST, "/v1/oauth/token")
        .json(&json!({"grant_type": EXCHANGE})))
    .await;
    assert_eq!(
        json.problem(415, "unsupported_media_type")["error"],
        "invalid_request"
    );
    for (field, value) in [
        (
            "claims",
            json!({"repository_id": "77", "ref": "refs/heads/*"}),
        ),
        ("claims", json!({})),
        ("issuer", json!("http://example.com")),
        ("audience", json!("*")),
    ] {
        let mut body = rule(&issuer, "x");
        body[field] = value;
        let problem = post(&server, "/v1/trust-rules", &body)
            .await
            .problem(422, "invalid_fields");
        assert!(
            problem["errors"][0]["pointer"]
                .as_str()
                .unwrap()
                .starts_with(&format!("/{field}")),
            "{problem}"
        );
    }
    post(&server, "/v1/trust-rules", &rule(&issuer, "x"))
        .await
        .expect(201);
    post(&server, "/v1/trust-rules", &rule(&issuer, "x"))
        .await
        .problem(422, "invalid_fields");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_is_told_and_cached_keys_serve() {
    let (setup, issuer) = (setup(), Issuer::start(Key::ec()).await);
    let server = setup.start().await;
    post(&server, "/v1/trust-rules", &rule(&issuer, "shop"))
        .await
        .expect(201);
    issuer.break_down(Some(Duration::ZERO));
    let answer = exchange(&server, &issuer.token(&json!({}))).await;
    let problem = answer.problem(503, "issuer_unavailable");
    assert_eq!(problem["error"], "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "60");
    // It is not asked again at once, also when many come.
    join_all((0..20).map(|_| async { exchange(&server, &issuer.token(&json!({}))).await })).await;
    assert_eq!(issuer.fetches(), 1);
}

fn cache(limits: KeyCacheLimits) -> KeyCache {
    KeyCache::new(limits, true)
}

async fn verify(cache: &KeyCache, issuer: &Issuer, token: &str) -> Result<(), VerifyError> {
    let token = IdToken::parse(token).unwrap();
    cache
        .verify(&issuer.url, token, Clock::default().now())
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_and_unknown_ones_ask_the_issuer_once_in_a_while() {
    let issuer = Issuer::start(Key::rsa()).await;
    let interval = Duration::from_secs(2);
    let cache = cache(KeyCacheLimits {
        interval,
        ..KeyCacheLimits::default()
    });
    let (old, new) = (issuer.token(&json!({})), Key::ec());
    // Many at once on an empty cache are one fetch.
    let all = join_all((0..20).map(|_| verify(&cache, &issuer, &old))).await;
    assert!(
        all.iter().all(Result::is_ok) && issuer.fetches() == 1,
        "{all:?}"
    );
    // A key that the issuer does not have: one fetch in an interval, however many tokens name one.
    let made_up = |n: usize| {
        token(
            &json!({"alg": "ES256", "kid": format!("x{n}")}),
            &issuer.claims(&json!({})),
            |signed| new.sign(signed),
        )
    };
    tokio::time::sleep(interval).await;
    for n in 0..50 {
        assert!(matches!(
            verify(&cache, &issuer, &made_up(n)).await,
            Err(VerifyError::Signature)
        ));
    }
    assert_eq!(issuer.fetches(), 2);
    // The issuer has a new key beside one that nobody can read.
    issuer.publish(json!({"keys": [{"kty": "oct"}, "odd", {"kty": "RSA", "n": 1}, new.public("k2"), issuer.key.public("k1")]}));
    tokio::time::sleep(interval).await;
    let signed = |kid: &str| {
        token(
            &json!({"alg": "ES256", "kid": kid}),
            &issuer.claims(&json!({})),
            |signed| new.sign(signed),
        )
    };
    verify(&cache, &issuer, &signed("k2")).await.unwrap();
    verify(&cache, &issuer, &old).await.unwrap();
    assert_eq!(issuer.fetches(), 3);
    // It publishes nothing readable, then breaks down: what is cached serves on.
    for jwks in [
        json!({"keys": []}),
        json!({"keys": [{"kty": "oct"}]}),
        json!([]),
    ] {
        issuer.publish(jwks);
        tokio::time::sleep(interval).await;
        assert!(verify(&cache, &issuer, &signed("k3")).await.is_err());
        verify(&cache, &issuer, &old).await.unwrap();
    }
    // The old key goes.
    issuer.publish(json!({"keys": [new.public("k2")]}));
    tokio::time::sleep(interval).await;
    assert!(verify(&cache, &issuer, &signed("k3")).await.is_err());
    assert!(matches!(
        verify(&cache, &issuer, &old).await,
        Err(VerifyError::Signature)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_issuer_that_is_down_or_slow_serve_for_a_bounded_time() {
    let issuer = Issuer::start(Key::ec()).await;
    let cache = cache(KeyCacheLimits {
        interval: Duration::from_millis(100),
        fresh_for: Duration::from_millis(200),
        usable_for: Duration::from_secs(8),
    });
    let token = issuer.token(&json!({}));
    verify(&cache, &issuer, &token).await.unwrap();
    issuer.break_down(Some(Duration::from_secs(60)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The keys are old and the issuer is silent: whoever asks waits for the time-out at most, and then the old ones do.
    let began = std::time::Instant::now();
    verify(&cache, &issuer, &token).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
    issuer.break_down(Some(Duration::ZERO));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(matches!(
        verify(&cache, &issuer, &token).await,
        Err(VerifyError::Unavailable)
    ));
    let expired = issuer.token(&json!({"exp": now() - 100}));
    issuer.break_down(None);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(matches!(
        verify(&cache, &issuer, &expired).await,
        Err(VerifyError::Token(TokenError::Expired))
    ));
}

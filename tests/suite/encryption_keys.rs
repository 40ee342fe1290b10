//! Encryption keys change, and no secret is lost or shown on the way.

use reqwest::Method;
use serde_json::Value;
use slipway::vault::Vault;

use crate::support::aws::{Emulator, Place};
use crate::support::process::{Launch, Running};
use crate::support::unique;

const OLD: &str = "SLIPWAY_PREVIOUS_ENCRYPTION_KEYS";
const KEY: &str = "SLIPWAY_ENCRYPTION_KEY";

/// A new key, and its id.
async fn key(launch: &Launch) -> (String, String) {
    let printed = launch.run(&["generate-key"]).await;
    let key = String::from_utf8(printed.stdout).unwrap().trim().to_owned();
    let id = Vault::parse(&key.clone().into()).unwrap().id().to_owned();
    assert_eq!(
        String::from_utf8(printed.stderr).unwrap().trim(),
        format!("key id: {id}")
    );
    (key, id)
}

/// Where the secret of a newly onboarded app is claimed.
async fn onboarded(server: &Running) -> String {
    let job = server.ask(&unique("acme")).await;
    let job = server.ended(&job).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    job["result"]["claim"].as_str().unwrap().to_owned()
}

/// The claimed secret.
async fn claimed(server: &Running, path: &str) -> String {
    let claim: Value =
        serde_json::from_str(&server.text(server.request(Method::POST, path)).await).unwrap();
    claim["AWS_SECRET_ACCESS_KEY"].as_str().unwrap().to_owned()
}

async fn problem(server: &Running, path: &str) -> Value {
    let answer = server.request(Method::POST, path).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    answer.json().await.unwrap()
}

/// `slipway reencrypt`: its exit code, and all that it says.
async fn reencrypt(launch: &Launch) -> (Option<i32>, String) {
    let output = launch.run(&["reencrypt"]).await;
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), told.concat())
}

/// Nothing of this is in any file of the service.
fn assert_nowhere(launch: &Launch, secrets: &[&str]) {
    let files = std::fs::read_dir(launch.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    let mut seen = 0;
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        seen += text.len();
        for secret in secrets {
            assert!(!text.contains(secret), "a secret is in {}", file.display());
        }
    }
    assert!(seen > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_outlive_a_change_of_the_encryption_key() {
    let launch = Launch::new(&Place::new(Emulator::Moto));
    let (old_id, (new, new_id)) = (
        Vault::parse(&launch.encryption_key.clone().into())
            .unwrap()
            .id()
            .to_owned(),
        key(&launch).await,
    );
    let server = launch.serve().await;
    let claims = [
        onboarded(&server).await,
        onboarded(&server).await,
        onboarded(&server).await,
    ];
    let (code, told) = reencrypt(&launch).await;
    assert_eq!(code, Some(1));
    assert!(
        told.contains("reencrypts secrets itself") && told.contains(OLD),
        "{told}"
    );
    server.stop().await;

    let changed = launch.clone().with(KEY, &new);
    let (code, told) = reencrypt(&changed).await;
    assert_eq!(code, Some(1), "nothing can be moved without the old key");
    assert!(
        told.contains(&format!(
            "3 secrets are encrypted with key {old_id}, which is not configured. Add it to {OLD}"
        )),
        "{told}"
    );
    let server = changed.serve().await;
    let refused = problem(&server, &claims[0]).await;
    for text in [&refused["detail"], &refused["remedy"]] {
        assert!(
            text.as_str().unwrap().contains(&old_id),
            "the key is named: {refused}"
        );
    }
    assert!(
        refused["remedy"].as_str().unwrap().contains(OLD),
        "{refused}"
    );
    server.stop().await;
    let warned = launch.log();
    assert!(
        warned.contains("secrets cannot be decrypted") && warned.contains(&old_id),
        "{warned}"
    );

    let (code, told) = reencrypt(&changed.clone().with(OLD, &launch.encryption_key)).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains(&format!("reencrypted 3 secrets with key {new_id}\n3 secrets are encrypted with key {new_id}, the current key")),
        "{told}"
    );
    let (code, told) = reencrypt(&changed).await;
    assert_eq!(
        (code, told.contains("reencrypted 0 secrets")),
        (Some(0), true),
        "{told}"
    );
    let server = changed.serve().await;
    let secret = claimed(&server, &claims[0]).await;
    assert_eq!(
        server
            .request(Method::POST, &claims[0])
            .send()
            .await
            .unwrap()
            .status(),
        410,
        "shown once"
    );
    server.stop().await;
    assert_nowhere(&launch, &[&secret, &launch.encryption_key, &new]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_opens_with_the_old_key_and_moves_what_is_under_it() {
    let launch = Launch::new(&Place::new(Emulator::Moto));
    let (new, new_id) = key(&launch).await;
    let server = launch.serve().await;
    let claims = [onboarded(&server).await, onboarded(&server).await];
    server.stop().await;
    let changed = launch.clone().with(KEY, &new);
    let server = changed
        .clone()
        .with(OLD, &format!("{new},{}", launch.encryption_key))
        .serve()
        .await;
    let first = claimed(&server, &claims[0]).await;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !launch
        .log()
        .contains("secrets re-encrypted with the current encryption key")
    {
        assert!(std::time::Instant::now() < until, "{}", launch.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    server.stop().await;
    let (code, told) = reencrypt(&changed).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains(&format!("1 secrets are encrypted with key {new_id}")),
        "{told}"
    );
    let server = changed.serve().await;
    let second = claimed(&server, &claims[1]).await;
    server.stop().await;
    assert_nowhere(&launch, &[&first, &second, &launch.encryption_key, &new]);
}

#[tokio::test]
async fn an_old_key_that_is_none_is_told_and_not_shown() {
    let launch = Launch::new(&Place::new(Emulator::Moto));
    let wrong = format!("{},not-a-key", launch.encryption_key);
    let (code, told) = launch.clone().with(OLD, &wrong).refusal().await;
    assert_eq!(code, Some(1));
    assert!(
        told.contains("SLIPWAY_PREVIOUS_ENCRYPTION_KEYS must be encryption keys")
            && told.contains("key 2 is not 32 bytes long"),
        "{told}"
    );
    assert!(
        !told.contains("not-a-key") && !told.contains(&launch.encryption_key),
        "{told}"
    );
}

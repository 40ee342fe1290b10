use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::*;
use crate::domain::names::Region;
use crate::provision::timing::Timing;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn each_source_over_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slipway.toml");
    std::fs::write(
        &file,
        "workers = 3\nlease_duration = \"5s\"\n[defaults]\ngroup = \"Guests\"\nlifecycle = \"protected\"\n[timing]\nanswer = \"3s\"\n",
    )
    .unwrap();
    let environment = env(&[
        ("SLIPWAY_WORKERS", "4"),
        ("SLIPWAY_ADMIN_TOKEN", "0123"),
        ("SLIPWAY_TEST_POSTGRES", "x"),
        ("SLIPWAY_CONFIG", "slipway.toml"),
        ("SLIPWAY_URL", "https://slipway.example.com"),
        ("SLIPWAY_TOKEN", "x"),
        ("SLIPWAY", "http://127.0.0.1:8080"),
        ("SLIPWAY_SERVICE_HOST", "10.0.0.1"),
        ("SLIPWAY_SERVICE_PORT_HTTP", "8080"),
        ("SLIPWAY_PORT", "tcp://10.0.0.1:8080"),
        ("SLIPWAY_API_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("SLIPWAY_JOB_DEADLINE", "2m"),
    ]);
    let settings = Settings::load(
        Some(&file),
        &environment,
        &[("listen", "127.0.0.1:1".into())],
    )
    .unwrap();
    assert_eq!(
        (
            settings.workers,
            settings.lease_duration,
            settings.job_deadline
        ),
        (4, Duration::from_secs(5), Duration::from_secs(120))
    );
    assert_eq!(
        settings.admin_token.as_ref().unwrap().expose_secret(),
        "0123",
        "a token of digits stays a text"
    );
    assert_eq!(settings.defaults.group.as_str(), "Guests");
    assert_eq!(
        settings.timing,
        Timing {
            answer: Duration::from_secs(3),
            ..Timing::default()
        }
    );
    assert_eq!(settings.defaults.policy.as_str(), "MediaManagement");
    assert_eq!(settings.listen.port(), 1);
    assert!(
        !format!("{settings:?}").contains("0123"),
        "a secret is not shown"
    );
}

#[test]
fn an_unknown_variable_is_an_error_that_names_the_nearest_setting() {
    for (unknown, nearest) in [
        ("SLIPWAY_ENCRYPTON_KEY", "SLIPWAY_ENCRYPTION_KEY"),
        ("SLIPWAY_MAX_WAITING", "SLIPWAY_MAX_"),
        ("SLIPWAY_LEASE", "SLIPWAY_LEASE_DURATION"),
        ("SLIPWAY_ROTATION_IDLE", "SLIPWAY_ROTATION_IDLE_PERIOD"),
        ("SLIPWAY_workers", "SLIPWAY_WORKERS"),
        ("SLIPWAY_PORT", "SLIPWAY_"),
    ] {
        for value in ["x", ""] {
            let error = Settings::load(None, &env(&[(unknown, value)]), &[])
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with(&format!(
                    "{unknown} is not a setting. Did you mean {nearest}"
                )),
                "{error}"
            );
        }
    }
}

#[test]
fn a_variable_can_name_a_file_that_holds_the_value() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let (token, empty) = (write("token", "0123\n"), write("empty", "\n"));
    let load = |pairs: &[(&str, &str)]| Settings::load(None, &env(pairs), &[]);
    let settings = load(&[
        ("SLIPWAY_ADMIN_TOKEN_FILE", &token),
        ("SLIPWAY_PREVIOUS_ENCRYPTION_KEYS_FILE", &empty),
        ("SLIPWAY_WORKERS_FILE", ""),
    ])
    .unwrap();
    assert_eq!(
        settings.admin_token.as_ref().unwrap().expose_secret(),
        "0123"
    );
    assert!(settings.previous_encryption_keys.is_none());
    let missing = folder.path().join("missing");
    let missing = missing.to_string_lossy().into_owned();
    for (variables, problem) in [
        (
            vec![
                ("SLIPWAY_ADMIN_TOKEN", "x"),
                ("SLIPWAY_ADMIN_TOKEN_FILE", token.as_str()),
            ],
            "SLIPWAY_ADMIN_TOKEN and SLIPWAY_ADMIN_TOKEN_FILE are both set",
        ),
        (
            vec![("SLIPWAY_ADMIN_TOKEN_FILE", missing.as_str())],
            "SLIPWAY_ADMIN_TOKEN_FILE: cannot read",
        ),
        (
            vec![("SLIPWAY_ADMIN_TOKENS_FILE", token.as_str())],
            "SLIPWAY_ADMIN_TOKENS_FILE is not a setting",
        ),
    ] {
        let error = load(&variables).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slipway.toml");
    std::fs::write(&file, "worker = 3\n").unwrap();
    assert!(
        Settings::load(Some(&file), &[], &[])
            .unwrap_err()
            .to_string()
            .contains("worker")
    );
    std::fs::write(&file, "[timing]\nanswers = \"3s\"\n").unwrap();
    assert!(
        Settings::load(Some(&file), &[], &[])
            .unwrap_err()
            .to_string()
            .contains("answers")
    );
    for (name, least) in [
        ("WORKERS", "1"),
        ("MAX_CONNECTIONS", "1"),
        ("MAX_REQUESTS", "1"),
        ("MAX_LONG_POLLS", "1"),
        ("LEASE_DURATION", "1s"),
        ("IDLE_TIMEOUT", "1s"),
        ("BODY_TIMEOUT", "1s"),
        ("REQUEST_TIMEOUT", "1s"),
    ] {
        let name = format!("SLIPWAY_{name}");
        let load = |value: &str| Settings::load(None, &env(&[(&name, value)]), &[]);
        assert!(load(least).is_ok(), "{name}");
        let told = load(&least.replace('1', "0")).unwrap_err().to_string();
        assert!(
            told.contains(&format!("{name} must be at least {least}")),
            "{told}"
        );
    }
    let every = |text: &str| {
        Settings::load(None, &env(&[("SLIPWAY_DRIFT_INTERVAL", text)]), &[])
            .map(|settings| settings.drift_interval)
    };
    assert_eq!(
        (every("0s").unwrap(), every("2h").unwrap()),
        (Duration::ZERO, Duration::from_secs(7200))
    );
    assert!(
        every("10ms")
            .unwrap_err()
            .to_string()
            .contains("SLIPWAY_DRIFT_INTERVAL must be at least 1s")
    );
    assert_eq!(
        Settings::load(None, &env(&[("SLIPWAY_RATE_LIMIT", "0")]), &[])
            .unwrap()
            .rate_limit,
        0
    );
    assert!(Settings::load(None, &env(&[("SLIPWAY_WORKERS", "many")]), &[]).is_err());
    assert!(
        Settings::load(
            None,
            &env(&[("SLIPWAY_ALLOW_USER_CREDENTIALS", "true")]),
            &[]
        )
        .unwrap()
        .allow_user_credentials
    );
    for origins in ["https://*.acme.example", "*,https://a.example", "nonsense"] {
        assert!(
            Settings::load(None, &env(&[("SLIPWAY_CORS_ORIGINS", origins)]), &[]).is_err(),
            "{origins}"
        );
    }
    assert!(Settings::load(Some(Path::new("/nowhere.toml")), &[], &[]).is_err());
    let regions = |text: &str| {
        Settings::load(None, &env(&[("SLIPWAY_REGIONS", text)]), &[])
            .map(|settings| settings.regions.0)
    };
    assert_eq!(
        regions("xx-lab-1, xx-lab-2")
            .unwrap()
            .iter()
            .map(Region::as_str)
            .collect::<Vec<_>>(),
        ["xx-lab-1", "xx-lab-2"]
    );
    assert!(
        regions("xx-lab-1,nowhere")
            .unwrap_err()
            .to_string()
            .contains("SLIPWAY_REGIONS: nowhere must be an AWS region code")
    );
}

//! Emulated AWS accounts, a new one for each test.

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use serde_json::{Value, json};

use super::aws_inspector;

/// A variable that `tests/emulators.py` sets.
pub fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test`, or `python tests/emulators.py -- cargo test`")
    })
}

/// One of those that run, of an emulator by its variable.
fn one_of(name: &str) -> String {
    let more = [2, 3]
        .iter()
        .filter_map(|number| std::env::var(format!("{name}_{number}")).ok());
    let running: Vec<String> = std::iter::once(required(name)).chain(more).collect();
    running[fastrand::usize(..running.len())].clone()
}

/// The emulators that every end-to-end test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emulator {
    Moto,
    Ministack,
}

/// Somebody who works on an account by hand: makes what is there before an app, and changes what is there beside it.
pub trait AccountAdmin {
    fn account(&self) -> &str;
    fn region(&self) -> &str;

    /// Makes one call, by boto3's name for it, and answers what AWS said.
    fn call(&self, service: &str, method: &str, args: Value) -> Result<Value, Value>;

    /// Makes one call that has to work.
    fn make(&self, service: &str, method: &str, args: Value) -> Value {
        self.call(service, method, args)
            .unwrap_or_else(|error| panic!("{service} {method}: {error}"))
    }
}

impl AccountAdmin for Place {
    fn account(&self) -> &str {
        &self.account
    }

    fn region(&self) -> &str {
        self.region
    }

    fn call(&self, service: &str, method: &str, args: Value) -> Result<Value, Value> {
        aws_inspector::call(self, service, method, args)
    }
}

/// A role's session in a new account of an emulator.
#[derive(Debug, Clone)]
pub struct Place {
    pub endpoint: String,
    pub account: String,
    pub region: &'static str,
    pub credentials: Credentials,
}

impl Place {
    /// A new account, with a session of its role `slipway`.
    pub fn new(emulator: Emulator) -> Self {
        let endpoint = one_of(match emulator {
            Emulator::Moto => "SLIPWAY_TEST_MOTO",
            Emulator::Ministack => "SLIPWAY_TEST_MINISTACK",
        });
        let account = format!("{:012}", fastrand::u64(100_000_000_000..1_000_000_000_000));
        let owner = Credentials::new(account.clone(), "test", None, None, "test");
        let place = Self {
            endpoint,
            account,
            region: "us-west-2",
            credentials: owner,
        };
        place.assume("slipway")
    }

    /// A new account in the emulator that enforces policies, as its root user.
    pub fn owner_of_an_enforcing_account() -> Self {
        let account = format!("{:012}", fastrand::u64(100_000_000_000..1_000_000_000_000));
        let owner = Credentials::new(account.clone(), "test", None, None, "test");
        Self {
            endpoint: required("SLIPWAY_TEST_MINISTACK_AUTH"),
            account,
            region: "us-west-2",
            credentials: owner,
        }
    }

    /// The same account, with a session of one of its roles.
    pub fn assume(&self, role: &str) -> Self {
        let arn = format!("arn:aws:iam::{}:role/{role}", self.account);
        let args = json!({"RoleArn": arn, "RoleSessionName": "i-0123456789abcdef0"});
        let session = aws_inspector::call(self, "sts", "assume_role", args).expect("a session");
        let text = |name: &str| {
            session["Credentials"][name]
                .as_str()
                .expect("credentials")
                .to_owned()
        };
        let credentials = Credentials::new(
            text("AccessKeyId"),
            text("SecretAccessKey"),
            Some(text("SessionToken")),
            None,
            "test",
        );
        Self {
            credentials,
            ..self.clone()
        }
    }

    /// The same account in another region.
    pub fn in_region(self, region: &'static str) -> Self {
        Self { region, ..self }
    }

    /// The SDK's configuration for this account, by way of a proxy.
    pub fn sdk(&self, endpoint: &str) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new(self.region))
            .endpoint_url(endpoint)
            .credentials_provider(SharedCredentialsProvider::new(self.credentials.clone()))
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
                aws_smithy_async::rt::sleep::TokioSleep::new(),
            ))
            .time_source(aws_smithy_async::time::SharedTimeSource::new(
                aws_smithy_async::time::SystemTimeSource::new(),
            ))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build()
    }

    pub fn credentials_json(&self) -> Value {
        json!({
            "access_key_id": self.credentials.access_key_id(),
            "secret_access_key": self.credentials.secret_access_key(),
            "session_token": self.credentials.session_token(),
        })
    }
}

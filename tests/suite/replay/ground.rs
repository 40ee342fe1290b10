//! Where a scenario runs: an account, and a way to it on which calls meet faults.

use serde_json::{Value, json};

use crate::support::aws::{AccountAdmin, Place};
use crate::support::aws_inspector;
use crate::support::proxy::Proxy;
use crate::support::simulated::Host;
use crate::support::wire::{Call, Fault};

pub trait Ground: AccountAdmin {
    /// From now on the nth call by each name meets its fault. The log begins anew.
    fn break_calls(&self, faults: &[(&str, usize, Fault)]);
    /// Nothing more goes wrong.
    fn mend(&self);
    /// Whether every fault has been met.
    fn all_met(&self) -> bool;
    /// The calls so far; the log begins anew.
    fn take_log(&self) -> Vec<Call>;
    /// Whether the answer to a call by this name was not passed on.
    fn left_unanswered(&self, name: &str) -> bool;
    /// What is in the account for an app, with the app's keys as `access_keys`.
    fn look(&self, spec: &Value) -> Value;
    /// Whose key this is.
    async fn identity_of(&self, access_key_id: &str, secret: &Value) -> Value;
    /// A user's console password, and whether it has to be changed, where that can be seen.
    fn console_password(&self, user: &str) -> Option<(String, bool)>;
}

/// An account of an emulator, behind a proxy.
pub struct Emulated {
    pub place: Place,
    pub proxy: Proxy,
}

impl AccountAdmin for Emulated {
    fn account(&self) -> &str {
        self.place.account()
    }

    fn region(&self) -> &str {
        self.place.region()
    }

    fn call(&self, service: &str, method: &str, args: Value) -> Result<Value, Value> {
        self.place.call(service, method, args)
    }
}

impl Ground for Emulated {
    fn break_calls(&self, faults: &[(&str, usize, Fault)]) {
        self.proxy.break_calls(faults.iter().copied());
    }

    fn mend(&self) {
        self.proxy.mend();
    }

    fn all_met(&self) -> bool {
        self.proxy.all_met()
    }

    fn take_log(&self) -> Vec<Call> {
        self.proxy.take_log()
    }

    fn left_unanswered(&self, name: &str) -> bool {
        self.proxy.left_unanswered(name)
    }

    fn look(&self, spec: &Value) -> Value {
        aws_inspector::look(&self.place, spec)
    }

    async fn identity_of(&self, access_key_id: &str, secret: &Value) -> Value {
        let credentials = json!({"access_key_id": access_key_id, "secret_access_key": secret});
        aws_inspector::call_as(
            &self.place,
            &credentials,
            "sts",
            "get_caller_identity",
            json!({}),
        )
        .expect("the key works")
    }

    fn console_password(&self, _: &str) -> Option<(String, bool)> {
        None
    }
}

impl Ground for Host {
    fn break_calls(&self, faults: &[(&str, usize, Fault)]) {
        Host::break_calls(self, faults);
    }

    fn mend(&self) {
        Host::mend(self);
    }

    fn all_met(&self) -> bool {
        Host::all_met(self)
    }

    fn take_log(&self) -> Vec<Call> {
        self.aws.take_log()
    }

    fn left_unanswered(&self, name: &str) -> bool {
        self.aws
            .log()
            .iter()
            .any(|call| call.name() == name && call.ended.is_none())
    }

    fn look(&self, spec: &Value) -> Value {
        let mut seen = self.aws.snapshot(self.account());
        let name = spec["name"].as_str().expect("a name");
        let mut user = seen["users"][name].clone();
        seen["access_keys"] = user["keys"].as_array().cloned().unwrap_or_default().into();
        if let Some(path) = user["path"].as_str() {
            user["arn"] = json!(format!("arn:aws:iam::{}:user{path}{name}", self.account()));
        }
        seen["user"] = user;
        seen
    }

    async fn identity_of(&self, access_key_id: &str, secret: &Value) -> Value {
        Host::identity_of(self, access_key_id, secret.as_str().expect("a secret"))
            .await
            .expect("the key works")
    }

    fn console_password(&self, user: &str) -> Option<(String, bool)> {
        let known = self.aws.console_password(self.account(), user);
        Some(known.expect("there is a password"))
    }
}

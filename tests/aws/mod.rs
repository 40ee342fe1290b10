//! An AWS in memory: IAM, STS, S3 and ECR as far as Slipway calls them, behind the SDK's own HTTP client hook, so
//! that signing, serialisation, retries and the parsing of errors are the real ones.
//!
//! Invariants:
//! - It waits only by `tokio::time`, and its clock is tokio's, so that paused time runs it without waiting.
//! - What chance decides depends on the seed and on the call alone (see `consistency.rs`).
//! - A call acts once and whole, or not at all, whatever becomes of its caller.
//! - What is not known here is refused, and never answered as if it were done.
//! - What AWS's API models forbid is refused and noted, and the test that sent it fails at its end.
//!
//! How it is kept true: `tests/suite/conformance.rs` makes the same calls here and to the emulators, and names each
//! difference with its source.
#![allow(
    dead_code,
    reason = "what AWS has is here whether or not a test asks for it yet"
)]

pub mod access;
pub mod consistency;
pub mod ecr;
pub mod iam;
pub mod iam_roles;
pub mod listen;
pub mod models;
pub mod policy;
pub mod protocol;
pub mod rates;
pub mod s3;
pub mod server;
pub mod sign_in;
pub mod signature;
pub mod snapshot;
pub mod state;
pub mod sts;
mod tests;
pub mod wire;
mod xml;

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use serde_json::{Value, json};
use slipway::clock::Clock;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use consistency::Consistency;
use consistency::{Dice, Look, REPLICAS};
use protocol::{Refused, Reply};
pub use rates::{Rate, Rates};
use state::{Caller, Request, Role, Session, Tags, World};

use crate::support::wire::{Answer, Call, Fault};

/// How an AWS in memory behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// What chance starts from.
    pub seed: u64,
    pub consistency: Consistency,
    /// Whether every call is checked against the caller's policies.
    pub authorization: bool,
    /// How fast calls may come; `None` for as fast as they like.
    pub rates: Option<Rates>,
    pub limits: Limits,
    /// How long a call takes. Changes of one bucket that overlap are refused (aws.md A6).
    pub latency: RangeInclusive<Duration>,
    /// How long a preview of a lifecycle policy runs.
    pub preview: RangeInclusive<Duration>,
    /// How long the name of a deleted bucket is not to be had again (aws.md A5).
    pub bucket_name_settles: RangeInclusive<Duration>,
    /// Whether CreateBucket takes tags.
    pub tags_with_bucket: bool,
    /// What the clock shows at the start; the machine's clock when absent.
    pub epoch: Option<SystemTime>,
}

impl Default for Options {
    fn default() -> Self {
        let none = Duration::ZERO..=Duration::ZERO;
        Self {
            seed: 0,
            consistency: Consistency::immediate(),
            authorization: false,
            rates: None,
            limits: Limits::default(),
            latency: none.clone(),
            preview: none.clone(),
            bucket_name_settles: none,
            tags_with_bucket: true,
            epoch: None,
        }
    }
}

/// Quotas, as AWS has them by default (aws.md A13; IAM User Guide, "IAM and AWS STS quotas"; Amazon ECR User Guide,
/// "Amazon ECR service quotas"; Amazon S3 User Guide, "General purpose bucket quotas").
#[derive(Debug, Clone)]
pub struct Limits {
    pub users: usize,
    pub groups: usize,
    pub keys_a_user: usize,
    pub groups_a_user: usize,
    pub policies_a_user: usize,
    pub policy_versions: usize,
    /// In characters, without white space.
    pub policy_size: usize,
    pub tags: usize,
    pub buckets: usize,
    pub repositories: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            users: 5000,
            groups: 300,
            keys_a_user: 2,
            groups_a_user: 10,
            policies_a_user: 10,
            policy_versions: 5,
            policy_size: 6144,
            tags: 50,
            buckets: 10_000,
            repositories: 100_000,
        }
    }
}

/// An AWS in memory, with as many accounts as are named.
#[derive(Clone)]
pub struct Aws(Arc<Inner>);

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the AWS in memory")
    }
}

type OnCall = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;
type Script = Box<dyn FnMut(&Call) -> Option<Answer> + Send>;

struct Inner {
    options: Options,
    start: Instant,
    /// What the clock showed at the start, in milliseconds since the Unix epoch.
    epoch: i64,
    state: Mutex<State>,
    log: Mutex<wire::Log>,
    on_call: Mutex<Option<OnCall>>,
    script: Mutex<Option<Script>>,
    /// What AWS's API models forbid of what the SDK has sent.
    violations: Mutex<Vec<String>>,
    /// One permit for each call that has lost its process.
    lost: Semaphore,
}

#[derive(Default)]
struct State {
    world: World,
    rates: rates::Buckets,
    /// How often each operation was called on each thing.
    counts: HashMap<String, u64>,
    /// What acts later, whether or not its caller is still there: when, and what.
    pending: Vec<(u64, Call)>,
    /// The IAM actions that callers used, where calls are authorized.
    used_actions: BTreeSet<String>,
    /// The newest time that was seen: time does not go back, also where another runtime's clock does.
    now: u64,
}

impl Aws {
    pub fn new(options: Options) -> Self {
        let now = || {
            SystemTime::UNIX_EPOCH
                + Duration::from_millis(Clock::default().now().millis().unsigned_abs())
        };
        let epoch = options
            .epoch
            .unwrap_or_else(now)
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("a time after 1970");
        Self(Arc::new(Inner {
            epoch: i64::try_from(epoch.as_millis()).expect("a time"),
            options,
            start: Instant::now(),
            state: Mutex::default(),
            log: Mutex::default(),
            on_call: Mutex::default(),
            script: Mutex::default(),
            violations: Mutex::default(),
            lost: Semaphore::new(0),
        }))
    }

    /// The time here, in milliseconds since the Unix epoch.
    pub fn date(&self) -> i64 {
        self.0.epoch + i64::try_from(self.now() / 1000).expect("a time")
    }

    /// Microseconds since the start.
    fn now(&self) -> u64 {
        consistency::micros(Instant::now().saturating_duration_since(self.0.start))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of a role, which is made if it is not there: with this identity policy, or with one that allows
    /// everything. A policy takes the place of the one that the role had.
    pub fn role_session(&self, account: &str, role: &str, policy: Option<Value>) -> Credentials {
        let mut state = self.state();
        let number = state.world.sessions.len() as u64;
        let dice = Dice::new(self.0.options.seed, &["session", account, role], number);
        let roles = &mut state
            .world
            .accounts
            .entry(account.to_owned())
            .or_default()
            .roles;
        let cell = roles.entry(role.to_lowercase()).or_default();
        let known = cell.latest().map(|role| Role::clone(role));
        if policy.is_some() || known.is_none() {
            let everything = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
            let own = Role {
                name: role.into(),
                path: "/".into(),
                id: format!("AROA{:016X}", dice.draw(1)),
                created: self.0.epoch,
                tags: Tags::new(),
                trust: json!({"Statement": []}),
                inline: Default::default(),
                attached: Default::default(),
            };
            let mut role = known.unwrap_or(own);
            role.inline
                .insert("identity".into(), policy.unwrap_or(everything));
            cell.write(Some(role), consistency::Times::at_once(), 0);
        }
        let id = format!("ASIA{:016X}", dice.draw(2));
        let session = Session {
            account: account.into(),
            role: role.into(),
            name: "i-0123456789abcdef0".into(),
            policy: None,
        };
        let (secret, token) = (
            format!("{:016x}{:016x}", dice.draw(3), dice.draw(4)),
            format!("session-{id}"),
        );
        state.world.sessions.insert(id.clone(), session);
        state.world.secrets.insert(id.clone(), secret.clone());
        Credentials::new(id, secret, Some(token), None, "the AWS in memory")
    }

    /// Somebody who may do everything, sees the newest state, and is met by no fault, rate or log.
    pub fn owner(&self, account: &str) -> Owner {
        Owner {
            aws: self.clone(),
            account: account.to_owned(),
            region: "us-west-2".to_owned(),
        }
    }

    /// Whether the root user of an account has access keys and MFA.
    pub fn set_root(&self, account: &str, has_keys: bool, has_mfa: bool) {
        let mut state = self.state();
        let account = state.world.accounts.entry(account.to_owned()).or_default();
        (account.root_has_keys, account.root_has_mfa) = (has_keys, has_mfa);
    }

    /// The console password of a user, and whether it has to be changed at the next sign-in.
    pub fn console_password(&self, account: &str, user: &str) -> Option<(String, bool)> {
        let state = self.state();
        let users = &state.world.accounts.get(account)?.users;
        let user = users.get(&user.to_lowercase())?.latest()?;
        Some((user.password.clone()?, user.resets_password))
    }

    /// Everything that there is in an account.
    pub fn snapshot(&self, account: &str) -> Value {
        let mut state = self.state();
        self.catch_up(&mut state);
        snapshot::of(&state.world, account)
    }

    /// From now on each call may meet a fault. The log begins anew.
    pub fn on_call(&self, fault: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.log_mut().clear();
        *self
            .0
            .on_call
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Box::new(fault));
    }

    /// Nothing more goes wrong.
    pub fn mend(&self) {
        *self
            .0
            .on_call
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Answers in the place of AWS.
    pub fn answer(&self, script: impl FnMut(&Call) -> Option<Answer> + Send + 'static) {
        *self.0.script.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(script));
    }

    pub fn unscript(&self) {
        *self.0.script.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The IAM actions that callers used so far, where calls are authorized.
    pub fn used_actions(&self) -> BTreeSet<String> {
        self.state().used_actions.clone()
    }

    /// What AWS's API models forbid of what the SDK has sent since this was last taken.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(
            &mut self
                .0
                .violations
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Fails the test that sent what AWS's API models forbid.
    pub fn refuse_violations(&self) {
        let violations = self.take_violations();
        assert!(
            violations.is_empty() || std::thread::panicking(),
            "AWS's API models forbid what was sent: {violations:#?}"
        );
    }

    /// Returns when a call has lost the process.
    pub fn lost(&self) -> impl Future<Output = ()> + use<> {
        let inner = self.0.clone();
        async move {
            inner
                .lost
                .acquire()
                .await
                .expect("it is never closed")
                .forget()
        }
    }

    fn log_mut(&self) -> MutexGuard<'_, wire::Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calls so far.
    pub fn log(&self) -> Vec<Call> {
        self.log_mut().calls()
    }

    /// The calls so far; the log begins anew.
    pub fn take_log(&self) -> Vec<Call> {
        self.log_mut().take()
    }

    /// Effects whose time has come: of calls whose callers are gone.
    fn catch_up(&self, state: &mut State) {
        state.now = state.now.max(self.now());
        let due = |state: &mut State| {
            let next = state
                .pending
                .iter()
                .enumerate()
                .filter(|(_, (at, _))| *at <= state.now)
                .min_by_key(|(_, (at, _))| *at);
            next.map(|(index, _)| index)
                .map(|index| state.pending.remove(index))
        };
        while let Some((at, call)) = due(state) {
            self.act(state, &call, at);
        }
    }

    /// Answers a call of the SDK at a time.
    fn act(&self, state: &mut State, call: &Call, now: u64) -> Reply {
        let signed = wire::Signed::of(call);
        let operation = wire::operation(call);
        let number = state.count(&["request"]);
        let request_id = format!(
            "{:016x}-{number}",
            Dice::new(self.0.options.seed, &["request"], number).draw(0)
        );
        let answer = self.answered(state, call, &signed, &operation, now);
        let is_head = operation.starts_with("Head");
        match answer {
            Err(refused) => Reply::refusal(call.service, &refused, &request_id, is_head),
            Ok(output) => wire::reply(call.service, &operation, &output, &request_id),
        }
    }

    fn answered(
        &self,
        state: &mut State,
        call: &Call,
        signed: &wire::Signed,
        operation: &str,
        now: u64,
    ) -> Result<Value, Refused> {
        let look = |dice: Dice| Look::Authorization {
            now,
            replica: (dice.draw(901) % REPLICAS as u64) as usize,
        };
        let thing = call.things().join("/");
        let count = state.count(&[call.service, operation, &thing, &signed.key]);
        let dice = Dice::new(
            self.0.options.seed,
            &[call.service, operation, &thing, &signed.key],
            count,
        );
        let caller = wire::caller(&state.world, call.service, &signed.key, look(dice))?;
        if let Some(secret) = state.world.secrets.get(&signed.key) {
            signature::check(call, secret)?;
        }
        if let Caller::User { .. } = &caller {
            let used = state::KeyUse {
                at: self.date_at(now),
                service: call.service.into(),
                region: signed.region.clone(),
            };
            state.world.key_uses.insert(signed.key.clone(), used);
        }
        if let Some(rates) = &self.0.options.rates {
            state
                .rates
                .take(rates, caller.account(), call.service, now)?;
        }
        let input = wire::input(call);
        self.perform(
            state,
            call.service,
            operation,
            &input,
            &caller,
            &signed.region,
            dice,
            now,
        )
    }

    fn date_at(&self, now: u64) -> i64 {
        self.0.epoch + i64::try_from(now / 1000).expect("a time")
    }

    #[expect(clippy::too_many_arguments, reason = "everything that a call is")]
    fn perform(
        &self,
        state: &mut State,
        service: &str,
        operation: &str,
        input: &Value,
        caller: &Caller,
        region: &str,
        dice: Dice,
        now: u64,
    ) -> Result<Value, Refused> {
        let replica = |salt| (dice.draw(salt) % REPLICAS as u64) as usize;
        let look = if caller.is_owner() {
            Look::Latest
        } else {
            Look::Read {
                now,
                replica: replica(900),
            }
        };
        let (options, date) = (&self.0.options, self.date_at(now));
        let mut r = Request {
            operation,
            input,
            account: caller.account(),
            region,
            caller,
            now,
            date,
            dice,
            look,
            denied: Vec::new(),
            options,
        };
        let world = &mut state.world;
        if service == "s3" && !caller.is_owner() {
            s3::in_its_region(world, &r)?;
        }
        if options.authorization {
            let look = Look::Authorization {
                now,
                replica: replica(901),
            };
            let mut used = access::check(world, &r, look, service)?;
            if operation == "DeleteObjects" && !caller.is_owner() {
                r.denied = access::denied_objects(world, &r, look);
                let objects = protocol::list(&input["Delete"], "Objects").iter();
                let deleted =
                    objects.filter(|object| !r.denied.iter().any(|key| object["Key"] == **key));
                used.extend(deleted.map(|object| access::deletion(object).to_owned()));
            }
            state.used_actions.extend(used);
        }
        match service {
            "iam" => iam::call(world, &r),
            "sts" => sts::call(world, &r),
            "s3" => s3::call(world, &r),
            _ => ecr::call(world, &r),
        }
    }
}

impl State {
    /// How often this was counted before.
    fn count(&mut self, parts: &[&str]) -> u64 {
        let count = self.counts.entry(parts.join("\0")).or_default();
        *count += 1;
        *count - 1
    }
}

/// Somebody who may do everything: a person, or an inspector.
#[derive(Debug, Clone)]
pub struct Owner {
    aws: Aws,
    pub account: String,
    region: String,
}

impl Owner {
    #[must_use]
    pub fn in_region(mut self, region: &str) -> Self {
        region.clone_into(&mut self.region);
        self
    }

    /// Makes a call with the members of AWS's API model, such as `call("iam", "CreateUser", json!({"UserName": "a"}))`,
    /// with effect at once and everywhere.
    ///
    /// # Errors
    /// AWS's code and message.
    pub fn call(&self, service: &str, operation: &str, input: Value) -> Result<Value, String> {
        let mut state = self.aws.state();
        self.aws.catch_up(&mut state);
        let count = state.count(&["owner", service, operation, &self.account]);
        let dice = Dice::new(
            self.aws.0.options.seed,
            &["owner", service, operation, &self.account],
            count,
        );
        let caller = Caller::Owner {
            account: self.account.clone(),
        };
        let now = state.now;
        let answer = self.aws.perform(
            &mut state,
            service,
            operation,
            &input,
            &caller,
            &self.region,
            dice,
            now,
        );
        answer.map_err(|refused| refused.to_string())
    }
}

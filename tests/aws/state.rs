//! What there is in AWS.
//!
//! Invariants:
//! - IAM names are keys in lower case, for they are unique without regard to case (aws.md A4); buckets belong to one
//!   name space for all accounts.
//! - A secret is answered once. It is kept beside what there is, to check signatures.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::consistency::{Cell, Dice, Look, Times};
use super::protocol::Refused;
use super::{Limits, Options, consistency};

pub type Tags = BTreeMap<String, String>;
pub type Answer = Result<Value, Refused>;

#[derive(Default)]
pub struct World {
    pub accounts: BTreeMap<String, Account>,
    pub buckets: BTreeMap<String, Cell<Bucket>>,
    /// Sessions of roles by their access key ids.
    pub sessions: HashMap<String, Session>,
    /// Whose each access key is: the account and the user's name in lower case.
    pub key_owners: HashMap<String, (String, String)>,
    /// By their access key ids, to check signatures.
    pub secrets: HashMap<String, String>,
    pub key_uses: HashMap<String, KeyUse>,
    /// Until when a deleted bucket's name cannot be had again.
    pub bucket_names_settle: HashMap<String, u64>,
    /// Buckets that a change is under way on.
    pub busy_buckets: HashMap<String, u64>,
}

#[derive(Debug, Default)]
pub struct Account {
    pub users: BTreeMap<String, Cell<User>>,
    pub groups: BTreeMap<String, Cell<Group>>,
    pub policies: BTreeMap<String, Cell<Policy>>,
    pub roles: BTreeMap<String, Cell<Role>>,
    pub instance_profiles: BTreeMap<String, Cell<InstanceProfile>>,
    /// By their issuers, without the scheme.
    pub oidc_providers: BTreeMap<String, Cell<OidcProvider>>,
    /// By region and name.
    pub repositories: BTreeMap<(String, String), Cell<Repository>>,
    pub mfa_devices: BTreeSet<String>,
    pub alias: Option<String>,
    pub password_policy: Option<Value>,
    pub root_has_keys: bool,
    pub root_has_mfa: bool,
}

#[derive(Debug, Clone, Default)]
pub struct User {
    pub name: String,
    pub path: String,
    pub id: String,
    pub created: i64,
    pub tags: Tags,
    pub boundary: Option<String>,
    pub keys: Vec<AccessKey>,
    /// Names of groups, in lower case.
    pub groups: BTreeSet<String>,
    pub attached: BTreeSet<String>,
    pub inline: BTreeMap<String, String>,
    /// When it was made.
    pub login_profile: Option<i64>,
    pub password: Option<String>,
    /// Whether the password has to be changed at the next sign-in.
    pub resets_password: bool,
    pub mfa_devices: BTreeMap<String, i64>,
    pub certificates: BTreeMap<String, Value>,
    pub ssh_keys: BTreeMap<String, Value>,
    pub service_credentials: BTreeMap<String, Value>,
}

#[derive(Debug, Clone)]
pub struct AccessKey {
    pub id: String,
    pub active: bool,
    pub created: i64,
}

#[derive(Debug, Clone)]
pub struct KeyUse {
    pub at: i64,
    pub service: String,
    pub region: String,
}

#[derive(Debug, Clone)]
pub struct Group {
    pub name: String,
    pub path: String,
    pub id: String,
    pub created: i64,
    pub attached: BTreeSet<String>,
    pub inline: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub struct Policy {
    pub name: String,
    pub path: String,
    pub id: String,
    pub arn: String,
    pub description: Option<String>,
    pub created: i64,
    pub updated: i64,
    pub tags: Tags,
    /// Number, document, and when it was made; the oldest first.
    pub versions: Vec<(u32, String, i64)>,
    pub default: u32,
    pub next: u32,
}

#[derive(Debug, Clone)]
pub struct Role {
    pub name: String,
    pub path: String,
    pub id: String,
    pub created: i64,
    pub tags: Tags,
    pub trust: Value,
    pub inline: BTreeMap<String, Value>,
    pub attached: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub struct InstanceProfile {
    pub name: String,
    pub path: String,
    pub id: String,
    pub created: i64,
    pub tags: Tags,
    /// Names of roles, in lower case; one at most.
    pub roles: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub struct OidcProvider {
    pub audiences: BTreeSet<String>,
    pub created: i64,
}

/// A session of a role.
#[derive(Debug, Clone)]
pub struct Session {
    pub account: String,
    pub role: String,
    pub name: String,
    pub policy: Option<Value>,
}

#[derive(Debug, Clone)]
pub struct Bucket {
    pub name: String,
    pub owner: String,
    pub region: String,
    pub created: i64,
    pub tags: Tags,
    pub cors: Vec<Value>,
    pub public_access_block: Option<Value>,
    pub ownership: Option<String>,
    /// How often its ACL was reset by a repeated create in us-east-1.
    pub acl_resets: usize,
    /// `None` until it was switched on once.
    pub versioning: Option<bool>,
    /// Sorted by key, the newest version of each first.
    pub objects: Vec<Object>,
    pub uploads: Vec<Upload>,
}

#[derive(Debug, Clone)]
pub struct Object {
    pub key: String,
    pub version: String,
    pub size: usize,
    pub is_marker: bool,
    /// Whether a lock or a policy keeps it from being deleted.
    pub is_locked: bool,
    pub at: i64,
}

#[derive(Debug, Clone)]
pub struct Upload {
    pub key: String,
    pub id: String,
    pub at: i64,
}

#[derive(Debug, Clone)]
pub struct Repository {
    pub name: String,
    pub region: String,
    pub arn: String,
    pub created: i64,
    pub tags: Tags,
    pub lifecycle: Option<String>,
    pub images: Vec<Image>,
    pub preview: Option<Preview>,
}

#[derive(Debug, Clone)]
pub struct Image {
    pub digest: String,
    pub tags: Vec<String>,
    pub pushed_at: i64,
    pub size: i64,
    /// ACTIVE, ARCHIVED or ACTIVATING.
    pub status: String,
    pub pulled_at: Option<i64>,
    pub archived_at: Option<i64>,
    pub activated_at: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct Preview {
    pub text: String,
    /// When it is complete, in microseconds since the start.
    pub complete_at: u64,
    pub expires_at: u64,
    pub results: Vec<Value>,
    pub expiring: usize,
    pub fails: bool,
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller {
    Role(Session),
    User {
        account: String,
        name: String,
    },
    /// A person or an inspector: may do everything, and sees the newest state.
    Owner {
        account: String,
    },
}

impl Caller {
    pub fn account(&self) -> &str {
        match self {
            Self::Role(session) => &session.account,
            Self::User { account, .. } | Self::Owner { account } => account,
        }
    }

    pub fn is_owner(&self) -> bool {
        matches!(self, Self::Owner { .. })
    }
}

/// One call, as an operation sees it.
pub struct Request<'a> {
    pub operation: &'a str,
    pub input: &'a Value,
    pub account: &'a str,
    pub region: &'a str,
    pub caller: &'a Caller,
    /// Microseconds since the start.
    pub now: u64,
    /// Milliseconds since the Unix epoch.
    pub date: i64,
    pub dice: Dice,
    /// Where it reads.
    pub look: Look,
    /// Keys of objects that the caller may not delete.
    pub denied: Vec<String>,
    pub options: &'a Options,
}

impl Request<'_> {
    /// When a write to `thing` is visible.
    pub fn times(&self, thing: &str, service: &str) -> Times {
        if self.caller.is_owner() {
            return Times::at_once();
        }
        let lag = &self.options.consistency;
        let read = match service {
            "s3" => &lag.s3,
            "ecr" => &lag.ecr,
            _ => &lag.iam,
        };
        let dice = self.dice.with(thing);
        let at = |salt: u64, range| self.now + dice.within(salt, range);
        let replicas: [u64; consistency::REPLICAS] = std::array::from_fn(|replica| replica as u64);
        Times {
            read: replicas.map(|r| at(r, read)),
            authorized: replicas.map(|r| at(r + 100, &lag.authorization)),
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// An id such as AWS gives: a prefix and capital letters and digits.
    pub fn new_id(&self, prefix: &str) -> String {
        let dice = self.dice.with(prefix);
        let letter =
            |n: u64| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(dice.draw(n) % 32) as usize]);
        prefix.chars().chain((0..16).map(letter)).collect()
    }

    /// A secret such as AWS gives.
    pub fn new_secret(&self) -> String {
        let dice = self.dice.with("secret");
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..40)
            .map(|n| char::from(LETTERS[(dice.draw(n) % 64) as usize]))
            .collect()
    }
}

/// A time as XML has it.
pub fn date(millis: i64) -> String {
    // To the second, as IAM has it.
    let seconds = jiff::Timestamp::from_second(millis.div_euclid(1000)).expect("a time");
    format!("{seconds}")
}

pub fn tags_of(input: &Value) -> Tags {
    let list = input.as_array().into_iter().flatten();
    let text = |tag: &Value, name: &str| {
        tag[name]
            .as_str()
            .or_else(|| tag[name.to_lowercase()].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    list.map(|tag| (text(tag, "Key"), text(tag, "Value")))
        .collect()
}

pub fn tag_list(tags: &Tags) -> Value {
    tags.iter()
        .map(|(key, value)| serde_json::json!({"Key": key, "Value": value}))
        .collect()
}

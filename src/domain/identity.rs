//! Keyless identities of an app: who can assume a role of the app instead of using an access key, and what the role
//! grants.
//!
//! Invariants:
//! - A trust names exactly one subject: no owner, repository, project, branch, environment, namespace or account has a
//!   wildcard in it.
//! - A GitHub trust pins the repository's ID, so that nobody who gets the name of a deleted repository is let in.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{Display, EnumIter, EnumString, IntoEnumIterator as _};
use utoipa::ToSchema;

use crate::domain::names::{AppName, NameError};
use crate::domain::spec::{AppSpec, ListSettings};
use crate::domain::validation::{self, Fields};

/// IAM User Guide, "IAM and AWS STS quotas".
const MAX_ROLE_NAME: usize = 64;

/// What can assume the role.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum IdentityKind {
    /// EC2 instances, by an instance profile.
    #[default]
    Ec2,
    /// ECS tasks.
    Ecs,
    /// Workflows of one GitHub repository, in one environment or on one ref.
    Github,
    /// Pipelines of one GitLab project, on one ref.
    Gitlab,
    /// Pods of one Kubernetes service account, by IAM roles for service accounts.
    Irsa,
    /// Pods of one Kubernetes service account, by EKS Pod Identity.
    Pod,
}

/// What the role grants.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum IdentityPermission {
    /// The buckets that `media_access` of the app gives access to.
    Media,
    /// Pulls images from the app's repositories.
    EcrPull,
    /// Pushes images to the app's repositories.
    EcrPush,
}

/// A keyless identity: an IAM role that is assumed instead of using an access key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IdentityRequest)]
pub struct IdentitySettings {
    /// What can assume the role.
    pub kind: IdentityKind,
    /// What the role grants. Default: `media` and `ecr-pull` for `ec2`; `media` for `ecs`, `irsa` and `pod`; `ecr-pull`
    /// and `ecr-push` for `github` and `gitlab`.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 3, required = false)]
    pub permissions: Vec<IdentityPermission>,
    /// `github`: the owner and name of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "acme/shop")]
    pub repository: Option<String>,
    /// `github`: the ID of the repository (`gh api repos/acme/shop --jq .id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9]{1,20}$", example = "123456789")]
    pub repository_id: Option<String>,
    /// `github`: the ID of the repository's owner (`gh api repos/acme/shop --jq .owner.id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9]{1,20}$", example = "4567890")]
    pub owner_id: Option<String>,
    /// `github`: the environment of the job. Either this or `ref`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "production")]
    pub environment: Option<String>,
    /// `github`, `gitlab`: a branch, or for GitHub a full ref such as `refs/tags/v1`. Protect it.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "ref")]
    #[schema(nullable = false, example = "main")]
    pub git_ref: Option<String>,
    /// `gitlab`: the path of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "acme/shop")]
    pub project: Option<String>,
    /// `gitlab`: the ID of the project. AWS cannot check it: the trust names the project by its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9]{1,20}$", example = "278964")]
    pub project_id: Option<String>,
    /// `irsa`: the issuer of the cluster, with or without `https://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B716D3041E"
    )]
    pub oidc_provider: Option<String>,
    /// `pod`: the name of the EKS cluster, in the region of the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "shop")]
    pub cluster: Option<String>,
    /// `irsa`, `pod`: the Kubernetes namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "shop")]
    pub namespace: Option<String>,
    /// `irsa`, `pod`: the Kubernetes service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "web")]
    pub service_account: Option<String>,
}

/// Who can assume the role, with everything that identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Ec2,
    Ecs,
    Github {
        repository: String,
        repository_id: String,
        owner_id: String,
        at: GithubContext,
    },
    Gitlab {
        project: String,
        project_id: String,
        git_ref: String,
    },
    Irsa {
        /// The issuer without `https://`.
        issuer: String,
        namespace: String,
        service_account: String,
    },
    Pod {
        cluster: String,
        namespace: String,
        service_account: String,
    },
}

/// The part of a repository's workflows that a trust is limited to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GithubContext {
    Environment(String),
    /// A full ref, such as `refs/heads/main`.
    Ref(String),
}

impl fmt::Display for GithubContext {
    /// As it is in the `sub` claim.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "environment:{name}"),
            Self::Ref(name) => write!(f, "ref:{name}"),
        }
    }
}

type Check = fn(&str) -> Result<(), NameError>;
type Place = fn(&mut IdentitySettings) -> &mut Option<String>;

/// A text that some kinds of identities have.
struct Setting {
    name: &'static str,
    check: Check,
    place: Place,
    required: &'static [IdentityKind],
    optional: &'static [IdentityKind],
}

use IdentityKind::{Github, Gitlab, Irsa, Pod};

const SETTINGS: [Setting; 11] = [
    Setting {
        name: "repository",
        check: check_repository,
        place: |it| &mut it.repository,
        required: &[Github],
        optional: &[],
    },
    Setting {
        name: "repository_id",
        check: check_number,
        place: |it| &mut it.repository_id,
        required: &[Github],
        optional: &[],
    },
    Setting {
        name: "owner_id",
        check: check_number,
        place: |it| &mut it.owner_id,
        required: &[Github],
        optional: &[],
    },
    Setting {
        name: "environment",
        check: check_environment,
        place: |it| &mut it.environment,
        required: &[],
        optional: &[Github],
    },
    Setting {
        name: "ref",
        check: check_ref,
        place: |it| &mut it.git_ref,
        required: &[Gitlab],
        optional: &[Github],
    },
    Setting {
        name: "project",
        check: check_project,
        place: |it| &mut it.project,
        required: &[Gitlab],
        optional: &[],
    },
    Setting {
        name: "project_id",
        check: check_number,
        place: |it| &mut it.project_id,
        required: &[Gitlab],
        optional: &[],
    },
    Setting {
        name: "oidc_provider",
        check: check_issuer,
        place: |it| &mut it.oidc_provider,
        required: &[Irsa],
        optional: &[],
    },
    Setting {
        name: "cluster",
        check: check_cluster,
        place: |it| &mut it.cluster,
        required: &[Pod],
        optional: &[],
    },
    Setting {
        name: "namespace",
        check: check_namespace,
        place: |it| &mut it.namespace,
        required: &[Irsa, Pod],
        optional: &[],
    },
    Setting {
        name: "service_account",
        check: check_service_account,
        place: |it| &mut it.service_account,
        required: &[Irsa, Pod],
        optional: &[],
    },
];

impl ListSettings for IdentitySettings {
    const FIELD: &'static str = AppSpec::IDENTITIES;
    const NOUN: &'static str = "identity";
    const IS_GLOBAL: bool = true;
    const DEFAULT_NAME: Option<fn(&AppName, &Value) -> Option<String>> = Some(|app, entry| {
        let kind: IdentityKind = entry["kind"].as_str()?.parse().ok()?;
        Some(format!("{app}-{kind}"))
    });

    /// IAM API Reference, CreateRole.
    fn check_name(name: &str) -> Result<(), NameError> {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        if (1..=MAX_ROLE_NAME).contains(&name.len()) && name.chars().all(is_valid) {
            return Ok(());
        }
        Err(NameError::new(
            "must be 1 to 64 letters, digits and _+=,.@-, such as acme-shop-ec2",
        ))
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let kind = fields.required("kind", |text| {
            text.parse::<IdentityKind>()
                .map_err(|_| format!("must be one of {}", all::<IdentityKind>()))
        });
        let mut read = Self {
            kind: kind.unwrap_or_default(),
            ..Self::default()
        };
        for setting in &SETTINGS {
            setting.read(fields, kind, &mut read);
        }
        if kind == Some(Github) {
            require_one_context(fields, &read);
        }
        read.permissions = permissions(fields, read.kind);
        Some(read)
    }
}

impl Setting {
    fn read(
        &self,
        fields: &mut Fields<'_>,
        kind: Option<IdentityKind>,
        into: &mut IdentitySettings,
    ) {
        let given = fields.get(self.name).is_some();
        let Some(kind) = kind else { return };
        let is_taken = self.required.contains(&kind) || self.optional.contains(&kind);
        match (given, is_taken) {
            (true, false) => fields.error(
                self.name,
                format!("is not a setting of an identity of kind {kind}"),
            ),
            (true, true) => {
                let value = fields.parsed(self.name, |text| {
                    (self.check)(text).map(|()| text.to_owned())
                });
                *(self.place)(into) = value;
            }
            (false, _) if self.required.contains(&kind) => fields.error(
                self.name,
                format!("is required for an identity of kind {kind}"),
            ),
            (false, _) => {}
        }
    }
}

fn require_one_context(fields: &mut Fields<'_>, read: &IdentitySettings) {
    let given = ["environment", "ref"].map(|name| fields.get(name).is_some());
    match given {
        [true, true] => fields.error(
            "ref",
            "must not be given together with environment: the token of a job with an environment does not name its ref",
        ),
        [false, false] if read.environment.is_none() => fields.error(
            "environment",
            "or ref is required, because a whole repository is not trusted",
        ),
        _ => {}
    }
}

fn permissions(fields: &mut Fields<'_>, kind: IdentityKind) -> Vec<IdentityPermission> {
    let most = IdentityPermission::iter().count();
    let listed = fields.list("permissions", most, |item, at, errors| {
        let text = validation::text(item, &at, errors)?;
        let parsed = text.parse::<IdentityPermission>();
        let why = || format!("must be one of {}", all::<IdentityPermission>());
        parsed
            .map_err(|_| errors.push(validation::FieldError::new(at, why())))
            .ok()
    });
    let Some(mut listed) = listed else {
        return default_permissions(kind);
    };
    if listed.is_empty() {
        fields.error(
            "permissions",
            format!("must list at least one of {}", all::<IdentityPermission>()),
        );
    }
    listed.sort_unstable();
    listed.dedup();
    listed
}

fn default_permissions(kind: IdentityKind) -> Vec<IdentityPermission> {
    use IdentityPermission::{EcrPull, EcrPush, Media};
    match kind {
        IdentityKind::Ec2 => vec![Media, EcrPull],
        IdentityKind::Ecs | Irsa | Pod => vec![Media],
        Github | Gitlab => vec![EcrPull, EcrPush],
    }
}

fn all<T: strum::IntoEnumIterator + ToString>() -> String {
    T::iter()
        .map(|it| it.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

impl IdentitySettings {
    /// Who can assume the role. `None` if a setting is missing, which a spec that was read never lacks.
    pub fn subject(&self) -> Option<Subject> {
        let kubernetes = || {
            let namespace = self.namespace.clone()?;
            Some((namespace, self.service_account.clone()?))
        };
        Some(match self.kind {
            IdentityKind::Ec2 => Subject::Ec2,
            IdentityKind::Ecs => Subject::Ecs,
            Github => Subject::Github {
                repository: self.repository.clone()?,
                repository_id: self.repository_id.clone()?,
                owner_id: self.owner_id.clone()?,
                at: match &self.environment {
                    Some(name) => GithubContext::Environment(name.clone()),
                    None => GithubContext::Ref(full_ref(self.git_ref.as_deref()?)),
                },
            },
            Gitlab => Subject::Gitlab {
                project: self.project.clone()?,
                project_id: self.project_id.clone()?,
                git_ref: self.git_ref.clone()?,
            },
            Irsa => {
                let (namespace, service_account) = kubernetes()?;
                let issuer = self.oidc_provider.as_deref()?;
                Subject::Irsa {
                    issuer: without_scheme(issuer).to_owned(),
                    namespace,
                    service_account,
                }
            }
            Pod => {
                let (namespace, service_account) = kubernetes()?;
                Subject::Pod {
                    cluster: self.cluster.clone()?,
                    namespace,
                    service_account,
                }
            }
        })
    }
}

fn full_ref(name: &str) -> String {
    if name.starts_with("refs/") {
        name.to_owned()
    } else {
        format!("refs/heads/{name}")
    }
}

fn without_scheme(issuer: &str) -> &str {
    let host = issuer.strip_prefix("https://").unwrap_or(issuer);
    host.trim_end_matches('/')
}

const WILDCARD: &str = "must not contain a wildcard: a trust names one subject exactly";

/// Checks a text of 1 to `most` characters that each are letters, digits or `others`.
fn check(text: &str, most: usize, others: &str, what: &str) -> Result<(), NameError> {
    if text.contains(['*', '?']) {
        return Err(NameError::new(WILDCARD));
    }
    let is_valid = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    if (1..=most).contains(&text.len()) && text.chars().all(is_valid) {
        return Ok(());
    }
    Err(NameError::new(what))
}

fn check_repository(text: &str) -> Result<(), NameError> {
    let what = "must be the owner and name of a repository, such as acme/shop";
    check(text, 140, "-_./", what)?;
    match text.split_once('/') {
        Some((owner, name)) if !owner.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(())
        }
        _ => Err(NameError::new(what)),
    }
}

fn check_number(text: &str) -> Result<(), NameError> {
    if text.contains(['*', '?']) {
        return Err(NameError::new(WILDCARD));
    }
    if (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(NameError::new(
        "must be an ID of 1 to 20 digits, as a string such as \"123456789\"",
    ))
}

/// GitHub escapes a colon in an environment's name, so a name with one is not matched.
fn check_environment(text: &str) -> Result<(), NameError> {
    let what = "must be the name of an environment: 1 to 255 letters, digits, spaces and -_./";
    check(text, 255, " -_./", what)
}

fn check_ref(text: &str) -> Result<(), NameError> {
    let what = "must be a branch such as main, or a full ref such as refs/tags/v1";
    check(text, 255, "-_./+@#", what)?;
    if text.starts_with('/') || text.ends_with('/') || text.starts_with("refs/pull/") {
        return Err(NameError::new(what));
    }
    Ok(())
}

fn check_project(text: &str) -> Result<(), NameError> {
    let what = "must be the full path of a project, such as acme/shop";
    check(text, 255, "-_./", what)?;
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(NameError::new(what));
    }
    Ok(())
}

fn check_issuer(text: &str) -> Result<(), NameError> {
    let what = "must be an issuer such as oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B716D3041E";
    let host = without_scheme(text);
    check(host, 255, "-./", what)?;
    if host.contains('.') && !host.starts_with(['.', '/']) {
        return Ok(());
    }
    Err(NameError::new(what))
}

/// Amazon EKS API Reference, CreateCluster.
fn check_cluster(text: &str) -> Result<(), NameError> {
    let what = "must be the name of a cluster: 1 to 100 letters, digits, hyphens and underscores";
    check(text, 100, "-_", what)
}

/// Kubernetes, "Object Names and IDs": RFC 1123 labels.
fn check_namespace(text: &str) -> Result<(), NameError> {
    kubernetes_name(
        text,
        63,
        "-",
        "must be the name of a namespace, such as shop",
    )
}

/// Kubernetes, "Object Names and IDs": RFC 1123 subdomains.
fn check_service_account(text: &str) -> Result<(), NameError> {
    kubernetes_name(
        text,
        253,
        "-.",
        "must be the name of a service account, such as web",
    )
}

fn kubernetes_name(text: &str, most: usize, others: &str, what: &str) -> Result<(), NameError> {
    check(text, most, others, what)?;
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let lower = text.chars().all(|c| !c.is_ascii_uppercase());
    if lower && ends(text.chars().next()) && ends(text.chars().last()) {
        return Ok(());
    }
    Err(NameError::new(what))
}

//! The policies of keyless identities: the trust policy by who can assume the role, and the policy of what it grants.
//!
//! The facts are those of the IAM User Guide, "Create a role for OpenID Connect federation", the Amazon ECS Developer
//! Guide, "Task IAM role", and the Amazon EKS User Guide, "Assign IAM roles to Kubernetes service accounts" and "Create
//! IAM role with trust policy required by EKS Pod Identity".

use serde_json::{Value, json};

use crate::domain::iam_policy::PolicyDocument;
use crate::domain::identity::{IdentityPermission, Subject};
use crate::domain::names::Region;
use crate::domain::spec::{AppSpec, MediaAccess};
use crate::domain::trust_policy::TrustPolicy;

/// The issuer of the tokens of GitHub's workflows.
const GITHUB: &str = "token.actions.githubusercontent.com";
/// The issuer of the tokens of GitLab's pipelines.
const GITLAB: &str = "gitlab.com";
/// The audience of tokens that are exchanged at STS.
const STS: &str = "sts.amazonaws.com";

const PULL: [&str; 3] = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
];
/// A push looks for layers and manifests that are there already.
const PUSH: [&str; 6] = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
];

/// Where a role is.
#[derive(Debug, Clone, Copy)]
pub struct AccountPlace<'a> {
    pub partition: &'a str,
    /// The account ID, 12 digits.
    pub account_id: &'a str,
}

impl AccountPlace<'_> {
    /// The ARN of the OIDC provider of an issuer.
    pub fn oidc_provider(self, issuer: &str) -> String {
        format!(
            "arn:{}:iam::{}:oidc-provider/{issuer}",
            self.partition, self.account_id
        )
    }

    fn service(self, name: &str) -> String {
        // Only EC2's principal has the suffix of China's partition.
        match (name, self.partition) {
            ("ec2", "aws-cn") => "ec2.amazonaws.com.cn".into(),
            (name, _) => format!("{name}.amazonaws.com"),
        }
    }
}

/// The issuer of a subject's tokens, without `https://`, and the audience that they have.
pub fn token_issuer(subject: &Subject) -> Option<(String, String)> {
    match subject {
        Subject::Github { .. } => Some((GITHUB.into(), STS.into())),
        Subject::Gitlab { .. } => Some((GITLAB.into(), format!("https://{GITLAB}"))),
        Subject::Irsa { issuer, .. } => Some((issuer.clone(), STS.into())),
        Subject::Ec2 | Subject::Ecs | Subject::Pod { .. } => None,
    }
}

/// The trust policy that lets a subject, and nobody else, assume the role.
pub fn trust(subject: &Subject, place: AccountPlace<'_>, region: &Region) -> TrustPolicy {
    match subject {
        Subject::Ec2 => {
            TrustPolicy::of(("Service", &place.service("ec2")), &["sts:AssumeRole"], &[])
        }
        Subject::Ecs => of_tasks(place, region),
        Subject::Pod {
            cluster,
            namespace,
            service_account,
        } => of_pods(place, region, cluster, namespace, service_account),
        Subject::Github {
            repository,
            repository_id,
            owner_id,
            at,
        } => {
            let (owner, name) = repository.split_once('/').unwrap_or((repository, ""));
            let subs = vec![
                format!("repo:{repository}:{at}"),
                // Repositories that were created, renamed or transferred since July 2026 have IDs in their claim.
                format!("repo:{owner}@{owner_id}/{name}@{repository_id}:{at}"),
            ];
            // Without the ID, whoever gets the name of a deleted repository would be let in by the first form.
            let pinned = vec![repository_id.clone()];
            of_tokens(place, subject, subs, &[("repository_id", pinned)])
        }
        Subject::Gitlab {
            project, git_ref, ..
        } => {
            let (kind, name) = match git_ref.strip_prefix("refs/tags/") {
                Some(tag) => ("tag", tag),
                None => (
                    "branch",
                    git_ref.strip_prefix("refs/heads/").unwrap_or(git_ref),
                ),
            };
            let sub = format!("project_path:{project}:ref_type:{kind}:ref:{name}");
            of_tokens(place, subject, vec![sub], &[])
        }
        Subject::Irsa {
            namespace,
            service_account,
            ..
        } => {
            let sub = format!("system:serviceaccount:{namespace}:{service_account}");
            of_tokens(place, subject, vec![sub], &[])
        }
    }
}

/// Without the account and the ARN, ECS in another account could be made to assume the role (confused deputy).
fn of_tasks(place: AccountPlace<'_>, region: &Region) -> TrustPolicy {
    let tasks = format!(
        "arn:{}:ecs:{region}:{}:*",
        place.partition, place.account_id
    );
    TrustPolicy::of(
        ("Service", &place.service("ecs-tasks")),
        &["sts:AssumeRole"],
        &[
            ("ArnLike", "aws:SourceArn".into(), vec![tasks]),
            (
                "StringEquals",
                "aws:SourceAccount".into(),
                vec![place.account_id.into()],
            ),
        ],
    )
}

/// EKS says by tags of the session which pod it is for.
fn of_pods(
    place: AccountPlace<'_>,
    region: &Region,
    cluster: &str,
    namespace: &str,
    service_account: &str,
) -> TrustPolicy {
    let arn = format!(
        "arn:{}:eks:{region}:{}:cluster/{cluster}",
        place.partition, place.account_id
    );
    let tag = |name: &str, value: &str| {
        (
            "StringEquals",
            format!("aws:RequestTag/{name}"),
            vec![value.to_owned()],
        )
    };
    TrustPolicy::of(
        ("Service", &place.service("pods.eks")),
        &["sts:AssumeRole", "sts:TagSession"],
        &[
            tag("eks-cluster-arn", &arn),
            tag("kubernetes-namespace", namespace),
            tag("kubernetes-service-account", service_account),
        ],
    )
}

fn of_tokens(
    place: AccountPlace<'_>,
    subject: &Subject,
    subs: Vec<String>,
    more: &[(&str, Vec<String>)],
) -> TrustPolicy {
    let (issuer, audience) = token_issuer(subject).unwrap_or_default();
    let claim =
        |name: &str, values: Vec<String>| ("StringEquals", format!("{issuer}:{name}"), values);
    let mut conditions = vec![claim("aud", vec![audience]), claim("sub", subs)];
    conditions.extend(
        more.iter()
            .map(|(name, values)| claim(name, values.clone())),
    );
    TrustPolicy::of(
        ("Federated", &place.oidc_provider(&issuer)),
        &["sts:AssumeRoleWithWebIdentity"],
        &conditions,
    )
}

/// The policy of what an identity is permitted. `None` if the app has nothing that it could be permitted on.
pub fn permissions(
    spec: &AppSpec,
    permitted: &[IdentityPermission],
    place: AccountPlace<'_>,
) -> Option<PolicyDocument> {
    let mut statements = Vec::new();
    if permitted.contains(&IdentityPermission::Media) {
        statements.extend(media(spec, place));
    }
    let push = permitted.contains(&IdentityPermission::EcrPush);
    if (push || permitted.contains(&IdentityPermission::EcrPull)) && !spec.repositories.is_empty() {
        let mut actions: Vec<&str> = Vec::new();
        if push {
            actions.extend(PUSH);
        }
        if permitted.contains(&IdentityPermission::EcrPull) {
            actions.extend(PULL.iter().filter(|action| !push || !PUSH.contains(action)));
        }
        actions.sort_unstable();
        statements.extend(of_repositories(spec, &actions, place));
    }
    if statements.is_empty() {
        return None;
    }
    of_statements(&statements)
}

fn media(spec: &AppSpec, place: AccountPlace<'_>) -> Vec<Value> {
    let buckets: Vec<_> = spec.buckets.iter().map(|bucket| &bucket.name).collect();
    let document = match spec.media_access {
        MediaAccess::Shared => Some(PolicyDocument::media_shared(place.partition)),
        MediaAccess::Scoped => PolicyDocument::media_scoped(place.partition, &buckets),
    };
    let statements = document.map(|document| json!(document)["Statement"].take());
    match statements {
        Some(Value::Array(statements)) => statements,
        _ => Vec::new(),
    }
}

fn of_repositories(spec: &AppSpec, actions: &[&str], place: AccountPlace<'_>) -> [Value; 2] {
    let arn = |it: &crate::domain::spec::RepositorySpec| {
        format!(
            "arn:{}:ecr:{}:{}:repository/{}",
            place.partition, it.region, place.account_id, it.name
        )
    };
    let repositories: Vec<String> = spec.repositories.iter().map(arn).collect();
    [
        json!({"Effect": "Allow", "Action": actions, "Resource": repositories}),
        // AWS supports no narrower resource for it.
        json!({"Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": ["*"]}),
    ]
}

/// The policy of an identity whose app is being removed: nothing is allowed.
pub fn suspended() -> Option<PolicyDocument> {
    of_statements(&[json!({"Effect": "Deny", "Action": ["*"], "Resource": ["*"]})])
}

fn of_statements(statements: &[Value]) -> Option<PolicyDocument> {
    let document = json!({"Version": "2012-10-17", "Statement": statements});
    serde_json::from_value(document).ok()
}

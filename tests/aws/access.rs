//! What each call needs to be allowed, and whether it is.
//!
//! Invariant: a call is authorized before the thing that it is about is looked up (aws.md A14). A thing that IAM's
//! authorization does not know has neither its path nor its tags: a user's ARN is `user/NAME`, and conditions on
//! `aws:ResourceTag` do not hold.
//!
//! Source: AWS Service Authorization Reference: actions, resource types and condition keys of IAM, STS, S3 and ECR.

use serde_json::Value;

use super::consistency::Look;
use super::policy::{Context, Decision, decide};
use super::protocol::{Refused, list, text};
use super::state::{Account, Caller, Request, Tags, World, tags_of};
use super::{s3, sts};

/// One permission that a call needs.
struct Need {
    action: String,
    resource: String,
    /// The resource as IAM's messages name it.
    named: String,
    context: Context,
}

/// The actions that this call takes, which the caller may do.
pub fn check(
    world: &World,
    r: &Request<'_>,
    look: Look,
    service: &str,
) -> Result<Vec<String>, Refused> {
    if r.caller.is_owner() {
        return Ok(Vec::new());
    }
    let needs = needs(world, r, look, service);
    for need in &needs {
        if let Some(why) = refusal(
            world,
            r.caller,
            look,
            &need.action,
            &need.resource,
            &need.context,
        ) {
            return Err(refused(world, r, service, need, &why));
        }
    }
    Ok(needs.into_iter().map(|need| need.action).collect())
}

/// The action that the deletion of an object, or of a version of it, takes.
pub fn deletion(object: &Value) -> &'static str {
    if object["VersionId"].is_null() {
        "s3:DeleteObject"
    } else {
        "s3:DeleteObjectVersion"
    }
}

/// The keys of objects that the caller may not delete.
pub fn denied_objects(world: &World, r: &Request<'_>, look: Look) -> Vec<String> {
    let bucket = text(r.input, "Bucket").unwrap_or_default();
    let objects = list(&r.input["Delete"], "Objects").iter();
    let may = |object: &&Value| {
        let action = deletion(object);
        let resource = format!(
            "arn:aws:s3:::{bucket}/{}",
            text(object, "Key").unwrap_or_default()
        );
        refusal(
            world,
            r.caller,
            look,
            action,
            &resource,
            &Context::default(),
        )
        .is_none()
    };
    objects
        .filter(|object| !may(object))
        .filter_map(|object| text(object, "Key"))
        .map(str::to_owned)
        .collect()
}

/// Whether the policies of a role allow an action (IAM API Reference, SimulatePrincipalPolicy).
pub fn simulated(
    world: &World,
    of: &Caller,
    action: &str,
    resource: &str,
    context: &Context,
) -> bool {
    refusal(world, of, Look::Latest, action, resource, context).is_none()
}

/// Why the caller may not, if so.
fn refusal(
    world: &World,
    caller: &Caller,
    look: Look,
    action: &str,
    resource: &str,
    context: &Context,
) -> Option<String> {
    let (identity, session) = policies(world, caller, look);
    let why = |decision: Decision, kind: &str| match decision {
        Decision::Allowed => None,
        Decision::ExplicitlyDenied => Some(format!(
            "with an explicit deny in {} {kind} policy",
            article(kind)
        )),
        Decision::NotAllowed => Some(format!(
            "because no {kind} policy allows the {action} action"
        )),
    };
    why(
        decide(&identity, action, resource, context),
        "identity-based",
    )
    .or_else(|| {
        session.and_then(|session| why(decide([&session], action, resource, context), "session"))
    })
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with('i') { "an" } else { "a" }
}

/// The policies of who calls: those of the identity, and of the session.
fn policies(world: &World, caller: &Caller, look: Look) -> (Vec<Value>, Option<Value>) {
    let account = world.accounts.get(caller.account());
    match caller {
        Caller::Owner { .. } => (Vec::new(), None),
        Caller::Role(session) => {
            let role = account
                .and_then(|account| account.roles.get(&session.role.to_lowercase())?.latest());
            let identity = role
                .map(|role| role.inline.values().cloned().collect())
                .unwrap_or_default();
            (identity, session.policy.clone())
        }
        Caller::User { name, .. } => {
            let Some((account, user)) =
                account.and_then(|account| Some((account, account.users.get(name)?.at(look)?)))
            else {
                return (Vec::new(), None);
            };
            let groups = user
                .groups
                .iter()
                .filter_map(|name| account.groups.get(name)?.at(look));
            let attached = user
                .attached
                .iter()
                .chain(groups.flat_map(|group| group.attached.iter()));
            let documents = attached.filter_map(|arn| document(account, arn, look));
            let inline = user
                .inline
                .values()
                .filter_map(|text| serde_json::from_str(text).ok());
            (documents.chain(inline).collect(), None)
        }
    }
}

fn document(account: &Account, arn: &str, look: Look) -> Option<Value> {
    let policy = account
        .policies
        .get(&arn.rsplit('/').next()?.to_lowercase())?
        .at(look)?;
    let (_, text, _) = policy
        .versions
        .iter()
        .find(|(number, ..)| *number == policy.default)?;
    serde_json::from_str(text).ok()
}

fn refused(world: &World, r: &Request<'_>, service: &str, need: &Need, why: &str) -> Refused {
    let principal = sts::principal_arn(world, r.caller);
    let resource = match service {
        "s3" => format!("\"{}\"", need.named),
        _ => need.named.clone(),
    };
    let message = format!(
        "User: {principal} is not authorized to perform: {} on resource: {resource} {why}",
        need.action
    );
    match service {
        "ecr" => Refused::new(400, "AccessDeniedException", message),
        "s3" => Refused {
            message,
            ..s3::denied()
        },
        _ => Refused::new(403, "AccessDenied", message),
    }
}

fn needs(world: &World, r: &Request<'_>, look: Look, service: &str) -> Vec<Need> {
    match service {
        "iam" => iam_needs(world, r, look),
        "ecr" => ecr_needs(world, r, look),
        "s3" => s3_needs(r),
        _ if r.operation == "AssumeRole" => {
            let resource = text(r.input, "RoleArn").unwrap_or_default().to_owned();
            let mut context = request_context(r);
            if let Some(id) = text(r.input, "ExternalId") {
                context.set("sts:ExternalId", [id.to_owned()]);
            }
            let need = |action: &str| Need {
                action: action.into(),
                named: resource.clone(),
                resource: resource.clone(),
                context: context.clone(),
            };
            sts::assume_role_actions(r).map(need).collect()
        }
        // GetCallerIdentity needs no permission (aws.md A19).
        _ => Vec::new(),
    }
}

/// What the request itself says: its tags.
fn request_context(r: &Request<'_>) -> Context {
    let mut context = Context::default();
    let tags = match &r.input["Tags"] {
        Value::Null => tags_of(&r.input["tags"]),
        tags => tags_of(tags),
    };
    let untagged = list(r.input, "TagKeys")
        .iter()
        .chain(list(r.input, "tagKeys"));
    let keys: Vec<String> = tags
        .keys()
        .cloned()
        .chain(untagged.filter_map(Value::as_str).map(str::to_owned))
        .collect();
    if !keys.is_empty() {
        context.set("aws:TagKeys", keys);
    }
    for (key, value) in tags {
        context.set(&format!("aws:RequestTag/{key}"), [value]);
    }
    context
}

fn with_tags(mut context: Context, service: &str, tags: &Tags) -> Context {
    for (key, value) in tags {
        context.set(&format!("aws:ResourceTag/{key}"), [value.clone()]);
        context.set(&format!("{service}:ResourceTag/{key}"), [value.clone()]);
    }
    context
}

// IAM

fn iam_needs(world: &World, r: &Request<'_>, look: Look) -> Vec<Need> {
    let none = Account::default();
    let account = world.accounts.get(r.account).unwrap_or(&none);
    let (resource, named, tags) = iam_resource(world, account, r, look);
    let mut context = with_tags(request_context(r), "iam", &tags);
    for (member, key) in [
        ("PolicyArn", "iam:PolicyARN"),
        ("PermissionsBoundary", "iam:PermissionsBoundary"),
    ] {
        if let Some(value) = text(r.input, member) {
            context.set(key, [value.to_owned()]);
        }
    }
    let need = |action: &str| Need {
        action: format!("iam:{action}"),
        resource: resource.clone(),
        named: named.clone(),
        context: context.clone(),
    };
    let mut needs = vec![need(r.operation)];
    if r.operation == "AddRoleToInstanceProfile" {
        needs.push(pass_role(account, r, look));
    }
    // Tags with a create need the permission to tag, too.
    if let Some(kind) = r
        .operation
        .strip_prefix("Create")
        .filter(|_| !list(r.input, "Tags").is_empty())
    {
        needs.push(need(&format!("Tag{kind}")));
    }
    needs
}

/// The role that gets into an instance profile is passed to EC2 (IAM User Guide, "Grant a user permissions to pass a role
/// to an AWS service").
fn pass_role(account: &Account, r: &Request<'_>, look: Look) -> Need {
    let name = text(r.input, "RoleName").unwrap_or_default();
    let role = account
        .roles
        .get(&name.to_lowercase())
        .and_then(|cell| cell.at(look));
    let path = role.map_or("/", |role| role.path.as_str());
    let mut context = Context::default();
    context.set("iam:PassedToService", ["ec2.amazonaws.com".to_owned()]);
    let resource = format!("arn:aws:iam::{}:role{path}{name}", r.account);
    Need {
        action: "iam:PassRole".into(),
        named: resource.clone(),
        resource,
        context,
    }
}

/// The ARN that a call on an instance profile or an OIDC provider is about, and the tags of what is there.
fn other_resource(
    account: &Account,
    r: &Request<'_>,
    look: Look,
) -> Option<(String, String, Tags)> {
    let iam = |rest: &str| format!("arn:aws:iam::{}:{rest}", r.account);
    if let Some(name) = text(r.input, "InstanceProfileName") {
        let known = account.instance_profiles.get(&name.to_lowercase());
        let known = known.and_then(|cell| cell.at(look));
        let (path, tags) = match known {
            _ if r.operation == "CreateInstanceProfile" => {
                (text(r.input, "Path").unwrap_or("/"), Tags::new())
            }
            Some(profile) => (profile.path.as_str(), profile.tags.clone()),
            None => ("/", Tags::new()),
        };
        let arn = iam(&format!("instance-profile{path}{name}"));
        return Some((arn.clone(), arn, tags));
    }
    let arn = match (
        text(r.input, "OpenIDConnectProviderArn"),
        text(r.input, "Url"),
    ) {
        (Some(arn), _) => arn.to_owned(),
        (None, Some(url)) => iam(&format!(
            "oidc-provider/{}",
            url.trim_start_matches("https://")
        )),
        (None, None) => return None,
    };
    Some((arn.clone(), arn, Tags::new()))
}

/// The ARN that a call is about, as messages name it, and the tags of what is there.
fn iam_resource(
    world: &World,
    account: &Account,
    r: &Request<'_>,
    look: Look,
) -> (String, String, Tags) {
    let arn = |kind: &str, path: &str, name: &str| {
        format!("arn:aws:iam::{}:{kind}{path}{name}", r.account)
    };
    let of_request = text(r.input, "Path").unwrap_or("/");
    let is_about_group = text(r.input, "GroupName").is_some();
    // What is made has the path of the request; what is there has its own; what is not there has none.
    let created = |kind: &str, name: &str| {
        let arn = arn(kind, of_request, name);
        (arn.clone(), arn, Tags::new())
    };
    let unknown =
        |kind: &str, name: &str| (arn(kind, "/", name), format!("{kind} {name}"), Tags::new());
    if let Some(source) = text(r.input, "PolicySourceArn") {
        return (source.to_owned(), source.to_owned(), Tags::new());
    }
    if let Some(other) = other_resource(account, r, look) {
        return other;
    }
    match (
        text(r.input, "UserName"),
        text(r.input, "GroupName"),
        text(r.input, "PolicyArn"),
        text(r.input, "RoleName"),
    ) {
        (Some(name), ..) if r.operation == "CreateUser" => created("user", name),
        (_, Some(name), ..) if r.operation == "CreateGroup" => created("group", name),
        (.., Some(name)) if r.operation == "CreateRole" => created("role", name),
        (_, Some(name), ..) if is_about_group => match account
            .groups
            .get(&name.to_lowercase())
            .and_then(|cell| cell.at(look))
        {
            Some(group) => {
                let arn = arn("group", &group.path, &group.name);
                (arn.clone(), arn, Tags::new())
            }
            None => unknown("group", name),
        },
        (Some(name), ..) => match account
            .users
            .get(&name.to_lowercase())
            .and_then(|cell| cell.at(look))
        {
            Some(user) => {
                let arn = arn("user", &user.path, &user.name);
                (arn.clone(), arn, user.tags.clone())
            }
            None => unknown("user", name),
        },
        (.., Some(name)) => match account
            .roles
            .get(&name.to_lowercase())
            .and_then(|cell| cell.at(look))
        {
            Some(role) => {
                let arn = arn("role", &role.path, &role.name);
                (arn.clone(), arn, role.tags.clone())
            }
            None => unknown("role", name),
        },
        (_, _, Some(policy), _) => {
            let name = policy.rsplit('/').next().unwrap_or_default().to_lowercase();
            let known = account
                .policies
                .get(&name)
                .and_then(|cell| cell.at(look))
                .filter(|known| known.arn == policy);
            (
                policy.to_owned(),
                format!("policy {policy}"),
                known.map(|policy| policy.tags.clone()).unwrap_or_default(),
            )
        }
        _ if r.operation == "CreatePolicy" => {
            created("policy", text(r.input, "PolicyName").unwrap_or_default())
        }
        _ if r.operation == "GetAccessKeyLastUsed" => {
            // The resource is the key's user.
            let id = text(r.input, "AccessKeyId").unwrap_or_default();
            let owner = world.key_owners.get(id).filter(|(of, _)| of == r.account);
            let user = owner
                .and_then(|(_, user)| account.users.get(user)?.at(look))
                .filter(|user| user.keys.iter().any(|key| key.id == id));
            match user {
                Some(user) => (
                    arn("user", &user.path, &user.name),
                    format!("access key {id}"),
                    user.tags.clone(),
                ),
                None => (
                    arn("user", "/", ""),
                    format!("access key {id}"),
                    Tags::new(),
                ),
            }
        }
        _ => (
            "*".into(),
            format!("arn:aws:iam::{}:*", r.account),
            Tags::new(),
        ),
    }
}

// ECR

fn ecr_needs(world: &World, r: &Request<'_>, look: Look) -> Vec<Need> {
    let arn = |name: &str| format!("arn:aws:ecr:{}:{}:repository/{name}", r.region, r.account);
    let names: Vec<&str> = match (
        text(r.input, "repositoryName"),
        text(r.input, "resourceArn"),
    ) {
        (Some(name), _) => vec![name],
        (None, Some(arn)) => vec![arn.split_once(":repository/").map_or("", |(_, name)| name)],
        (None, None) if list(r.input, "repositoryNames").is_empty() => vec!["*"],
        (None, None) => list(r.input, "repositoryNames")
            .iter()
            .filter_map(Value::as_str)
            .collect(),
    };
    let mut needs = Vec::new();
    for name in names {
        let known = world.accounts.get(r.account).and_then(|account| {
            account
                .repositories
                .get(&(r.region.to_owned(), name.to_owned()))?
                .at(look)
        });
        let tags = known
            .map(|repository| repository.tags.clone())
            .unwrap_or_default();
        let context = with_tags(request_context(r), "ecr", &tags);
        let need = |action: &str| Need {
            action: format!("ecr:{action}"),
            resource: arn(name),
            named: arn(name),
            context: context.clone(),
        };
        needs.push(need(r.operation));
        if r.operation == "CreateRepository" && !list(r.input, "tags").is_empty() {
            needs.push(need("TagResource"));
        }
    }
    needs
}

// S3

/// Actions that are not named as their operations.
const S3_ACTIONS: &[(&str, &str)] = &[
    ("HeadBucket", "s3:ListBucket"),
    ("ListBuckets", "s3:ListAllMyBuckets"),
    ("GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock"),
    ("PutPublicAccessBlock", "s3:PutBucketPublicAccessBlock"),
    ("DeletePublicAccessBlock", "s3:PutBucketPublicAccessBlock"),
    ("GetBucketCors", "s3:GetBucketCORS"),
    ("PutBucketCors", "s3:PutBucketCORS"),
    ("DeleteBucketCors", "s3:PutBucketCORS"),
    ("DeleteBucketTagging", "s3:PutBucketTagging"),
    (
        "DeleteBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
    ),
    ("ListObjectVersions", "s3:ListBucketVersions"),
    ("ListMultipartUploads", "s3:ListBucketMultipartUploads"),
    ("CreateMultipartUpload", "s3:PutObject"),
];

fn s3_needs(r: &Request<'_>) -> Vec<Need> {
    let bucket = text(r.input, "Bucket").unwrap_or_default();
    let resource = match text(r.input, "Key") {
        _ if r.operation == "ListBuckets" => "*".to_owned(),
        Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
        None => format!("arn:aws:s3:::{bucket}"),
    };
    let named = if r.operation == "ListBuckets" {
        "arn:aws:s3:::*".to_owned()
    } else {
        resource.clone()
    };
    let known = S3_ACTIONS
        .iter()
        .find(|(operation, _)| *operation == r.operation);
    let need = |action: String| Need {
        action,
        resource: resource.clone(),
        named: named.clone(),
        context: Context::default(),
    };
    match r.operation {
        // Each object by itself.
        "DeleteObjects" => Vec::new(),
        "CreateBucket" => {
            let has_tags = !list(&r.input["CreateBucketConfiguration"], "Tags").is_empty();
            let ownership = (!r.input["ObjectOwnership"].is_null())
                .then(|| need("s3:PutBucketOwnershipControls".into()));
            let tags = has_tags.then(|| need("s3:TagResource".into()));
            [need("s3:CreateBucket".into())]
                .into_iter()
                .chain(ownership)
                .chain(tags)
                .collect()
        }
        operation => vec![need(known.map_or_else(
            || format!("s3:{operation}"),
            |(_, action)| (*action).to_owned(),
        ))],
    }
}

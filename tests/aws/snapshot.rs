//! Everything that there is in an account, as JSON in a fixed order.
//!
//! Invariant: no secret is in it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::state::{Account, Bucket, InstanceProfile, Repository, Role, User, World};

pub fn of(world: &World, account: &str) -> Value {
    let none = Account::default();
    let own = world.accounts.get(account).unwrap_or(&none);
    let users: BTreeMap<&str, Value> = latest(own.users.values())
        .map(|user| (user.name.as_str(), of_user(own, user)))
        .collect();
    let groups: BTreeMap<&str, Value> = latest(own.groups.values())
        .map(|group| {
            (
                group.name.as_str(),
                json!({"path": group.path, "attached": group.attached}),
            )
        })
        .collect();
    let policies = latest(own.policies.values()).map(|policy| {
        let default = policy.versions.iter().find(|(number, ..)| *number == policy.default);
        let versions: Vec<String> = policy.versions.iter().map(|(number, ..)| format!("v{number}")).collect();
        let document: Value = default.and_then(|(_, text, _)| serde_json::from_str(text).ok()).unwrap_or_default();
        let policy_json = json!({
            "path": policy.path, "tags": policy.tags, "versions": versions, "default": format!("v{}", policy.default), "document": document,
        });
        (policy.arn.as_str(), policy_json)
    });
    let buckets = latest(world.buckets.values()).filter(|bucket| bucket.owner == account);
    let repositories = latest(own.repositories.values());
    json!({
        "users": users,
        "alias": own.alias,
        "password_policy": own.password_policy,
        "groups": groups,
        "policies": policies.collect::<BTreeMap<_, _>>(),
        "roles": latest(own.roles.values()).map(|role| (role.name.as_str(), of_role(role))).collect::<BTreeMap<_, _>>(),
        "instance_profiles": latest(own.instance_profiles.values()).map(|it| (it.name.as_str(), of_profile(it))).collect::<BTreeMap<_, _>>(),
        "oidc_providers": own.oidc_providers.iter().filter_map(|(issuer, cell)| Some((issuer.as_str(), json!(cell.latest()?.audiences)))).collect::<BTreeMap<_, _>>(),
        "buckets": buckets.map(|bucket| (bucket.name.as_str(), of_bucket(bucket))).collect::<BTreeMap<_, _>>(),
        "repositories":
            repositories.map(|it| (format!("{}/{}", it.region, it.name), of_repository(it))).collect::<BTreeMap<_, _>>(),
    })
}

fn latest<'w, T: 'w>(
    cells: impl Iterator<Item = &'w super::consistency::Cell<T>>,
) -> impl Iterator<Item = &'w T> {
    cells.filter_map(|cell| cell.latest()).map(AsRef::as_ref)
}

fn of_user(account: &Account, user: &User) -> Value {
    let keys: Vec<Value> = user
        .keys
        .iter()
        .map(|key| json!({"id": key.id, "status": if key.active { "Active" } else { "Inactive" }, "created": key.created}))
        .collect();
    let groups: Vec<&str> = user
        .groups
        .iter()
        .filter_map(|name| Some(account.groups.get(name)?.latest()?.name.as_str()))
        .collect();
    json!({
        "path": user.path, "tags": user.tags, "keys": keys, "groups": groups, "attached": user.attached,
        "inline": user.inline.keys().collect::<Vec<_>>(), "login_profile": user.login_profile.is_some(),
        "mfa_devices": user.mfa_devices.keys().collect::<Vec<_>>(), "certificates": user.certificates.len(),
        "ssh_keys": user.ssh_keys.len(), "service_credentials": user.service_credentials.len(), "boundary": user.boundary,
    })
}

fn of_role(role: &Role) -> Value {
    json!({"path": role.path, "tags": role.tags, "trust": role.trust, "inline": role.inline, "attached": role.attached})
}

fn of_profile(profile: &InstanceProfile) -> Value {
    json!({"path": profile.path, "tags": profile.tags, "roles": profile.roles})
}

fn of_bucket(bucket: &Bucket) -> Value {
    let markers = bucket
        .objects
        .iter()
        .filter(|object| object.is_marker)
        .count();
    json!({
        "region": bucket.region, "tags": bucket.tags, "cors": bucket.cors, "public_access_block": bucket.public_access_block,
        "ownership": bucket.ownership, "acl_resets": bucket.acl_resets, "versioning": bucket.versioning,
        "versions": bucket.objects.len() - markers, "delete_markers": markers, "uploads": bucket.uploads.len(),
    })
}

fn of_repository(repository: &Repository) -> Value {
    let lifecycle: Option<Value> = repository
        .lifecycle
        .as_ref()
        .and_then(|text| serde_json::from_str(text).ok());
    let images: Vec<Value> = repository
        .images
        .iter()
        .map(|image| json!({"digest": image.digest, "tags": image.tags, "status": image.status, "pushed_at": image.pushed_at}))
        .collect();
    json!({"arn": repository.arn, "tags": repository.tags, "lifecycle": lifecycle, "images": images})
}

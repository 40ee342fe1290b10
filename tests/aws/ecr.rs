//! ECR: repositories, their lifecycle policies and previews, and their images.
//!
//! Invariants:
//! - Only active images are listed and described, unless the filter says otherwise (aws.md A15).
//! - A repository with images, archived ones too, is deleted only by force (A17).
//! - A lifecycle policy that ECR would refuse is refused (A10), and comes back in another form: its members sorted.
//! - A repository has one preview, which runs for a while and is gone a day later (A10).
//!
//! Source: Amazon ECR API Reference; Amazon ECR User Guide, "Lifecycle policy properties".

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::policy::glob;
use super::protocol::{Refused, list, number, text, truth};
use super::signature::hex;
use super::state::{Answer, Image, Preview, Repository, Request, Tags, World, tags_of};

const A_DAY: i64 = 24 * 3600 * 1000;

pub fn call(world: &mut World, r: &Request<'_>) -> Answer {
    let name = text(r.input, "repositoryName").unwrap_or_default();
    match r.operation {
        "CreateRepository" => create(world, r, name),
        "DescribeRepositories" => describe(world, r),
        "DeleteRepository" => delete(world, r, name),
        "ListTagsForResource" => {
            let tags = &seen(world, r, &name_in_arn(r)?)?.tags;
            let tags: Vec<Value> = tags
                .iter()
                .map(|(key, value)| json!({"Key": key, "Value": value}))
                .collect();
            Ok(json!({"tags": tags}))
        }
        "TagResource" => {
            let tags = tags_of(&r.input["tags"]);
            change(world, r, &name_in_arn(r)?, |repository| {
                add_tags(r, &mut repository.tags, tags)
            })
        }
        "UntagResource" => change(world, r, &name_in_arn(r)?, |repository| {
            list(r.input, "tagKeys")
                .iter()
                .filter_map(Value::as_str)
                .for_each(|key| drop(repository.tags.remove(key)));
            Ok(json!({}))
        }),
        "GetLifecyclePolicy" => {
            let repository = seen(world, r, name)?;
            let text = repository
                .lifecycle
                .as_ref()
                .ok_or_else(|| no_policy(r, name))?;
            Ok(
                json!({"registryId": r.account, "repositoryName": name, "lifecyclePolicyText": text}),
            )
        }
        "PutLifecyclePolicy" => {
            let text =
                valid_policy(text(r.input, "lifecyclePolicyText").unwrap_or_default())?.to_string();
            change(world, r, name, |repository| {
                repository.lifecycle = Some(text.clone());
                Ok(
                    json!({"registryId": r.account, "repositoryName": name, "lifecyclePolicyText": text}),
                )
            })
        }
        "DeleteLifecyclePolicy" => change(world, r, name, |repository| {
            let text = repository
                .lifecycle
                .take()
                .ok_or_else(|| no_policy(r, name))?;
            Ok(
                json!({"registryId": r.account, "repositoryName": name, "lifecyclePolicyText": text}),
            )
        }),
        "StartLifecyclePolicyPreview" => start_preview(world, r, name),
        "GetLifecyclePolicyPreview" => get_preview(world, r, name),
        "ListImages" | "DescribeImages" => images(world, r, name),
        _ => change_images(world, r, name),
    }
}

fn no_repository(r: &Request<'_>, name: &str) -> Refused {
    let message = format!(
        "The repository with name '{name}' does not exist in the registry with id '{}'",
        r.account
    );
    Refused::new(400, "RepositoryNotFoundException", message)
}

fn no_policy(r: &Request<'_>, name: &str) -> Refused {
    let message = format!(
        "Lifecycle policy does not exist for the repository with name '{name}' in the registry with id '{}'",
        r.account
    );
    Refused::new(400, "LifecyclePolicyNotFoundException", message)
}

fn invalid(message: impl Into<String>) -> Refused {
    Refused::new(400, "InvalidParameterException", message)
}

fn name_in_arn(r: &Request<'_>) -> Result<String, Refused> {
    let arn = text(r.input, "resourceArn").unwrap_or_default();
    let name = arn
        .split_once(":repository/")
        .map(|(_, name)| name.to_owned());
    name.ok_or_else(|| invalid(format!("Invalid parameter at 'resourceArn': {arn}")))
}

fn seen(world: &mut World, r: &Request<'_>, name: &str) -> Result<Arc<Repository>, Refused> {
    let repositories = &world
        .accounts
        .entry(r.account.to_owned())
        .or_default()
        .repositories;
    let cell = repositories.get(&(r.region.to_owned(), name.to_owned()));
    cell.and_then(|cell| cell.at(r.look))
        .cloned()
        .ok_or_else(|| no_repository(r, name))
}

fn change(
    world: &mut World,
    r: &Request<'_>,
    name: &str,
    change: impl FnOnce(&mut Repository) -> Answer,
) -> Answer {
    seen(world, r, name)?;
    let repositories = &mut world
        .accounts
        .entry(r.account.to_owned())
        .or_default()
        .repositories;
    let cell = repositories
        .entry((r.region.to_owned(), name.to_owned()))
        .or_default();
    let mut repository = Repository::clone(cell.latest().ok_or_else(|| no_repository(r, name))?);
    let output = change(&mut repository)?;
    cell.write(Some(repository), r.times(name, "ecr"), r.now);
    Ok(output)
}

fn add_tags(r: &Request<'_>, tags: &mut Tags, more: Tags) -> Answer {
    tags.extend(more);
    if tags.len() <= r.limits().tags {
        return Ok(json!({}));
    }
    Err(Refused::new(
        400,
        "TooManyTagsException",
        format!("The number of tags cannot exceed {}", r.limits().tags),
    ))
}

fn described(r: &Request<'_>, repository: &Repository) -> Value {
    json!({
        "repositoryArn": repository.arn, "registryId": r.account, "repositoryName": repository.name,
        "repositoryUri": format!("{}.dkr.ecr.{}.amazonaws.com/{}", r.account, repository.region, repository.name),
        "createdAt": seconds(repository.created), "imageTagMutability": "MUTABLE",
        "imageScanningConfiguration": {"scanOnPush": false}, "encryptionConfiguration": {"encryptionType": "AES256"},
    })
}

fn seconds(millis: i64) -> Value {
    json!(millis as f64 / 1000.0)
}

fn create(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let repositories = &mut world
        .accounts
        .entry(r.account.to_owned())
        .or_default()
        .repositories;
    let count = repositories
        .iter()
        .filter(|((region, _), cell)| region == r.region && cell.latest().is_some())
        .count();
    let cell = repositories
        .entry((r.region.to_owned(), name.to_owned()))
        .or_default();
    if cell.latest().is_some() {
        let message = format!(
            "The repository with name '{name}' already exists in the registry with id '{}'",
            r.account
        );
        return Err(Refused::new(
            400,
            "RepositoryAlreadyExistsException",
            message,
        ));
    }
    if count >= r.limits().repositories {
        let message = "The operation did not succeed because it would have exceeded a service limit for your account";
        return Err(Refused::new(400, "LimitExceededException", message));
    }
    let mut repository = Repository {
        name: name.into(),
        region: r.region.into(),
        arn: format!("arn:aws:ecr:{}:{}:repository/{name}", r.region, r.account),
        created: r.date,
        tags: Tags::new(),
        lifecycle: None,
        images: Vec::new(),
        preview: None,
    };
    add_tags(r, &mut repository.tags, tags_of(&r.input["tags"]))?;
    let output = json!({"repository": described(r, &repository)});
    cell.write(Some(repository), r.times(name, "ecr"), r.now);
    Ok(output)
}

fn describe(world: &mut World, r: &Request<'_>) -> Answer {
    let names = list(r.input, "repositoryNames");
    if !names.is_empty() {
        let found = names
            .iter()
            .filter_map(Value::as_str)
            .map(|name| Ok(described(r, &*seen(world, r, name)?)));
        return Ok(json!({"repositories": found.collect::<Result<Vec<_>, Refused>>()?}));
    }
    let repositories = &world
        .accounts
        .entry(r.account.to_owned())
        .or_default()
        .repositories;
    let here = repositories
        .iter()
        .filter(|((region, _), _)| region == r.region)
        .filter_map(|(_, cell)| cell.at(r.look));
    page(
        r,
        "repositories",
        here.map(|repository| described(r, repository)).collect(),
        100,
    )
}

/// A page of a list (`maxResults` and `nextToken`).
fn page(r: &Request<'_>, member: &str, items: Vec<Value>, most: usize) -> Answer {
    let from = text(r.input, "nextToken")
        .and_then(|token| token.parse().ok())
        .unwrap_or(0)
        .min(items.len());
    let to = (from + number(r.input, "maxResults").unwrap_or(most)).min(items.len());
    let mut output = json!({member: items[from..to]});
    if to < items.len() {
        output["nextToken"] = json!(to.to_string());
    }
    Ok(output)
}

fn delete(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    seen(world, r, name)?;
    let repositories = &mut world
        .accounts
        .entry(r.account.to_owned())
        .or_default()
        .repositories;
    let cell = repositories
        .entry((r.region.to_owned(), name.to_owned()))
        .or_default();
    let latest = cell
        .latest()
        .cloned()
        .ok_or_else(|| no_repository(r, name))?;
    if !latest.images.is_empty() && !truth(r.input, "force") {
        let message = format!(
            "The repository with name '{name}' in registry with id '{}' cannot be deleted because it still contains images",
            r.account
        );
        return Err(Refused::new(400, "RepositoryNotEmptyException", message));
    }
    cell.write(None, r.times(name, "ecr"), r.now);
    Ok(json!({"repository": described(r, &latest)}))
}

// Images

fn has_status(image: &Image, filter: Option<&str>) -> bool {
    match filter {
        None => image.status == "ACTIVE",
        Some("ANY") => true,
        Some(status) => image.status == status,
    }
}

fn images(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let repository = seen(world, r, name)?;
    let filter = &r.input["filter"];
    let is_wanted = |image: &&Image| {
        let tags = match text(filter, "tagStatus") {
            Some("TAGGED") => !image.tags.is_empty(),
            Some("UNTAGGED") => image.tags.is_empty(),
            _ => true,
        };
        tags && has_status(image, text(filter, "imageStatus"))
    };
    let wanted = repository.images.iter().filter(is_wanted);
    if r.operation == "ListImages" {
        // One entry for each tag, and one for an image without tags.
        let ids = wanted.flat_map(|image| {
            let digest = &image.digest;
            let untagged = image
                .tags
                .is_empty()
                .then(|| json!({"imageDigest": digest}));
            image
                .tags
                .iter()
                .map(move |tag| json!({"imageDigest": digest, "imageTag": tag}))
                .chain(untagged)
        });
        return page(r, "imageIds", ids.collect(), 100);
    }
    page(
        r,
        "imageDetails",
        wanted.map(|image| image_detail(r, name, image)).collect(),
        100,
    )
}

fn image_detail(r: &Request<'_>, repository: &str, image: &Image) -> Value {
    let mut detail = json!({
        "registryId": r.account, "repositoryName": repository, "imageDigest": image.digest, "imageSizeInBytes": image.size,
        "imagePushedAt": seconds(image.pushed_at), "imageStatus": image.status,
    });
    if !image.tags.is_empty() {
        detail["imageTags"] = json!(image.tags);
    }
    for (member, at) in [
        ("lastRecordedPullTime", image.pulled_at),
        ("lastArchivedAt", image.archived_at),
        ("lastActivatedAt", image.activated_at),
    ] {
        if let Some(at) = at {
            detail[member] = seconds(at);
        }
    }
    detail
}

/// The images that an id names, by digest or by tag.
fn is_named(image: &Image, id: &Value) -> bool {
    text(id, "imageDigest").is_none_or(|digest| image.digest == digest)
        && text(id, "imageTag").is_none_or(|tag| image.tags.iter().any(|own| own == tag))
}

fn change_images(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    match r.operation {
        "PutImage" => {
            let manifest = text(r.input, "imageManifest").unwrap_or_default();
            let digest = format!(
                "sha256:{}",
                hex(digest(&SHA256, manifest.as_bytes()).as_ref())
            );
            let digest = text(r.input, "imageDigest").unwrap_or(&digest).to_owned();
            // A test may say when it was pushed.
            let pushed_at = r.input["pushedAt"].as_i64().unwrap_or(r.date);
            change(world, r, name, |repository| {
                let tag = text(r.input, "imageTag").map(str::to_owned);
                let mut id = json!({"imageDigest": digest});
                if let Some(tag) = &tag {
                    id["imageTag"] = json!(tag);
                }
                repository
                    .images
                    .iter_mut()
                    .for_each(|image| image.tags.retain(|other| Some(other) != tag.as_ref()));
                match repository
                    .images
                    .iter_mut()
                    .find(|image| image.digest == digest)
                {
                    Some(image) => image.tags.extend(tag),
                    None => repository.images.push(Image {
                        digest: digest.clone(),
                        tags: tag.into_iter().collect(),
                        pushed_at,
                        size: 1_000_000,
                        status: "ACTIVE".into(),
                        pulled_at: None,
                        archived_at: None,
                        activated_at: None,
                    }),
                }
                Ok(
                    json!({"image": {"registryId": r.account, "repositoryName": name, "imageId": id}}),
                )
            })
        }
        "BatchDeleteImage" => change(world, r, name, |repository| {
            let ids = list(r.input, "imageIds");
            let (gone, kept) = repository
                .images
                .drain(..)
                .partition(|image| ids.iter().any(|id| is_named(image, id)));
            repository.images = kept;
            let gone: Vec<Image> = gone;
            Ok(
                json!({"imageIds": gone.iter().map(|image| json!({"imageDigest": image.digest})).collect::<Vec<_>>(), "failures": []}),
            )
        }),
        "UpdateImageStorageClass" => change(world, r, name, |repository| {
            let image = repository
                .images
                .iter_mut()
                .find(|image| is_named(image, &r.input["imageId"]));
            let image = image.ok_or_else(|| {
                Refused::new(
                    400,
                    "ImageNotFoundException",
                    "The image requested does not exist",
                )
            })?;
            if text(r.input, "targetStorageClass") == Some("ARCHIVE") {
                image.status = "ARCHIVED".into();
                image.archived_at = Some(r.date);
            } else {
                // Restoring takes some minutes in AWS; a test that asks says when it is done.
                image.status = if truth(r.input, "atOnce") {
                    "ACTIVE".into()
                } else {
                    "ACTIVATING".into()
                };
                image.activated_at = Some(r.date);
            }
            Ok(
                json!({"registryId": r.account, "repositoryName": name, "imageId": r.input["imageId"], "imageStatus": image.status}),
            )
        }),
        operation => Err(invalid(format!(
            "The AWS in memory does not know the operation {operation}"
        ))),
    }
}

// Lifecycle policies

fn refused_policy(why: impl std::fmt::Display) -> Refused {
    invalid(format!(
        "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: {why}'"
    ))
}

fn valid_policy(policy: &str) -> Answer {
    if !(100..=30_720).contains(&policy.len()) {
        return Err(refused_policy("length must be between 100 and 30720"));
    }
    let policy: Value =
        serde_json::from_str(policy).map_err(|_| refused_policy("string is not a valid JSON"))?;
    let rules = policy["rules"]
        .as_array()
        .ok_or_else(|| refused_policy("object has missing required properties ([\"rules\"])"))?;
    if !(1..=50).contains(&rules.len()) {
        return Err(refused_policy("there must be 1 to 50 rules"));
    }
    let mut priorities = BTreeSet::new();
    for rule in rules {
        let priority = rule["rulePriority"]
            .as_u64()
            .filter(|priority| *priority > 0);
        let priority =
            priority.ok_or_else(|| refused_policy("rulePriority must be a positive integer"))?;
        if !priorities.insert(priority) {
            return Err(refused_policy(format!(
                "rule priority {priority} is used twice"
            )));
        }
        valid_rule(rule)?;
    }
    let any = rules
        .iter()
        .filter(|rule| rule["selection"]["tagStatus"] == "any")
        .filter_map(|rule| rule["rulePriority"].as_u64());
    if any
        .clone()
        .any(|priority| Some(&priority) != priorities.last())
    {
        return Err(refused_policy(
            "a rule with tagStatus 'any' must have the highest value for rulePriority",
        ));
    }
    Ok(policy)
}

fn valid_rule(rule: &Value) -> Result<(), Refused> {
    let known = |value: &Value, members: &[&str]| {
        let unknown = value.as_object().and_then(|object| {
            object
                .iter()
                .find(|(name, value)| !members.contains(&name.as_str()) || value.is_null())
        });
        unknown.map_or(Ok(()), |(name, _)| {
            Err(refused_policy(format!(
                "the property {name} is not allowed here"
            )))
        })
    };
    let selection = &rule["selection"];
    known(
        rule,
        &["rulePriority", "description", "selection", "action"],
    )?;
    known(
        selection,
        &[
            "tagStatus",
            "tagPrefixList",
            "tagPatternList",
            "countType",
            "countUnit",
            "countNumber",
            "storageClass",
        ],
    )?;
    let (prefixes, patterns) = (
        list(selection, "tagPrefixList"),
        list(selection, "tagPatternList"),
    );
    match text(selection, "tagStatus") {
        Some("tagged") if prefixes.is_empty() == patterns.is_empty() => {
            return Err(refused_policy(
                "tagged takes exactly one of tagPrefixList and tagPatternList",
            ));
        }
        Some("untagged" | "any") if !prefixes.is_empty() || !patterns.is_empty() => {
            return Err(refused_policy(
                "tagPrefixList and tagPatternList need tagStatus 'tagged'",
            ));
        }
        Some("tagged" | "untagged" | "any") => {}
        _ => {
            return Err(refused_policy(
                "instance value (tagStatus) not found in enum",
            ));
        }
    }
    if patterns
        .iter()
        .filter_map(Value::as_str)
        .any(|pattern| pattern.matches('*').count() > 4)
    {
        return Err(refused_policy("a pattern has at most four wildcards"));
    }
    let takes_unit = match text(selection, "countType") {
        Some("imageCountMoreThan") => false,
        Some("sinceImagePushed" | "sinceImagePulled" | "sinceImageTransitioned") => true,
        _ => {
            return Err(refused_policy(
                "instance value (countType) not found in enum",
            ));
        }
    };
    if takes_unit != (selection["countUnit"] == "days")
        || (!takes_unit && !selection["countUnit"].is_null())
    {
        return Err(refused_policy(
            "countUnit is for counts of days, and needed there",
        ));
    }
    if selection["countNumber"]
        .as_u64()
        .is_none_or(|count| count == 0)
    {
        return Err(refused_policy("countNumber must be a positive integer"));
    }
    let action = text(&rule["action"], "type").unwrap_or_default();
    if !["expire", "transition"].contains(&action) {
        return Err(refused_policy(
            "instance value (action type) not found in enum",
        ));
    }
    Ok(())
}

/// The images that a policy acts on: each by the rule of lowest priority that selects it, and images that a rule has
/// selected are not seen by later ones (Amazon ECR User Guide, "Lifecycle policy evaluation rules").
fn evaluated(policy: &Value, images: &[Image], now: i64) -> Vec<Value> {
    let mut rules: Vec<&Value> = list(policy, "rules").iter().collect();
    rules.sort_by_key(|rule| rule["rulePriority"].as_u64());
    let (mut taken, mut results) = (BTreeSet::new(), Vec::new());
    for rule in rules {
        let selection = &rule["selection"];
        let mut selected: Vec<&Image> = images
            .iter()
            .filter(|image| has_status(image, None) && is_selected(image, selection))
            .collect();
        selected.sort_by_key(|image| std::cmp::Reverse(image.pushed_at));
        let count = number(selection, "countNumber").unwrap_or(0);
        let oldest = now - i64::try_from(count).unwrap_or(i64::MAX / A_DAY) * A_DAY;
        let matches =
            selected
                .iter()
                .enumerate()
                .filter(|(at, image)| match text(selection, "countType") {
                    Some("imageCountMoreThan") => *at >= count,
                    Some("sinceImagePulled") => image.pulled_at.unwrap_or(image.pushed_at) < oldest,
                    _ => image.pushed_at < oldest,
                });
        for (_, image) in matches {
            if taken.insert(&image.digest) {
                results.push(json!({
                    "imageTags": image.tags, "imageDigest": image.digest, "imagePushedAt": seconds(image.pushed_at),
                    "action": {"type": text(&rule["action"], "type").unwrap_or_default().to_uppercase()},
                    "appliedRulePriority": rule["rulePriority"],
                }));
            }
        }
    }
    results
}

fn is_selected(image: &Image, selection: &Value) -> bool {
    let all = |member: &str, fits: &dyn Fn(&str, &str) -> bool| {
        list(selection, member)
            .iter()
            .filter_map(Value::as_str)
            .all(|wanted| image.tags.iter().any(|tag| fits(tag, wanted)))
    };
    match text(selection, "tagStatus") {
        Some("untagged") => image.tags.is_empty(),
        Some("tagged") => {
            !image.tags.is_empty()
                && all("tagPrefixList", &|tag, prefix| tag.starts_with(prefix))
                && all("tagPatternList", &|tag, pattern| glob(pattern, tag, false))
        }
        _ => true,
    }
}

fn start_preview(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let current = seen(world, r, name)?;
    if current
        .preview
        .as_ref()
        .is_some_and(|preview| preview.complete_at > r.now)
    {
        let message =
            "The previous lifecycle policy preview request has not completed. Wait and try again.";
        return Err(Refused::new(
            400,
            "LifecyclePolicyPreviewInProgressException",
            message,
        ));
    }
    let policy = match text(r.input, "lifecyclePolicyText") {
        Some(given) => valid_policy(given)?,
        None => serde_json::from_str(
            current
                .lifecycle
                .as_deref()
                .ok_or_else(|| no_policy(r, name))?,
        )
        .map_err(refused_policy)?,
    };
    let complete_at = r.now + r.dice.within(5, &r.options.preview);
    change(world, r, name, |repository| {
        let results = evaluated(&policy, &repository.images, r.date);
        let expiring = results
            .iter()
            .filter(|result| result["action"]["type"] == "EXPIRE")
            .count();
        let expires_at = complete_at + A_DAY as u64 * 1000;
        repository.preview = Some(Preview {
            text: policy.to_string(),
            complete_at,
            expires_at,
            results,
            expiring,
            fails: false,
        });
        Ok(
            json!({"registryId": r.account, "repositoryName": name, "lifecyclePolicyText": policy.to_string(), "status": "IN_PROGRESS"}),
        )
    })
}

fn get_preview(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    // `maxResults` is 1 to 100 here, unlike elsewhere in ECR (aws.md A16).
    if number(r.input, "maxResults").is_some_and(|most| !(1..=100).contains(&most)) {
        let most = number(r.input, "maxResults").unwrap_or_default();
        return Err(invalid(format!(
            "Invalid parameter at 'maxResults' failed to satisfy constraint: 'must be between 1 and 100', it is {most}"
        )));
    }
    let repository = seen(world, r, name)?;
    let preview = repository.preview.as_ref().ok_or_else(|| {
        let message = format!(
            "Lifecycle policy preview does not exist for the repository with name '{name}' in the registry with id '{}'",
            r.account
        );
        Refused::new(400, "LifecyclePolicyPreviewNotFoundException", message)
    })?;
    let status = match () {
        () if r.now < preview.complete_at => "IN_PROGRESS",
        () if preview.fails => "FAILED",
        () if r.now >= preview.expires_at => "EXPIRED",
        () => "COMPLETE",
    };
    let results = if status == "COMPLETE" {
        preview.results.clone()
    } else {
        Vec::new()
    };
    let mut output = page(r, "previewResults", results, 100)?;
    output["registryId"] = json!(r.account);
    output["repositoryName"] = json!(name);
    output["lifecyclePolicyText"] = json!(preview.text);
    output["status"] = json!(status);
    if status == "COMPLETE" {
        output["summary"] = json!({"expiringImageTotalCount": preview.expiring});
    }
    Ok(output)
}

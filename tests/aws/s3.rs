//! S3: buckets with their settings, and what is in them.
//!
//! Invariants:
//! - A bucket's name is unique in the world; where it is and whose it is decides before anything else.
//! - A bucket's settings and the list of buckets are eventually consistent, what is in it is not (Amazon S3 User
//!   Guide, "Amazon S3 data consistency model").
//! - New buckets block public access and have ACLs disabled (aws.md A7, A18).
//! - Answers to HEAD have no body (A20).
//!
//! Sources: Amazon S3 API Reference, each operation; aws.md A5, A6.

use serde_json::{Value, json};

use super::protocol::{Element, Refused, decoded, escaped, list, number, text, truth};
use super::state::{Answer, Bucket, Object, Request, Tags, Upload, World, date, tag_list, tags_of};
use crate::support::wire::Call;

/// The members of a request.
pub fn input(call: &Call) -> Value {
    let (path, query) = call.uri.split_once('?').unwrap_or((&call.uri, ""));
    let mut parts = path.trim_start_matches('/').splitn(2, '/').map(decoded);
    let mut input = json!({"Bucket": parts.next().unwrap_or_default()});
    if let Some(key) = parts.next().filter(|key| !key.is_empty()) {
        input["Key"] = json!(key);
    }
    let members = [
        ("key-marker", "KeyMarker"),
        ("version-id-marker", "VersionIdMarker"),
        ("upload-id-marker", "UploadIdMarker"),
        ("uploadId", "UploadId"),
        ("versionId", "VersionId"),
        ("max-keys", "MaxKeys"),
        ("max-uploads", "MaxUploads"),
        ("prefix", "Prefix"),
        ("max-buckets", "MaxBuckets"),
        ("continuation-token", "ContinuationToken"),
        ("bucket-region", "BucketRegion"),
    ];
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if let Some((_, member)) = members.iter().find(|(known, _)| *known == name) {
            input[*member] = json!(decoded(value));
        }
    }
    for (header, member) in [
        ("x-amz-expected-bucket-owner", "ExpectedBucketOwner"),
        ("x-amz-object-ownership", "ObjectOwnership"),
    ] {
        if let Some(value) = call.headers.get(header) {
            input[member] = json!(value);
        }
    }
    if call
        .headers
        .keys()
        .any(|header| header.starts_with("x-amz-acl") || header.starts_with("x-amz-grant"))
    {
        input["ACL"] = json!("set");
    }
    if call.operation == "PutObject" {
        let length = call
            .headers
            .get("x-amz-decoded-content-length")
            .or(call.headers.get("content-length"));
        input["Size"] = json!(length.and_then(|length| length.parse::<usize>().ok()));
        return input;
    }
    if let Some(root) = Element::parse(&call.body) {
        body_input(&root, &mut input);
    }
    input
}

fn body_input(root: &Element, input: &mut Value) {
    let tag = |tag: &Element| json!({"Key": tag.text_of("Key"), "Value": tag.text_of("Value")});
    match root.name.as_str() {
        "CreateBucketConfiguration" => {
            let tags: Vec<Value> = root
                .child("Tags")
                .into_iter()
                .flat_map(|tags| tags.all("Tag"))
                .map(tag)
                .collect();
            input["CreateBucketConfiguration"] =
                json!({"LocationConstraint": root.text_of("LocationConstraint"), "Tags": tags});
        }
        "Tagging" => {
            let tags: Vec<Value> = root
                .child("TagSet")
                .into_iter()
                .flat_map(|tags| tags.all("Tag"))
                .map(tag)
                .collect();
            input["Tagging"] = json!({"TagSet": tags});
        }
        "CORSConfiguration" => {
            let rules: Vec<Value> = root.all("CORSRule").map(cors_rule).collect();
            input["CORSConfiguration"] = json!({"CORSRules": rules});
        }
        "PublicAccessBlockConfiguration" => {
            let block = root
                .children
                .iter()
                .map(|child| (child.name.clone(), json!(child.text == "true")));
            input["PublicAccessBlockConfiguration"] = Value::Object(block.collect());
        }
        "OwnershipControls" => {
            let rule = root
                .child("Rule")
                .and_then(|rule| rule.text_of("ObjectOwnership"));
            input["OwnershipControls"] = json!({"Rules": [{"ObjectOwnership": rule}]});
        }
        "VersioningConfiguration" => {
            input["VersioningConfiguration"] = json!({"Status": root.text_of("Status")})
        }
        "Delete" => {
            let objects: Vec<Value> =
                root.all("Object").map(|object| json!({"Key": object.text_of("Key"), "VersionId": object.text_of("VersionId")})).collect();
            input["Delete"] =
                json!({"Objects": objects, "Quiet": root.text_of("Quiet") == Some("true")});
        }
        _ => {}
    }
}

/// Members of a CORS rule that are lists: the element in XML, and the member.
const CORS_LISTS: [(&str, &str); 4] = [
    ("AllowedHeader", "AllowedHeaders"),
    ("AllowedMethod", "AllowedMethods"),
    ("AllowedOrigin", "AllowedOrigins"),
    ("ExposeHeader", "ExposeHeaders"),
];

fn cors_rule(rule: &Element) -> Value {
    let mut members = json!({});
    for (element, member) in CORS_LISTS {
        let texts = rule.texts(element);
        if !texts.is_empty() {
            members[member] = json!(texts);
        }
    }
    if let Some(seconds) = rule
        .text_of("MaxAgeSeconds")
        .and_then(|text| text.parse::<i64>().ok())
    {
        members["MaxAgeSeconds"] = json!(seconds);
    }
    if let Some(id) = rule.text_of("ID") {
        members["ID"] = json!(id);
    }
    members
}

/// An answer's body.
pub fn output(operation: &str, output: &Value) -> String {
    let mut xml = String::new();
    match operation {
        "ListBuckets" => {
            nested(&mut xml, "Buckets", "Bucket", &output["Buckets"]);
            leaf(&mut xml, "ContinuationToken", &output["ContinuationToken"]);
            wrapped("ListAllMyBucketsResult", &xml)
        }
        "GetBucketTagging" => {
            nested(&mut xml, "TagSet", "Tag", &output["TagSet"]);
            wrapped("Tagging", &xml)
        }
        "GetBucketCors" => {
            for rule in list(output, "CORSRules") {
                xml += "<CORSRule>";
                for (element, member) in CORS_LISTS {
                    list(rule, member)
                        .iter()
                        .for_each(|value| leaf(&mut xml, element, value));
                }
                leaf(&mut xml, "MaxAgeSeconds", &rule["MaxAgeSeconds"]);
                leaf(&mut xml, "ID", &rule["ID"]);
                xml += "</CORSRule>";
            }
            wrapped("CORSConfiguration", &xml)
        }
        "GetPublicAccessBlock" => {
            let block = output["PublicAccessBlockConfiguration"]
                .as_object()
                .into_iter()
                .flatten();
            block.for_each(|(name, value)| leaf(&mut xml, name, value));
            wrapped("PublicAccessBlockConfiguration", &xml)
        }
        "GetBucketOwnershipControls" => {
            flat(&mut xml, "Rule", &output["OwnershipControls"]["Rules"]);
            wrapped("OwnershipControls", &xml)
        }
        "ListObjectVersions" => {
            for name in ["IsTruncated", "NextKeyMarker", "NextVersionIdMarker"] {
                leaf(&mut xml, name, &output[name]);
            }
            flat(&mut xml, "Version", &output["Versions"]);
            flat(&mut xml, "DeleteMarker", &output["DeleteMarkers"]);
            wrapped("ListVersionsResult", &xml)
        }
        "ListMultipartUploads" => {
            for name in ["IsTruncated", "NextKeyMarker", "NextUploadIdMarker"] {
                leaf(&mut xml, name, &output[name]);
            }
            flat(&mut xml, "Upload", &output["Uploads"]);
            wrapped("ListMultipartUploadsResult", &xml)
        }
        "CreateMultipartUpload" => {
            ["Bucket", "Key", "UploadId"]
                .iter()
                .for_each(|name| leaf(&mut xml, name, &output[*name]));
            wrapped("InitiateMultipartUploadResult", &xml)
        }
        "DeleteObjects" => {
            flat(&mut xml, "Deleted", &output["Deleted"]);
            flat(&mut xml, "Error", &output["Errors"]);
            wrapped("DeleteResult", &xml)
        }
        _ => xml,
    }
}

fn wrapped(name: &str, inner: &str) -> String {
    format!("<{name} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</{name}>")
}

fn leaf(xml: &mut String, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => *xml += &format!("<{name}>{}</{name}>", escaped(text)),
        other => *xml += &format!("<{name}>{other}</{name}>"),
    }
}

fn flat(xml: &mut String, name: &str, items: &Value) {
    for item in items.as_array().into_iter().flatten() {
        *xml += &format!("<{name}>");
        item.as_object()
            .into_iter()
            .flatten()
            .for_each(|(name, value)| leaf(xml, name, value));
        *xml += &format!("</{name}>");
    }
}

fn nested(xml: &mut String, outer: &str, name: &str, items: &Value) {
    *xml += &format!("<{outer}>");
    flat(xml, name, items);
    *xml += &format!("</{outer}>");
}

fn no_bucket() -> Refused {
    Refused::new(404, "NoSuchBucket", "The specified bucket does not exist")
}

pub fn denied() -> Refused {
    Refused::new(403, "AccessDenied", "Access Denied")
}

pub fn aborted() -> Refused {
    let message = "A conflicting conditional operation is currently in progress against this resource. Please try again.";
    Refused::new(409, "OperationAborted", message)
}

/// Whether an operation is answered by the region that the bucket is in, and no other: 301 for the wrong one.
pub fn in_its_region(world: &World, r: &Request<'_>) -> Result<(), Refused> {
    let bucket = world
        .buckets
        .get(text(r.input, "Bucket").unwrap_or_default())
        .and_then(|cell| cell.at(r.look));
    let Some(bucket) = bucket.filter(|bucket| {
        bucket.region != r.region && !["CreateBucket", "ListBuckets"].contains(&r.operation)
    }) else {
        return Ok(());
    };
    // The global endpoint's region tells a malformed signature's right region (Amazon S3 API Reference, "Error
    // responses"); HEAD has no body to tell anything in.
    let (status, code) = match (r.operation, r.region) {
        ("HeadBucket", _) => (301, "MovedPermanently"),
        (_, "us-east-1") => (400, "AuthorizationHeaderMalformed"),
        _ => (301, "PermanentRedirect"),
    };
    let message = format!(
        "The bucket you are attempting to access must be addressed using the specified endpoint: {}.",
        bucket.region
    );
    Err(Refused {
        region: Some(bucket.region.clone()),
        ..Refused::new(status, code, message)
    })
}

pub fn call(world: &mut World, r: &Request<'_>) -> Answer {
    match r.operation {
        "CreateBucket" => return create(world, r),
        "ListBuckets" => return list_buckets(world, r),
        _ => {}
    }
    let name = text(r.input, "Bucket").unwrap_or_default();
    let cell = world.buckets.get(name).ok_or_else(no_bucket)?;
    let seen = cell.at(r.look).cloned().ok_or_else(no_bucket)?;
    if seen.owner != r.account
        || text(r.input, "ExpectedBucketOwner").is_some_and(|owner| owner != seen.owner)
    {
        return Err(denied());
    }
    let missing = |code: &str, message: &str| Refused::new(404, code, message);
    match r.operation {
        "HeadBucket" => Ok(json!({"BucketRegion": seen.region})),
        "GetBucketLocation" => {
            Ok(json!({"LocationConstraint": (seen.region != "us-east-1").then_some(&seen.region)}))
        }
        "GetBucketTagging" if seen.tags.is_empty() => {
            Err(missing("NoSuchTagSet", "The TagSet does not exist"))
        }
        "GetBucketTagging" => Ok(json!({"TagSet": tag_list(&seen.tags)})),
        "GetBucketCors" if seen.cors.is_empty() => Err(missing(
            "NoSuchCORSConfiguration",
            "The CORS configuration does not exist",
        )),
        "GetBucketCors" => Ok(json!({"CORSRules": seen.cors})),
        "GetPublicAccessBlock" => match &seen.public_access_block {
            Some(block) => Ok(json!({"PublicAccessBlockConfiguration": block})),
            None => Err(missing(
                "NoSuchPublicAccessBlockConfiguration",
                "The public access block configuration was not found",
            )),
        },
        "GetBucketOwnershipControls" => match &seen.ownership {
            Some(ownership) => {
                Ok(json!({"OwnershipControls": {"Rules": [{"ObjectOwnership": ownership}]}}))
            }
            None => Err(missing(
                "OwnershipControlsNotFoundError",
                "The bucket ownership controls were not found",
            )),
        },
        "ListObjectVersions" => list_versions(world, r, name),
        "ListMultipartUploads" => list_uploads(world, r, name),
        "DeleteBucket" => delete(world, r, name),
        _ => change(world, r, name),
    }
}

fn tags_from(r: &Request<'_>, value: &Value) -> Result<Tags, Refused> {
    let tags = tags_of(value);
    if tags.len() != value.as_array().map_or(0, Vec::len) {
        return Err(Refused::new(
            400,
            "InvalidTag",
            "Cannot provide multiple Tags with the same key",
        ));
    }
    if tags.len() > r.limits().tags {
        return Err(Refused::new(
            400,
            "BadRequest",
            format!(
                "Bucket tag count cannot be greater than {}",
                r.limits().tags
            ),
        ));
    }
    Ok(tags)
}

/// The region that a create names, which must be the endpoint's, but for us-east-1's, which takes any, and none.
fn region_of_create(r: &Request<'_>) -> Result<String, Refused> {
    match (
        text(&r.input["CreateBucketConfiguration"], "LocationConstraint"),
        r.region,
    ) {
        (None, "us-east-1") => Ok("us-east-1".into()),
        (Some("us-east-1"), _) => Err(Refused::new(
            400,
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
        )),
        (Some(named), region) if named == region || region == "us-east-1" => Ok(named.into()),
        (named, _) => Err(Refused::new(
            400,
            "IllegalLocationConstraintException",
            format!(
                "The {} location constraint is incompatible for the region specific endpoint this request was sent to.",
                named.unwrap_or("unspecified")
            ),
        )),
    }
}

fn create(world: &mut World, r: &Request<'_>) -> Answer {
    let name = text(r.input, "Bucket").unwrap_or_default();
    let region = region_of_create(r)?;
    let configured = &r.input["CreateBucketConfiguration"]["Tags"];
    let tags = if r.options.tags_with_bucket {
        tags_from(r, configured)?
    } else {
        Tags::new()
    };
    let ownership = text(r.input, "ObjectOwnership").unwrap_or("BucketOwnerEnforced");
    if !r.input["ACL"].is_null() && ownership == "BucketOwnerEnforced" {
        return Err(Refused::new(
            400,
            "InvalidBucketAclWithObjectOwnership",
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
        ));
    }
    if world
        .bucket_names_settle
        .get(name)
        .is_some_and(|until| *until > r.now)
    {
        return Err(aborted());
    }
    let count = world
        .buckets
        .values()
        .filter_map(|cell| cell.latest())
        .filter(|bucket| bucket.owner == r.account)
        .count();
    let cell = world.buckets.entry(name.to_owned()).or_default();
    let times = r.times(name, "s3");
    match cell.latest() {
        Some(bucket) if bucket.owner != r.account => {
            let message = "The requested bucket name is not available. The bucket namespace is shared by all users of the system. \
                           Please select a different name and try again.";
            return Err(Refused::new(409, "BucketAlreadyExists", message));
        }
        // Its ACL is reset, and nothing else (Amazon S3 API Reference, "Error responses", BucketAlreadyOwnedByYou).
        Some(bucket) if r.region == "us-east-1" && bucket.region == "us-east-1" => {
            let bucket = Bucket {
                acl_resets: bucket.acl_resets + 1,
                ..Bucket::clone(bucket)
            };
            cell.write(Some(bucket), times, r.now);
        }
        Some(_) => {
            let message = "Your previous request to create the named bucket succeeded and you already own it.";
            return Err(Refused::new(409, "BucketAlreadyOwnedByYou", message));
        }
        None if count >= r.limits().buckets => {
            return Err(Refused::new(
                400,
                "TooManyBuckets",
                "You have attempted to create more buckets than allowed",
            ));
        }
        None => {
            let blocked = json!({"BlockPublicAcls": true, "IgnorePublicAcls": true, "BlockPublicPolicy": true, "RestrictPublicBuckets": true});
            let bucket = Bucket {
                name: name.into(),
                owner: r.account.into(),
                region,
                created: r.date,
                tags,
                cors: Vec::new(),
                public_access_block: Some(blocked),
                ownership: Some(ownership.into()),
                acl_resets: 0,
                versioning: None,
                objects: Vec::new(),
                uploads: Vec::new(),
            };
            cell.write(Some(bucket), times, r.now);
        }
    }
    Ok(json!({"Location": format!("/{name}")}))
}

fn list_buckets(world: &World, r: &Request<'_>) -> Answer {
    let seen = world
        .buckets
        .values()
        .filter_map(|cell| cell.at(r.look))
        .filter(|bucket| bucket.owner == r.account);
    let prefix = text(r.input, "Prefix").unwrap_or_default();
    let region = text(r.input, "BucketRegion");
    let seen = seen.filter(|bucket| {
        bucket.name.starts_with(prefix) && region.is_none_or(|region| bucket.region == region)
    });
    let mut buckets: Vec<Value> =
        seen.map(|bucket| json!({"Name": bucket.name, "CreationDate": date(bucket.created), "BucketRegion": bucket.region})).collect();
    let from = number(r.input, "ContinuationToken")
        .unwrap_or(0)
        .min(buckets.len());
    let to = (from + number(r.input, "MaxBuckets").unwrap_or(10_000)).min(buckets.len());
    let token = (to < buckets.len()).then(|| to.to_string());
    buckets = buckets[from..to].to_vec();
    Ok(json!({"Buckets": buckets, "ContinuationToken": token}))
}

fn delete(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let cell = world.buckets.entry(name.to_owned()).or_default();
    let bucket = cell.latest().ok_or_else(no_bucket)?;
    if !bucket.objects.is_empty() {
        let message = if bucket.versioning.is_some() {
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
        } else {
            "The bucket you tried to delete is not empty"
        };
        return Err(Refused::new(409, "BucketNotEmpty", message));
    }
    cell.write(None, r.times(name, "s3"), r.now);
    let settles = r.now + r.dice.within(77, &r.options.bucket_name_settles);
    world.bucket_names_settle.insert(name.to_owned(), settles);
    Ok(json!({}))
}

fn change(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let cell = world.buckets.entry(name.to_owned()).or_default();
    let mut bucket = Bucket::clone(cell.latest().ok_or_else(no_bucket)?);
    let output = changed(&mut bucket, r)?;
    let times = r.times(&format!("{name}/{}", r.operation), "s3");
    cell.write(Some(bucket), times, r.now);
    Ok(output)
}

fn changed(bucket: &mut Bucket, r: &Request<'_>) -> Answer {
    let input = r.input;
    match r.operation {
        "PutBucketTagging" => bucket.tags = tags_from(r, &input["Tagging"]["TagSet"])?,
        "DeleteBucketTagging" => bucket.tags.clear(),
        "PutBucketCors" => {
            let rules = list(&input["CORSConfiguration"], "CORSRules");
            if rules.is_empty() || rules.len() > 100 {
                return Err(Refused::new(
                    400,
                    "MalformedXML",
                    "The XML you provided was not well-formed or did not validate against our published schema",
                ));
            }
            bucket.cors = rules.to_vec();
        }
        "DeleteBucketCors" => bucket.cors.clear(),
        "PutPublicAccessBlock" => {
            bucket.public_access_block = Some(input["PublicAccessBlockConfiguration"].clone())
        }
        "DeletePublicAccessBlock" => bucket.public_access_block = None,
        "PutBucketOwnershipControls" => {
            bucket.ownership = input["OwnershipControls"]["Rules"][0]["ObjectOwnership"]
                .as_str()
                .map(str::to_owned);
        }
        "DeleteBucketOwnershipControls" => bucket.ownership = None,
        "PutBucketVersioning" => {
            bucket.versioning =
                Some(text(&input["VersioningConfiguration"], "Status") == Some("Enabled"))
        }
        "PutBucketAcl" if bucket.ownership.as_deref() == Some("BucketOwnerEnforced") => {
            return Err(Refused::new(
                400,
                "AccessControlListNotSupported",
                "The bucket does not allow ACLs",
            ));
        }
        "PutObject" => return Ok(json!({"VersionId": put_object(bucket, r)})),
        "DeleteObject" => {
            let version = text(input, "VersionId");
            delete_object(
                bucket,
                r,
                text(input, "Key").unwrap_or_default(),
                version,
                0,
            )?;
        }
        "DeleteObjects" => return delete_objects(bucket, r),
        "CreateMultipartUpload" => {
            let upload = Upload {
                key: text(input, "Key").unwrap_or_default().into(),
                id: r.new_id("upload"),
                at: r.date,
            };
            bucket.uploads.push(upload.clone());
            bucket
                .uploads
                .sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
            return Ok(json!({"Bucket": bucket.name, "Key": upload.key, "UploadId": upload.id}));
        }
        "AbortMultipartUpload" => {
            let (key, id) = (
                text(input, "Key").unwrap_or_default(),
                text(input, "UploadId").unwrap_or_default(),
            );
            let at = bucket
                .uploads
                .iter()
                .position(|upload| upload.key == key && upload.id == id);
            let at = at.ok_or_else(|| {
                Refused::new(404, "NoSuchUpload", "The specified upload does not exist.")
            })?;
            bucket.uploads.remove(at);
        }
        operation => {
            return Err(Refused::new(
                501,
                "NotImplemented",
                format!("The AWS in memory does not know {operation}."),
            ));
        }
    }
    Ok(json!({}))
}

// What is in buckets

fn add(bucket: &mut Bucket, object: Object) {
    let at = bucket
        .objects
        .partition_point(|other| other.key < object.key);
    bucket.objects.insert(at, object);
}

/// A bucket whose versioning is not on has one version of each object, named `null`.
fn put_object(bucket: &mut Bucket, r: &Request<'_>) -> Option<String> {
    let key = text(r.input, "Key").unwrap_or_default();
    let version = if bucket.versioning == Some(true) {
        r.new_id("v")
    } else {
        "null".into()
    };
    if version == "null" {
        bucket
            .objects
            .retain(|object| !(object.key == key && object.version == "null"));
    }
    let size = number(r.input, "Size").unwrap_or_else(|| text(r.input, "Body").map_or(0, str::len));
    let is_locked = truth(r.input, "Locked");
    add(
        bucket,
        Object {
            key: key.into(),
            version: version.clone(),
            size,
            is_marker: false,
            is_locked,
            at: r.date,
        },
    );
    (version != "null").then_some(version)
}

fn delete_object(
    bucket: &mut Bucket,
    r: &Request<'_>,
    key: &str,
    version: Option<&str>,
    nth: u64,
) -> Result<(), Refused> {
    let found = |object: &Object| {
        object.key == key && version.is_none_or(|version| object.version == version)
    };
    if bucket
        .objects
        .iter()
        .any(|object| found(object) && object.is_locked)
        && (version.is_some() || bucket.versioning.is_none())
    {
        return Err(denied());
    }
    match (version, bucket.versioning) {
        (None, Some(true)) => {
            let version = format!("{}{nth}", r.new_id("m"));
            add(
                bucket,
                Object {
                    key: key.into(),
                    version,
                    size: 0,
                    is_marker: true,
                    is_locked: false,
                    at: r.date,
                },
            );
        }
        _ => bucket.objects.retain(|object| !found(object)),
    }
    Ok(())
}

fn delete_objects(bucket: &mut Bucket, r: &Request<'_>) -> Answer {
    let objects = list(&r.input["Delete"], "Objects");
    if objects.is_empty() || objects.len() > 1000 {
        return Err(Refused::new(
            400,
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        ));
    }
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (nth, object) in (0..).zip(objects) {
        let (key, version) = (
            text(object, "Key").unwrap_or_default(),
            text(object, "VersionId"),
        );
        let is_denied = r.denied.iter().any(|denied| denied == key);
        let result = if is_denied {
            Err(denied())
        } else {
            delete_object(bucket, r, key, version, nth)
        };
        match result {
            Ok(()) => deleted.push(json!({"Key": key, "VersionId": version})),
            Err(refused) => errors.push(json!({"Key": key, "VersionId": version, "Code": refused.code, "Message": refused.message})),
        }
    }
    if truth(&r.input["Delete"], "Quiet") {
        deleted.clear();
    }
    Ok(json!({"Deleted": deleted, "Errors": errors}))
}

fn list_versions(world: &World, r: &Request<'_>, name: &str) -> Answer {
    let bucket = world
        .buckets
        .get(name)
        .and_then(|cell| cell.latest())
        .ok_or_else(no_bucket)?;
    let prefix = text(r.input, "Prefix").unwrap_or_default();
    let (key, version) = (
        text(r.input, "KeyMarker").unwrap_or_default(),
        text(r.input, "VersionIdMarker"),
    );
    let all: Vec<&Object> = bucket
        .objects
        .iter()
        .filter(|object| object.key.starts_with(prefix))
        .collect();
    let marked = all.iter().rposition(|object| {
        object.key == key && version.is_none_or(|version| object.version == version)
    });
    let from = match marked {
        Some(at) => at + 1,
        None => all.partition_point(|object| object.key.as_str() <= key && !key.is_empty()),
    };
    let to = (from + number(r.input, "MaxKeys").unwrap_or(1000).min(1000)).min(all.len());
    let described = |at: usize| {
        let object = all[at];
        let is_latest = at == 0 || all[at - 1].key != object.key;
        let mut described = json!({"Key": object.key, "VersionId": object.version, "IsLatest": is_latest, "LastModified": date(object.at)});
        if !object.is_marker {
            described["Size"] = json!(object.size);
        }
        described
    };
    let (markers, versions): (Vec<usize>, Vec<usize>) =
        (from..to).partition(|at| all[*at].is_marker);
    let mut output = json!({
        "IsTruncated": to < all.len(),
        "Versions": versions.into_iter().map(described).collect::<Vec<_>>(),
        "DeleteMarkers": markers.into_iter().map(described).collect::<Vec<_>>(),
    });
    if let Some(last) = all.get(to.wrapping_sub(1)).filter(|_| to < all.len()) {
        (output["NextKeyMarker"], output["NextVersionIdMarker"]) =
            (json!(last.key), json!(last.version));
    }
    Ok(output)
}

fn list_uploads(world: &World, r: &Request<'_>, name: &str) -> Answer {
    let bucket = world
        .buckets
        .get(name)
        .and_then(|cell| cell.latest())
        .ok_or_else(no_bucket)?;
    let (key, id) = (
        text(r.input, "KeyMarker").unwrap_or_default(),
        text(r.input, "UploadIdMarker"),
    );
    let is_after = |upload: &&Upload| {
        upload.key.as_str() > key
            || (upload.key == key && id.is_some_and(|id| upload.id.as_str() > id))
    };
    let rest: Vec<&Upload> = bucket.uploads.iter().filter(is_after).collect();
    let most = number(r.input, "MaxUploads").unwrap_or(1000).min(1000);
    let page: Vec<Value> =
        rest.iter().take(most).map(|upload| json!({"Key": upload.key, "UploadId": upload.id, "Initiated": date(upload.at)})).collect();
    let mut output = json!({"IsTruncated": rest.len() > most, "Uploads": page});
    if let Some(last) = rest.get(most.wrapping_sub(1)).filter(|_| rest.len() > most) {
        (output["NextKeyMarker"], output["NextUploadIdMarker"]) = (json!(last.key), json!(last.id));
    }
    Ok(output)
}

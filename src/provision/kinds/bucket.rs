//! The app's bucket: private, closed to the public, open to the browsers that may upload.
//!
//! Invariants:
//! - Changes to one bucket go one after another: overlapping ones answer `OperationAborted` (Amazon S3
//!   API Reference). Public access is blocked before anything that could open the bucket.
//! - In us-east-1 creating one's own bucket again answers 200 and resets its ACLs, so there a look
//!   comes first, and 200 is no proof of creation.
//! - Every call but the create names the account that has to own the bucket.
//! - On an adopted bucket, CORS rules and tags that are there are kept.

use std::fmt;

use aws_config::retry::RetryConfig;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CorsConfiguration, CorsRule, CreateBucketConfiguration, Delete,
    ObjectIdentifier, ObjectOwnership, OwnershipControls, OwnershipControlsRule,
    PublicAccessBlockConfiguration, Tag, Tagging,
};
use serde_json::{Value, json};

use crate::aws::{AwsError, CacheKey, ErrorKind, Service};
use crate::domain::job::{JobError, JobErrorCode, JobResult};
use crate::domain::names::{BucketName, Region};
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Dropped;
use crate::domain::spec::{AppSpec, BucketSpec, TAG_PREFIX};
use crate::domain::task::Data;
use crate::provision::change::{Applied, Change, Changes, Observation, Want, counted};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::fault::found;
use crate::provision::ids;
use crate::provision::ownership;
use crate::provision::permission::{Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;
use crate::provision::tags::{self, Tags};

/// How long a browser may keep the answer to a preflight request, in seconds: the guide's.
const MAX_AGE_SECONDS: i32 = 3000;

/// Pages of a thousand versions that are counted before a bucket is deleted: somebody waits for the answer.
const COUNTED_PAGES: usize = 100;

/// A bucket for the app's media.
#[derive(Debug, Clone)]
pub struct Bucket {
    spec: BucketSpec,
    tags: Tags,
    account_id: String,
    partition: String,
}

/// A CORS rule, in the terms of S3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors {
    origins: Vec<String>,
    headers: Vec<String>,
    methods: Vec<String>,
    exposed: Vec<String>,
    max_age: Option<i32>,
    id: Option<String>,
}

/// A bucket as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeenBucket {
    region: Option<String>,
    tags: Tags,
    made_by_us: bool,
    blocked: bool,
    /// The same, setting by setting.
    block: Value,
    owner_enforced: bool,
    /// The same, in S3's words.
    ownership: Value,
    cors: Vec<Cors>,
    /// Tags that the spec does not name any more.
    dropped: Vec<String>,
    /// What is in it, where it is to be deleted.
    contents: Contents,
}

/// The first of what is in a bucket: as much as one call deletes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contents {
    /// Versions of objects and delete markers: key and version.
    versions: Vec<(String, Option<String>)>,
    /// Multipart uploads that were begun: key and upload.
    uploads: Vec<(String, String)>,
    /// Whether there is more.
    more: bool,
}

/// What changes a bucket.
#[derive(Debug, Clone, PartialEq)]
pub enum BucketChange {
    /// `CreateBucket`, with ownership and tags in the call.
    Create(BucketName, Region, Tags),
    /// `PutBucketOwnershipControls`: no ACL counts any more. With what is set now.
    EnforceOwnership(BucketName, Value),
    /// `PutPublicAccessBlock`, all four. With what is set now.
    BlockPublicAccess(BucketName, Value),
    /// `PutBucketTagging`, which replaces all tags.
    Tag {
        /// The bucket.
        bucket: BucketName,
        /// The tags that are there.
        before: Tags,
        /// All that will be.
        after: Tags,
    },
    /// `DeleteObjects`: versions of objects and delete markers, a thousand at most.
    DeleteObjects {
        /// The bucket.
        bucket: BucketName,
        /// Key and version of each.
        versions: Vec<(String, Option<String>)>,
        /// Whether there is more.
        more: bool,
    },
    /// `AbortMultipartUpload`.
    AbortUpload {
        /// The bucket.
        bucket: BucketName,
        /// The object's key.
        key: String,
        /// The upload.
        upload: String,
    },
    /// `DeleteBucket`.
    Delete(BucketName),
    /// `PutBucketCors`, which replaces all rules: these are all.
    SetCors {
        /// The bucket.
        bucket: BucketName,
        /// The rules that are there.
        before: Vec<Cors>,
        /// The rules that will be.
        after: Vec<Cors>,
    },
}

impl fmt::Display for BucketChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(name, region, _) => write!(f, "create bucket {name} in {region}"),
            Self::EnforceOwnership(name, _) => write!(f, "disable ACLs on bucket {name}"),
            Self::BlockPublicAccess(name, _) => write!(f, "block public access to bucket {name}"),
            Self::Tag {
                bucket,
                before,
                after,
            } if tags::gives_back(before, after) => {
                write!(
                    f,
                    "remove Slipway's tags from bucket {bucket}, which is retained"
                )
            }
            Self::Tag { bucket, .. } => write!(f, "tag bucket {bucket}"),
            Self::SetCors { bucket, .. } => write!(f, "set CORS of bucket {bucket}"),
            Self::DeleteObjects {
                bucket,
                versions,
                more,
            } => {
                let more = if *more { " (more remain)" } else { "" };
                write!(
                    f,
                    "delete {} from bucket {bucket}{more}",
                    counted(versions.len(), "object version")
                )
            }
            Self::AbortUpload { bucket, key, .. } => {
                write!(f, "abort a multipart upload of {key} to bucket {bucket}")
            }
            Self::Delete(name) => write!(f, "delete bucket {name}"),
        }
    }
}

impl Change for BucketChange {
    fn action(&self) -> Action {
        match self {
            Self::Create(..) => Action::Create,
            Self::DeleteObjects { .. } | Self::AbortUpload { .. } | Self::Delete(_) => {
                Action::Delete
            }
            Self::EnforceOwnership(..)
            | Self::BlockPublicAccess(..)
            | Self::Tag { .. }
            | Self::SetCors { .. } => Action::Update,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::SetCors { before, .. } if !before.is_empty() => Some(cors_document(before)),
            Self::Tag { before, .. } => Some(json!({"tags": before})),
            Self::EnforceOwnership(_, before) | Self::BlockPublicAccess(_, before)
                if !before.is_null() =>
            {
                Some(before.clone())
            }
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        Some(match self {
            Self::Create(name, region, tags) => {
                json!({"name": name, "region": region, "object_ownership": "BucketOwnerEnforced", "tags": tags})
            }
            Self::EnforceOwnership(..) => json!({"object_ownership": "BucketOwnerEnforced"}),
            Self::BlockPublicAccess(..) => public_access_block_document([true; 4]),
            Self::Tag { after, .. } => json!({"tags": after}),
            Self::SetCors { after, .. } => cors_document(after),
            Self::DeleteObjects { .. } | Self::AbortUpload { .. } | Self::Delete(_) => return None,
        })
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Create(name, region, tags) => {
                let mut configuration = json!({"Tags": tags.iter().map(|(k, v)| json!({"Key": k, "Value": v})).collect::<Vec<_>>()});
                if !region.is_us_east_1() {
                    configuration["LocationConstraint"] = json!(region);
                }
                format!(
                    "aws s3api create-bucket --bucket {name} --region {region} --object-ownership BucketOwnerEnforced --create-bucket-configuration {}",
                    shell_words::document(&configuration)
                )
            }
            Self::DeleteObjects { bucket, .. } => format!("aws s3 rm s3://{bucket} --recursive"),
            Self::AbortUpload {
                bucket,
                key,
                upload,
            } => format!(
                "aws s3api abort-multipart-upload --bucket {bucket} --key {} --upload-id {}",
                shell_words::word(key),
                shell_words::word(upload)
            ),
            Self::Delete(name) => format!("aws s3api delete-bucket --bucket {name}"),
            Self::EnforceOwnership(name, _) => {
                format!(
                    "aws s3api put-bucket-ownership-controls --bucket {name} --ownership-controls 'Rules=[{{ObjectOwnership=BucketOwnerEnforced}}]'"
                )
            }
            Self::BlockPublicAccess(name, _) => format!(
                "aws s3api put-public-access-block --bucket {name} --public-access-block-configuration \
                 BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"
            ),
            Self::Tag { bucket, after, .. } => {
                let set: Vec<Value> = after
                    .iter()
                    .map(|(k, v)| json!({"Key": k, "Value": v}))
                    .collect();
                format!(
                    "aws s3api put-bucket-tagging --bucket {bucket} --tagging {}",
                    shell_words::document(&json!({"TagSet": set}))
                )
            }
            Self::SetCors { bucket, after, .. } => {
                format!(
                    "aws s3api put-bucket-cors --bucket {bucket} --cors-configuration {}",
                    shell_words::document(&cors_document(after))
                )
            }
        }
    }
}

impl Resource for Bucket {
    type Observed = SeenBucket;
    type Change = BucketChange;

    const KIND: &'static str = ids::BUCKET;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::S3,
            "HeadBucket",
            &["s3:ListBucket"],
            Scope::Buckets,
        ),
        Permission::change(
            Service::S3,
            "CreateBucket",
            &[
                "s3:CreateBucket",
                "s3:PutBucketOwnershipControls",
                "s3:TagResource",
            ],
            Scope::Buckets,
        ),
        Permission::read(
            Service::S3,
            "GetBucketTagging",
            &["s3:GetBucketTagging"],
            Scope::Buckets,
        ),
        Permission::change(
            Service::S3,
            "PutBucketTagging",
            &["s3:PutBucketTagging"],
            Scope::Buckets,
        ),
        Permission::read(
            Service::S3,
            "GetPublicAccessBlock",
            &["s3:GetBucketPublicAccessBlock"],
            Scope::Buckets,
        ),
        Permission::change(
            Service::S3,
            "PutPublicAccessBlock",
            &["s3:PutBucketPublicAccessBlock"],
            Scope::Buckets,
        ),
        Permission::read(
            Service::S3,
            "GetBucketOwnershipControls",
            &["s3:GetBucketOwnershipControls"],
            Scope::Buckets,
        ),
        Permission::change(
            Service::S3,
            "PutBucketOwnershipControls",
            &["s3:PutBucketOwnershipControls"],
            Scope::Buckets,
        ),
        Permission::read(
            Service::S3,
            "GetBucketCors",
            &["s3:GetBucketCORS"],
            Scope::Buckets,
        ),
        Permission::change(
            Service::S3,
            "PutBucketCors",
            &["s3:PutBucketCORS"],
            Scope::Buckets,
        ),
        Permission::read(
            Service::S3,
            "ListObjectVersions",
            &["s3:ListBucketVersions"],
            Scope::Buckets,
        ),
        Permission::read(
            Service::S3,
            "ListMultipartUploads",
            &["s3:ListBucketMultipartUploads"],
            Scope::Buckets,
        ),
        Permission::change(
            Service::S3,
            "DeleteObjects",
            &["s3:DeleteObject", "s3:DeleteObjectVersion"],
            Scope::Objects,
        ),
        Permission::change(
            Service::S3,
            "AbortMultipartUpload",
            &["s3:AbortMultipartUpload"],
            Scope::Objects,
        ),
        Permission::change(
            Service::S3,
            "DeleteBucket",
            &["s3:DeleteBucket"],
            Scope::Buckets,
        ),
        Permission::read(
            Service::S3,
            "ListBuckets",
            &["s3:ListAllMyBuckets"],
            Scope::Everything,
        ),
    ];

    fn wanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Self> {
        let tags = tags::wanted(spec, conventions);
        let (account_id, partition) = (&conventions.account_id, &conventions.partition);
        let bucket = |spec: &BucketSpec| Self {
            spec: spec.clone(),
            tags: tags.clone(),
            account_id: account_id.clone(),
            partition: partition.clone(),
        };
        spec.buckets.iter().map(bucket).collect()
    }

    const HOLDS_DATA: bool = true;

    fn id(&self) -> ResourceId {
        ids::bucket(&self.spec.name)
    }

    fn description(&self) -> String {
        format!("bucket {} in {}", self.spec.name, self.spec.region)
    }

    fn recover(id: &ResourceId, spec: &AppSpec, dropped: &mut Dropped) {
        let named = spec.buckets.iter().chain(&dropped.buckets);
        if named.clone().any(|it| ids::bucket(&it.name) == *id) {
            return;
        }
        if let Some(Ok(name)) = id.name_of(Self::KIND).map(BucketName::parse) {
            dropped.buckets.push(BucketSpec {
                name,
                region: spec.region.clone(),
                upload_origins: Vec::new(),
            });
        }
    }

    fn add_to_result(&self, _arn: Option<&str>, _c: &Conventions, result: &mut JobResult) {
        result.buckets.push(self.spec.name.to_string());
    }

    fn create_first(&self, cx: &ReconcileContext) -> bool {
        cx.request.create_first && !self.spec.region.is_us_east_1()
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenBucket>, Fault> {
        let s3 = cx.account.s3(&self.spec.region);
        let call = s3
            .head_bucket()
            .bucket(self.name())
            .expected_bucket_owner(&self.account_id)
            .send();
        let region = match cx.call(Service::S3, "HeadBucket", call).await {
            Ok(answer) => answer.bucket_region,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Observation::Absent),
            // A HEAD has no body to say more: 403 is a bucket of somebody else, or one that we may not look at.
            Err(error) if error.kind == ErrorKind::Denied => {
                return Err(self.why_denied(cx, &error).await);
            }
            Err(error) if error.status == Some(301) => return Err(self.elsewhere("another region")),
            Err(error) => return Err(error.into()),
        };
        if let Some(region) = region
            .as_deref()
            .filter(|region| *region != self.spec.region.as_str())
        {
            return Err(self.elsewhere(region));
        }
        if cx.want != Want::Present {
            return self.see_to_delete(cx, region).await;
        }
        let (tags, block, ownership, cors) = tokio::try_join!(
            self.see_tags(cx),
            self.see_block(cx),
            self.see_ownership(cx),
            self.see_cors(cx)
        )?;
        if tags.is_empty() && self.is_from_this_job(cx).await? {
            cx.note_created_by_app(&self.id());
        }
        let made_by_us = ownership::is_created_by_app(cx, &self.id(), &tags);
        let dropped = ownership::dropped(cx, &tags);
        let seen = SeenBucket {
            region,
            tags: tags.clone(),
            made_by_us,
            blocked: block == [true; 4],
            block: public_access_block_document(block),
            owner_enforced: ownership == ObjectOwnership::BucketOwnerEnforced,
            ownership: json!({"object_ownership": ownership.as_str()}),
            cors,
            dropped,
            contents: Contents::default(),
        };
        Ok(ownership::sort(cx, &self.id(), &tags, seen))
    }

    fn plan(&self, seen: Option<&SeenBucket>) -> Result<Changes<BucketChange>, Fault> {
        let name = self.spec.name.clone();
        let Some(seen) = seen else {
            return Ok(Changes::of(vec![
                BucketChange::Create(name.clone(), self.spec.region.clone(), self.tags.clone()),
                BucketChange::BlockPublicAccess(name.clone(), Value::Null),
                BucketChange::SetCors {
                    bucket: name,
                    before: Vec::new(),
                    after: self.wanted_cors(),
                },
            ]));
        };
        let mut changes = Vec::new();
        if !seen.blocked {
            changes.push(BucketChange::BlockPublicAccess(
                name.clone(),
                seen.block.clone(),
            ));
        }
        if !seen.owner_enforced {
            changes.push(BucketChange::EnforceOwnership(
                name.clone(),
                seen.ownership.clone(),
            ));
        }
        let missing = tags::missing(&self.tags, &seen.tags, seen.made_by_us);
        if !missing.is_empty() || !seen.dropped.is_empty() {
            let mut tags = seen.tags.clone();
            tags.extend(missing);
            tags.retain(|key, _| !seen.dropped.contains(key));
            changes.push(BucketChange::Tag {
                bucket: name.clone(),
                before: seen.tags.clone(),
                after: tags,
            });
        }
        let after = self.cors_over(seen);
        if !same_cors(&after, &seen.cors) {
            changes.push(BucketChange::SetCors {
                bucket: name,
                before: seen.cors.clone(),
                after,
            });
        }
        Ok(Changes::of(changes))
    }

    /// It is emptied part by part. One that was there before the app is given back, unless it was asked for by name.
    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &SeenBucket,
    ) -> Result<Changes<BucketChange>, Fault> {
        let (bucket, contents) = (self.spec.name.clone(), &seen.contents);
        if cx.request.data != Data::Named && ownership::is_left(cx, seen.made_by_us) {
            let told =
                ownership::told_given_back(&format!("bucket {bucket} in {}", self.spec.region));
            return Ok(Changes {
                warnings: vec![told],
                ..self.plan_released(seen)
            });
        }
        if cx.request.data == Data::Kept && *contents != Contents::default() {
            let more = if contents.more { "more than " } else { "" };
            let holds = format!(
                "{more}{} and {}",
                counted(contents.versions.len(), "object version"),
                counted(contents.uploads.len(), "incomplete multipart upload")
            );
            return Err(Fault::would_delete_data(
                &format!("bucket {bucket}"),
                &holds,
            ));
        }
        let abort = |(key, upload): &(String, String)| {
            let (bucket, key, upload) = (bucket.clone(), key.clone(), upload.clone());
            BucketChange::AbortUpload {
                bucket,
                key,
                upload,
            }
        };
        let mut changes: Vec<BucketChange> = contents.uploads.iter().map(abort).collect();
        if !contents.versions.is_empty() {
            let (versions, more) = (contents.versions.clone(), contents.more);
            changes.push(BucketChange::DeleteObjects {
                bucket: bucket.clone(),
                versions,
                more,
            });
        }
        changes.push(BucketChange::Delete(bucket));
        Ok(Changes::of(changes))
    }

    fn plan_released(&self, seen: &SeenBucket) -> Changes<BucketChange> {
        let mut after = seen.tags.clone();
        after.retain(|key, _| !key.starts_with(TAG_PREFIX));
        if after == seen.tags {
            return Changes::of(Vec::new());
        }
        Changes::of(vec![BucketChange::Tag {
            bucket: self.spec.name.clone(),
            before: seen.tags.clone(),
            after,
        }])
    }

    async fn apply(&self, cx: &ReconcileContext, change: &BucketChange) -> Result<Applied, Fault> {
        match change {
            BucketChange::DeleteObjects { versions, more, .. } => {
                self.delete_objects(cx, versions, *more).await
            }
            BucketChange::AbortUpload { key, upload, .. } => {
                self.abort_upload(cx, key, upload).await
            }
            BucketChange::Delete(_) => self.delete(cx).await,
            BucketChange::Create(_, region, tags) => {
                self.create(cx, region, &ownership::on_creation(cx, tags))
                    .await
            }
            BucketChange::EnforceOwnership(..) => self.enforce_ownership(cx).await,
            BucketChange::BlockPublicAccess(..) => self.block_public_access(cx).await,
            BucketChange::Tag { after, .. } => self.put_tags(cx, after).await,
            BucketChange::SetCors { after, .. } => self.put_cors(cx, after).await,
        }
    }

    async fn preflight_warnings(
        &self,
        cx: &ReconcileContext,
        seen: Option<&SeenBucket>,
    ) -> Result<Vec<String>, Fault> {
        let Some(seen) = seen.filter(|_| cx.want == Want::Absent) else {
            return Ok(Vec::new());
        };
        if cx.request.data != Data::Named && ownership::is_left(cx, seen.made_by_us) {
            return Ok(Vec::new());
        }
        let (versions, bytes, all) = self.count(cx).await?;
        let (versions, bytes) = (counted(versions, "object version"), counted(bytes, "byte"));
        let at_least = if all { "" } else { "at least " };
        Ok(vec![format!(
            "Bucket {} and its {at_least}{versions} ({bytes}) will be deleted.",
            self.name()
        )])
    }

    fn arn(&self, _conventions: &Conventions) -> Option<String> {
        Some(format!("arn:{}:s3:::{}", self.partition, self.spec.name))
    }

    fn terraform(&self, seen: &SeenBucket, labels: &Labels) -> Vec<terraform::Piece> {
        let bucket = terraform::reference(labels, &self.id(), "aws_s3_bucket", "id", self.name());
        let thing = |kind| terraform::Thing::new(kind, self.name()).at(&self.spec.region);
        let setting = |kind| thing(kind).set("bucket", bucket.clone());
        let mut pieces: Vec<terraform::Piece> = vec![
            thing("aws_s3_bucket")
                .set("bucket", self.name())
                .tags(&seen.tags)
                .into(),
        ];
        if seen.blocked {
            let block = setting("aws_s3_bucket_public_access_block")
                .set("block_public_acls", true)
                .set("ignore_public_acls", true);
            pieces.push(
                block
                    .set("block_public_policy", true)
                    .set("restrict_public_buckets", true)
                    .into(),
            );
        }
        if seen.owner_enforced {
            let rule = hcl::Block::builder("rule")
                .add_attribute(("object_ownership", "BucketOwnerEnforced"))
                .build();
            pieces.push(
                setting("aws_s3_bucket_ownership_controls")
                    .block(rule)
                    .into(),
            );
        }
        if !seen.cors.is_empty() {
            let rules = seen.cors.iter().map(Cors::hcl);
            pieces.push(
                rules
                    .fold(
                        setting("aws_s3_bucket_cors_configuration"),
                        terraform::Thing::block,
                    )
                    .into(),
            );
        }
        pieces.extend(self.told_openings(seen).map(terraform::Piece::Note));
        pieces
    }

    fn cloudformation(&self, seen: &SeenBucket, _labels: &Labels) -> Vec<cloudformation::Entry> {
        let mut bucket = cloudformation::Thing::new("AWS::S3::Bucket", "BucketName", self.name())
            .at(&self.spec.region);
        bucket = bucket.set("BucketName", self.name()).tags(&seen.tags);
        if seen.blocked {
            bucket = bucket.set(
                "PublicAccessBlockConfiguration",
                public_access_block_document([true; 4]),
            );
        }
        if seen.owner_enforced {
            bucket = bucket.set(
                "OwnershipControls",
                json!({"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}),
            );
        }
        if !seen.cors.is_empty() {
            let rules: Vec<Value> = seen.cors.iter().map(Cors::template).collect();
            bucket = bucket.set("CorsConfiguration", json!({"CorsRules": rules}));
        }
        let notes = self.told_openings(seen).map(cloudformation::Entry::Note);
        std::iter::once(cloudformation::Entry::Thing(bucket))
            .chain(notes)
            .collect()
    }
}

impl Bucket {
    fn name(&self) -> &str {
        self.spec.name.as_str()
    }

    /// The guide's two rules: anybody may download by browser, the app's own pages may upload.
    fn wanted_cors(&self) -> Vec<Cors> {
        let texts = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let max_age = Some(MAX_AGE_SECONDS);
        let download = Cors {
            origins: texts(&["*"]),
            headers: texts(&["Authorization"]),
            methods: texts(&["GET"]),
            max_age,
            ..Cors::default()
        };
        let upload = Cors {
            origins: self
                .spec
                .upload_origins
                .iter()
                .map(ToString::to_string)
                .collect(),
            headers: texts(&["*"]),
            methods: texts(&["PUT", "POST", "DELETE"]),
            // Multipart uploads from a browser need the ETag of each part.
            exposed: texts(&["x-amz-server-side-encryption", "ETag"]),
            max_age,
            id: None,
        };
        std::iter::once(download)
            .chain((!upload.origins.is_empty()).then_some(upload))
            .collect()
    }

    /// Our rules, and on an adopted bucket also those that are there.
    fn cors_over(&self, seen: &SeenBucket) -> Vec<Cors> {
        let mut rules = self.wanted_cors();
        if !seen.made_by_us && tags::is_adopted(&seen.tags) {
            let kept: Vec<Cors> = seen
                .cors
                .iter()
                .filter(|rule| !rules.iter().any(|ours| ours.same(rule)))
                .cloned()
                .collect();
            rules.extend(kept);
        }
        rules
    }

    async fn create(
        &self,
        cx: &ReconcileContext,
        region: &Region,
        tags: &Tags,
    ) -> Result<Applied, Fault> {
        let constraint =
            (!region.is_us_east_1()).then(|| BucketLocationConstraint::from(region.as_str()));
        let configuration = CreateBucketConfiguration::builder()
            .set_location_constraint(constraint)
            .set_tags(Some(sdk_tags(tags)?))
            .build();
        let call = cx
            .account
            .s3(region)
            .create_bucket()
            .bucket(self.name())
            .create_bucket_configuration(configuration);
        // One attempt: "already owned by you" then tells of a bucket that was there before this call.
        let once = aws_sdk_s3::config::Config::builder().retry_config(RetryConfig::disabled());
        let call = call
            .object_ownership(ObjectOwnership::BucketOwnerEnforced)
            .customize()
            .config_override(once)
            .send();
        match cx.call(Service::S3, "CreateBucket", call).await {
            Ok(_) => cx.note_created(self.id()),
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                return Ok(Applied::MetExisting);
            }
            Err(error) => {
                if !error.had_no_effect() {
                    cx.note_maybe_created(self.id());
                }
                return Err(error.into());
            }
        }
        self.tag_if_not_taken(cx, tags).await?;
        Ok(Applied::Done)
    }

    /// Not every partition and emulator takes tags with the create. Whether this one does is learned once.
    async fn tag_if_not_taken(&self, cx: &ReconcileContext, tags: &Tags) -> Result<(), Fault> {
        let learned = CacheKey::CreateBucketTakesTags(self.spec.region.clone());
        if cx.account.cached(&learned).is_some() {
            return Ok(());
        }
        if self.see_tags(cx).await? == *tags {
            cx.account.cache(learned, "");
            return Ok(());
        }
        self.put_tags(cx, tags).await.map(|_| ())
    }

    async fn enforce_ownership(&self, cx: &ReconcileContext) -> Result<Applied, Fault> {
        let rule = OwnershipControlsRule::builder()
            .object_ownership(ObjectOwnership::BucketOwnerEnforced)
            .build()
            .map_err(Fault::of_sdk)?;
        let controls = OwnershipControls::builder()
            .rules(rule)
            .build()
            .map_err(Fault::of_sdk)?;
        let call = cx
            .account
            .s3(&self.spec.region)
            .put_bucket_ownership_controls()
            .bucket(self.name());
        let call = call
            .ownership_controls(controls)
            .expected_bucket_owner(&self.account_id)
            .send();
        self.put(cx, "PutBucketOwnershipControls", call).await
    }

    async fn block_public_access(&self, cx: &ReconcileContext) -> Result<Applied, Fault> {
        let all = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        let call = cx
            .account
            .s3(&self.spec.region)
            .put_public_access_block()
            .bucket(self.name());
        let call = call
            .public_access_block_configuration(all)
            .expected_bucket_owner(&self.account_id)
            .send();
        self.put(cx, "PutPublicAccessBlock", call).await
    }

    async fn put_tags(&self, cx: &ReconcileContext, tags: &Tags) -> Result<Applied, Fault> {
        let tagging = Tagging::builder()
            .set_tag_set(Some(sdk_tags(tags)?))
            .build()
            .map_err(Fault::of_sdk)?;
        let call = cx
            .account
            .s3(&self.spec.region)
            .put_bucket_tagging()
            .bucket(self.name());
        let call = call
            .tagging(tagging)
            .expected_bucket_owner(&self.account_id)
            .send();
        let tagged = self.put(cx, "PutBucketTagging", call).await?;
        cx.note_unsettled(self.id());
        Ok(tagged)
    }

    async fn put_cors(&self, cx: &ReconcileContext, rules: &[Cors]) -> Result<Applied, Fault> {
        let rules = rules.iter().map(Cors::sdk).collect::<Result<Vec<_>, _>>()?;
        let configuration = CorsConfiguration::builder()
            .set_cors_rules(Some(rules))
            .build()
            .map_err(Fault::of_sdk)?;
        let call = cx
            .account
            .s3(&self.spec.region)
            .put_bucket_cors()
            .bucket(self.name());
        let call = call
            .cors_configuration(configuration)
            .expected_bucket_owner(&self.account_id)
            .send();
        self.put(cx, "PutBucketCors", call).await
    }

    /// A change of the bucket's settings; one that we have just made may not be visible yet.
    async fn put<T, E>(
        &self,
        cx: &ReconcileContext,
        operation: &'static str,
        call: impl Future<
            Output = Result<
                T,
                aws_sdk_s3::error::SdkError<
                    E,
                    aws_smithy_runtime_api::client::orchestrator::HttpResponse,
                >,
            >,
        >,
    ) -> Result<Applied, Fault>
    where
        T: aws_sdk_s3::operation::RequestId,
        E: aws_smithy_types::error::metadata::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let answer = cx.call(Service::S3, operation, call).await;
        answer
            .map(|_| Applied::Done)
            .map_err(|error| cx.missing_after_create(&self.id(), error))
    }

    async fn see_tags(&self, cx: &ReconcileContext) -> Result<Tags, Fault> {
        let s3 = cx.account.s3(&self.spec.region);
        let call = s3
            .get_bucket_tagging()
            .bucket(self.name())
            .expected_bucket_owner(&self.account_id)
            .send();
        let answer = found(cx.call(Service::S3, "GetBucketTagging", call).await)?;
        Ok(answer
            .map(|a| {
                a.tag_set
                    .into_iter()
                    .map(|tag| (tag.key, tag.value))
                    .collect()
            })
            .unwrap_or_default())
    }

    /// The four settings, in the order of their document; none is set where there is no configuration.
    async fn see_block(&self, cx: &ReconcileContext) -> Result<[bool; 4], Fault> {
        let s3 = cx.account.s3(&self.spec.region);
        let call = s3
            .get_public_access_block()
            .bucket(self.name())
            .expected_bucket_owner(&self.account_id)
            .send();
        let answer = found(cx.call(Service::S3, "GetPublicAccessBlock", call).await)?;
        let settings = |c: PublicAccessBlockConfiguration| {
            [
                c.block_public_acls,
                c.ignore_public_acls,
                c.block_public_policy,
                c.restrict_public_buckets,
            ]
            .map(|set| set == Some(true))
        };
        Ok(answer
            .and_then(|a| a.public_access_block_configuration)
            .map(settings)
            .unwrap_or_default())
    }

    /// Without controls the writer of an object owns it (Amazon S3 User Guide, "Controlling ownership of objects").
    async fn see_ownership(&self, cx: &ReconcileContext) -> Result<ObjectOwnership, Fault> {
        let s3 = cx.account.s3(&self.spec.region);
        let call = s3
            .get_bucket_ownership_controls()
            .bucket(self.name())
            .expected_bucket_owner(&self.account_id)
            .send();
        let answer = found(
            cx.call(Service::S3, "GetBucketOwnershipControls", call)
                .await,
        )?;
        let rule = answer
            .and_then(|a| a.ownership_controls)
            .and_then(|controls| controls.rules.into_iter().next());
        Ok(rule.map_or(ObjectOwnership::ObjectWriter, |rule| rule.object_ownership))
    }

    async fn see_cors(&self, cx: &ReconcileContext) -> Result<Vec<Cors>, Fault> {
        let s3 = cx.account.s3(&self.spec.region);
        let call = s3
            .get_bucket_cors()
            .bucket(self.name())
            .expected_bucket_owner(&self.account_id)
            .send();
        let answer = found(cx.call(Service::S3, "GetBucketCors", call).await)?;
        Ok(answer
            .and_then(|a| a.cors_rules)
            .unwrap_or_default()
            .into_iter()
            .map(Cors::of_sdk)
            .collect())
    }

    /// Whether an untagged bucket of this account is what this very job made, where the answer to its
    /// create was lost: it was made while that create can have taken effect.
    async fn is_from_this_job(&self, cx: &ReconcileContext) -> Result<bool, Fault> {
        let Some(span) = cx.maybe_created_within(&self.id()) else {
            return Ok(false);
        };
        let listed_by = *span.end();
        // S3 tells whole seconds.
        let span = span.start().millis().div_euclid(1000)..=span.end().millis().div_euclid(1000);
        let mut token = None;
        loop {
            let call = cx
                .account
                .s3(&self.spec.region)
                .list_buckets()
                .prefix(self.name())
                .set_continuation_token(token)
                .send();
            let page = cx.call(Service::S3, "ListBuckets", call).await?;
            if let Some(bucket) = page
                .buckets()
                .iter()
                .find(|bucket| bucket.name() == Some(self.name()))
            {
                let made = bucket.creation_date().map(aws_smithy_types::DateTime::secs);
                return Ok(made.is_some_and(|made| span.contains(&made)));
            }
            token = page.continuation_token;
            if token.is_some() {
                continue;
            }
            // The list of buckets is eventually consistent (Amazon S3 User Guide, "Amazon S3 data consistency model").
            if cx.clock.now() < listed_by {
                return Err(Fault::Wait {
                    why: format!("Waiting for AWS to list {}.", self.id()),
                    after: cx.timing.poll_delay,
                });
            }
            return Ok(false);
        }
    }

    /// Whose the bucket is, and the first of what is in it.
    async fn see_to_delete(
        &self,
        cx: &ReconcileContext,
        region: Option<String>,
    ) -> Result<Observation<SeenBucket>, Fault> {
        let tags = self.see_tags(cx).await?;
        let made_by_us = ownership::is_created_by_app(cx, &self.id(), &tags);
        let seen = SeenBucket {
            region,
            tags: tags.clone(),
            made_by_us,
            ..SeenBucket::default()
        };
        match ownership::sort(cx, &self.id(), &tags, seen) {
            Observation::Ours(seen) if cx.want == Want::Released => Ok(Observation::Ours(seen)),
            Observation::Ours(mut seen) => {
                seen.contents = self.see_contents(cx).await?;
                Ok(Observation::Ours(seen))
            }
            foreign => Ok(foreign),
        }
    }

    async fn see_contents(&self, cx: &ReconcileContext) -> Result<Contents, Fault> {
        let s3 = cx.account.s3(&self.spec.region);
        let call = s3
            .list_object_versions()
            .bucket(self.name())
            .expected_bucket_owner(&self.account_id)
            .send();
        let page = cx.call(Service::S3, "ListObjectVersions", call).await?;
        let objects = page.versions().iter().map(|it| (it.key(), it.version_id()));
        let markers = page
            .delete_markers()
            .iter()
            .map(|it| (it.key(), it.version_id()));
        let versions = objects
            .chain(markers)
            .filter_map(|(key, id)| Some((key?.to_owned(), id.map(str::to_owned))))
            .collect();
        let call = s3
            .list_multipart_uploads()
            .bucket(self.name())
            .expected_bucket_owner(&self.account_id)
            .send();
        let uploads = cx.call(Service::S3, "ListMultipartUploads", call).await?;
        let uploads: Vec<_> = uploads
            .uploads()
            .iter()
            .filter_map(|it| Some((it.key()?.to_owned(), it.upload_id()?.to_owned())))
            .collect();
        Ok(Contents {
            versions,
            uploads,
            more: page.is_truncated() == Some(true),
        })
    }

    /// How many versions and delete markers are in it, their bytes, and whether these are all.
    async fn count(&self, cx: &ReconcileContext) -> Result<(usize, i64, bool), Fault> {
        let (mut versions, mut bytes) = (0, 0);
        let (mut key, mut version) = (None, None);
        for _ in 0..COUNTED_PAGES {
            let call = cx
                .account
                .s3(&self.spec.region)
                .list_object_versions()
                .bucket(self.name())
                .expected_bucket_owner(&self.account_id);
            let call = call
                .set_key_marker(key)
                .set_version_id_marker(version)
                .send();
            let page = cx.call(Service::S3, "ListObjectVersions", call).await?;
            versions += page.versions().len() + page.delete_markers().len();
            bytes += page
                .versions()
                .iter()
                .filter_map(aws_sdk_s3::types::ObjectVersion::size)
                .sum::<i64>();
            (key, version) = (page.next_key_marker, page.next_version_id_marker);
            if page.is_truncated != Some(true) {
                return Ok((versions, bytes, true));
            }
        }
        Ok((versions, bytes, false))
    }

    async fn delete_objects(
        &self,
        cx: &ReconcileContext,
        versions: &[(String, Option<String>)],
        more: bool,
    ) -> Result<Applied, Fault> {
        let object = |(key, id): &(String, Option<String>)| {
            ObjectIdentifier::builder()
                .key(key)
                .set_version_id(id.clone())
                .build()
        };
        let objects = versions
            .iter()
            .map(object)
            .collect::<Result<Vec<_>, _>>()
            .map_err(Fault::of_sdk)?;
        let delete = Delete::builder()
            .set_objects(Some(objects))
            .quiet(true)
            .build()
            .map_err(Fault::of_sdk)?;
        let call = cx
            .account
            .s3(&self.spec.region)
            .delete_objects()
            .bucket(self.name())
            .delete(delete);
        let answer = cx
            .call(
                Service::S3,
                "DeleteObjects",
                call.expected_bucket_owner(&self.account_id).send(),
            )
            .await?;
        let refused: Vec<AwsError> = answer
            .errors()
            .iter()
            .map(|error| self.refused(cx, error))
            .collect();
        if let Some(error) = refused
            .iter()
            .find(|error| !matches!(error.kind, ErrorKind::Transient | ErrorKind::Throttled))
        {
            return Err(not_deleted(error.clone()));
        }
        if let Some(error) = refused.first() {
            return Err(Fault::Wait {
                why: format!("S3 returned {}. Slipway tries again.", error.code),
                after: cx.timing.poll_delay,
            });
        }
        Ok(if more { Applied::More } else { Applied::Done })
    }

    fn refused(&self, cx: &ReconcileContext, error: &aws_sdk_s3::types::Error) -> AwsError {
        let (key, code) = (
            error.key().unwrap_or_default(),
            error.code().unwrap_or_default(),
        );
        let message = format!(
            "{key} in bucket {}: {}",
            self.name(),
            error.message().unwrap_or_default()
        );
        cx.account
            .error_of_part(Service::S3, "DeleteObjects", code, message)
    }

    async fn abort_upload(
        &self,
        cx: &ReconcileContext,
        key: &str,
        upload: &str,
    ) -> Result<Applied, Fault> {
        let call = cx
            .account
            .s3(&self.spec.region)
            .abort_multipart_upload()
            .bucket(self.name())
            .key(key)
            .upload_id(upload);
        let call = call.expected_bucket_owner(&self.account_id).send();
        Applied::gone(cx.call(Service::S3, "AbortMultipartUpload", call).await)
    }

    async fn delete(&self, cx: &ReconcileContext) -> Result<Applied, Fault> {
        let call = cx
            .account
            .s3(&self.spec.region)
            .delete_bucket()
            .bucket(self.name());
        let answer = cx
            .call(
                Service::S3,
                "DeleteBucket",
                call.expected_bucket_owner(&self.account_id).send(),
            )
            .await;
        cx.deleted(&self.id(), answer, "Stop all writes to the bucket")
    }

    /// The fault of a HEAD that answered 403: a call whose refusals have a body tells whether it is the
    /// credentials, or the bucket.
    async fn why_denied(&self, cx: &ReconcileContext, error: &AwsError) -> Fault {
        let s3 = cx.account.s3(&self.spec.region);
        let call = s3
            .get_bucket_tagging()
            .bucket(self.name())
            .expected_bucket_owner(&self.account_id)
            .send();
        match cx.call(Service::S3, "GetBucketTagging", call).await {
            Err(told) if matches!(told.kind, ErrorKind::Denied | ErrorKind::Rejected) => {
                self.not_ours(error)
            }
            Err(told) if told.kind != ErrorKind::NotFound => told.into(),
            // This account's: the role may not look at it.
            _ => error.clone().into(),
        }
    }

    fn not_ours(&self, error: &AwsError) -> Fault {
        Fault::Rejected(JobError {
            code: JobErrorCode::Conflict,
            detail: format!("Bucket {} exists, but S3 denies the service access to it.", self.name()),
            remedy: Some(
                "The bucket probably belongs to another AWS account. Bucket names are globally unique, so choose another name. If the bucket belongs to this account, allow s3:ListBucket in the policy of the service's role."
                    .into(),
            ),
            retryable: false,
            aws: Some(error.refusal()),
        })
    }

    fn elsewhere(&self, region: &str) -> Fault {
        Fault::Rejected(JobError {
            code: JobErrorCode::Conflict,
            detail: format!(
                "Bucket {} already exists in {region}, not in {}.",
                self.name(),
                self.spec.region
            ),
            remedy: Some(
                "Specify the region of the bucket, or choose another name. A bucket cannot be moved to another region."
                    .into(),
            ),
            retryable: false,
            aws: None,
        })
    }
}

/// The fault of an object that S3 keeps. S3 denies also the deletion of an object that is locked.
fn not_deleted(error: AwsError) -> Fault {
    const LOCKED: &str =
        "Remove the object lock or the bucket policy that protects the object, then retry the job.";
    match Fault::from(error) {
        Fault::Blocked(job_error) => {
            let remedy = job_error
                .remedy
                .as_deref()
                .map_or_else(|| LOCKED.to_owned(), |remedy| format!("{remedy} {LOCKED}"));
            Fault::Blocked(JobError {
                remedy: Some(remedy),
                ..job_error
            })
        }
        Fault::Rejected(job_error) => Fault::Blocked(JobError {
            remedy: Some(LOCKED.into()),
            ..job_error
        }),
        fault => fault,
    }
}

impl Cors {
    fn of_sdk(rule: CorsRule) -> Self {
        Self {
            origins: rule.allowed_origins,
            headers: rule.allowed_headers.unwrap_or_default(),
            methods: rule.allowed_methods,
            exposed: rule.expose_headers.unwrap_or_default(),
            max_age: rule.max_age_seconds,
            id: rule.id,
        }
    }

    fn sdk(&self) -> Result<CorsRule, Fault> {
        let filled = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        CorsRule::builder()
            .set_allowed_origins(Some(self.origins.clone()))
            .set_allowed_headers(filled(&self.headers))
            .set_allowed_methods(Some(self.methods.clone()))
            .set_expose_headers(filled(&self.exposed))
            .set_max_age_seconds(self.max_age)
            .set_id(self.id.clone())
            .build()
            .map_err(Fault::of_sdk)
    }

    /// Whether two rules allow the same: the order within a list and the rule's id do not count.
    fn same(&self, other: &Self) -> bool {
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort();
            list
        };
        let comparable = |rule: &Self| {
            (
                sorted(&rule.origins),
                sorted(&rule.headers),
                sorted(&rule.methods),
                sorted(&rule.exposed),
                rule.max_age,
            )
        };
        comparable(self) == comparable(other)
    }
}

/// Whether two lists of rules allow the same; the first rule that matches decides, so their order counts.
fn same_cors(a: &[Cors], b: &[Cors]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
}

fn sdk_tags(tags: &Tags) -> Result<Vec<Tag>, Fault> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(Fault::of_sdk)
}

fn public_access_block_document([acls, ignore, policy, restrict]: [bool; 4]) -> Value {
    json!({"BlockPublicAcls": acls, "IgnorePublicAcls": ignore, "BlockPublicPolicy": policy, "RestrictPublicBuckets": restrict})
}

fn cors_document(rules: &[Cors]) -> Value {
    let rule = |rule: &Cors| {
        let mut document = json!({"AllowedOrigins": rule.origins, "AllowedMethods": rule.methods});
        if !rule.headers.is_empty() {
            document["AllowedHeaders"] = json!(rule.headers);
        }
        if !rule.exposed.is_empty() {
            document["ExposeHeaders"] = json!(rule.exposed);
        }
        if let Some(seconds) = rule.max_age {
            document["MaxAgeSeconds"] = json!(seconds);
        }
        if let Some(id) = &rule.id {
            document["ID"] = json!(id);
        }
        document
    };
    json!({"CORSRules": rules.iter().map(rule).collect::<Vec<_>>()})
}

impl Bucket {
    /// What a person should know of a bucket that somebody has opened.
    fn told_openings(&self, seen: &SeenBucket) -> impl Iterator<Item = String> {
        let name = self.name();
        let open = (!seen.blocked).then(|| {
            format!("Public access to bucket {name} is not blocked. To block it, repair the app.")
        });
        let acls = (!seen.owner_enforced).then(|| {
            format!("ACLs are enabled on bucket {name}. To disable them, repair the app.")
        });
        open.into_iter().chain(acls)
    }
}

impl Cors {
    /// The rule as a block of `aws_s3_bucket_cors_configuration`.
    fn hcl(&self) -> hcl::Block {
        let lists = [
            ("allowed_origins", &self.origins),
            ("allowed_methods", &self.methods),
            ("allowed_headers", &self.headers),
            ("expose_headers", &self.exposed),
        ];
        let mut block = hcl::Block::builder("cors_rule");
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            block = block.add_attribute((name, list.clone()));
        }
        if let Some(seconds) = self.max_age {
            block = block.add_attribute(("max_age_seconds", seconds));
        }
        if let Some(id) = &self.id {
            block = block.add_attribute(("id", id.as_str()));
        }
        block.build()
    }

    /// The rule as CloudFormation has it, whose names are not those of S3.
    fn template(&self) -> Value {
        let lists = [
            ("AllowedOrigins", &self.origins),
            ("AllowedMethods", &self.methods),
        ];
        let optional = [
            ("AllowedHeaders", &self.headers),
            ("ExposedHeaders", &self.exposed),
        ];
        let mut rule: serde_json::Map<String, Value> = lists
            .map(|(name, list)| (name.to_owned(), json!(list)))
            .into_iter()
            .collect();
        rule.extend(
            optional
                .into_iter()
                .filter(|(_, list)| !list.is_empty())
                .map(|(name, list)| (name.to_owned(), json!(list))),
        );
        rule.extend(
            self.max_age
                .map(|seconds| ("MaxAge".to_owned(), json!(seconds))),
        );
        rule.extend(self.id.as_ref().map(|id| ("Id".to_owned(), json!(id))));
        Value::Object(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::Origin;
    use proptest::prelude::*;

    fn bucket(origins: &[&str]) -> Bucket {
        Bucket {
            spec: BucketSpec {
                name: BucketName::parse("acme-media").unwrap(),
                region: Region::parse("us-west-2").unwrap(),
                upload_origins: origins.iter().map(|o| Origin::parse(o).unwrap()).collect(),
            },
            tags: [("slipway:app", "acme"), ("slipway:installation", "one")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            account_id: "123456789012".into(),
            partition: "aws".into(),
        }
    }

    /// What S3 would hold after the changes.
    fn after(seen: Option<&SeenBucket>, changes: &[BucketChange]) -> SeenBucket {
        let mut bucket = seen.cloned().unwrap_or_default();
        for change in changes {
            match change {
                BucketChange::Create(_, _, tags) => {
                    bucket.tags = tags.clone();
                    bucket.made_by_us = true;
                    bucket.owner_enforced = true;
                }
                BucketChange::EnforceOwnership(..) => bucket.owner_enforced = true,
                BucketChange::BlockPublicAccess(..) => bucket.blocked = true,
                BucketChange::Tag { after, .. } => bucket.tags = after.clone(),
                BucketChange::SetCors { after, .. } => bucket.cors = after.clone(),
                BucketChange::DeleteObjects { .. }
                | BucketChange::AbortUpload { .. }
                | BucketChange::Delete(_) => {
                    panic!("{change}: nothing is removed on the way to what is wanted")
                }
            }
        }
        bucket
    }

    fn a_rule() -> impl Strategy<Value = Cors> {
        let words = || proptest::collection::vec("[a-c]", 1..3);
        (
            words(),
            words(),
            words(),
            words(),
            proptest::option::of(0..3),
        )
            .prop_map(|(origins, headers, methods, exposed, max_age)| Cors {
                origins,
                headers,
                methods,
                exposed,
                max_age,
                id: None,
            })
    }

    fn seen() -> impl Strategy<Value = Option<SeenBucket>> {
        let tags = proptest::collection::btree_map("[a-c]", "[a-c]", 0..3);
        let seen = (
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            tags,
            proptest::collection::vec(a_rule(), 0..3),
        );
        proptest::option::of(
            seen.prop_map(|(ours, blocked, owner_enforced, mut tags, cors)| {
                if ours {
                    tags.insert("slipway:app".into(), "acme".into());
                }
                SeenBucket {
                    tags,
                    made_by_us: ours,
                    blocked,
                    owner_enforced,
                    cors,
                    ..SeenBucket::default()
                }
            }),
        )
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_plan_after_a_plan(seen in seen()) {
            let bucket = bucket(&["https://acme.example"]);
            let changes = bucket.plan(seen.as_ref()).unwrap().changes;
            let after = after(seen.as_ref(), &changes);
            prop_assert!(bucket.plan(Some(&after)).unwrap().changes.is_empty());
        }

        #[test]
        fn adoption_keeps_every_rule_and_tag(seen in seen()) {
            let Some(seen) = seen else { return Ok(()) };
            prop_assume!(!seen.tags.contains_key("slipway:app"));
            let bucket = bucket(&["https://acme.example"]);
            let after = after(Some(&seen), &bucket.plan(Some(&seen)).unwrap().changes);
            prop_assert!(seen.cors.iter().all(|rule| after.cors.iter().any(|kept| kept.same(rule))));
            prop_assert!(seen.tags.iter().all(|(key, value)| after.tags.get(key) == Some(value)));
        }

        #[test]
        fn the_public_is_locked_out_before_anything_opens(seen in seen()) {
            let changes = bucket(&["https://acme.example"]).plan(seen.as_ref()).unwrap().changes;
            let at = |wanted: fn(&BucketChange) -> bool| changes.iter().position(wanted);
            if let (Some(block), Some(cors)) = (at(|c| matches!(c, BucketChange::BlockPublicAccess(..))), at(|c| matches!(c, BucketChange::SetCors { .. }))) {
                prop_assert!(block < cors);
            }
        }
    }

    #[test]
    fn the_guides_two_rules() {
        let changes = bucket(&["https://acme-shop.herokuapp.com"])
            .plan(None)
            .unwrap()
            .changes;
        assert_eq!(changes.len(), 3);
        assert_eq!(
            changes[2].after().unwrap(),
            json!({"CORSRules": [
                {"AllowedOrigins": ["*"], "AllowedHeaders": ["Authorization"], "AllowedMethods": ["GET"], "MaxAgeSeconds": 3000},
                {"AllowedOrigins": ["https://acme-shop.herokuapp.com"], "AllowedHeaders": ["*"],
                 "AllowedMethods": ["PUT", "POST", "DELETE"], "ExposeHeaders": ["x-amz-server-side-encryption", "ETag"],
                 "MaxAgeSeconds": 3000},
            ]})
        );
        assert_eq!(bucket(&[]).wanted_cors().len(), 1, "nobody uploads");
    }
}

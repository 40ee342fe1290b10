//! Observes, plans and applies buckets.

use aws_sdk_s3::types::ObjectOwnership;
use serde_json::{Value, json};

use super::change::{BucketChange, public_access_block_document};
use super::cors::same_cors;
use super::state::{Bucket, Contents, Cors, SeenBucket};
use crate::aws::{ErrorKind, Service};
use crate::domain::job::JobResult;
use crate::domain::names::BucketName;
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Dropped;
use crate::domain::spec::{AppSpec, BucketSpec, TAG_PREFIX};
use crate::domain::task::Data;
use crate::provision::change::{Applied, Changes, Observation, Want, counted};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::ids;
use crate::provision::ownership;
use crate::provision::permission::{Permission, Scope};
use crate::provision::render::dotenv::Variables;
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;
use crate::provision::tags::{self};

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
    const VARIABLES: Option<Variables> = Some(Variables {
        first: "S3_BUCKET",
        all: "S3_BUCKETS",
    });

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

    fn variable(&self, _c: &Conventions) -> Option<String> {
        Some(self.spec.name.to_string())
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
            // The response to a HEAD has no body: 403 means a bucket of another account, or one that the role may not read.
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

    /// Empties the bucket part by part, then deletes it. An adopted bucket is released instead, unless the request names it.
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
    /// Warnings about settings that open the bucket to the public.
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

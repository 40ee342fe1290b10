//! Creates a bucket and reads and sets its tags, ownership, public access block and CORS rules.

use aws_config::retry::RetryConfig;
use aws_sdk_s3::operation::get_bucket_tagging::GetBucketTaggingOutput;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CorsConfiguration, CreateBucketConfiguration, ObjectOwnership,
    OwnershipControls, OwnershipControlsRule, PublicAccessBlockConfiguration, Tag, Tagging,
};

use super::state::{Bucket, Cors};
use crate::aws::{AwsError, CacheKey, ErrorKind, Service};
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::names::Region;
use crate::provision::change::Applied;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::{Fault, found};
use crate::provision::resource::Resource;
use crate::provision::tags::Tags;

fn sdk_tags(tags: &Tags) -> Result<Vec<Tag>, Fault> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(Fault::of_sdk)
}

impl Bucket {
    pub(super) async fn create(
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
        // With one attempt, "already owned by you" means that the bucket existed before this call.
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

    /// Sets the tags if the create did not. Not every partition accepts tags with CreateBucket, which is observed once.
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

    pub(super) async fn enforce_ownership(&self, cx: &ReconcileContext) -> Result<Applied, Fault> {
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

    pub(super) async fn block_public_access(
        &self,
        cx: &ReconcileContext,
    ) -> Result<Applied, Fault> {
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

    pub(super) async fn put_tags(
        &self,
        cx: &ReconcileContext,
        tags: &Tags,
    ) -> Result<Applied, Fault> {
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

    pub(super) async fn put_cors(
        &self,
        cx: &ReconcileContext,
        rules: &[Cors],
    ) -> Result<Applied, Fault> {
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

    /// Makes a call that changes a setting. AWS may not show a bucket yet that was created just now.
    pub(super) async fn put<T, E>(
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

    async fn get_tagging(&self, cx: &ReconcileContext) -> Result<GetBucketTaggingOutput, AwsError> {
        let s3 = cx.account.s3(&self.spec.region);
        let call = s3
            .get_bucket_tagging()
            .bucket(self.name())
            .expected_bucket_owner(&self.account_id)
            .send();
        cx.call(Service::S3, "GetBucketTagging", call).await
    }

    pub(super) async fn see_tags(&self, cx: &ReconcileContext) -> Result<Tags, Fault> {
        Ok(found(self.get_tagging(cx).await)?
            .map(|a| {
                a.tag_set
                    .into_iter()
                    .map(|tag| (tag.key, tag.value))
                    .collect()
            })
            .unwrap_or_default())
    }

    /// The four settings in the order of the API. Without a configuration, none is set.
    pub(super) async fn see_block(&self, cx: &ReconcileContext) -> Result<[bool; 4], Fault> {
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

    /// Without ownership controls, the writer of an object owns it (Amazon S3 User Guide, "Controlling ownership of objects").
    pub(super) async fn see_ownership(
        &self,
        cx: &ReconcileContext,
    ) -> Result<ObjectOwnership, Fault> {
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

    pub(super) async fn see_cors(&self, cx: &ReconcileContext) -> Result<Vec<Cors>, Fault> {
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

    /// Whether this job created an untagged bucket of this account and lost the response: the bucket was created while
    /// that call can have taken effect.
    pub(super) async fn is_from_this_job(&self, cx: &ReconcileContext) -> Result<bool, Fault> {
        let Some(span) = cx.maybe_created_within(&self.id()) else {
            return Ok(false);
        };
        let listed_by = *span.end();
        // S3 reports whole seconds.
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

    /// The fault of a HEAD that returned 403. The error of another call, which has a body, shows whether AWS denies the
    /// credentials or the access to the bucket.
    pub(super) async fn why_denied(&self, cx: &ReconcileContext, error: &AwsError) -> Fault {
        match self.get_tagging(cx).await {
            Err(told) if matches!(told.kind, ErrorKind::Denied | ErrorKind::Rejected) => {
                self.not_ours(error)
            }
            Err(told) if told.kind != ErrorKind::NotFound => told.into(),
            // The bucket is this account's, and the role may not read it.
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

    pub(super) fn elsewhere(&self, region: &str) -> Fault {
        Fault::Rejected(JobError::new(
            JobErrorCode::Conflict,
            format!(
                "Bucket {} already exists in {region}, not in {}.",
                self.name(),
                self.spec.region
            ),
            "Specify the region of the bucket, or choose another name. A bucket cannot be moved to another region.",
        ))
    }
}

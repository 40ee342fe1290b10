//! The contents of a bucket: counted for plans that delete the bucket, and deleted before it.

use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use super::state::{Bucket, Contents, SeenBucket};
use crate::aws::{AwsError, ErrorKind, Service};
use crate::domain::job::JobError;
use crate::provision::change::{Applied, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::ownership;
use crate::provision::resource::Resource;

/// The maximum number of pages, of 1,000 versions each, that a plan counts: a person waits for the response.
const COUNTED_PAGES: usize = 100;

/// The fault of an object that S3 does not delete. S3 also denies the deletion of a locked object.
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

impl Bucket {
    /// Observes who owns the bucket, and the first part of its contents.
    pub(super) async fn see_to_delete(
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

    /// Counts the versions and delete markers and their bytes. Also returns whether the count is complete.
    pub(super) async fn count(&self, cx: &ReconcileContext) -> Result<(usize, i64, bool), Fault> {
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

    pub(super) async fn delete_objects(
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

    pub(super) async fn abort_upload(
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

    pub(super) async fn delete(&self, cx: &ReconcileContext) -> Result<Applied, Fault> {
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
}

//! Reads a repository: its lifecycle policy, its images, and the AWS preview of a policy.
//!
//! Invariants:
//! - Nothing here changes a repository or its images.
//! - A preview counts only if it is complete and of the requested policy: AWS keeps one
//!   preview for each repository, whoever requests it.

use aws_sdk_ecr::operation::get_lifecycle_policy_preview::GetLifecyclePolicyPreviewOutput;
use aws_sdk_ecr::types::{
    DescribeImagesFilter, ImageActionType, ImageDetail, ImageStatus, ImageStatusFilter,
    LifecyclePolicyPreviewResult, LifecyclePolicyPreviewStatus,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::aws::{Account, AwsError, ErrorKind, Service};
use crate::domain::ecr_lifecycle::{Image, LifecyclePolicy};
use crate::domain::names::{Region, RepositoryName};
use crate::provision::timing::Timing;

/// Images on a page: as many as AWS gives (Amazon ECR API Reference, `DescribeImages`, `maxResults`).
const PAGE: i32 = 1000;
/// The same of a preview (Amazon ECR API Reference, `GetLifecyclePolicyPreview`, `maxResults`).
const PREVIEW_PAGE: i32 = 100;
/// The number of polls until a preview must be complete.
const LOOKS: u32 = 5;

/// A region's repositories in an account, to look at.
pub struct Registry<'a> {
    account: &'a Account,
    region: &'a Region,
    timing: Timing,
}

/// Why there is no AWS preview.
#[derive(Debug, thiserror::Error)]
pub enum NoPreview {
    /// AWS rejected the request, because another preview runs or the role lacks the permission.
    #[error("{0}")]
    Refused(#[from] AwsError),
    /// The preview did not complete in time.
    #[error("the AWS preview did not complete in time")]
    TooSlow,
    /// The preview ended without a result.
    #[error("the AWS preview ended with status {0}")]
    AttemptResult(String),
    /// The preview is of another policy.
    #[error("another preview replaced the AWS preview")]
    OfAnother,
}

impl<'a> Registry<'a> {
    /// The repositories of `account` in `region`.
    pub fn new(account: &'a Account, region: &'a Region, timing: Timing) -> Self {
        Self {
            account,
            region,
            timing,
        }
    }

    /// A repository's lifecycle policy, if it and the repository are there: its document, or its text where
    /// that is no JSON.
    ///
    /// # Errors
    /// What AWS refused.
    pub async fn policy(&self, repository: &RepositoryName) -> Result<Option<Value>, AwsError> {
        let call = self
            .account
            .ecr(self.region)
            .get_lifecycle_policy()
            .repository_name(repository.as_str())
            .send();
        let answer = found(self.call("GetLifecyclePolicy", call).await)?;
        let text = answer.map(|answer| answer.lifecycle_policy_text.unwrap_or_default());
        Ok(text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// A repository's images, also archived ones, if it is there. Reads no further page once it has more
    /// than `most`.
    ///
    /// # Errors
    /// What AWS refused.
    pub async fn images(
        &self,
        repository: &RepositoryName,
        most: usize,
    ) -> Result<Option<Vec<Image>>, AwsError> {
        // Without a filter AWS leaves out what is archived.
        let all = DescribeImagesFilter::builder()
            .image_status(ImageStatusFilter::Any)
            .build();
        let ask = self
            .account
            .ecr(self.region)
            .describe_images()
            .repository_name(repository.as_str())
            .filter(all)
            .max_results(PAGE);
        let mut images = Vec::new();
        let mut token = None;
        loop {
            let page = found(
                self.call("DescribeImages", ask.clone().set_next_token(token).send())
                    .await,
            )?;
            let Some(page) = page else { return Ok(None) };
            images.extend(
                page.image_details
                    .unwrap_or_default()
                    .into_iter()
                    .map(image_of_detail),
            );
            token = page.next_token;
            if token.is_none() || images.len() > most {
                return Ok(Some(images));
            }
        }
    }

    /// The images that AWS says a policy would expire, if it says so in a few seconds.
    ///
    /// # Errors
    /// Why there is no preview.
    pub async fn preview(
        &self,
        repository: &RepositoryName,
        policy: &LifecyclePolicy,
    ) -> Result<Vec<Image>, NoPreview> {
        timeout(self.timing.answer, self.previewed(repository, policy))
            .await
            .unwrap_or(Err(NoPreview::TooSlow))
    }

    async fn previewed(
        &self,
        repository: &RepositoryName,
        policy: &LifecyclePolicy,
    ) -> Result<Vec<Image>, NoPreview> {
        let start = self
            .account
            .ecr(self.region)
            .start_lifecycle_policy_preview()
            .repository_name(repository.as_str());
        self.call(
            "StartLifecyclePolicyPreview",
            start.lifecycle_policy_text(policy.to_document()).send(),
        )
        .await?;
        for _ in 0..LOOKS {
            sleep(self.timing.poll_delay).await;
            let page = self.preview_page(repository, None).await?;
            match &page.status {
                Some(LifecyclePolicyPreviewStatus::Complete) => {
                    return self.results(repository, policy, page).await;
                }
                Some(LifecyclePolicyPreviewStatus::InProgress) | None => {}
                Some(status) => return Err(NoPreview::AttemptResult(status.to_string())),
            }
        }
        Err(NoPreview::TooSlow)
    }

    /// What expires by a complete preview, of which this is the first page.
    async fn results(
        &self,
        repository: &RepositoryName,
        policy: &LifecyclePolicy,
        mut page: GetLifecyclePolicyPreviewOutput,
    ) -> Result<Vec<Image>, NoPreview> {
        let mut expiring = Vec::new();
        loop {
            let previewed = page
                .lifecycle_policy_text
                .as_deref()
                .and_then(|text| serde_json::from_str::<LifecyclePolicy>(text).ok());
            if !previewed.is_some_and(|previewed| previewed.same_meaning(policy)) {
                return Err(NoPreview::OfAnother);
            }
            expiring.extend(
                page.preview_results
                    .unwrap_or_default()
                    .into_iter()
                    .filter(expires)
                    .map(image_of_result),
            );
            let Some(token) = page.next_token else {
                return Ok(expiring);
            };
            page = self.preview_page(repository, Some(token)).await?;
        }
    }

    async fn preview_page(
        &self,
        repository: &RepositoryName,
        token: Option<String>,
    ) -> Result<GetLifecyclePolicyPreviewOutput, AwsError> {
        let call = self
            .account
            .ecr(self.region)
            .get_lifecycle_policy_preview()
            .repository_name(repository.as_str());
        self.call(
            "GetLifecyclePolicyPreview",
            call.max_results(PREVIEW_PAGE).set_next_token(token).send(),
        )
        .await
    }

    async fn call<T, E>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let call = Box::pin(call);
        self.account
            .acquire(Service::Ecr, operation, self.timing.turn)
            .await?;
        self.account
            .call_at_once(Service::Ecr, operation, self.timing.turn, call)
            .await
    }
}

/// What was found, if it is there.
fn found<T>(answer: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match answer {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        answer => answer.map(Some),
    }
}

fn image_of_detail(detail: ImageDetail) -> Image {
    let is_archived = detail.image_status == Some(ImageStatus::Archived);
    Image {
        digest: detail.image_digest.unwrap_or_default(),
        tags: detail.image_tags.unwrap_or_default(),
        pushed_at_ms: millis(detail.image_pushed_at).unwrap_or_default(),
        last_pulled_at_ms: millis(detail.last_recorded_pull_time),
        last_activated_at_ms: millis(detail.last_activated_at),
        archived_at_ms: millis(detail.last_archived_at).filter(|_| is_archived),
    }
}

fn expires(result: &LifecyclePolicyPreviewResult) -> bool {
    result
        .action
        .as_ref()
        .and_then(|action| action.r#type.as_ref())
        == Some(&ImageActionType::Expire)
}

fn image_of_result(result: LifecyclePolicyPreviewResult) -> Image {
    Image {
        digest: result.image_digest.unwrap_or_default(),
        tags: result.image_tags.unwrap_or_default(),
        pushed_at_ms: millis(result.image_pushed_at).unwrap_or_default(),
        ..Image::default()
    }
}

fn millis(at: Option<DateTime>) -> Option<i64> {
    at.and_then(|at| at.to_millis().ok())
}

//! Simulates an ECR lifecycle policy: which images it would expire.

use serde_json::Value;

use crate::app::error::UseCaseError;
use crate::app::onboard::account_named;
use crate::app::scope::require_account;
use crate::app::service::Service;
use crate::aws::MAX_THROTTLE_WAIT;
use crate::domain::ecr_lifecycle::simulation::{MAX_IMAGES, Simulation, SimulationRequest};
use crate::domain::ecr_lifecycle::{Image, LifecyclePolicy};
use crate::domain::names::{AccountName, Region, RepositoryName};
use crate::domain::resource_id::ResourceId;
use crate::domain::scope::Scope;
use crate::domain::validation::FieldError;
use crate::provision::repository_contents::look;
use crate::provision::timing::Timing;

/// Simulates the policy in `body` on the images in `body`, or on those of a repository.
///
/// # Errors
/// When the body has invalid fields, or the repository does not exist or cannot be read.
pub async fn simulate(
    service: &Service,
    scope: &Scope,
    body: &Value,
) -> Result<Simulation, UseCaseError> {
    let now = service.clock.now();
    let name = body.pointer("/repository/account");
    require_no_other_account(scope, name)?;
    let account = account_named(service, name).await?;
    let account = account.as_ref().unwrap_or(service.own_account());
    let request = SimulationRequest::parse(body, &service.place(account), now)
        .map_err(UseCaseError::Fields)?;
    let (policy, images) = match request {
        SimulationRequest::Images { policy, images } => (policy, images),
        SimulationRequest::Repository {
            policy,
            account,
            region,
            name,
        } => {
            require_repository(service, scope, &account, &region, &name).await?;
            repository(service, policy, &account, &region, &name).await?
        }
    };
    Ok(Simulation::of(policy, images, now))
}

/// Fails as if the account had no repository, if the account is outside the scope.
fn require_no_other_account(scope: &Scope, name: Option<&Value>) -> Result<(), UseCaseError> {
    match name {
        Some(_) => require_account(scope, name).map_err(|_| UseCaseError::NoSuch("repository")),
        None => Ok(()),
    }
}

/// Fails as if the repository did not exist, unless it is that of an app within the scope.
async fn require_repository(
    service: &Service,
    scope: &Scope,
    account: &AccountName,
    region: &Region,
    name: &RepositoryName,
) -> Result<(), UseCaseError> {
    let resource = ResourceId::new("ecr:repository", format!("{region}/{name}"));
    if scope.is_all()
        || service
            .store
            .has_resource(scope, account, &resource)
            .await?
    {
        Ok(())
    } else {
        Err(UseCaseError::NoSuch("repository"))
    }
}

/// The images of a repository, and its own policy unless another is given.
async fn repository(
    service: &Service,
    policy: Option<LifecyclePolicy>,
    account: &AccountName,
    region: &Region,
    name: &RepositoryName,
) -> Result<(LifecyclePolicy, Vec<Image>), UseCaseError> {
    let no_account = || {
        invalid(
            "/repository/account",
            format!("No account is registered as {account}."),
        )
    };
    let account = service.account(account).await?.ok_or_else(no_account)?;
    let timing = Timing {
        turn: MAX_THROTTLE_WAIT,
        ..service.timing
    };
    let seen = look(&account, region, name, MAX_IMAGES, timing)
        .await?
        .ok_or(UseCaseError::NoSuch("repository"))?;
    if seen.images.len() > MAX_IMAGES {
        return Err(invalid(
            "/repository/name",
            format!("has more than {MAX_IMAGES} images, the maximum for a simulation"),
        ));
    }
    let policy = match policy {
        Some(policy) => policy,
        None => own_policy(seen.policy.as_ref())?,
    };
    Ok((policy, seen.images))
}

fn own_policy(document: Option<&Value>) -> Result<LifecyclePolicy, UseCaseError> {
    let document = document.ok_or_else(|| {
        invalid(
            "/policy",
            "is required: the repository has no lifecycle policy".into(),
        )
    })?;
    LifecyclePolicy::parse(document).map_err(|problems| {
        let first = problems
            .first()
            .map(|problem| format!(": {} {}", problem.pointer, problem.message))
            .unwrap_or_default();
        invalid(
            "/policy",
            format!("is required: the repository's own policy cannot be parsed{first}"),
        )
    })
}

fn invalid(pointer: &str, message: String) -> UseCaseError {
    UseCaseError::Fields(vec![FieldError::new(pointer, message)])
}

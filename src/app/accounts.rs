//! Registers, verifies and changes the accounts that apps live in.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::tokens::random_hex;
use crate::aws::assumed_role::{Session, SessionLabel, assume, registered_account};
use crate::aws::{Account, AwsError, ErrorKind};
use crate::clock::Timestamp;
use crate::domain::account::{
    AccountDefaults, AccountState, CheckOutcome, RegisteredAccount, VerificationReport,
    parse_registration, parse_update,
};
use crate::domain::names::AccountName;
use crate::domain::spec::default_account;
use crate::provision::preflight::missing_actions;
use crate::provision::render::bootstrap::{Bootstrap, BootstrapFormat};
use crate::store::{AccountCheckResult, Refusal, StoreError};

/// An account that apps can live in.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountView {
    /// The name by which specs refer to the account.
    pub name: AccountName,
    /// The AWS account ID.
    #[schema(example = "222222222222")]
    pub account_id: String,
    /// The role that Slipway assumes. Absent for the account of the service itself.
    #[schema(example = "arn:aws:iam::222222222222:role/SlipwayAccess")]
    pub role_arn: Option<String>,
    /// What the trust policy of the role has to require. It is not secret. Absent for the account of the service
    /// itself.
    #[schema(example = "slipway-5f1c0d6f0b7e4b0f9b8a7d6c5e4f3a2b")]
    pub external_id: Option<String>,
    /// The region of apps that name none.
    #[schema(example = "us-west-2")]
    pub region: Option<String>,
    /// Defaults of the account, over those of the settings.
    #[schema(value_type = AccountDefaults)]
    pub defaults: Map<String, Value>,
    /// Whether the account can be used.
    pub state: AccountState,
    /// Why the account is blocked or unreachable.
    pub reason: Option<String>,
    /// The account alias, as last read.
    #[schema(example = "acme")]
    pub alias: Option<String>,
    /// The number of apps in the account.
    #[schema(example = 3)]
    pub apps: i64,
    /// When the account was last checked.
    pub checked_at: Option<Timestamp>,
    /// The token that registered the account.
    pub created_by: Option<String>,
    /// When the account was registered.
    pub created_at: Option<Timestamp>,
}

/// All accounts: the service's own first, then the registered ones by name.
///
/// # Errors
/// When the database is not available.
pub async fn list_accounts(service: &Service) -> Result<Vec<AccountView>, UseCaseError> {
    let apps = service.store.apps_by_account().await?;
    let count = |name: &AccountName| {
        let known = apps.iter().find(|(account, _)| account == name);
        known.map_or(0, |(_, apps)| *apps)
    };
    let registered = service.store.registered_accounts().await?;
    let own = own_account(service, count(&default_account()));
    let views = registered.into_iter().map(|account| {
        let apps = count(&account.name);
        view(account, apps)
    });
    Ok([own].into_iter().chain(views).collect())
}

/// The account by this name.
///
/// # Errors
/// When no account is registered under the name.
pub async fn get_account(
    service: &Service,
    name: &AccountName,
) -> Result<AccountView, UseCaseError> {
    let apps = service.store.apps_in_account(name).await?;
    if *name == default_account() {
        return Ok(own_account(service, apps));
    }
    Ok(view(registered(service, name).await?, apps))
}

/// Registers the account that `body` describes, with an external ID of its own.
///
/// # Errors
/// When the body has invalid fields, or the name or the AWS account is registered already.
pub async fn register_account(
    service: &Service,
    by: &str,
    body: &Value,
) -> Result<AccountView, UseCaseError> {
    let place = service.place(service.own_account());
    let (name, account_id, settings) = parse_registration(body, &service.settings.defaults, &place)
        .map_err(UseCaseError::Fields)?;
    let account = RegisteredAccount {
        name,
        account_id,
        settings,
        external_id: new_external_id()?,
        state: AccountState::Pending,
        reason: None,
        alias: None,
        checked_at: None,
        created_by: by.to_owned(),
        created_at: service.clock.now(),
        version: 1,
    };
    let account = service.store.register_account(account).await??;
    tracing::info!(account = %account.name, account_id = %account.account_id, by, "account registered");
    Ok(view(account, 0))
}

/// Changes the role, the region and the defaults of an account.
///
/// # Errors
/// When no account is registered under the name, or the body has invalid fields.
pub async fn update_account(
    service: &Service,
    by: &str,
    name: &AccountName,
    body: &Value,
) -> Result<AccountView, UseCaseError> {
    let account = registered(service, name).await?;
    let place = service.place(service.own_account());
    let settings = parse_update(body, &account, &service.settings.defaults, &place)
        .map_err(UseCaseError::Fields)?;
    let updated = service
        .store
        .update_account(name.clone(), settings, by.to_owned())
        .await??;
    tracing::info!(account = %name, role_arn = %updated.settings.role_arn, by, "account updated");
    get_account(service, name).await
}

/// Deletes the registration of an account without apps. Nothing is changed in AWS.
///
/// # Errors
/// When no account is registered under the name, or apps live in it.
pub async fn delete_account(
    service: &Service,
    by: &str,
    name: &AccountName,
) -> Result<(), UseCaseError> {
    registered(service, name).await?;
    service
        .store
        .delete_account(name.clone(), by.to_owned())
        .await??;
    tracing::info!(account = %name, by, "account deleted");
    Ok(())
}

/// What the owner of an account runs once, so that Slipway can assume its role.
///
/// # Errors
/// When no account is registered under the name.
pub async fn bootstrap(
    service: &Service,
    name: &AccountName,
    format: BootstrapFormat,
) -> Result<String, UseCaseError> {
    let account = registered(service, name).await?;
    let used = service.account(name).await?;
    let used = used.ok_or(UseCaseError::NoSuch("account"))?;
    let bootstrap = Bootstrap {
        role_arn: &account.settings.role_arn,
        principal: &service.principal(),
        external_id: &account.external_id,
        conventions: &service.conventions(&used),
    };
    Ok(bootstrap.render(format))
}

async fn registered(
    service: &Service,
    name: &AccountName,
) -> Result<RegisteredAccount, UseCaseError> {
    let account = service.store.registered_account(name).await?;
    account.ok_or(UseCaseError::NoSuch("account"))
}

fn own_account(service: &Service, apps: i64) -> AccountView {
    let identity = service.identity();
    AccountView {
        name: default_account(),
        account_id: identity.account.clone(),
        role_arn: None,
        external_id: None,
        region: identity.region.as_ref().map(ToString::to_string),
        defaults: Map::new(),
        state: AccountState::Ready,
        reason: None,
        alias: None,
        apps,
        checked_at: None,
        created_by: None,
        created_at: None,
    }
}

fn view(account: RegisteredAccount, apps: i64) -> AccountView {
    AccountView {
        name: account.name,
        account_id: account.account_id.to_string(),
        role_arn: Some(account.settings.role_arn.to_string()),
        external_id: Some(account.external_id),
        region: Some(account.settings.region.to_string()),
        defaults: account.settings.defaults,
        state: account.state,
        reason: account.reason,
        alias: account.alias,
        apps,
        checked_at: account.checked_at,
        created_by: Some(account.created_by),
        created_at: Some(account.created_at),
    }
}

/// 128 random bits: nobody guesses the external ID of another account.
fn new_external_id() -> Result<String, StoreError> {
    Ok(format!("slipway-{}", random_hex::<16>()?))
}

/// Verifies an account: that its role can be assumed, is in the registered AWS account, cannot be assumed without the
/// external ID or with another, and allows what Slipway needs.
///
/// # Errors
/// When no account is registered under the name, or AWS cannot be reached.
pub async fn verify_account(
    service: &Service,
    by: &str,
    name: &AccountName,
) -> Result<VerificationReport, UseCaseError> {
    // A change of the account during the verification makes it worthless.
    loop {
        let account = registered(service, name).await?;
        let (report, alias) = verify(service, &account, by).await?;
        let result = AccountCheckResult {
            state: report.state,
            reason: reason(&report),
            alias,
        };
        let is_recorded = service
            .store
            .record_verification(&account, result, by.to_owned())
            .await?;
        if is_recorded {
            tracing::info!(account = %name, state = %report.state, by, "account verified");
            return Ok(report);
        }
    }
}

fn reason(report: &VerificationReport) -> Option<String> {
    let mut checks = report.checks.iter();
    checks
        .find(|check| check.outcome == CheckOutcome::Failed)
        .filter(|_| report.state != AccountState::Ready)
        .map(|check| check.detail.clone())
}

async fn verify(
    service: &Service,
    account: &RegisteredAccount,
    by: &str,
) -> Result<(VerificationReport, Option<String>), UseCaseError> {
    // With a session of its own: that of the jobs can be an hour old.
    let used = registered_account(service.own_account(), account);
    let mut report = new_report(service);
    if !check_assume(service, account, &used, by, &mut report).await? {
        return Ok((report, None));
    }
    check_external_id(service, account, &mut report).await?;
    check_policy(service, account, &used, &mut report).await;
    // The role may lack the permission, which Slipway does not need.
    let alias = used.alias().await.ok().flatten();
    Ok((report, alias))
}

fn new_report(service: &Service) -> VerificationReport {
    VerificationReport {
        state: AccountState::Ready,
        checks: Vec::new(),
        missing_actions: Vec::new(),
        checked_at: service.clock.now(),
    }
}

/// Whether jobs can work in an account now.
///
/// # Errors
/// When the database is not available.
pub async fn is_ready(service: &Service, name: &AccountName) -> Result<bool, StoreError> {
    if *name == default_account() {
        return Ok(true);
    }
    let account = service.store.registered_account(name).await?;
    Ok(account.is_some_and(|account| account.state == AccountState::Ready))
}

/// Fails if no app can be onboarded in an account.
///
/// # Errors
/// When the account is not verified, blocked or unreachable.
pub async fn require_ready(service: &Service, name: &AccountName) -> Result<(), UseCaseError> {
    match service.store.registered_account(name).await? {
        Some(account) if !account.state.takes_apps() => {
            Err(Refusal::AccountNotReady(account.name, account.state).into())
        }
        _ => Ok(()),
    }
}

/// Checks an account, if it is registered, as [`check_reachable`].
///
/// # Errors
/// When the database is not available.
pub async fn check_now(service: &Service, name: &AccountName) -> Result<(), StoreError> {
    match service.store.registered_account(name).await? {
        Some(account) => check_reachable(service, &account).await,
        None => Ok(()),
    }
}

/// Checks that the role of an account can be assumed, and records whether it can. An account that was unreachable is
/// ready again only if its role refuses others; one that has to be verified stays as it is.
///
/// # Errors
/// When the database is not available.
pub async fn check_reachable(
    service: &Service,
    account: &RegisteredAccount,
) -> Result<(), StoreError> {
    let mut report = new_report(service);
    let checked = async {
        if assume_labeled(service, account, "slipway", &mut report).await?
            && account.state == AccountState::Unreachable
        {
            check_external_id(service, account, &mut report).await?;
        }
        Ok::<_, UseCaseError>(())
    };
    if let Err(error) = checked.await {
        // AWS says nothing about the role.
        tracing::warn!(account = %account.name, %error, "the account could not be checked");
        return Ok(());
    }
    let reason = reason(&report);
    if report.state != account.state {
        tracing::warn!(account = %account.name, before = %account.state, now = %report.state, reason, "the state of the account has changed");
    }
    let result = AccountCheckResult {
        state: report.state,
        reason,
        alias: None,
    };
    service
        .store
        .record_account_check(account, result)
        .await
        .map(drop)
}

/// Whether AWS refused, as opposed to being out of reach or rejecting the credentials of the service.
fn is_refusal(error: &AwsError) -> bool {
    matches!(
        error.kind,
        ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Rejected
    )
}

/// Assumes the role as a job does, with every label.
async fn assume_labeled(
    service: &Service,
    account: &RegisteredAccount,
    by: &str,
    report: &mut VerificationReport,
) -> Result<bool, UseCaseError> {
    let label = SessionLabel {
        app: "slipway".into(),
        job: "verify".into(),
        requested_by: by.to_owned(),
    };
    let (own, role_arn) = (service.own_account(), &account.settings.role_arn);
    let external_id = Some(account.external_id.as_str());
    match assume(own, role_arn, external_id, Session::Labeled(&label)).await {
        Ok(_) => {
            report.passed("assume_role", format!("{role_arn} was assumed."));
            Ok(true)
        }
        Err(error) if is_refusal(&error) => {
            let remedy = format!(
                "Create the role as GET /v1/accounts/{}/bootstrap describes it. Its trust policy has to allow {} to call sts:AssumeRole, sts:SetSourceIdentity and sts:TagSession with the external ID {}, and the policy of Slipway's own role has to allow the same actions on it.",
                account.name,
                service.principal(),
                account.external_id
            );
            let state = AccountState::Unreachable;
            report.failed("assume_role", error.to_string(), remedy, state);
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

async fn check_assume(
    service: &Service,
    account: &RegisteredAccount,
    used: &Account,
    by: &str,
    report: &mut VerificationReport,
) -> Result<bool, UseCaseError> {
    if !assume_labeled(service, account, by, report).await? {
        return Ok(false);
    }
    match used.caller_account().await {
        Ok(id) if id == account.account_id.as_str() => {
            report.passed("account_id", format!("The role is in the account {id}."));
            Ok(true)
        }
        Ok(id) => {
            let detail = format!(
                "The role is in the account {id}, and {} is registered.",
                account.account_id
            );
            let remedy = "Register the account that the role is in.".to_owned();
            report.failed("account_id", detail, remedy, AccountState::Unreachable);
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// AWS has to refuse to assume the role without the external ID and with another one.
async fn check_external_id(
    service: &Service,
    account: &RegisteredAccount,
    report: &mut VerificationReport,
) -> Result<(), UseCaseError> {
    let wrong = new_external_id()?;
    let tries = [
        ("without_external_id", None, "without an external ID"),
        (
            "wrong_external_id",
            Some(wrong.as_str()),
            "with a wrong external ID",
        ),
    ];
    for (check, external_id, how) in tries {
        let (own, role_arn) = (service.own_account(), &account.settings.role_arn);
        match assume(own, role_arn, external_id, Session::Bare).await {
            Ok(_) => {
                let remedy = format!(
                    "Require the external ID {} in the trust policy of the role: {{\"StringEquals\": {{\"sts:ExternalId\": \"{}\"}}}}. Then verify the account again.",
                    account.external_id, account.external_id
                );
                let detail = format!("The role can be assumed {how}.");
                report.failed(check, detail, remedy, AccountState::Blocked);
            }
            Err(error) if error.kind == ErrorKind::Denied => {
                report.passed(check, format!("AWS refused to assume the role {how}."));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A missing action does not make the account unreachable: jobs that do not need it succeed.
async fn check_policy(
    service: &Service,
    account: &RegisteredAccount,
    used: &Account,
    report: &mut VerificationReport,
) {
    let role_arn = account.settings.role_arn.as_str();
    match missing_actions(used, role_arn, &service.conventions(used)).await {
        Ok(missing) if missing.is_empty() => report.passed(
            "role_policy",
            "The policy of the role allows every action that Slipway needs.".into(),
        ),
        Ok(missing) => {
            let detail = format!(
                "The policy of the role does not allow {}.",
                missing.join(", ")
            );
            let remedy = format!(
                "Give the role the policy that GET /v1/accounts/{}/bootstrap shows.",
                account.name
            );
            let state = report.state;
            report.failed("role_policy", detail, remedy, state);
            report.missing_actions = missing;
        }
        Err(error) => report.skipped(
            "role_policy",
            format!("The policy of the role could not be simulated: {error}."),
        ),
    }
}

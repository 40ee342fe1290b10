//! Exchanges the ID token of a pipeline for an API token (RFC 8693), by the trust rules.
//!
//! Invariants:
//! - An issuer is asked for its keys only if there is a rule for it.
//! - Each ID token is exchanged once.

use std::time::Duration;

use crate::app::error::{GrantError, UseCaseError};
use crate::app::service::{Service, token_hash};
use crate::app::tokens::{VOUCHED_PREFIX, new_token};
use crate::domain::caller::{Caller, CallerIdentity, Person};
use crate::domain::trust_rule::TrustRule;
use crate::oidc::{Claims, IdToken, VerifyError};
use crate::store::{Exchange, ExchangeAnswer, TokenRow, fingerprint};

/// How long an API token is valid.
pub const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// An API token and its row.
pub struct Granted {
    /// The token, which is shown once.
    pub token: String,
    /// Its record.
    pub row: TokenRow,
}

/// Exchanges an ID token.
///
/// # Errors
/// When no rule accepts it, it is not valid or was used before, or its issuer cannot be asked.
pub async fn exchange_token(service: &Service, text: &str) -> Result<Granted, UseCaseError> {
    let no_rule = || GrantError::Invalid("No trust rule accepts this token.".into());
    let id_token =
        IdToken::parse(text).map_err(|error| GrantError::from(VerifyError::from(error)))?;
    let issuer = id_token.unverified_issuer().ok_or_else(no_rule)?.to_owned();
    let rules = service.store.trust_rules_of(&issuer).await?;
    if rules.is_empty() {
        return Err(no_rule().into());
    }
    let signed = fingerprint(&[issuer.as_bytes(), id_token.signed().as_bytes()]);
    let now = service.clock.now();
    let claims = service
        .issuer_keys
        .verify(&issuer, id_token, now)
        .await
        .map_err(GrantError::from)?;
    let rule = rules
        .into_iter()
        .find(|rule| accepts(rule, &claims))
        .ok_or_else(no_rule)?;
    if !rule.spec.allow_pull_requests && is_pull_request(&claims) {
        let refused = "The pipeline is that of a pull request or merge request, which the trust rule does not accept.";
        return Err(GrantError::Invalid(refused.into()).into());
    }
    let token = new_token()?;
    let used_until = claims
        .expires_at()
        .map_err(|error| GrantError::from(VerifyError::from(error)))?;
    let exchange = Exchange {
        name_prefix: name_prefix(&rule),
        identity: identity(&issuer, &claims),
        person: person(&issuer, &claims),
        used: claims.text("jti").map_or(signed, |id| {
            fingerprint(&[issuer.as_bytes(), b"jti", id.as_bytes()])
        }),
        used_until,
        hash: token_hash(&token),
        expires_at: now.after(LIFETIME),
        rule,
    };
    match service.store.exchange(exchange).await? {
        ExchangeAnswer::Token(row) => Ok(Granted { token, row: *row }),
        ExchangeAnswer::Replayed => {
            Err(GrantError::Invalid("The token was exchanged before.".into()).into())
        }
        ExchangeAnswer::NoRule => Err(no_rule().into()),
    }
}

/// How the names of callers begin that a rule lets in.
pub fn name_prefix(rule: &TrustRule) -> String {
    format!("{VOUCHED_PREFIX}{}/", rule.spec.name)
}

/// How the names of the callers begin that the same rule lets in; `None` if no rule lets the caller in.
pub fn rule_prefix_of(caller: &Caller) -> Option<&str> {
    let rest = caller.name.strip_prefix(VOUCHED_PREFIX)?;
    let id = rest.rsplit_once('/')?.1;
    caller.name.strip_suffix(id)
}

fn accepts(rule: &TrustRule, claims: &Claims) -> bool {
    let mut wanted = rule.spec.claims.iter();
    claims.is_for(&rule.spec.audience)
        && wanted.all(|(name, value)| claims.text(name) == Some(value.as_str()))
}

/// Whether the pipeline runs what somebody proposes, who need not be allowed to change the repository.
fn is_pull_request(claims: &Claims) -> bool {
    let github = claims
        .text("event_name")
        .is_some_and(|event| event.starts_with("pull_request"));
    let gitlab = claims.text("pipeline_source").is_some_and(|source| {
        matches!(
            source,
            "merge_request_event" | "external_pull_request_event"
        )
    });
    let pull = claims.text("ref").is_some_and(|name| {
        name.starts_with("refs/pull/") || name.starts_with("refs/merge-requests/")
    });
    github || gitlab || pull
}

fn identity(issuer: &str, claims: &Claims) -> CallerIdentity {
    CallerIdentity {
        issuer: issuer.to_owned(),
        subject: claims.text("sub").unwrap_or_default().to_owned(),
        name: None,
        run_url: run_url(issuer, claims),
    }
}

/// The page of the run that the token is of.
fn run_url(issuer: &str, claims: &Claims) -> Option<String> {
    let is_plain = |text: &&str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c))
    };
    let claim = |name| claims.text(name).filter(is_plain);
    if let (Some(repository), Some(run)) = (claim("repository"), claim("run_id")) {
        let server = match issuer.strip_prefix("https://token.actions.githubusercontent.com") {
            Some(_) => "https://github.com",
            None => issuer.strip_suffix("/_services/token").unwrap_or(issuer),
        };
        return Some(format!("{server}/{repository}/actions/runs/{run}"));
    }
    let (project, job) = (claim("project_path")?, claim("job_id")?);
    Some(format!("{issuer}/{project}/-/jobs/{job}"))
}

/// Who started the pipeline, where the issuer tells; otherwise the pipeline. GitLab's user id is also the subject of a
/// person who signs in with GitLab, so that nobody approves what the own pipeline requests.
fn person(issuer: &str, claims: &Claims) -> Person {
    let github = claims.text("actor_id").map(|id| format!("actor_id:{id}"));
    let gitlab = || claims.text("user_id").map(str::to_owned);
    let started_by = github.or_else(gitlab);
    Person {
        issuer: issuer.to_owned(),
        subject: started_by.unwrap_or_else(|| claims.text("sub").unwrap_or_default().to_owned()),
    }
}

//! The OIDC provider of an issuer of tokens: GitHub, GitLab or an EKS cluster.
//!
//! Invariants:
//! - An account has one provider for an issuer, which everybody in the account shares: it is created if it is missing, and
//!   never deleted.
//! - Thumbprints are not compared: IAM fills them in and does not use them for issuers with a public CA (IAM User Guide,
//!   "Obtain the thumbprint for an OpenID Connect identity provider").

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};

use crate::aws::{CacheKey, ErrorKind, Service};
use crate::domain::identity_policy::{AccountPlace, token_issuer};
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::{Fault, found};
use crate::provision::ids;
use crate::provision::permission::{Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// The provider of an issuer.
#[derive(Debug, Clone)]
pub struct OidcProvider {
    /// Without `https://`.
    issuer: String,
    audiences: BTreeSet<String>,
    arn: String,
}

/// What changes a provider.
#[derive(Debug, Clone, PartialEq)]
pub enum OidcProviderChange {
    /// `CreateOpenIDConnectProvider`.
    Create {
        issuer: String,
        audiences: BTreeSet<String>,
    },
    /// `AddClientIDToOpenIDConnectProvider`.
    AddAudience {
        arn: String,
        audience: String,
        before: Vec<String>,
    },
}

impl fmt::Display for OidcProviderChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { issuer, .. } => write!(f, "create OIDC provider {issuer}"),
            Self::AddAudience { arn, audience, .. } => {
                write!(f, "add audience {audience} to {arn}")
            }
        }
    }
}

impl Change for OidcProviderChange {
    fn action(&self) -> Action {
        match self {
            Self::Create { .. } => Action::Create,
            Self::AddAudience { .. } => Action::Update,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Create { .. } => None,
            Self::AddAudience { before, .. } => Some(json!({"audiences": before})),
        }
    }

    fn after(&self) -> Option<Value> {
        Some(match self {
            Self::Create { issuer, audiences } => {
                json!({"url": format!("https://{issuer}"), "audiences": audiences})
            }
            Self::AddAudience {
                audience, before, ..
            } => {
                let all: Vec<&String> = before.iter().chain([audience]).collect();
                json!({"audiences": all})
            }
        })
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Create { issuer, audiences } => format!(
                "aws iam create-open-id-connect-provider --url {} --client-id-list {}",
                shell_words::word(&format!("https://{issuer}")),
                shell_words::words(&audiences.iter().cloned().collect::<Vec<_>>())
            ),
            Self::AddAudience { arn, audience, .. } => format!(
                "aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {} --client-id {}",
                shell_words::word(arn),
                shell_words::word(audience)
            ),
        }
    }
}

impl Resource for OidcProvider {
    /// The audiences.
    type Observed = Vec<String>;
    type Change = OidcProviderChange;

    const KIND: &'static str = ids::OIDC_PROVIDER;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "GetOpenIDConnectProvider",
            &["iam:GetOpenIDConnectProvider"],
            Scope::OidcProviders,
        ),
        Permission::change(
            Service::Iam,
            "CreateOpenIDConnectProvider",
            &["iam:CreateOpenIDConnectProvider"],
            Scope::OidcProviders,
        ),
        Permission::change(
            Service::Iam,
            "AddClientIDToOpenIDConnectProvider",
            &["iam:AddClientIDToOpenIDConnectProvider"],
            Scope::OidcProviders,
        ),
    ];

    fn wanted(spec: &AppSpec, c: &Conventions) -> Vec<Self> {
        let mut issuers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let subjects = super::of(spec).into_iter();
        for (issuer, audience) in
            subjects.filter_map(|(_, settings)| token_issuer(&settings.subject()?))
        {
            issuers.entry(issuer).or_default().insert(audience);
        }
        issuers
            .into_iter()
            .map(|(issuer, audiences)| Self {
                arn: place(c).oidc_provider(&issuer),
                issuer,
                audiences,
            })
            .collect()
    }

    fn is_retained(_id: &ResourceId, _spec: &AppSpec, _c: &Conventions) -> bool {
        // It belongs to the account.
        false
    }

    fn id(&self) -> ResourceId {
        ids::oidc_provider(&self.issuer)
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<Vec<String>>, Fault> {
        let cached = cx.account.cached(&CacheKey::Converged(self.id()));
        if cached.is_some_and(|audiences| audiences == self.cache_value()) {
            return Ok(Observation::Ours(self.audiences.iter().cloned().collect()));
        }
        let call = cx
            .account
            .iam()
            .get_open_id_connect_provider()
            .open_id_connect_provider_arn(&self.arn)
            .send();
        let answer = cx
            .call(Service::Iam, "GetOpenIDConnectProvider", call)
            .await;
        let Some(answer) = found(answer)? else {
            return Ok(Observation::Absent);
        };
        let audiences = answer.client_id_list.unwrap_or_default();
        if self.audiences.iter().all(|it| audiences.contains(it)) {
            let value = self.cache_value();
            cx.account.cache(CacheKey::Converged(self.id()), &value);
        }
        Ok(Observation::Ours(audiences))
    }

    fn plan(&self, seen: Option<&Vec<String>>) -> Result<Changes<OidcProviderChange>, Fault> {
        let Some(seen) = seen else {
            return Ok(Changes::of(vec![OidcProviderChange::Create {
                issuer: self.issuer.clone(),
                audiences: self.audiences.clone(),
            }]));
        };
        let missing = self.audiences.iter().filter(|it| !seen.contains(it));
        let add = |audience: &String| OidcProviderChange::AddAudience {
            arn: self.arn.clone(),
            audience: audience.clone(),
            before: seen.clone(),
        };
        Ok(Changes::of(missing.map(add).collect()))
    }

    /// It is the account's.
    fn plan_absent(
        &self,
        _: &ReconcileContext,
        _: &Vec<String>,
    ) -> Result<Changes<OidcProviderChange>, Fault> {
        Ok(Changes::of(Vec::new()))
    }

    async fn apply(
        &self,
        cx: &ReconcileContext,
        change: &OidcProviderChange,
    ) -> Result<Applied, Fault> {
        let iam = cx.account.iam();
        match change {
            OidcProviderChange::Create { issuer, audiences } => {
                let call = iam
                    .create_open_id_connect_provider()
                    .url(format!("https://{issuer}"))
                    .set_client_id_list(Some(audiences.iter().cloned().collect()))
                    .send();
                match cx
                    .call(Service::Iam, "CreateOpenIDConnectProvider", call)
                    .await
                {
                    Ok(_) => cx.note_created(self.id()),
                    Err(error) if error.kind == ErrorKind::AlreadyExists => {
                        return Ok(Applied::MetExisting);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            OidcProviderChange::AddAudience { arn, audience, .. } => {
                let call = iam
                    .add_client_id_to_open_id_connect_provider()
                    .open_id_connect_provider_arn(arn)
                    .client_id(audience)
                    .send();
                let answer = cx
                    .call(Service::Iam, "AddClientIDToOpenIDConnectProvider", call)
                    .await;
                answer.map_err(|error| cx.missing_after_create(&self.id(), error))?;
            }
        }
        Ok(Applied::Done)
    }

    fn arn(&self, _: &Conventions) -> Option<String> {
        Some(self.arn.clone())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn terraform(&self, _: &Vec<String>, _: &Labels) -> Vec<terraform::Piece> {
        vec![terraform::Piece::Note(self.told_whose())]
    }

    fn cloudformation(&self, _: &Vec<String>, _: &Labels) -> Vec<cloudformation::Entry> {
        vec![cloudformation::Entry::Note(self.told_whose())]
    }
}

impl OidcProvider {
    /// What is remembered of a provider that has these audiences.
    fn cache_value(&self) -> String {
        let audiences: Vec<&str> = self.audiences.iter().map(String::as_str).collect();
        audiences.join(" ")
    }

    fn told_whose(&self) -> String {
        format!(
            "OIDC provider {} is shared by everybody in the account. This export refers to it, but does not manage it.",
            self.issuer
        )
    }
}

/// The account of the conventions.
pub(super) fn place(c: &Conventions) -> AccountPlace<'_> {
    AccountPlace {
        partition: &c.partition,
        account_id: &c.account_id,
    }
}

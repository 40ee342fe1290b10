//! What a person should know of the safety of an account: its root user, MFA, and access to billing. It changes nothing.

use std::fmt;

use aws_sdk_iam::types::SummaryKeyType;

use crate::aws::Service;
use crate::domain::account_setup::AccountSetup;
use crate::domain::names::AppName;
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::{Fault, found};
use crate::provision::permission::{Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// What AWS says of people in IAM Identity Center.
const IDENTITY_CENTER: &str = "IAM users with passwords are long-lived credentials. AWS recommends IAM Identity Center for people, with temporary credentials for each account: https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#bp-users-federation-idp";

#[derive(Debug, Clone)]
pub struct AccountChecks {
    /// The people with `AdministratorAccess`.
    leads: Vec<AppName>,
    has_people: bool,
    /// Whether a group has access to billing, and nobody attests that it is activated.
    is_billing_unattested: bool,
}

/// What AWS shows of an account's safety.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeenAccount {
    root_has_keys: bool,
    root_has_mfa: bool,
    leads_without_mfa: Vec<AppName>,
}

/// There is none.
#[derive(Debug, Clone, PartialEq)]
pub enum NoChange {}

impl fmt::Display for NoChange {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl Change for NoChange {
    fn action(&self) -> Action {
        match *self {}
    }

    fn aws_cli(&self) -> String {
        match *self {}
    }
}

impl Resource for AccountChecks {
    type Observed = SeenAccount;
    type Change = NoChange;

    const KIND: &'static str = "iam:account-checks";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "GetAccountSummary",
            &["iam:GetAccountSummary"],
            Scope::Everything,
        ),
        Permission::read(
            Service::Iam,
            "ListMFADevices",
            &["iam:ListMFADevices"],
            Scope::AnyUser,
        ),
    ];

    fn wanted_by_setup(_: &AppSpec, setup: &AccountSetup, _: &Conventions) -> Vec<Self> {
        let attested = setup.spec.billing.iam_access_attested_by.is_some();
        vec![Self {
            leads: setup.leads().map(|lead| lead.email.clone()).collect(),
            has_people: !setup.spec.people.is_empty(),
            is_billing_unattested: setup.names_billing() && !attested,
        }]
    }

    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, "account")
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenAccount>, Fault> {
        let iam = cx.account.iam();
        let call = cx.call(
            Service::Iam,
            "GetAccountSummary",
            iam.get_account_summary().send(),
        );
        let summary = call.await?.summary_map.unwrap_or_default();
        let is_set = |key: SummaryKeyType| summary.get(&key).is_some_and(|count| *count > 0);
        let mut seen = SeenAccount {
            root_has_keys: is_set(SummaryKeyType::AccountAccessKeysPresent),
            root_has_mfa: is_set(SummaryKeyType::AccountMfaEnabled),
            leads_without_mfa: Vec::new(),
        };
        for lead in &self.leads {
            let call = iam.list_mfa_devices().user_name(lead.as_str()).send();
            let answer = found(cx.call(Service::Iam, "ListMFADevices", call).await)?;
            // A user that does not exist yet has none.
            if answer.is_none_or(|answer| answer.mfa_devices.is_empty()) {
                seen.leads_without_mfa.push(lead.clone());
            }
        }
        Ok(Observation::Ours(seen))
    }

    fn plan(&self, seen: Option<&SeenAccount>) -> Result<Changes<NoChange>, Fault> {
        let seen = seen.cloned().unwrap_or_default();
        let mut warnings = Vec::new();
        if seen.root_has_keys {
            warnings.push("The root user of the account has access keys. Delete them: sign in as root, and open Security credentials.".to_owned());
        }
        if !seen.root_has_mfa {
            warnings.push("The root user of the account has no MFA device. Register one: sign in as root, and open Security credentials.".to_owned());
        }
        warnings.extend(seen.leads_without_mfa.iter().map(|lead| {
            format!("User {lead} has AdministratorAccess and no MFA device. Ask them to register one at their first sign-in, in Security credentials.")
        }));
        if self.is_billing_unattested {
            warnings.push("A group has a policy for billing, which has no effect until the root user activates IAM access to billing. AWS offers no API for it: sign in as root, open Account, edit \"IAM user and role access to Billing information\" and activate it. Then name who did it in billing.iam_access_attested_by.".to_owned());
        }
        if self.has_people {
            warnings.push(IDENTITY_CENTER.to_owned());
        }
        let changes = Vec::new();
        Ok(Changes { changes, warnings })
    }

    fn plan_absent(
        &self,
        _: &ReconcileContext,
        _: &SeenAccount,
    ) -> Result<Changes<NoChange>, Fault> {
        Ok(Changes::of(Vec::new()))
    }

    async fn apply(&self, _: &ReconcileContext, change: &NoChange) -> Result<Applied, Fault> {
        match *change {}
    }

    fn terraform(&self, _: &SeenAccount, _: &Labels) -> Vec<terraform::Piece> {
        Vec::new()
    }

    fn cloudformation(&self, _: &SeenAccount, _: &Labels) -> Vec<cloudformation::Entry> {
        Vec::new()
    }
}

//! What every page shows: its title, the navigation, who is signed in, and the result of the last action.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse as _, Response};

use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::console::assets::{ASSETS, Assets};
use crate::domain::caller::Caller;
use crate::domain::role::Role;

/// The sections of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumIter)]
pub enum Section {
    Overview,
    Apps,
    Jobs,
    Approvals,
    Accounts,
    Access,
    Webhooks,
    Audit,
}

impl Section {
    /// Its name in the navigation.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The path of its first page.
    pub fn path(self) -> &'static str {
        match self {
            Self::Overview => "/console",
            Self::Apps => "/console/apps",
            Self::Jobs => "/console/jobs",
            Self::Approvals => "/console/approvals",
            Self::Accounts => "/console/accounts",
            Self::Access => "/console/access",
            Self::Webhooks => "/console/webhooks",
            Self::Audit => "/console/audit",
        }
    }

    /// The lowest role that can open it.
    fn role(self) -> Role {
        match self {
            Self::Access | Self::Webhooks | Self::Audit => Role::Admin,
            _ => Role::Viewer,
        }
    }
}

/// What the templates of pages share.
pub struct Page {
    pub title: String,
    /// The section that the navigation marks.
    pub section: Option<Section>,
    pub caller: Option<Caller>,
    pub now: Timestamp,
    /// What the last action did.
    pub notice: Option<&'static str>,
    pub assets: &'static Assets,
}

impl Page {
    /// A page for a caller.
    pub fn new(
        service: &Service,
        caller: &Caller,
        section: Section,
        title: impl Into<String>,
    ) -> Self {
        Self {
            section: Some(section),
            ..Self::signed_in(service, caller, title)
        }
    }

    /// A page in no section.
    pub fn signed_in(service: &Service, caller: &Caller, title: impl Into<String>) -> Self {
        Self {
            caller: Some(caller.clone()),
            ..Self::plain(service, title)
        }
    }

    /// A page without navigation, for whoever asks.
    pub fn plain(service: &Service, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            section: None,
            caller: None,
            now: service.clock.now(),
            notice: None,
            assets: &ASSETS,
        }
    }

    /// The same page, with what the last action did.
    #[must_use]
    pub fn with(mut self, notice: Option<Notice>) -> Self {
        self.notice = notice.map(Notice::text);
        self
    }

    /// The sections that the caller can open.
    pub fn sections(&self) -> Vec<Section> {
        use strum::IntoEnumIterator as _;
        let role = self.caller.as_ref().map(|caller| caller.role);
        Section::iter()
            .filter(|section| role.is_some_and(|role| role >= section.role()))
            .collect()
    }

    /// Whether the navigation marks this section.
    pub fn is_in(&self, section: &Section) -> bool {
        self.section == Some(*section)
    }

    fn can(&self, role: Role) -> bool {
        self.caller
            .as_ref()
            .is_some_and(|caller| caller.role >= role)
    }

    /// Whether the caller can request jobs.
    pub fn operator(&self) -> bool {
        self.can(Role::Operator)
    }

    /// Whether the caller can approve jobs.
    pub fn approver(&self) -> bool {
        self.can(Role::Approver)
    }

    /// Whether the caller can manage access and accounts.
    pub fn admin(&self) -> bool {
        self.can(Role::Admin)
    }

    /// A new idempotency key, for a form: a form that is sent twice acts once.
    pub fn idempotency_key(&self) -> String {
        ulid::Ulid::generate().to_string()
    }
}

/// The page of a template.
///
/// # Errors
/// When the template fails, which is a defect.
pub fn html(template: &impl Template) -> Result<Response, ApiError> {
    match template.render() {
        Ok(text) => Ok(Html(text).into_response()),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            Err(ApiError::Defect)
        }
    }
}

/// What the action did that led to a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Notice {
    Checked,
    Registered,
    Verified,
    Deleted,
    Revoked,
    Created,
    Saved,
    Enabled,
    Disabled,
    TestSent,
    Replayed,
    NothingToReplay,
    SignedOut,
    Linked,
    Unlinked,
    BulkDone,
    BulkPartly,
}

impl Notice {
    fn text(self) -> &'static str {
        match self {
            Self::Checked => "AWS was compared with the spec just now.",
            Self::Registered => {
                "The account is registered. Create its role as described below, then verify it."
            }
            Self::Verified => "The account was verified. The result is below.",
            Self::Deleted => "Deleted.",
            Self::Revoked => "Revoked.",
            Self::Created => "Created.",
            Self::Saved => "Saved.",
            Self::Enabled => "The webhook is enabled. What waited for it is sent now.",
            Self::Disabled => {
                "The webhook is disabled. It is sent nothing, and events are not kept for it."
            }
            Self::TestSent => "A test event is sent. The deliveries show what becomes of it.",
            Self::Replayed => "The deliveries are made again, with the IDs that they had.",
            Self::NothingToReplay => "There is no delivery to make again within that time.",
            Self::SignedOut => "The session has ended.",
            Self::Linked => "The chat user is linked to you.",
            Self::Unlinked => "The chat user is no longer linked.",
            Self::BulkDone => "Done for every selected job.",
            Self::BulkPartly => {
                "Done, except for jobs whose state does not allow it. Open such a job to see why."
            }
        }
    }

    /// A path with this notice.
    pub fn on(self, path: &str) -> String {
        format!("{path}?notice={self}")
    }
}

/// The query parameters of a page, without its notice.
pub struct PageParams {
    pub params: Params,
    pub notice: Option<Notice>,
}

impl FromRequestParts<Arc<Service>> for PageParams {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let mut params = Params::from_request_parts(parts, service).await?;
        let notice = params.take("notice", |text| text.parse().map_err(|_| "is not a notice"));
        Ok(Self { params, notice })
    }
}

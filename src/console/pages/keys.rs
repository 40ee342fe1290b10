//! `/console/apps/{app}/keys`: the access keys of an app, as AWS has them, and the rotation.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Viewer;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::app::credentials;
use crate::app::find::any_app;
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::view::{Ago as _, Shown as _};
use crate::domain::access_key::{CLAIM_DEADLINE, Credential, KeyState, SecretState};
use crate::domain::app::App;
use crate::domain::rotation::{Rotation, Stage};
use crate::store::CredentialRow;

/// The keys of an app, for the template that shows them.
pub struct Keys {
    pub rows: Vec<KeyRow>,
    pub rotation: Option<Rotation>,
    /// Whether AWS was asked.
    pub is_complete: bool,
}

impl Keys {
    /// The stages of the rotation, each with whether it is the present one.
    pub fn stages(&self) -> Vec<(&'static str, bool)> {
        let present = self.rotation.as_ref().map(|rotation| rotation.stage);
        let stages: &[(&str, &[Stage])] = &[
            ("New key", &[Stage::Creating]),
            ("Claim", &[Stage::AwaitingClaim]),
            ("Old key unused", &[Stage::Draining]),
            (
                "Old key inactive",
                &[Stage::Deactivating, Stage::PendingDeletion],
            ),
            ("Old key deleted", &[Stage::Deleting, Stage::Done]),
        ];
        stages
            .iter()
            .map(|(name, of)| (*name, present.is_some_and(|stage| of.contains(&stage))))
            .collect()
    }

    /// Whether the old key can be made active again.
    pub fn can_roll_back(&self) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| {
            rotation.old_key.is_some()
                && !rotation.stage.has_ended()
                && rotation.stage != Stage::RollingBack
        })
    }
}

/// A key, as it is recorded or as AWS shows it.
pub struct KeyRow {
    pub id: String,
    pub managed: bool,
    /// `None` if AWS was not asked.
    pub state: Option<KeyState>,
    pub secret: Option<SecretState>,
    pub claimed_by: Option<String>,
    pub created_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub last_used_service: Option<String>,
    pub remedy: Option<String>,
}

impl KeyRow {
    /// What is recorded of a key.
    pub fn recorded(row: &CredentialRow, service: &Service) -> Self {
        let is_late = service.clock.now().since(row.created_at) >= CLAIM_DEADLINE;
        let secret = match row.secret {
            SecretState::Unclaimed if is_late => SecretState::Expired,
            secret => secret,
        };
        Self {
            id: row.access_key_id.clone(),
            managed: true,
            state: row.gone_at.map(|_| KeyState::Deleted),
            secret: Some(secret),
            claimed_by: row.claimed_by.clone(),
            created_at: Some(row.created_at),
            last_used_at: None,
            last_used_service: None,
            remedy: None,
        }
    }

    fn listed(key: Credential) -> Self {
        Self {
            id: key.access_key_id,
            managed: key.managed,
            state: Some(key.state),
            secret: key.secret,
            claimed_by: key.claimed_by,
            created_at: key.created_at,
            last_used_at: key.last_used_at,
            last_used_service: key.last_used_service.filter(|name| name != "N/A"),
            remedy: key.remedy,
        }
    }

    pub fn is_gone(&self) -> bool {
        self.state == Some(KeyState::Deleted)
    }

    pub fn is_inactive(&self) -> bool {
        self.state == Some(KeyState::Inactive)
    }

    pub fn is_claimable(&self) -> bool {
        self.secret == Some(SecretState::Unclaimed) && !self.is_gone()
    }
}

#[derive(Template)]
#[template(path = "console/keys.html")]
struct KeysPage {
    page: Page,
    app: App,
    keys: Keys,
}

pub async fn get_keys(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    AppPath(name): AppPath,
    PageParams { params, notice }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let app = any_app(&service, &name).await?;
    let found = credentials::list(&service, &name).await?;
    let keys = Keys {
        rows: found.items.into_iter().map(KeyRow::listed).collect(),
        rotation: found.rotation,
        is_complete: true,
    };
    let title = format!("Keys of {}", app.summary.name);
    html(&KeysPage {
        page: Page::new(&service, &caller, Section::Apps, title).with(notice),
        app,
        keys,
    })
}

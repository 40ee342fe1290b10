//! The routes of the console.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};

use crate::app::service::Service;
use crate::console::pages::{
    access, account, accounts, app, app_actions, approvals, apps, audit, change_setup, chat, claim,
    claim_password, hooks, job, jobs, keys, new_app, overview, remove_app, repair_setup, sessions,
    setup, webhook, webhooks,
};
use crate::console::{assets, live, respond};

/// The routes of the console.
pub fn router(service: &Arc<Service>) -> Router<Arc<Service>> {
    Router::new()
        .route("/console", get(overview::get_overview))
        .route("/console/assets/{name}", get(assets::get_asset))
        .merge(of_apps())
        .merge(of_jobs())
        .merge(of_setups())
        .merge(of_webhooks())
        .merge(of_administration())
        .layer(middleware::from_fn_with_state(
            service.clone(),
            respond::complete,
        ))
}

fn of_apps() -> Router<Arc<Service>> {
    Router::new()
        .route("/console/apps", get(apps::list_apps))
        .route(
            "/console/onboard",
            get(new_app::get_new_app).post(new_app::post_app),
        )
        .route("/console/onboard/plan", post(new_app::post_plan))
        .route("/console/apps/{app}", get(app::get_app))
        .route(
            "/console/apps/{app}/change",
            get(new_app::get_change).post(new_app::post_change),
        )
        .route(
            "/console/apps/{app}/remove",
            get(remove_app::get_remove).post(remove_app::post_remove),
        )
        .route("/console/apps/{app}/repair", post(app_actions::post_repair))
        .route("/console/apps/{app}/drift", post(app_actions::post_drift))
        .route(
            "/console/apps/{app}/restore",
            post(app_actions::post_restore),
        )
        .route("/console/apps/{app}/rotate", post(app_actions::post_rotate))
        .route(
            "/console/apps/{app}/rollback",
            post(app_actions::post_rollback),
        )
        .route("/console/apps/{app}/export", get(app_actions::get_export))
        .route("/console/apps/{app}/keys", get(keys::get_keys))
        .route(
            "/console/apps/{app}/keys/{access_key_id}/status",
            post(app_actions::post_key_status),
        )
        .route(
            "/console/apps/{app}/keys/{access_key_id}/claim",
            get(claim::get_claim).post(claim::post_claim),
        )
}

fn of_jobs() -> Router<Arc<Service>> {
    Router::new()
        .route("/console/jobs", get(jobs::list_jobs))
        .route("/console/jobs/bulk", post(jobs::post_bulk))
        .route("/console/jobs/{id}", get(job::get_job))
        .route("/console/jobs/{id}/live", get(live::get_live))
        .route("/console/jobs/{id}/retry", post(job::post_retry))
        .route("/console/jobs/{id}/cancel", post(job::post_cancel))
        .route("/console/jobs/{id}/approve", post(job::post_approve))
        .route("/console/jobs/{id}/reject", post(job::post_reject))
        .route("/console/approvals", get(approvals::get_approvals))
        .route("/console/audit", get(audit::get_audit))
}

fn of_setups() -> Router<Arc<Service>> {
    Router::new()
        .route(
            "/console/accounts/{account}/setup/change",
            get(change_setup::get_change).post(change_setup::post_change),
        )
        .route(
            "/console/accounts/{account}/setup/repair",
            get(repair_setup::get_repair).post(repair_setup::post_repair),
        )
        .route(
            "/console/accounts/{account}/setup/drift",
            post(setup::post_drift),
        )
        .route(
            "/console/accounts/{account}/setup/export",
            get(setup::get_export),
        )
        .route(
            "/console/accounts/{account}/setup/people/{email}/claim",
            get(claim_password::get_claim).post(claim_password::post_claim),
        )
}

fn of_webhooks() -> Router<Arc<Service>> {
    Router::new()
        .route(
            "/console/webhooks",
            get(webhooks::get_webhooks).post(webhooks::post_webhook),
        )
        .route(
            "/console/webhooks/{id}",
            get(webhook::get_one).post(webhook::post_edit),
        )
        .route("/console/webhooks/{id}/state", post(webhook::post_state))
        .route("/console/webhooks/{id}/test", post(webhook::post_test))
        .route("/console/webhooks/{id}/replay", post(webhook::post_replay))
        .route("/console/webhooks/{id}/rotate", post(webhook::post_rotate))
        .route("/console/webhooks/{id}/delete", post(webhook::post_delete))
        .route("/console/hooks", get(hooks::get_hooks))
}

fn of_administration() -> Router<Arc<Service>> {
    Router::new()
        .route(
            "/console/accounts",
            get(accounts::get_accounts).post(accounts::post_account),
        )
        .route("/console/accounts/{account}", get(account::get_one))
        .route(
            "/console/accounts/{account}/verify",
            post(account::post_verify),
        )
        .route(
            "/console/accounts/{account}/delete",
            post(account::post_delete),
        )
        .route("/console/access", get(access::get_access))
        .route("/console/access/tokens", post(access::post_token))
        .route(
            "/console/access/tokens/{id}/revoke",
            post(access::post_revoke_token),
        )
        .route("/console/sessions", get(sessions::get_sessions))
        .route("/console/sessions/{id}/revoke", post(sessions::post_revoke))
        .route("/console/chat", get(chat::get_chat).post(chat::post_link))
        .route("/console/chat/{id}/unlink", post(chat::post_unlink))
        .route("/console/access/rules", post(access::post_rule))
        .route(
            "/console/access/rules/{id}/delete",
            post(access::post_delete_rule),
        )
}

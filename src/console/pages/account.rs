//! `/console/accounts/{account}`: one account, its set-up for people, how its role is created, and its verification.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};

use crate::api::auth::{Admin, Viewer};
use crate::api::form::invalid;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::accounts::{AccountView, bootstrap, delete_account, get_account, verify_account};
use crate::app::service::Service;
use crate::console::form::PageForm;
use crate::console::page::{Notice, Page, PageParams, Section, html};
use crate::console::pages::setup::SetupSection;
use crate::console::view::{Ago as _, Pretty as _, Shown as _, Signed as _};
use crate::domain::account::VerificationReport;
use crate::domain::caller::Caller;
use crate::domain::names::AccountName;
use crate::provision::render::bootstrap::BootstrapFormat;

#[derive(Template)]
#[template(path = "console/account.html")]
struct AccountPage {
    page: Page,
    account: AccountView,
    /// What creates the role, by the name of the format. Empty for the account of the service itself.
    bootstrap: Vec<(&'static str, &'static str, String)>,
    report: Option<VerificationReport>,
    setup: Option<SetupSection>,
}

async fn account_page(
    service: &Service,
    caller: &Caller,
    name: &AccountName,
    notice: Option<Notice>,
    report: Option<VerificationReport>,
) -> Result<Response, ApiError> {
    let account = get_account(service, name).await?;
    let formats = [
        (BootstrapFormat::AwsCli, "AWS CLI", "aws-cli"),
        (BootstrapFormat::Terraform, "Terraform", "terraform"),
        (
            BootstrapFormat::Cloudformation,
            "CloudFormation",
            "cloudformation",
        ),
    ];
    let mut documents = Vec::new();
    if account.role_arn.is_some() {
        for (format, title, id) in formats {
            documents.push((title, id, bootstrap(service, name, format).await?));
        }
    }
    let page = Page::new(service, caller, Section::Accounts, name.to_string());
    html(&AccountPage {
        page: page.with(notice),
        setup: SetupSection::of(service, name).await?,
        account,
        bootstrap: documents,
        report,
    })
}

pub async fn get_one(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    AccountPath(name): AccountPath,
    PageParams { params, notice }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    account_page(&service, &caller, &name, notice, None).await
}

/// Verifies the account and shows the report, which is not stored.
pub async fn post_verify(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    AccountPath(name): AccountPath,
) -> Result<Response, ApiError> {
    let report = verify_account(&service, &caller.name, &name).await?;
    let notice = Some(Notice::Verified);
    account_page(&service, &caller, &name, notice, Some(report)).await
}

pub async fn post_delete(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    AccountPath(name): AccountPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    if form.get("confirm") != Some(name.as_str()) {
        let why = format!("must be {name}, the account's name");
        return Err(invalid("confirm", &why));
    }
    delete_account(&service, &caller.name, &name).await?;
    Ok(Redirect::to(&Notice::Deleted.on("/console/accounts")).into_response())
}

//! Replies to a chat user.

use crate::app::chat::links::page_url;
use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::approval::Approval;
use crate::domain::chat::{COMMANDS, MIN_DIGEST, Platform};
use crate::domain::chat_text::ChatText;
use crate::domain::drift::DriftReport;
use crate::domain::job::Job;
use crate::domain::names::AppName;
use crate::domain::plan::{Action, Plan, PlannedChange};

/// What the commands are.
pub fn help(platform: Platform) -> String {
    let mut text = ChatText::new(platform);
    for (usage, does) in COMMANDS {
        let line = format!("{} {}", text.code(usage), text.plain(does));
        text.line(&line);
    }
    text.finish()
}

/// What is wrong with a command.
pub fn mistake(platform: Platform, why: &str) -> String {
    ChatText::of(platform, why).finish()
}

/// Where a chat user becomes a person.
pub fn link(platform: Platform, url: &str) -> String {
    let mut text = ChatText::new(platform);
    let line = format!(
        "{} It works once, within ten minutes. Do not pass it on.",
        text.link(url, "Sign in to link this chat user to you.")
    );
    text.line(&line);
    text.finish()
}

/// Tells a chat user who is nobody how to become somebody.
pub fn not_linked(platform: Platform) -> String {
    let mut text = ChatText::new(platform);
    let line = format!(
        "You are not linked to a person yet. Use the command {} first.",
        text.code("link")
    );
    text.line(&line);
    text.finish()
}

/// Tells a chat user that the person has to sign in again.
pub fn link_expired(service: &Service, platform: Platform) -> String {
    let mut text = ChatText::new(platform);
    let url = page_url(service, "/console").unwrap_or_default();
    let line = format!(
        "Your last sign-in is too long ago. {} and repeat the command.",
        text.link(&url, "Sign in again")
    );
    text.line(&line);
    text.finish()
}

/// Whether the chat user was linked to a person.
pub fn unlinked(platform: Platform, was_linked: bool) -> String {
    let says = match was_linked {
        true => "You are no longer linked to a person.",
        false => "You are not linked to a person.",
    };
    ChatText::of(platform, says).finish()
}

/// A link to a page of the console, or its label alone.
pub fn page(service: &Service, text: &ChatText, path: &str, label: &str) -> String {
    match page_url(service, path) {
        Some(url) => text.link(&url, label),
        None => text.plain(label),
    }
}

/// What a job is about, as a link to its page.
pub fn job_link(service: &Service, text: &ChatText, job: &Job) -> String {
    let label = format!("{} of {}", job.kind, subject(job));
    page(
        service,
        text,
        &format!("/console/jobs/{}", job.id),
        &label.replace('_', " "),
    )
}

/// The app of a job, or the account whose set-up it is about.
pub fn subject(job: &Job) -> String {
    if job.app.is_of_setup() {
        format!("account {}", job.account)
    } else {
        job.app.to_string()
    }
}

/// The state of an app, and jobs.
pub fn status(service: &Service, platform: Platform, app: Option<&App>, jobs: &[Job]) -> String {
    let mut text = ChatText::new(platform);
    if let Some(app) = app {
        let name: &AppName = &app.spec.name;
        let link = page(
            service,
            &text,
            &format!("/console/apps/{name}"),
            name.as_str(),
        );
        let state = text.bold(&app.summary.state.to_string().replace('_', " "));
        let account = text.plain(app.spec.account.as_str());
        text.line(&format!("{link} in account {account}: {state}"));
    }
    for job in jobs {
        let link = job_link(service, &text, job);
        let state = text.bold(&job.state.to_string().replace('_', " "));
        let by = text.plain(&job.requested_by);
        text.line(&format!("• {link}: {state}, requested by {by}"));
    }
    if jobs.is_empty() {
        text.line("There is no job yet.");
    }
    text.finish()
}

/// A plan. `is_repair` is that of an app that exists.
pub fn plan(platform: Platform, plan: &Plan, is_repair: bool) -> String {
    let mut text = ChatText::new(platform);
    let name = text.bold(plan.app.as_str());
    let what = if is_repair {
        "A repair"
    } else {
        "An onboarding"
    };
    let calls = plan.calls;
    text.line(&format!(
        "{what} of {name} would make {calls} changes in AWS:"
    ));
    changes(&mut text, &plan.changes);
    warnings(&mut text, &plan.warnings);
    text.finish()
}

/// What a removal would do, and how to confirm it.
pub fn removal(platform: Platform, plan: &Plan) -> String {
    let mut text = ChatText::new(platform);
    let name = plan.app.as_str();
    let line = format!("A removal of {} would do this:", text.bold(name));
    text.line(&line);
    warnings(&mut text, &plan.warnings);
    changes(&mut text, &plan.changes);
    let command = text.code(&format!("remove {name} confirm={name}"));
    text.line(&format!("To remove the app: {command}"));
    text.finish()
}

/// Adds a line for each change that a plan has.
pub fn changes(text: &mut ChatText, changes: &[PlannedChange]) {
    let effects = changes
        .iter()
        .filter(|change| change.action != Action::None);
    for change in effects {
        let sign = match change.action {
            Action::Create => "+",
            Action::Update => "~",
            Action::Delete => "-",
            Action::None | Action::Conflict | Action::Blocked => "!",
        };
        let why = change.error.as_ref().map(|error| error.detail.as_str());
        let detail = why.unwrap_or(&change.detail);
        let line = format!("{} {}", text.code(sign), text.plain(detail));
        text.line(&line);
    }
}

/// Adds a line for each warning.
pub fn warnings(text: &mut ChatText, warnings: &[String]) {
    for warning in warnings {
        let line = format!("Warning: {}", text.plain(warning));
        text.line(&line);
    }
}

/// How AWS differs from the spec.
pub fn drift(service: &Service, platform: Platform, report: &DriftReport) -> String {
    let mut text = ChatText::new(platform);
    let name = page(
        service,
        &text,
        &format!("/console/apps/{}", report.app),
        report.app.as_str(),
    );
    let says = match (&report.error, report.drifted) {
        (Some(_), _) => "was not checked as a whole",
        (None, true) => "has drifted",
        (None, false) => "is as its spec says",
    };
    text.line(&format!(
        "{name} {says} (checked at {}).",
        report.checked_at
    ));
    if let Some(error) = &report.error {
        let line = text.plain(&error.detail);
        text.line(&line);
    }
    changes(&mut text, &report.changes);
    for unexpected in &report.unexpected {
        let line = format!("{} {}", text.code("!"), text.plain(&unexpected.detail));
        text.line(&line);
    }
    warnings(&mut text, &report.warnings);
    text.finish()
}

/// The plans that wait for an approval.
pub fn approvals(service: &Service, platform: Platform, found: &[Approval]) -> String {
    let mut text = ChatText::new(platform);
    if found.is_empty() {
        text.line("No plan waits for an approval.");
    }
    for approval in found {
        let app = approval.app.as_ref().map(AppName::as_str);
        let subject = app.unwrap_or(approval.account.as_str());
        let label = format!("{} of {subject}", approval.kind).replace('_', " ");
        let path = format!("/console/jobs/{}", approval.job);
        let line = format!(
            "• {}, requested by {}: {}",
            page(service, &text, &path, &label),
            text.plain(&approval.requested_by),
            text.code(&approve_command(approval))
        );
        text.line(&line);
    }
    text.finish()
}

/// The command that approves a plan.
pub fn approve_command(approval: &Approval) -> String {
    let digest: String = approval
        .plan_digest
        .as_str()
        .chars()
        .take(MIN_DIGEST)
        .collect();
    format!("approve {} {digest}", approval.job)
}

//! Plans, for a terminal and for a pull request.

use serde::Deserialize;

use super::paint::{Color, Paint, printable};
use crate::domain::plan::{Action, PlannedChange};

/// The part of a plan that is shown.
#[derive(Debug, Clone, Deserialize)]
pub struct PlanView {
    app: Option<String>,
    /// The account, if the plan is that of its set-up.
    account: Option<String>,
    pub changes: Vec<PlannedChange>,
    pub warnings: Vec<String>,
}

impl PlanView {
    /// What the plan is about.
    fn title(&self) -> String {
        match (&self.app, &self.account) {
            (Some(app), _) => app.clone(),
            (None, Some(account)) => format!("account {account}"),
            (None, None) => String::new(),
        }
    }
}

/// How many changes of each kind a plan has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    create: usize,
    update: usize,
    delete: usize,
    /// Conflicts, and what a person has to allow.
    pub blocked: usize,
}

impl Counts {
    pub fn of<'a>(changes: impl IntoIterator<Item = &'a PlannedChange>) -> Self {
        let mut counts = Self::default();
        for change in changes {
            match change.action {
                Action::Create => counts.create += 1,
                Action::Update => counts.update += 1,
                Action::Delete => counts.delete += 1,
                Action::Conflict | Action::Blocked => counts.blocked += 1,
                Action::None => {}
            }
        }
        counts
    }

    /// How many changes the plan makes.
    pub fn changes(self) -> usize {
        self.create + self.update + self.delete
    }

    /// The summary line.
    pub fn summary(self) -> String {
        if self.changes() + self.blocked == 0 {
            return "No changes: AWS matches the spec.".to_owned();
        }
        let blocked = match self.blocked {
            0 => String::new(),
            count => format!(", {count} blocked"),
        };
        format!(
            "Plan: {} to create, {} to update, {} to delete{blocked}.",
            self.create, self.update, self.delete
        )
    }
}

fn mark(action: Action) -> (&'static str, Color) {
    match action {
        Action::Create => ("+", Color::Green),
        Action::Update => ("~", Color::Yellow),
        Action::Delete => ("-", Color::Red),
        Action::Conflict | Action::Blocked => ("!", Color::Red),
        Action::None => (" ", Color::Dim),
    }
}

/// What a line says of a change: a blocked one with what to do.
fn line(change: &PlannedChange) -> String {
    let detail = printable(&change.detail);
    let error = change.error.as_ref();
    let why = error
        .map(|error| printable(&error.detail))
        .filter(|why| *why != detail);
    let remedy = error.and_then(|error| error.remedy.as_deref().map(printable));
    [Some(detail), why, remedy]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

/// A plan for people, with the summary at its end.
pub fn plan_text(plan: &PlanView, commands: bool, paint: Paint) -> String {
    let mut lines = vec![paint.text(Color::Bold, &printable(&plan.title()))];
    for change in plan
        .changes
        .iter()
        .filter(|change| change.action != Action::None)
    {
        let (sign, color) = mark(change.action);
        lines.push(paint.text(color, &format!("  {sign} {}", line(change))));
        if let Some(command) = change.aws_cli.as_deref().filter(|_| commands) {
            lines.push(paint.text(Color::Dim, &format!("      $ {}", printable(command))));
        }
    }
    for warning in &plan.warnings {
        lines.push(paint.text(Color::Yellow, &format!("  Warning: {}", printable(warning))));
    }
    lines.push(Counts::of(&plan.changes).summary());
    lines.join("\n")
}

/// A plan as Markdown, for a pull request's comment or a job's summary.
pub fn plan_markdown(plan: &PlanView) -> String {
    let counts = Counts::of(&plan.changes);
    let mut text = format!(
        "### Slipway: `{}`\n\n{}\n",
        code(&plan.title()),
        counts.summary()
    );
    if counts.changes() + counts.blocked > 0 {
        text += "\n```diff\n";
        for change in plan
            .changes
            .iter()
            .filter(|change| change.action != Action::None)
        {
            let sign = match change.action {
                Action::Create => '+',
                Action::Delete => '-',
                _ => '!',
            };
            text += &format!("{sign} {}\n", code(&line(change)));
        }
        text += "```\n";
    }
    for warning in &plan.warnings {
        text += &format!("\n> **Warning:** {}\n", code(&printable(warning)));
    }
    text
}

/// A text that does not end the code block it is in.
fn code(text: &str) -> String {
    text.replace("```", "'''")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan() -> PlanView {
        let change = |action: &str, detail: &str| json!({"resource": "iam:user/acme", "action": action, "detail": detail, "aws_cli": "aws iam x"});
        let mut blocked = change("conflict", "Bucket b exists.");
        blocked["error"] = json!({"code": "conflict", "detail": "Bucket b exists.", "remedy": "Choose another name.", "retryable": false});
        serde_json::from_value(json!({
            "app": "acme",
            "changes": [
                change("create", "create user acme"), change("none", "No change."),
                change("update", "set CORS\u{1b}"), change("delete", "delete ```x"), blocked,
            ],
            "warnings": ["Be aware."],
        }))
        .unwrap()
    }

    #[test]
    fn a_plan_for_people() {
        insta::assert_snapshot!(plan_text(&plan(), true, Paint::off()), @r"
        acme
          + create user acme
              $ aws iam x
          ~ set CORS 
              $ aws iam x
          - delete ```x
              $ aws iam x
          ! Bucket b exists. Choose another name.
              $ aws iam x
          Warning: Be aware.
        Plan: 1 to create, 1 to update, 1 to delete, 1 blocked.
        ");
    }

    #[test]
    fn a_plan_for_a_pull_request() {
        insta::assert_snapshot!(plan_markdown(&plan()), @r"
        ### Slipway: `acme`

        Plan: 1 to create, 1 to update, 1 to delete, 1 blocked.

        ```diff
        + create user acme
        ! set CORS 
        - delete '''x
        ! Bucket b exists. Choose another name.
        ```

        > **Warning:** Be aware.
        ");
    }
}

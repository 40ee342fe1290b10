//! A script of AWS CLI commands that creates the resources of an app.
//!
//! Invariants:
//! - The script stops at the first command that fails, and works only in the account of the app.
//! - It creates no access key, because the secret would appear in the output.

use crate::provision::render::document::{Head, comment};
use crate::provision::render::shell_words;

/// A command of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The description of the change.
    pub detail: String,
    pub line: String,
    /// Whether it creates a resource that all apps of the account share, which may already exist.
    pub shared: bool,
    /// Whether its output shows a secret.
    pub shows_secret: bool,
}

/// Runs commands for resources that may already exist.
const SHARED: &str = r#"
# Resources that all apps share may already exist. They are left unchanged.
shared() {
  local output
  if ! output=$("$@" 2>&1) && [[ $output != *EntityAlreadyExists* ]]; then
    printf '%s\n' "$output" >&2
    return 1
  fi
}
"#;

/// Renders the script.
pub fn render(head: &Head, commands: &[Command]) -> String {
    let Head {
        app,
        account,
        region,
    } = head;
    let mut script = String::from("#!/usr/bin/env bash\n");
    script += &comment(&format!(
        "Creates the resources of {} in AWS account {account}, as its spec in Slipway describes.\n\
         Requires the AWS CLI and credentials with the necessary permissions. Stops at the first command that fails;\n\
         resources created by then remain. If the app already exists, the script stops at its user.",
        app.subject()
    ));
    script += &format!(
        "set -euo pipefail\n\
         export AWS_PAGER=\"\"\n\
         export AWS_DEFAULT_REGION={region}\n\n\
         if [[ $(aws sts get-caller-identity --query Account --output text) != {account} ]]; then\n  \
         echo {} >&2\n  exit 1\nfi\n",
        shell_words::word(&format!("These are not credentials of account {account}."))
    );
    script += SHARED;
    for command in commands {
        script += "\n";
        script += &comment(&command.detail);
        script += &match command {
            Command {
                shows_secret: true,
                line,
                ..
            } => comment(&format!(
                "Run this command manually. Its output shows the secret, once:\n{line}"
            )),
            Command {
                shared: true, line, ..
            } => format!("shared {line}\n"),
            Command { line, .. } => format!("{line}\n"),
        };
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::{AppName, Region};

    #[test]
    fn no_line_of_a_comment_is_a_command() {
        let head = Head {
            app: AppName::parse("acme").unwrap(),
            account: "123456789012".into(),
            region: Region::parse("us-west-2").unwrap(),
        };
        let command = Command {
            detail: "make\nrm -r x".into(),
            line: "aws x 'a\nb'".into(),
            shared: false,
            shows_secret: true,
        };
        let script = render(&head, &[command]);
        for words in ["rm -r x", "aws x 'a", "b'"] {
            assert!(script.contains(&format!("# {words}\n")), "{script}");
        }
    }
}

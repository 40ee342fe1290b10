//! The environment of the app, as a file of `NAME=value` lines.
//!
//! Invariant: nothing is quoted. No value has a character that a shell or a reader of such files takes for more
//! than itself, and some readers (`docker run --env-file`) take quotes for part of the value.

use secrecy::{ExposeSecret as _, SecretString};

/// The environment variables of the app.
#[derive(Debug, Clone, Copy)]
pub struct Environment<'a> {
    /// The app's key, if it has one.
    pub access_key_id: Option<&'a str>,
    /// The key's secret.
    pub secret: Secret<'a>,
    /// The app's region.
    pub region: &'a str,
    /// The app's resources.
    pub resources: &'a [(Variables, Vec<String>)],
}

/// The environment variables for the resources of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variables {
    /// The name of the variable with the value of the first resource, such as `S3_BUCKET`.
    pub first: &'static str,
    /// The name of the variable with the values of all resources, such as `S3_BUCKETS`.
    pub all: &'static str,
}

/// A secret in an environment.
#[derive(Debug, Clone, Copy)]
pub enum Secret<'a> {
    /// The secret, which is shown only once.
    Shown(&'a SecretString),
    /// The secret is not included. Says how to get it.
    Withheld(&'a str),
}

impl Environment<'_> {
    /// The lines of the file.
    pub fn dotenv(&self) -> String {
        let mut lines = Vec::new();
        lines.extend(
            self.access_key_id
                .map(|id| format!("AWS_ACCESS_KEY_ID={id}")),
        );
        lines.push(match self.secret {
            Secret::Shown(secret) => format!("AWS_SECRET_ACCESS_KEY={}", secret.expose_secret()),
            Secret::Withheld(how) => format!("# {how}\n# AWS_SECRET_ACCESS_KEY="),
        });
        lines.push(format!("AWS_REGION={}", self.region));
        for (Variables { first, all }, values) in self.resources {
            lines.extend(values.first().map(|value| format!("{first}={value}")));
            if values.len() > 1 {
                lines.push(format!("{all}={}", values.join(",")));
            }
        }
        lines.join("\n") + "\n"
    }
}

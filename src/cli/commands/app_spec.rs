//! The spec of one app, from a file and flags.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::spec_file::SpecFile;
use crate::cli::client::ClientError;

/// What an app should have. docs/api/spec.md describes the fields.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Spec")]
pub struct SpecArgs {
    /// A file with the spec, in YAML or JSON; `-` is standard input.
    #[arg(long = "file", short = 'f', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The name of a registered account.
    #[arg(long)]
    account: Option<String>,
    /// The AWS region.
    #[arg(long)]
    region: Option<String>,
    /// Whether the app can access all buckets of the account, or its own only.
    #[arg(long, value_parser = ["shared", "scoped"])]
    media_access: Option<String>,
    /// A bucket by this name. Repeat it for several.
    #[arg(long = "bucket", value_name = "NAME")]
    buckets: Vec<String>,
    /// No buckets.
    #[arg(long, conflicts_with = "buckets")]
    no_buckets: bool,
    /// An image repository by this name. Repeat it for several.
    #[arg(long = "repository", value_name = "NAME")]
    repositories: Vec<String>,
    /// No image repositories.
    #[arg(long, conflicts_with = "repositories")]
    no_repositories: bool,
    /// Whether the app has an access key.
    #[arg(long, value_name = "BOOL")]
    access_key: Option<bool>,
    /// What to do about resources that exist already.
    #[arg(long, value_parser = ["fail", "adopt"])]
    on_existing: Option<String>,
    /// A tag for all resources of the app. Repeat it for several.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Whether the removal of the app is refused.
    #[arg(long, value_name = "BOOL")]
    protected: Option<bool>,
    /// What to do about drift that a scheduled check finds.
    #[arg(long, value_parser = ["report", "repair"])]
    drift: Option<String>,
    /// The age at which the access key is rotated, such as 90d.
    #[arg(long, value_name = "AGE")]
    rotate_after: Option<String>,
}

fn parse_tag(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl SpecArgs {
    /// Whether anything is asked for.
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && {
            let mut spec = Map::new();
            self.set_flags(&mut spec);
            spec.is_empty()
        }
    }

    /// The spec of the app: that of the file, else `present`, with the flags over it.
    pub fn spec(&self, app: &str, present: Option<&Value>) -> Result<Value, ClientError> {
        let mut spec = match &self.file {
            Some(path) => from_file(&SpecFile::read(path)?)?,
            None => present
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        };
        spec.insert("name".into(), app.into());
        self.set_flags(&mut spec);
        Ok(spec.into())
    }

    fn set_flags(&self, spec: &mut Map<String, Value>) {
        let texts = [
            ("account", &self.account),
            ("region", &self.region),
            ("media_access", &self.media_access),
            ("on_existing", &self.on_existing),
            ("drift", &self.drift),
            ("rotate_after", &self.rotate_after),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                spec.insert(field.into(), text.as_str().into());
            }
        }
        for (field, value) in [
            ("access_key", self.access_key),
            ("protected", self.protected),
        ] {
            if let Some(value) = value {
                spec.insert(field.into(), value.into());
            }
        }
        set_names(spec, "buckets", &self.buckets, self.no_buckets);
        set_names(
            spec,
            "repositories",
            &self.repositories,
            self.no_repositories,
        );
        if !self.tags.is_empty() {
            let tags = self
                .tags
                .iter()
                .map(|(key, value)| (key.clone(), value.as_str().into()));
            spec.insert("tags".into(), Value::Object(tags.collect()));
        }
    }
}

/// Sets a list of names. What the spec says of a name stays.
fn set_names(spec: &mut Map<String, Value>, field: &str, names: &[String], none: bool) {
    if names.is_empty() && !none {
        return;
    }
    let before = spec.remove(field);
    let entry = |name: &String| {
        let before = before.iter().filter_map(Value::as_array).flatten();
        let mut known = before.filter(|entry| entry["name"] == name.as_str());
        known
            .next()
            .cloned()
            .unwrap_or_else(|| json!({"name": name}))
    };
    spec.insert(field.into(), names.iter().map(entry).collect());
}

/// A spec in a file of its own. `app` stands for `name`, as in `slipway.yaml`.
fn from_file(file: &SpecFile) -> Result<Map<String, Value>, ClientError> {
    let Value::Object(mut spec) = file.document()? else {
        return Err(file.error("must be the fields of a spec"));
    };
    if let Some(name) = spec.remove("app") {
        spec.insert("name".into(), name);
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_what_they_name() {
        let args = SpecArgs {
            buckets: vec!["kept".into(), "new".into()],
            no_repositories: true,
            protected: Some(false),
            tags: vec![("team".into(), "blog".into())],
            ..SpecArgs::default()
        };
        let present = json!({
            "name": "acme", "region": "us-west-2", "protected": true, "tags": {"old": "1"},
            "buckets": [{"name": "kept", "upload_origins": []}, {"name": "dropped"}],
            "repositories": [{"name": "acme"}],
        });
        assert_eq!(
            args.spec("acme", Some(&present)).unwrap(),
            json!({
                "name": "acme", "region": "us-west-2", "protected": false, "tags": {"team": "blog"},
                "buckets": [{"name": "kept", "upload_origins": []}, {"name": "new"}],
                "repositories": [],
            })
        );
        assert!(SpecArgs::default().is_empty() && !args.is_empty());
        assert_eq!(
            SpecArgs::default().spec("acme", None).unwrap(),
            json!({"name": "acme"})
        );
    }
}

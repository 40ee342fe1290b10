//! The CORS rules of a bucket: the app's rules, and the existing rules of an adopted bucket.

use aws_sdk_s3::types::CorsRule;
use serde_json::{Value, json};

use super::state::{Bucket, Cors, SeenBucket};
use crate::provision::fault::Fault;
use crate::provision::tags::{self};

/// How long a browser may cache the response to a preflight request, in seconds.
const MAX_AGE_SECONDS: i32 = 3000;

impl Cors {
    pub(super) fn of_sdk(rule: CorsRule) -> Self {
        Self {
            origins: rule.allowed_origins,
            headers: rule.allowed_headers.unwrap_or_default(),
            methods: rule.allowed_methods,
            exposed: rule.expose_headers.unwrap_or_default(),
            max_age: rule.max_age_seconds,
            id: rule.id,
        }
    }

    pub(super) fn sdk(&self) -> Result<CorsRule, Fault> {
        let filled = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        CorsRule::builder()
            .set_allowed_origins(Some(self.origins.clone()))
            .set_allowed_headers(filled(&self.headers))
            .set_allowed_methods(Some(self.methods.clone()))
            .set_expose_headers(filled(&self.exposed))
            .set_max_age_seconds(self.max_age)
            .set_id(self.id.clone())
            .build()
            .map_err(Fault::of_sdk)
    }

    /// Whether two rules allow the same. The order within a list and the ID of the rule do not matter.
    pub(super) fn same(&self, other: &Self) -> bool {
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort();
            list
        };
        let comparable = |rule: &Self| {
            (
                sorted(&rule.origins),
                sorted(&rule.headers),
                sorted(&rule.methods),
                sorted(&rule.exposed),
                rule.max_age,
            )
        };
        comparable(self) == comparable(other)
    }
}

impl Cors {
    /// The rule as a block of `aws_s3_bucket_cors_configuration`.
    pub(super) fn hcl(&self) -> hcl::Block {
        let lists = [
            ("allowed_origins", &self.origins),
            ("allowed_methods", &self.methods),
            ("allowed_headers", &self.headers),
            ("expose_headers", &self.exposed),
        ];
        let mut block = hcl::Block::builder("cors_rule");
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            block = block.add_attribute((name, list.clone()));
        }
        if let Some(seconds) = self.max_age {
            block = block.add_attribute(("max_age_seconds", seconds));
        }
        if let Some(id) = &self.id {
            block = block.add_attribute(("id", id.as_str()));
        }
        block.build()
    }

    /// The rule with the property names of CloudFormation, which differ from those of S3.
    pub(super) fn template(&self) -> Value {
        let lists = [
            ("AllowedOrigins", &self.origins),
            ("AllowedMethods", &self.methods),
        ];
        let optional = [
            ("AllowedHeaders", &self.headers),
            ("ExposedHeaders", &self.exposed),
        ];
        let mut rule: serde_json::Map<String, Value> = lists
            .map(|(name, list)| (name.to_owned(), json!(list)))
            .into_iter()
            .collect();
        rule.extend(
            optional
                .into_iter()
                .filter(|(_, list)| !list.is_empty())
                .map(|(name, list)| (name.to_owned(), json!(list))),
        );
        rule.extend(
            self.max_age
                .map(|seconds| ("MaxAge".to_owned(), json!(seconds))),
        );
        rule.extend(self.id.as_ref().map(|id| ("Id".to_owned(), json!(id))));
        Value::Object(rule)
    }
}

/// Whether two lists of rules allow the same. The first rule that matches decides, so the order of the rules matters.
pub(super) fn same_cors(a: &[Cors], b: &[Cors]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
}

pub(super) fn cors_document(rules: &[Cors]) -> Value {
    let rule = |rule: &Cors| {
        let mut document = json!({"AllowedOrigins": rule.origins, "AllowedMethods": rule.methods});
        if !rule.headers.is_empty() {
            document["AllowedHeaders"] = json!(rule.headers);
        }
        if !rule.exposed.is_empty() {
            document["ExposeHeaders"] = json!(rule.exposed);
        }
        if let Some(seconds) = rule.max_age {
            document["MaxAgeSeconds"] = json!(seconds);
        }
        if let Some(id) = &rule.id {
            document["ID"] = json!(id);
        }
        document
    };
    json!({"CORSRules": rules.iter().map(rule).collect::<Vec<_>>()})
}

impl Bucket {
    /// The app's two rules: any page may download, and the app's own pages may upload.
    pub(super) fn wanted_cors(&self) -> Vec<Cors> {
        let texts = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let max_age = Some(MAX_AGE_SECONDS);
        let download = Cors {
            origins: texts(&["*"]),
            headers: texts(&["Authorization"]),
            methods: texts(&["GET"]),
            max_age,
            ..Cors::default()
        };
        let upload = Cors {
            origins: self
                .spec
                .upload_origins
                .iter()
                .map(ToString::to_string)
                .collect(),
            headers: texts(&["*"]),
            methods: texts(&["PUT", "POST", "DELETE"]),
            // Multipart uploads from a browser need the ETag of each part.
            exposed: texts(&["x-amz-server-side-encryption", "ETag"]),
            max_age,
            id: None,
        };
        std::iter::once(download)
            .chain((!upload.origins.is_empty()).then_some(upload))
            .collect()
    }

    /// The app's rules, and the existing rules of an adopted bucket.
    pub(super) fn cors_over(&self, seen: &SeenBucket) -> Vec<Cors> {
        let mut rules = self.wanted_cors();
        if !seen.made_by_us && tags::is_adopted(&seen.tags) {
            let kept: Vec<Cors> = seen
                .cors
                .iter()
                .filter(|rule| !rules.iter().any(|ours| ours.same(rule)))
                .cloned()
                .collect();
            rules.extend(kept);
        }
        rules
    }
}

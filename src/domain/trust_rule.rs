//! Trust rules: which ID tokens of which issuers are exchanged for API tokens, and for what.
//!
//! Invariants:
//! - A claim matches as a whole and as it is written: there are no wildcards.
//! - A rule for a pipeline names its repository or project by id, since names can be taken over, and its environment or ref.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::role::Role;
use crate::domain::scope::Scope;
use crate::domain::validation::{FieldError, Fields};

const GITHUB: &str = "https://token.actions.githubusercontent.com";
/// How the issuers of GitHub Enterprise Server end.
const GITHUB_SERVER: &str = "/_services/token";
const GITLAB: &str = "https://gitlab.com";
/// Claims that only GitLab has: its installations have issuers of any name.
const GITLAB_CLAIMS: [&str; 4] = [
    "project_id",
    "project_path",
    "namespace_path",
    "ref_protected",
];
const MAX_CLAIMS: usize = 20;
const MAX_TEXT: usize = 512;

/// Which ID tokens are accepted, and what they are exchanged for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrustRuleSpec {
    /// The name of the rule, unique. The callers are named after it.
    #[schema(
        example = "shop-production",
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"
    )]
    pub name: String,
    /// The issuer, as the claim `iss` has it.
    #[schema(
        example = "https://token.actions.githubusercontent.com",
        max_length = 512
    )]
    pub issuer: String,
    /// What the claim `aud` has to be, or to contain.
    #[schema(
        example = "https://slipway.example.com",
        min_length = 1,
        max_length = 512
    )]
    pub audience: String,
    /// Claims and what each has to be.
    #[schema(example = json!({"repository_id": "123456", "environment": "production"}))]
    pub claims: BTreeMap<String, String>,
    /// The role of the API tokens.
    pub role: Role,
    /// The apps and accounts that the API tokens are for. Absent for all.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    #[schema(required = false)]
    pub scope: Scope,
    /// Whether pipelines of pull requests and merge requests are accepted.
    #[serde(default)]
    #[schema(required = false)]
    pub allow_pull_requests: bool,
}

/// A trust rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrustRule {
    /// The ID of the rule.
    #[schema(value_type = String)]
    pub id: Ulid,
    /// The rule.
    #[serde(flatten)]
    pub spec: TrustRuleSpec,
    /// Who created it.
    pub created_by: String,
    /// When it was created.
    pub created_at: Timestamp,
}

impl TrustRuleSpec {
    /// Parses the body of a request. `allow_http` accepts issuers at http on this machine, for tests.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn parse(body: &Value, allow_http: bool) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body, "");
        let name = fields.required("name", parse_name);
        let issuer = fields.required("issuer", |text| parse_issuer(text, allow_http));
        let audience = fields.required("audience", parse_exact);
        let role = fields.required("role", |text| {
            text.parse::<Role>()
                .map_err(|_| "must be viewer, operator, approver or admin")
        });
        let scope = Scope::of_field(&mut fields);
        let allow_pull_requests = fields.boolean("allow_pull_requests").unwrap_or_default();
        let claims = parse_claims(&mut fields);
        if let (Some(issuer), Some(claims)) = (&issuer, &claims)
            && let Err(missing) = require_pins(issuer, claims)
        {
            fields.error("claims", missing);
        }
        let errors = fields.finish();
        match (name, issuer, audience, role, claims) {
            (Some(name), Some(issuer), Some(audience), Some(role), Some(claims))
                if errors.is_empty() =>
            {
                Ok(Self {
                    name,
                    issuer,
                    audience,
                    claims,
                    role,
                    scope,
                    allow_pull_requests,
                })
            }
            _ => Err(errors),
        }
    }
}

fn parse_claims(fields: &mut Fields<'_>) -> Option<BTreeMap<String, String>> {
    let Some(value) = fields.get("claims") else {
        fields.error("claims", "is required");
        return None;
    };
    let Some(object) = value
        .as_object()
        .filter(|object| object.len() <= MAX_CLAIMS)
    else {
        fields.error(
            "claims",
            format!("must be an object of at most {MAX_CLAIMS} claims"),
        );
        return None;
    };
    let mut claims = BTreeMap::new();
    for (name, value) in object {
        let pointer = format!("claims/{}", name.replace('~', "~0").replace('/', "~1"));
        match value.as_str().map(parse_exact) {
            Some(Ok(text)) => {
                claims.insert(name.clone(), text);
            }
            Some(Err(why)) => fields.error_at(&pointer, why),
            None => fields.error_at(
                &pointer,
                "must be a string: claims are compared as they are",
            ),
        }
    }
    Some(claims)
}

fn parse_name(text: &str) -> Result<String, &'static str> {
    let fits = (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    fits.then(|| text.to_owned())
        .ok_or("must be 1 to 64 letters, digits or any of _.- and begin with a letter or digit")
}

/// Parses an issuer: an https URL without query and fragment.
///
/// # Errors
/// When it is none.
pub fn parse_issuer(text: &str, allow_http: bool) -> Result<String, &'static str> {
    let local = ["http://127.0.0.1:", "http://localhost:"];
    let rest = text.strip_prefix("https://").or_else(|| {
        let is_local = allow_http && local.iter().any(|prefix| text.starts_with(prefix));
        text.strip_prefix("http://").filter(|_| is_local)
    });
    let fits = rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphanumeric())
            && rest
                .chars()
                .all(|c| c.is_ascii_graphic() && !"?#@*\\".contains(c))
    });
    (fits && text.len() <= MAX_TEXT)
        .then(|| text.to_owned())
        .ok_or("must be the https URL of the issuer, as the claim `iss` has it, such as https://token.actions.githubusercontent.com")
}

/// A text that is compared as it is. One that looks like a pattern is refused: it would never match.
fn parse_exact(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err("must be 1 to 512 visible characters");
    }
    if text.contains(['*', '?']) {
        return Err("must be exact: there are no wildcards");
    }
    Ok(text.to_owned())
}

/// Whether the claims tell one repository's or project's pipelines, or one subject, from all others of the issuer.
fn require_pins(issuer: &str, claims: &BTreeMap<String, String>) -> Result<(), &'static str> {
    let has = |name: &str| claims.contains_key(name);
    let is_github = issuer == GITHUB
        || issuer.starts_with(&format!("{GITHUB}/"))
        || issuer.ends_with(GITHUB_SERVER);
    let is_gitlab = issuer == GITLAB || GITLAB_CLAIMS.iter().any(|name| has(name));
    let is_placed = has("environment") || has("ref");
    if is_github && !(has("repository_id") && is_placed) {
        return Err(
            "must have `repository_id`, and `environment` or `ref`. A repository's name can pass to somebody else",
        );
    }
    if is_gitlab && !(has("project_id") && is_placed) {
        return Err(
            "must have `project_id`, and `environment` or `ref`. A project's path can pass to somebody else",
        );
    }
    let is_pinned = has("sub") || has("repository_id") && is_placed;
    if !(is_github || is_gitlab || is_pinned) {
        return Err("must have `sub`, or `repository_id` with `environment` or `ref`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(issuer: &str, claims: Value) -> Result<TrustRuleSpec, Vec<FieldError>> {
        let body = json!({"name": "r", "issuer": issuer, "audience": "slipway", "claims": claims, "role": "operator"});
        TrustRuleSpec::parse(&body, false)
    }

    #[test]
    fn a_rule_pins_what_it_trusts() {
        let pinned = json!({"repository_id": "1", "environment": "production"});
        for issuer in [
            GITHUB,
            "https://token.actions.githubusercontent.com/acme",
            "https://git.example.com/_services/token",
        ] {
            rule(issuer, pinned.clone()).unwrap();
            rule(
                issuer,
                json!({"repository_id": "1", "ref": "refs/heads/main"}),
            )
            .unwrap();
            for claims in [
                json!({}),
                json!({"repository": "acme/shop", "ref": "refs/heads/main"}),
                json!({"sub": "repo:acme/shop:environment:production"}),
                json!({"repository_id": "1"}),
                json!({"repository_owner_id": "1", "environment": "production"}),
            ] {
                let errors = rule(issuer, claims.clone()).unwrap_err();
                assert_eq!(errors[0].pointer, "/claims", "{issuer} {claims}");
            }
        }
        rule(
            GITLAB,
            json!({"project_id": "1", "ref": "main", "ref_protected": "true"}),
        )
        .unwrap();
        rule(
            "https://git.example.com",
            json!({"project_id": "1", "environment": "production"}),
        )
        .unwrap();
        for claims in [
            json!({"project_path": "acme/shop", "ref": "main"}),
            json!({"project_id": "1"}),
            json!({"ref_protected": "true"}),
        ] {
            assert!(
                rule("https://git.example.com", claims.clone()).is_err(),
                "{claims}"
            );
        }
        rule("https://ci.example.com", json!({"sub": "job:1"})).unwrap();
        assert!(rule("https://ci.example.com", json!({"team": "a"})).is_err());
    }

    #[test]
    fn what_looks_like_a_pattern_is_refused() {
        for (value, pointer) in [
            ("repo-*", "/claims/ref"),
            ("?", "/claims/ref"),
            ("", "/claims/ref"),
            ("a\nb", "/claims/ref"),
        ] {
            let errors = rule(GITHUB, json!({"repository_id": "1", "ref": value})).unwrap_err();
            assert_eq!(errors[0].pointer, pointer);
        }
        assert!(rule(GITHUB, json!({"repository_id": 1, "ref": "main"})).is_err());
        for issuer in [
            "http://ci.example.com",
            "https://*.example.com",
            "https://",
            "ci.example.com",
            "https://a@b",
            "https://a/?b",
            "http://127.0.0.1:1",
        ] {
            assert!(rule(issuer, json!({"sub": "a"})).is_err(), "{issuer}");
        }
    }
}

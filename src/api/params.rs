//! Query parameters. All invalid ones are reported at once, and unknown ones are refused.
//!
//! Rejected: `axum::extract::Query`. It stops at the first error, and accepts text that is not UTF-8 and parameters
//! that nobody reads (docs/decisions/0023-request-fields-stay-with-our-reader.md).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::api::problem::ApiError;
use crate::domain::names::AppName;
use crate::domain::validation::FieldError;

/// The query parameters of a request. A parameter that the handler does not take is an error: a misspelt `dry_run`
/// must not onboard an app.
pub struct Params {
    given: BTreeMap<String, String>,
    known: Vec<String>,
    errors: Vec<FieldError>,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut params = Self {
            given: BTreeMap::new(),
            known: Vec::new(),
            errors: Vec::new(),
        };
        let pairs = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        for (name, value) in pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            match (decoded(name), decoded(value)) {
                (Some(name), Some(value)) => params.give(name, value),
                (name, _) => params.errors.push(FieldError::new(
                    name.unwrap_or("query".into()),
                    "must be percent-encoded UTF-8 without NUL",
                )),
            }
        }
        Ok(params)
    }
}

/// Decodes a name or value; `None` if the database cannot store it as text.
pub fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().ok()?;
    (!decoded.contains('\0')).then(|| decoded.into_owned())
}

impl Params {
    fn give(&mut self, name: String, value: String) {
        match self.given.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(entry) => self.errors.push(FieldError::new(
                entry.key(),
                "must not be given more than once",
            )),
        }
    }

    /// The parameter parsed into `T`, if it is given.
    pub fn take<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.known.push(name.to_owned());
        let text = self.given.remove(name)?;
        parse(&text)
            .map_err(|why| self.errors.push(FieldError::new(name, why)))
            .ok()
    }

    /// The parameter parsed into `T`. If it is absent, reports the error of an empty value.
    pub fn required<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.given.entry(name.into()).or_default();
        self.take(name, parse)
    }

    /// `true` or `false`; `false` when absent.
    pub fn flag(&mut self, name: &str) -> bool {
        self.take(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        })
        .unwrap_or(false)
    }

    /// Whether `confirm` is given. It must be the app's name.
    pub fn confirmed(&mut self, app: &AppName) -> bool {
        self.take("confirm", |text| {
            if text == app.as_str() {
                Ok(())
            } else {
                Err(format!("must be {app}, the app's name"))
            }
        })
        .is_some()
    }

    /// Fails with every error, also of parameters that were not taken.
    pub fn finish(mut self) -> Result<(), ApiError> {
        let unknown = if self.known.is_empty() {
            "Unknown parameter. This endpoint has no parameters.".to_owned()
        } else {
            format!(
                "Unknown parameter. Known parameters: {}.",
                self.known.join(", ")
            )
        };
        self.errors.extend(
            self.given
                .keys()
                .map(|name| FieldError::new(name, &unknown)),
        );
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Parameters(self.errors))
        }
    }
}

//! Reads a JSON body field by field and collects every error, each with its JSON pointer (RFC 6901).
//!
//! Invariants:
//! - A body with several errors reports all of them at once.
//! - An unknown field is an error: a misspelt `upload_origin` must not be dropped in silence.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// An error in a field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer into the body (RFC 6901), or the name of a query parameter or header.
    #[schema(example = "/buckets/0/name")]
    pub pointer: String,
    /// What is wrong, and what is valid.
    pub message: String,
}

impl FieldError {
    /// An error at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Display) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.to_string(),
        }
    }
}

/// The fields of one JSON object, taken one after another; errors gather in a list shared with
/// the objects inside it.
pub struct Fields<'a> {
    object: Option<&'a Map<String, Value>>,
    pointer: String,
    known: BTreeSet<&'static str>,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which should be an object.
    pub fn of(value: &'a Value, pointer: impl Into<String>) -> Self {
        let pointer = pointer.into();
        let mut errors = Vec::new();
        if !value.is_object() {
            errors.push(FieldError::new(
                pointer.clone(),
                format!("must be an object, not {}", kind(value)),
            ));
        }
        Self {
            object: value.as_object(),
            pointer,
            known: BTreeSet::new(),
            errors,
        }
    }

    /// The value of `name`, unless it is absent. `null` is refused: absent is how to ask for a default.
    pub fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.insert(name);
        let value = self.object?.get(name)?;
        if value.is_null() {
            self.error(name, "must not be null; omit the field to use its default");
            return None;
        }
        Some(value)
    }

    /// Notes a field that may be `null`.
    pub fn allow_null(&mut self, name: &'static str) {
        self.known.insert(name);
    }

    /// A text parsed into `T`, when it is there.
    pub fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let Some(text) = value.as_str() else {
            self.error(name, format!("must be a string, not {}", kind(value)));
            return None;
        };
        parse(text).map_err(|why| self.error(name, why)).ok()
    }

    /// A text parsed into `T` that has to be there.
    pub fn required<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        if self.object.is_some_and(|object| !object.contains_key(name)) {
            self.known.insert(name);
            self.error(name, "is required");
            return None;
        }
        self.parsed(name, parse)
    }

    /// A boolean, when it is there.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let value = self.get(name)?;
        if value.as_bool().is_none() {
            self.error(name, format!("must be true or false, not {}", kind(value)));
        }
        value.as_bool()
    }

    /// An integer in `range`, when it is there.
    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.get(name)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            self.error(name, format!("must be an integer from {least} to {most}"));
        }
        number
    }

    /// Each item of a list read by `read`, when the list is there; at most `most` items.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        most: usize,
        mut read: impl FnMut(&'a Value, String, &mut Vec<FieldError>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.get(name)?;
        let Some(items) = value.as_array() else {
            self.error(name, format!("must be an array, not {}", kind(value)));
            return None;
        };
        if items.len() > most {
            self.error(
                name,
                format!("must have at most {most} items, not {}", items.len()),
            );
            return None;
        }
        let at = self.at(name);
        let errors = &mut self.errors;
        Some(
            items
                .iter()
                .enumerate()
                .filter_map(|(i, item)| read(item, format!("{at}/{i}"), errors))
                .collect(),
        )
    }

    /// Records an error at the field `name`.
    pub fn error(&mut self, name: &str, message: impl Display) {
        let pointer = self.at(name);
        self.errors.push(FieldError::new(pointer, message));
    }

    /// Records an error at a pointer below this object, already escaped.
    pub fn error_at(&mut self, below: &str, message: impl Display) {
        self.errors.push(FieldError::new(
            format!("{}/{below}", self.pointer),
            message,
        ));
    }

    /// Adds errors of an object inside this one.
    pub fn extend(&mut self, errors: Vec<FieldError>) {
        self.errors.extend(errors);
    }

    /// The JSON pointer of the field `name`.
    pub fn at(&self, name: &str) -> String {
        format!(
            "{}/{}",
            self.pointer,
            name.replace('~', "~0").replace('/', "~1")
        )
    }

    /// Every error met; unknown fields are added now, when all known ones have been asked for.
    pub fn finish(mut self) -> Vec<FieldError> {
        let unknown: Vec<&String> = self
            .object
            .into_iter()
            .flat_map(Map::keys)
            .filter(|key| !self.known.contains(key.as_str()))
            .collect();
        for key in unknown {
            let message = unknown_field(key, &self.known);
            let pointer = self.at(key);
            self.errors.push(FieldError::new(pointer, message));
        }
        self.errors
    }
}

/// The message for an unknown field, with the known field that it resembles most.
fn unknown_field(field: &str, known: &BTreeSet<&str>) -> String {
    const MIN_SIMILARITY: f64 = 0.8;
    let similarity = |name: &str| strsim::jaro_winkler(field, name);
    let nearest = known
        .iter()
        .copied()
        .max_by(|one, other| similarity(one).total_cmp(&similarity(other)))
        .filter(|name| similarity(name) >= MIN_SIMILARITY);
    let hint = nearest
        .map(|name| format!(" Did you mean `{name}`?"))
        .unwrap_or_default();
    let known: Vec<&str> = known.iter().copied().collect();
    format!("Unknown field. Known fields: {}.{hint}", known.join(", "))
}

/// The text itself, when it is a string; otherwise an error at `pointer`.
pub fn text<'a>(value: &'a Value, pointer: &str, errors: &mut Vec<FieldError>) -> Option<&'a str> {
    if value.as_str().is_none() {
        errors.push(FieldError::new(
            pointer,
            format!("must be a string, not {}", kind(value)),
        ));
    }
    value.as_str()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

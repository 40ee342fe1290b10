//! `slipway.yaml`: the specs of one or more apps.
//!
//! A document is the spec of an app, with `app` for its name, or has several of them below `apps`. A file has one or
//! more documents.

use serde::Deserialize as _;
use serde_json::{Map, Value};

type Fields = Map<String, Value>;

/// The name of the file in a repository.
pub const MANIFEST: &str = "slipway.yaml";

/// An app, and where its spec is in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestApp {
    /// The name of the app.
    pub name: String,
    /// The spec, as a request wants it.
    pub spec: Value,
    /// The number of the document.
    pub document: usize,
    /// Where in the document the spec is, as a JSON pointer.
    pub pointer: String,
}

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {why}")]
pub struct ManifestError {
    /// The number of the document.
    pub document: usize,
    /// A JSON pointer into the document.
    pub pointer: String,
    /// What is wrong.
    pub why: String,
}

impl ManifestError {
    fn new(document: usize, pointer: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            document,
            pointer: pointer.into(),
            why: why.into(),
        }
    }
}

/// Whether a text in YAML refers to parts of itself. Repeated in one another, a few bytes of these become gigabytes.
pub fn has_aliases(text: &str) -> bool {
    let begins_node = |sign: char| {
        let mut before = ' ';
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let is_first = before.is_whitespace() || "[{,:".contains(before);
            let is_named = chars.peek().is_some_and(|next| !next.is_whitespace());
            if c == sign && is_first && is_named {
                return true;
            }
            before = c;
        }
        false
    };
    begins_node('&') && begins_node('*')
}

/// The documents of a text in YAML that are not empty, each with its number.
///
/// # Errors
/// When it is not YAML, or gives a key twice.
pub fn documents(text: &str) -> Result<Vec<(usize, Value)>, yaml_serde::Error> {
    let mut found = Vec::new();
    for (number, document) in yaml_serde::Deserializer::from_str(text).enumerate() {
        // By YAML's own type first: it refuses a key that is given twice.
        let value = yaml_serde::Value::deserialize(document)?;
        let value: Value = yaml_serde::from_value(value)?;
        if !value.is_null() {
            found.push((number, value));
        }
    }
    Ok(found)
}

/// The apps of the documents of a file.
///
/// # Errors
/// When there is none, one is there twice, or a document is not made of specs.
pub fn apps(documents: Vec<(usize, Value)>) -> Result<Vec<ManifestApp>, ManifestError> {
    let mut apps: Vec<ManifestApp> = Vec::new();
    for (document, value) in documents {
        for (pointer, fields) in specs(document, value)? {
            let app = app(document, pointer, fields)?;
            if apps.iter().any(|other| other.name == app.name) {
                let why = format!("{} is there twice", app.name);
                let pointer = format!("{}/app", app.pointer);
                return Err(ManifestError::new(document, pointer, why));
            }
            apps.push(app);
        }
    }
    if apps.is_empty() {
        return Err(ManifestError::new(0, "", "has no app"));
    }
    Ok(apps)
}

/// The specs of a document, each with its pointer.
fn specs(document: usize, value: Value) -> Result<Vec<(String, Fields)>, ManifestError> {
    let wrong = |pointer: &str, why: &str| ManifestError::new(document, pointer, why);
    let Value::Object(mut fields) = value else {
        return Err(wrong("", "must be the fields of a spec"));
    };
    let Some(apps) = fields.remove("apps") else {
        return Ok(vec![(String::new(), fields)]);
    };
    if let Some(field) = fields.keys().next() {
        let why = "is unknown beside `apps`. Fields of an app are below its item";
        return Err(wrong(&format!("/{field}"), why));
    }
    let Value::Array(items) = apps else {
        return Err(wrong("/apps", "must be a list of specs"));
    };
    let items = items.into_iter().enumerate();
    items
        .map(|(index, item)| {
            let pointer = format!("/apps/{index}");
            match item {
                Value::Object(fields) => Ok((pointer, fields)),
                _ => Err(wrong(&pointer, "must be the fields of a spec")),
            }
        })
        .collect()
}

fn app(document: usize, pointer: String, mut fields: Fields) -> Result<ManifestApp, ManifestError> {
    let name = fields.remove("app");
    let wrong = |why: &str| Err(ManifestError::new(document, format!("{pointer}/app"), why));
    if fields.contains_key("name") && name.is_some() {
        return wrong("is there beside `name`. Use `app` alone");
    }
    let name = match name.or_else(|| fields.remove("name")) {
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(_) => return wrong("must be the name of the app"),
        None => return wrong("is required: the name of the app"),
    };
    fields.insert("name".into(), name.as_str().into());
    Ok(ManifestApp {
        name,
        spec: fields.into(),
        document,
        pointer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_told_from_names_with_the_same_signs() {
        for text in [
            "a: &x [1]\nb: *x",
            "[&x 1,*x]",
            "&x a: 1\nb: {c: *x}",
            "{\"a\":&x 1,\"b\":*x}",
        ] {
            assert!(has_aliases(text), "{text}");
        }
        for text in [
            "app: acme\nscope: {apps: [acme-*]}",
            "origin: https://*.example.com/?a=1&b=2",
            "description: this & that * other",
            "- *\n- &",
            "a: &x 1",
        ] {
            assert!(!has_aliases(text), "{text}");
        }
    }
}

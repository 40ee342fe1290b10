//! `slipway.yaml`: the specs of one or more apps.
//!
//! A document is the spec of an app, with `app` for its name, or has several of them below `apps`. A file has one or
//! more documents.

use std::path::Path;

use serde_json::{Map, Value};

use super::spec_file::SpecFile;
use crate::cli::client::ClientError;

type Fields = Map<String, Value>;

/// The apps that a file describes.
pub struct Manifest {
    file: SpecFile,
    pub apps: Vec<ManifestApp>,
}

/// An app, and where its spec is in the file.
pub struct ManifestApp {
    pub name: String,
    /// As a request wants it.
    pub spec: Value,
    document: usize,
    pointer: String,
}

impl Manifest {
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        let file = SpecFile::read(path)?;
        let mut apps: Vec<ManifestApp> = Vec::new();
        for (document, value) in file.documents()? {
            for (pointer, fields) in specs(&file, document, value)? {
                let app = app(&file, document, pointer, fields)?;
                if apps.iter().any(|other| other.name == app.name) {
                    let place = file.place(document, &format!("{}/app", app.pointer));
                    return Err(ClientError::Usage(format!(
                        "{place}: {} is there twice",
                        app.name
                    )));
                }
                apps.push(app);
            }
        }
        if apps.is_empty() {
            return Err(file.error("has no app"));
        }
        Ok(Self { file, apps })
    }

    /// Puts the places in the file in front of the field errors of an app.
    pub fn locate(&self, app: &ManifestApp, error: ClientError) -> ClientError {
        self.file
            .locate(error, app.document, |pointer| match pointer {
                "/name" => format!("{}/app", app.pointer),
                field => format!("{}{field}", app.pointer),
            })
    }
}

/// The specs of a document, each with its pointer.
fn specs(
    file: &SpecFile,
    document: usize,
    value: Value,
) -> Result<Vec<(String, Fields)>, ClientError> {
    let wrong = |pointer: &str, why: &str| {
        ClientError::Usage(format!("{}: {why}", file.place(document, pointer)))
    };
    let Value::Object(mut fields) = value else {
        return Err(wrong("", "must be the fields of a spec"));
    };
    let Some(apps) = fields.remove("apps") else {
        return Ok(vec![(String::new(), fields)]);
    };
    if let Some(field) = fields.keys().next() {
        let pointer = format!("/{field}");
        return Err(wrong(
            &pointer,
            "is unknown beside `apps`. Fields of an app are below its item",
        ));
    }
    let Value::Array(items) = apps else {
        return Err(wrong("/apps", "must be a list of specs"));
    };
    let items = items.into_iter().enumerate();
    items
        .map(|(index, item)| match item {
            Value::Object(fields) => Ok((format!("/apps/{index}"), fields)),
            _ => Err(wrong(
                &format!("/apps/{index}"),
                "must be the fields of a spec",
            )),
        })
        .collect()
}

fn app(
    file: &SpecFile,
    document: usize,
    pointer: String,
    mut fields: Fields,
) -> Result<ManifestApp, ClientError> {
    let name = fields.remove("app");
    let wrong = |why: &str| {
        let place = file.place(document, &format!("{pointer}/app"));
        Err(ClientError::Usage(format!("{place}: {why}")))
    };
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
    use serde_json::json;

    fn read(text: &str) -> Result<Vec<(String, Value)>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let name = file.path().display().to_string();
        match Manifest::read(file.path()) {
            Ok(manifest) => Ok(manifest
                .apps
                .into_iter()
                .map(|app| (app.name, app.spec))
                .collect()),
            Err(error) => Err(error.to_string().replace(&name, "FILE")),
        }
    }

    #[test]
    fn documents_and_lists_are_apps() {
        let one = ("a".to_owned(), json!({"name": "a", "buckets": []}));
        let other = ("b".to_owned(), json!({"name": "b"}));
        assert_eq!(
            read("app: a\nbuckets: []\n").unwrap(),
            std::slice::from_ref(&one)
        );
        let both = [one, other];
        assert_eq!(
            read("app: a\nbuckets: []\n---\n---\napp: b\n").unwrap(),
            both
        );
        assert_eq!(
            read("apps:\n- app: a\n  buckets: []\n- name: b\n").unwrap(),
            both
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let wrong = |text: &str| read(text).unwrap_err();
        insta::assert_snapshot!([
            wrong(""), wrong("- a"), wrong("region: us-west-2"), wrong("app: a\n---\nregion: x\napp: a\n"),
            wrong("region: x\napps:\n- app: a\n"), wrong("apps: a"), wrong("apps:\n- app: a\n- 1\n"), wrong("app: a\nname: b\n"),
            wrong("app: [a]"),
        ].join("\n"), @r"
        FILE: has no app
        FILE: must be the fields of a spec
        FILE: /app: is required: the name of the app
        FILE:4: /app: a is there twice
        FILE:1: /region: is unknown beside `apps`. Fields of an app are below its item
        FILE:1: /apps: must be a list of specs
        FILE:3: /apps/1: must be the fields of a spec
        FILE:1: /app: is there beside `name`. Use `app` alone
        FILE:1: /app: must be the name of the app
        ");
    }
}

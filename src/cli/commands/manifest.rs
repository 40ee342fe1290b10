//! Reads `slipway.yaml`, and says where in it errors are.

use std::path::Path;

use super::spec_file::SpecFile;
use crate::cli::client::ClientError;
use crate::domain::manifest::{self, ManifestApp, ManifestError};

/// The apps that a file describes.
pub struct Manifest {
    file: SpecFile,
    pub apps: Vec<ManifestApp>,
}

impl Manifest {
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        let file = SpecFile::read(path)?;
        let apps = manifest::apps(file.documents()?).map_err(|error| wrong(&file, &error))?;
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

fn wrong(file: &SpecFile, error: &ManifestError) -> ClientError {
    let place = file.place(error.document, &error.pointer);
    ClientError::Usage(format!("{place}: {}", error.why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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

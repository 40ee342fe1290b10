//! Reads specs: `slipway.yaml`, and other files in YAML or JSON.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::cli::client::ClientError;
use crate::domain::manifest;
use crate::domain::validation::FieldError;

/// A file that was read.
pub struct SpecFile {
    name: String,
    text: String,
}

impl SpecFile {
    /// Reads a file; `-` is standard input.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        let (name, text) = if path == Path::new("-") {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(ClientError::file(PathBuf::from("standard input")))?;
            ("standard input".to_owned(), text)
        } else {
            let text = std::fs::read_to_string(path).map_err(ClientError::file(path))?;
            (path.display().to_string(), text)
        };
        Ok(Self { name, text })
    }

    /// The documents of the file that are not empty, each with its number.
    pub fn documents(&self) -> Result<Vec<(usize, Value)>, ClientError> {
        manifest::documents(&self.text).map_err(|error| self.invalid(&error))
    }

    /// The only document of the file.
    pub fn document(&self) -> Result<Value, ClientError> {
        let mut documents = self.documents()?;
        match (documents.pop(), documents.is_empty()) {
            (Some((_, value)), true) => Ok(value),
            _ => Err(ClientError::Usage(format!(
                "{} must have exactly one document",
                self.name
            ))),
        }
    }

    /// A usage error about this file.
    pub fn error(&self, why: impl fmt::Display) -> ClientError {
        ClientError::Usage(format!("{}: {why}", self.name))
    }

    fn invalid(&self, error: &yaml_serde::Error) -> ClientError {
        self.error(format_args!("is not valid YAML: {error}"))
    }

    /// Where in the file a field error is: its file, line and pointer.
    pub fn place(&self, document: usize, pointer: &str) -> String {
        match self.line(document, pointer) {
            Some(line) => format!("{}:{line}: {pointer}", self.name),
            None if pointer.is_empty() => self.name.clone(),
            None => format!("{}: {pointer}", self.name),
        }
    }

    /// The line of a JSON pointer, or of what is nearest around it.
    fn line(&self, document: usize, pointer: &str) -> Option<usize> {
        let path: Vec<String> = pointer
            .split('/')
            .skip(1)
            .map(|part| part.replace("~1", "/").replace("~0", "~"))
            .collect();
        (0..path.len()).rev().find_map(|last| {
            let document = yaml_serde::Deserializer::from_str(&self.text).nth(document)?;
            let found = Seek(&path[..=last]).deserialize(document).err()?;
            Some(found.location()?.line())
        })
    }

    /// Puts the places in this file in front of the field errors of a problem document.
    pub fn locate(
        &self,
        error: ClientError,
        document: usize,
        field: impl Fn(&str) -> String,
    ) -> ClientError {
        match error {
            ClientError::Problem(mut problem) => {
                for FieldError { pointer, .. } in &mut problem.errors {
                    *pointer = self.place(document, &field(pointer));
                }
                ClientError::Problem(problem)
            }
            other => other,
        }
    }
}

/// Walks to a field, and fails there: the parser says where it stood.
struct Seek<'a>(&'a [String]);

/// Fails at the key that is looked for.
struct Key<'a>(&'a str, bool);

const FOUND: &str = "found";

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FOUND)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [first, rest @ ..] = self.0 else {
            return Err(serde::de::Error::custom(FOUND));
        };
        while let Some(is_it) = map.next_key_seed(Key(first, rest.is_empty()))? {
            if is_it {
                map.next_value_seed(Seek(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let [first, rest @ ..] = self.0 else {
            return Err(serde::de::Error::custom(FOUND));
        };
        for _ in 0..first.parse().unwrap_or(0) {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        while items.next_element_seed(Seek(rest))?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FOUND)
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.0 {
            true if self.1 => Err(E::custom(FOUND)),
            is_it => Ok(is_it),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_lines() {
        let file = SpecFile {
            name: "slipway.yaml".into(),
            text: "app: one\n---\napp: acme\nbuckets:\n  - name: first\n  - nme: second\n    upload_origins:\n      - https://a\nrepositories: []\n".into(),
        };
        let place = |pointer: &str| file.place(1, pointer);
        assert_eq!(place("/app"), "slipway.yaml:3: /app");
        assert_eq!(place("/buckets"), "slipway.yaml:4: /buckets");
        assert_eq!(place("/buckets/1"), "slipway.yaml:6: /buckets/1");
        assert_eq!(place("/buckets/1/nme"), "slipway.yaml:6: /buckets/1/nme");
        assert_eq!(
            place("/buckets/1/upload_origins/0"),
            "slipway.yaml:8: /buckets/1/upload_origins/0"
        );
        assert_eq!(place("/buckets/1/name"), "slipway.yaml:6: /buckets/1/name");
        assert_eq!(place("/absent"), "slipway.yaml: /absent");
    }

    #[test]
    fn a_key_that_is_given_twice_is_refused() {
        let file = SpecFile {
            name: "f".into(),
            text: "app: a\napp: b\n".into(),
        };
        let error = file.documents().unwrap_err().to_string();
        assert!(error.contains("duplicate"), "{error}");
    }
}

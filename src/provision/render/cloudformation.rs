//! CloudFormation: the template of one stack, with the resources to import.
//!
//! Invariants:
//! - A stack has one region. Resources in other regions are in other templates.
//! - Every resource is retained when it leaves the stack, so deleting the stack deletes nothing
//!   (AWS CloudFormation User Guide, "Import AWS resources into a CloudFormation stack": import asks for it).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::domain::names::Region;
use crate::domain::resource_id::ResourceId;
use crate::provision::render::document::Head;
use crate::provision::render::labels::Labels;
use crate::provision::tags::Tags;

/// CloudFormation takes 255 characters (User Guide, "Resources"); a number may follow these.
const MAX_LOGICAL_ID_LENGTH: usize = 200;

/// A part of a template.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A resource of the stack.
    Thing(Thing),
    /// A property of another resource: lists are joined, other values are set.
    Extends {
        /// That resource.
        of: ResourceId,
        property: &'static str,
        value: Value,
    },
    /// A note for the reader.
    Note(String),
}

/// A resource of the stack.
#[derive(Debug, Clone)]
pub struct Thing {
    kind: &'static str,
    identifier: (&'static str, String),
    region: Option<Region>,
    properties: Map<String, Value>,
}

impl Thing {
    /// A resource of this type, which this property identifies for the import.
    pub fn new(
        kind: &'static str,
        identified_by: &'static str,
        identifier: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            identifier: (identified_by, identifier.into()),
            region: None,
            properties: Map::new(),
        }
    }

    /// The region. A resource without one, such as a user, is in the stack of the app's region.
    pub fn at(self, region: &Region) -> Self {
        Self {
            region: Some(region.clone()),
            ..self
        }
    }

    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    pub fn tags(self, tags: &Tags) -> Self {
        let list: Vec<Value> = tags
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect();
        if list.is_empty() {
            self
        } else {
            self.set("Tags", list)
        }
    }

    fn extend(&mut self, property: &str, value: Value) {
        match (self.properties.get_mut(property), value) {
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (_, value) => _ = self.properties.insert(property.into(), value),
        }
    }

    fn to_import(&self, logical_id: &str) -> Value {
        let (name, value) = &self.identifier;
        json!({"ResourceType": self.kind, "LogicalResourceId": logical_id, "ResourceIdentifier": {(*name): value}})
    }

    fn into_template(self) -> Value {
        json!({"Type": self.kind, "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain", "Properties": self.properties})
    }
}

/// A reference to another resource, or its value if the template does not have it.
pub fn reference(labels: &Labels, id: &ResourceId, value: &str) -> Value {
    labels
        .get(id)
        .map_or_else(|| json!(value), |label| json!({"Ref": label}))
}

/// The logical ID of a resource: its kind and name in letters and digits.
pub fn logical_id(id: &ResourceId) -> String {
    let words = id
        .as_str()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    words
        .map(capital)
        .collect::<String>()
        .chars()
        .take(MAX_LOGICAL_ID_LENGTH)
        .collect()
}

/// The template of the stack in one region. `None` if it would be empty.
pub fn render(
    head: &Head,
    region: &Region,
    labels: &Labels,
    parts: Vec<(&ResourceId, Vec<Entry>)>,
) -> Option<Value> {
    let (mut things, mut extensions, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for (id, entries) in parts {
        for entry in entries {
            match entry {
                Entry::Thing(thing) => things.push((id.clone(), thing)),
                Entry::Extends {
                    of,
                    property,
                    value,
                } => extensions.push((of, property, value)),
                Entry::Note(note) => notes.push(note),
            }
        }
    }
    for (of, property, value) in extensions {
        if let Some((_, thing)) = things.iter_mut().find(|(id, _)| *id == of) {
            thing.extend(property, value);
        }
    }
    let place = |thing: &Thing| thing.region.clone().unwrap_or_else(|| head.region.clone());
    let elsewhere: BTreeSet<Region> = things
        .iter()
        .map(|(_, thing)| place(thing))
        .filter(|other| other != region)
        .collect();
    things.retain(|(_, thing)| place(thing) == *region);
    if things.is_empty() && region != &head.region {
        return None;
    }
    let label = |id: &ResourceId| labels.get(id).unwrap_or_default().to_owned();
    let import: Vec<Value> = things
        .iter()
        .map(|(id, thing)| thing.to_import(&label(id)))
        .collect();
    let resources: Map<String, Value> = things
        .into_iter()
        .map(|(id, thing)| (label(&id), thing.into_template()))
        .collect();
    Some(json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": format!("{} in AWS account {}, {region}, as it was in AWS at the time of this export", head.app.subject(), head.account),
        "Metadata": {"Slipway": {
            "App": head.app, "Account": head.account, "Region": region, "OtherRegions": elsewhere,
            "HowToImport": how_to_import(head, region), "ResourcesToImport": import, "Notes": notes,
        }},
        "Resources": resources,
    }))
}

/// The commands that import the resources into a new stack.
fn how_to_import(head: &Head, region: &Region) -> Vec<String> {
    let stack: String = head
        .app
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    // A stack's name begins with a letter.
    let stack = format!("slipway-{stack}");
    let names = format!("--region {region} --stack-name {stack} --change-set-name import");
    vec![
        "jq .Metadata.Slipway.ResourcesToImport template.json > import.json".into(),
        format!(
            "aws cloudformation create-change-set {names} --change-set-type IMPORT --capabilities CAPABILITY_NAMED_IAM \
             --template-body file://template.json --resources-to-import file://import.json"
        ),
        format!("aws cloudformation wait change-set-create-complete {names}"),
        format!("aws cloudformation execute-change-set {names}"),
    ]
}

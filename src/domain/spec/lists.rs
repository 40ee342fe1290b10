//! The lists of an app spec that kinds of resources add to it, besides its buckets and repositories.
//!
//! Invariants:
//! - An entry is named by its region and name, once in its list; in a global list by its name alone, without regard to
//!   case, as IAM tells its names apart.
//! - A list without entries is absent: the JSON of a spec does not mention it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::names::{AppName, NameError, Region};
use crate::domain::validation::{FieldError, Fields};

/// What an entry of a list has besides its name and region.
///
/// Every setting has a default, because a resource that is only known by its ID has no settings. Settings that are
/// stored must stay readable: a setting that is added later needs a serde default.
pub trait ListSettings: Serialize + DeserializeOwned + ToSchema {
    /// The list's field in the spec, such as `queues`.
    const FIELD: &'static str;
    /// An entry, such as `queue`.
    const NOUN: &'static str;
    /// Whether names are unique in the account, whatever the region. The region is then where the entry is used.
    const IS_GLOBAL: bool = false;
    /// The name of an entry that has none, from the app and the entry. Absent if every entry has to have a name.
    const DEFAULT_NAME: Option<DefaultName> = None;

    /// Checks the name of an entry.
    ///
    /// # Errors
    /// When the text is not a valid name. The message says what is valid.
    fn check_name(name: &str) -> Result<(), NameError>;

    /// Reads the settings, with defaults filled in. `None` if one is invalid, which `fields` then knows.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

/// Makes the name of an entry that has none.
pub type DefaultName = fn(&AppName, &Value) -> Option<String>;

/// A list that a kind of resource adds to the spec.
#[derive(Clone, Copy)]
pub struct SpecList {
    /// The list's field in the spec, such as `queues`.
    pub field: &'static str,
    /// An entry, such as `queue`.
    pub noun: &'static str,
    /// The name of the schema of the settings.
    pub schema_name: fn() -> Cow<'static, str>,
    /// The schema of the settings.
    pub schema: fn() -> RefOr<Schema>,
    /// Adds the schemas that the schema of the settings refers to.
    pub referenced: fn(&mut Vec<(String, RefOr<Schema>)>),
    /// Whether names are unique in the account, whatever the region.
    pub is_global: bool,
    /// The name of an entry that has none.
    pub default_name: Option<DefaultName>,
    check_name: fn(&str) -> Result<(), NameError>,
    read: fn(&mut Fields<'_>) -> Option<Map<String, Value>>,
}

impl SpecList {
    /// The list whose entries have these settings.
    pub const fn of<S: ListSettings>() -> Self {
        Self {
            field: S::FIELD,
            noun: S::NOUN,
            schema_name: <S as ToSchema>::name,
            schema: <S as PartialSchema>::schema,
            referenced: <S as ToSchema>::schemas,
            is_global: S::IS_GLOBAL,
            default_name: S::DEFAULT_NAME,
            check_name: S::check_name,
            read: |fields| match serde_json::to_value(S::read(fields)?) {
                Ok(Value::Object(settings)) => Some(settings),
                _ => None,
            },
        }
    }

    /// Reads an entry, whose region `region` reads.
    pub(super) fn entry(
        &self,
        item: &Value,
        at: String,
        app: Option<&AppName>,
        region: impl FnOnce(&mut Fields<'_>) -> Option<Region>,
        errors: &mut Vec<FieldError>,
    ) -> Option<ListEntry> {
        let mut fields = Fields::of(item, at);
        let name = match self.default_name {
            Some(named) if item.is_object() && item.get("name").is_none() => {
                fields.get("name");
                self.checked_default(named(app?, item), &mut fields)
            }
            _ => fields.required("name", |text| {
                (self.check_name)(text).map(|()| text.to_owned())
            }),
        };
        let region = region(&mut fields);
        let settings = (self.read)(&mut fields);
        errors.extend(fields.finish());
        Some(ListEntry {
            name: name?,
            region: region?,
            settings: settings?,
        })
    }

    /// A default name, unless it is invalid; then the message says to specify one.
    fn checked_default(&self, name: Option<String>, fields: &mut Fields<'_>) -> Option<String> {
        let name = name?;
        let why = |error| {
            fields.error(
                "name",
                format!("The default name {name} is invalid: it {error}. Specify a name"),
            )
        };
        (self.check_name)(&name).map_err(why).ok()?;
        Some(name)
    }

    /// The entry of a resource that is only known by its place: `region/name`, or in a global list its name. Its settings
    /// are the defaults.
    pub fn entry_at(&self, place: &str, home: &Region) -> Option<ListEntry> {
        let (region, name) = match self.is_global {
            true => (home.clone(), place),
            false => {
                let (region, name) = place.split_once('/')?;
                (Region::parse(region).ok()?, name)
            }
        };
        (self.check_name)(name).ok()?;
        Some(ListEntry {
            name: name.to_owned(),
            region,
            settings: (self.read)(&mut Fields::of(&json!({}), ""))?,
        })
    }
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListEntry {
    pub name: String,
    pub region: Region,
    #[serde(flatten)]
    settings: Map<String, Value>,
}

impl ListEntry {
    /// Where it is: `region/name`, which is unique in its list and an account.
    pub fn place(&self) -> String {
        format!("{}/{}", self.region, self.name)
    }
}

/// The entries of all lists, by the list's field.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lists(BTreeMap<String, Vec<ListEntry>>);

impl Lists {
    /// Adds an entry to a list.
    pub fn push(&mut self, field: &str, entry: ListEntry) {
        self.0.entry(field.to_owned()).or_default().push(entry);
    }

    /// Adds all entries of other lists.
    pub fn extend(&mut self, other: &Self) {
        for (field, entry) in other.iter() {
            self.push(field, entry.clone());
        }
    }

    /// Keeps the entries that `keep` chooses.
    pub fn retain(&mut self, keep: impl Fn(&str, &ListEntry) -> bool) {
        self.0.retain(|field, entries| {
            entries.retain(|entry| keep(field, entry));
            !entries.is_empty()
        });
    }

    /// Every entry with the field of its list.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ListEntry)> {
        self.0
            .iter()
            .flat_map(|(field, entries)| entries.iter().map(move |entry| (field.as_str(), entry)))
    }

    /// Whether a list has an entry of this name and region.
    pub fn names(&self, field: &str, entry: &ListEntry) -> bool {
        self.0.get(field).is_some_and(|entries| {
            entries
                .iter()
                .any(|it| (&it.name, &it.region) == (&entry.name, &entry.region))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a list has entries.
    pub fn has(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|entries| !entries.is_empty())
    }

    /// The entries of a list with their settings. An entry that this version cannot read is left alone.
    pub fn of<S: ListSettings>(&self) -> Vec<(&ListEntry, S)> {
        let read = |entry: &ListEntry| {
            serde_json::from_value(Value::Object(entry.settings.clone()))
                .inspect_err(|error| {
                    tracing::error!(field = S::FIELD, place = entry.place(), %error, "unreadable settings");
                })
                .ok()
        };
        let entries = self.0.get(S::FIELD).into_iter().flatten();
        entries
            .filter_map(|entry| Some((entry, read(entry)?)))
            .collect()
    }
}

//! Adds to the OpenAPI document what kinds of resources add to the API: their lists of the spec, and their environment
//! variables.

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, Type};
use utoipa::openapi::{
    ArrayBuilder, Components, Object, ObjectBuilder, OpenApi as Document, Ref, RefOr, Schema,
};

use crate::api::v1::claim_secret::FIELDS;
use crate::domain::spec::{MAX_PLACES, SpecList};
use crate::provision::render::dotenv::Variables;

/// Adds a list to the spec and to what shows resources of a spec.
pub fn add(api: &mut Document, list: &SpecList, holds_data: bool) {
    let components = api.components.get_or_insert_default();
    let noun = list.noun;
    let entry = (list.schema_name)().into_owned();
    components.schemas.insert(entry.clone(), entry_of(list));
    let mut referenced = Vec::new();
    (list.referenced)(&mut referenced);
    components.schemas.extend(referenced);
    let entries = ArrayBuilder::new()
        .items(Ref::from_schema_name(entry))
        .description(Some(format!("Each {noun} of the app. Default: none.")))
        .max_items(Some(MAX_PLACES));
    set(components, "AppRequest", list.field, entries.into());
    let retained = array(format!("Each {noun}, as an earlier spec included it."));
    set(components, "Retained", list.field, retained);
    let result = array(format!("What the app needs to use each {noun}."));
    set(components, "JobResult", list.field, result);
    if holds_data {
        let named = array(format!(
            "Each {noun} to delete with its data, as `region/name`."
        ));
        set(components, "Removal", list.field, named);
        let removal = api.paths.paths.get_mut("/v1/apps/{app}");
        if let Some(call) = removal.and_then(|path| path.delete.as_mut()) {
            call.parameters
                .get_or_insert_default()
                .push(option_of_removal(list).into());
        }
    }
}

/// Adds the environment variables of a kind to a claimed secret, unless they are fields of it.
pub fn add_variables(api: &mut Document, variables: Variables) {
    let Variables { first, all } = variables;
    if FIELDS.contains(&first) {
        return;
    }
    let components = api.components.get_or_insert_default();
    let value = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(format!("The first of `{all}`.")));
    set(components, "Claim", first, value.into());
    let values = ArrayBuilder::new()
        .items(Object::with_type(Type::String))
        .description(Some("One value for each resource of the app."));
    set(components, "Claim", all, values.into());
}

/// The schema of an entry: its name, its region and its settings.
fn entry_of(list: &SpecList) -> RefOr<Schema> {
    let mut entry = match (list.schema)() {
        RefOr::T(Schema::Object(settings)) => settings,
        _ => Object::new(),
    };
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(format!("The name of the {}.", list.noun)));
    entry.properties.insert("name".into(), name.into());
    let region = Ref::from_schema_name("Region");
    entry.properties.insert("region".into(), region.into());
    if list.default_name.is_none() {
        entry.required = vec!["name".into()];
    }
    entry.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    entry.into()
}

fn array(description: String) -> RefOr<Schema> {
    ArrayBuilder::new()
        .items(Object::new())
        .description(Some(description))
        .into()
}

fn set(components: &mut Components, schema: &str, property: &str, to: RefOr<Schema>) {
    if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(schema) {
        object.properties.insert(property.into(), to);
    }
}

fn option_of_removal(list: &SpecList) -> Parameter {
    let noun = list.noun;
    ParameterBuilder::new()
        .name(list.field)
        .parameter_in(ParameterIn::Query)
        .description(Some(format!(
            "Each {noun} to delete with its data, as `name` or `region/name`, separated by commas."
        )))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some(r"^[^\x00]*[^,\s\x00][^\x00]*$")),
        ))
        .build()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn lists_and_variables_of_kinds_are_documented() {
        let api = serde_json::to_value(crate::api::router::openapi()).unwrap();
        let properties = |schema: &str| &api["components"]["schemas"][schema]["properties"];
        let reference = json!({"$ref": "#/components/schemas/MadeUp"});
        assert_eq!(properties("AppRequest")["topics"]["items"], reference);
        let entry = &api["components"]["schemas"]["MadeUp"];
        assert_eq!(entry["required"], json!(["name"]));
        assert_eq!(entry["additionalProperties"], false);
        for name in ["name", "region", "size"] {
            assert!(entry["properties"][name].is_object(), "{name}");
        }
        for (schema, name) in [
            ("JobResult", "topics"),
            ("Retained", "topics"),
            ("Retained", "tables"),
            ("Removal", "tables"),
            ("Claim", "TOPIC"),
            ("Claim", "TOPICS"),
        ] {
            assert!(properties(schema)[name].is_object(), "{name} in {schema}");
        }
        assert!(properties("Removal")["topics"].is_null(), "holds no data");
        let parameters = &api["paths"]["/v1/apps/{app}"]["delete"]["parameters"];
        let names: Vec<&Value> = parameters
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["name"])
            .collect();
        assert!(names.contains(&&json!("tables")) && !names.contains(&&json!("topics")));
    }
}

//! Two kinds that AWS does not have, each with a list of its own in the spec. They are in the unit tests only, and show
//! that what a kind declares is enough for the rest.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::job::JobResult;
use crate::domain::names::{NameError, Region};
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::{AppSpec, ListEntry, ListSettings, SpecList};
use crate::domain::validation::Fields;
use crate::provision::change::{Applied, Change, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::permission::Permission;
use crate::provision::render::dotenv::Variables;
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// A table holds data, a topic does not.
#[derive(Debug, Clone)]
pub struct MadeUp<const HOLDS_DATA: bool> {
    name: String,
    region: Region,
    size: u32,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = MadeUp)]
struct Settings<const HOLDS_DATA: bool> {
    /// The size.
    #[serde(default)]
    size: u32,
}

impl<const HOLDS_DATA: bool> ListSettings for Settings<HOLDS_DATA> {
    const FIELD: &'static str = if HOLDS_DATA { "tables" } else { "topics" };
    const NOUN: &'static str = if HOLDS_DATA { "table" } else { "topic" };

    fn check_name(name: &str) -> Result<(), NameError> {
        match name {
            "" | "!" => Err(NameError::new("must be a name")),
            _ => Ok(()),
        }
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let size = fields.integer("size", 1..=9).unwrap_or(1);
        Some(Self { size })
    }
}

#[derive(Debug, Clone)]
pub struct NoChange;

impl fmt::Display for NoChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("change nothing")
    }
}

impl Change for NoChange {
    fn action(&self) -> Action {
        Action::None
    }

    fn aws_cli(&self) -> String {
        String::new()
    }
}

impl<const HOLDS_DATA: bool> Resource for MadeUp<HOLDS_DATA> {
    type Observed = ();
    type Change = NoChange;

    const KIND: &'static str = if HOLDS_DATA {
        "test:table"
    } else {
        "test:topic"
    };
    const PERMISSIONS: &'static [Permission] = &[];
    const HOLDS_DATA: bool = HOLDS_DATA;
    const SPEC_LIST: Option<SpecList> = Some(SpecList::of::<Settings<HOLDS_DATA>>());
    const VARIABLES: Option<Variables> = Some(if HOLDS_DATA {
        Variables {
            first: "TABLE",
            all: "TABLES",
        }
    } else {
        Variables {
            first: "TOPIC",
            all: "TOPICS",
        }
    });

    fn wanted(spec: &AppSpec, _: &Conventions) -> Vec<Self> {
        let made_up = |(entry, settings): (&ListEntry, Settings<HOLDS_DATA>)| Self {
            name: entry.name.clone(),
            region: entry.region.clone(),
            size: settings.size,
        };
        spec.lists.of().into_iter().map(made_up).collect()
    }

    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, format_args!("{}/{}", self.region, self.name))
    }

    fn add_to_result(&self, _: Option<&str>, _: &Conventions, result: &mut JobResult) {
        let size = self.size.to_string();
        result.add(
            Settings::<HOLDS_DATA>::FIELD,
            [("name", self.name.clone()), ("size", size)],
        );
    }

    fn variable(&self, _: &Conventions) -> Option<String> {
        Some(self.name.clone())
    }

    async fn observe(&self, _: &ReconcileContext) -> Result<Observation<()>, Fault> {
        Ok(Observation::Absent)
    }

    fn plan(&self, _: Option<&()>) -> Result<Changes<NoChange>, Fault> {
        Ok(Changes::of(Vec::new()))
    }

    fn plan_absent(&self, _: &ReconcileContext, (): &()) -> Result<Changes<NoChange>, Fault> {
        Ok(Changes::of(Vec::new()))
    }

    async fn apply(&self, _: &ReconcileContext, _: &NoChange) -> Result<Applied, Fault> {
        Ok(Applied::Done)
    }

    fn terraform(&self, (): &(), _: &Labels) -> Vec<terraform::Piece> {
        Vec::new()
    }

    fn cloudformation(&self, (): &(), _: &Labels) -> Vec<cloudformation::Entry> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json};

    use crate::domain::app::App;
    use crate::domain::job::JobResult;
    use crate::domain::retained::RepairRequest;
    use crate::domain::spec::{AppSpec, Defaults, Place};
    use crate::domain::task::Task;
    use crate::domain::validation::FieldError;
    use crate::provision::change::Want;
    use crate::provision::conventions::Conventions;
    use crate::provision::environment::environment;
    use crate::provision::graph::nodes;
    use crate::provision::kinds::{graph, spec_lists};
    use crate::provision::node::Node;
    use crate::provision::render::dotenv::{Environment, Secret};
    use crate::provision::retained::{given_back_or_left, retained};

    fn conventions() -> Conventions {
        Conventions::new(&Defaults::default(), "aws", "123456789012")
    }

    fn parse(fields: Value) -> Result<AppSpec, Vec<FieldError>> {
        let mut body =
            json!({"name": "acme", "region": "us-west-2", "buckets": [], "repositories": []});
        if let (Value::Object(body), Value::Object(fields)) = (&mut body, fields) {
            body.extend(fields);
        }
        let place = Place {
            account_id: "123456789012",
            partition: "aws",
            region: None,
            regions: &[],
            lists: spec_lists(),
        };
        AppSpec::parse(&body, &Defaults::default(), &place)
    }

    fn app(spec: &AppSpec, owned: &[&str], removal: Option<Value>) -> App {
        let resource = |id: &&str| json!({"resource": id, "state": "done", "owned": "made", "job": JOB, "updated_at": AT});
        serde_json::from_value(json!({
            "name": "acme", "account": "default", "state": "ready", "created_at": AT, "updated_at": AT, "id": JOB,
            "version": 2, "spec": spec, "resources": owned.iter().map(resource).collect::<Vec<_>>(),
            "retained": {"resources": []}, "removal": removal,
        }))
        .unwrap()
    }

    const JOB: &str = "01JD2Y0QZJ5Z3X8V6N7W4T9RKM";
    const AT: &str = "2026-01-01T00:00:00.000Z";

    /// The nodes of the made-up kinds, by what is wanted of them.
    fn made_up(nodes: &[Box<dyn Node>]) -> BTreeSet<(String, String)> {
        let of_nodes = nodes
            .iter()
            .map(|node| (node.id().to_string(), format!("{:?}", node.want())));
        of_nodes.filter(|(id, _)| id.starts_with("test:")).collect()
    }

    fn expected<const N: usize>(all: [(&str, &str); N]) -> BTreeSet<(String, String)> {
        all.map(|(id, want)| (id.to_owned(), want.to_owned()))
            .into()
    }

    #[test]
    fn a_list_is_read_with_defaults_and_every_error_and_written_only_if_it_has_entries() {
        let spec = parse(
            json!({"topics": [{"name": "a"}, {"name": "a", "region": "eu-west-1", "size": 3}]}),
        );
        let spec = spec.unwrap();
        let written = serde_json::to_value(&spec).unwrap();
        assert_eq!(
            written["topics"],
            json!([{"name": "a", "region": "us-west-2", "size": 1}, {"name": "a", "region": "eu-west-1", "size": 3}])
        );
        assert_eq!(parse(written.clone()).unwrap(), spec);
        assert_eq!(serde_json::from_value::<AppSpec>(written).unwrap(), spec);
        let without = serde_json::to_value(parse(json!({"topics": []})).unwrap()).unwrap();
        assert!(without.get("topics").is_none() && without.get("lists").is_none());

        let errors = parse(json!({
            "topics": [{"name": "!", "region": "moon", "size": 10, "colour": 1}, {}, 7],
            "tables": [{"name": "b"}, {"name": "b"}], "topic": [],
        }));
        let errors: BTreeMap<String, String> = errors
            .unwrap_err()
            .into_iter()
            .map(|error| (error.pointer, error.message))
            .collect();
        let at: Vec<&str> = errors.keys().map(String::as_str).collect();
        let topics = ["0/colour", "0/name", "0/region", "0/size", "1/name", "2"];
        let topics = topics.map(|at| format!("/topics/{at}"));
        let mut all = vec!["/tables", "/topic"];
        all.extend(topics.iter().map(String::as_str));
        assert_eq!(at, all);
        assert!(errors["/topic"].ends_with("Did you mean `topics`?"));
        assert_eq!(errors["/tables"], "contains b in us-west-2 more than once");
        assert_eq!(errors["/topics/0/size"], "must be an integer from 1 to 9");
    }

    #[test]
    fn entries_are_nodes_results_and_environment_variables() {
        let spec =
            json!({"tables": [{"name": "t"}], "topics": [{"name": "a"}, {"name": "b", "size": 2}]});
        let spec = parse(spec).unwrap();
        let nodes = graph(&spec, &conventions(), Want::Present);
        let mut result = JobResult::default();
        for node in &nodes {
            node.add_to_result(None, &conventions(), &mut result);
        }
        let result = serde_json::to_value(result).unwrap();
        assert_eq!(result["tables"], json!([{"name": "t", "size": "1"}]));
        assert_eq!(
            result["topics"],
            json!([{"name": "a", "size": "1"}, {"name": "b", "size": "2"}])
        );
        let without = serde_json::to_value(JobResult::default()).unwrap();
        assert!(without.get("topics").is_none() && without.get("lists").is_none());
        let environment = Environment {
            access_key_id: None,
            secret: Secret::Withheld("None."),
            region: "us-west-2",
            resources: &environment(&spec, &conventions()),
        };
        assert_eq!(
            environment.dotenv(),
            "# None.\n# AWS_SECRET_ACCESS_KEY=\nAWS_REGION=us-west-2\nTABLE=t\nTOPIC=a\nTOPICS=a,b\n"
        );
    }

    #[test]
    fn what_a_new_spec_does_not_name_is_retained_until_it_is_removed() {
        let old = parse(json!({"tables": [{"name": "t"}], "topics": [{"name": "a", "size": 2}]}))
            .unwrap();
        let new = parse(json!({"topics": [{"name": "b"}]})).unwrap();
        let mut app = app(
            &new,
            &[
                "test:table/us-west-2/t",
                "test:topic/us-west-2/a",
                "test:topic/us-west-2/b",
            ],
            None,
        );
        app.dropped = app.dropped.after(&old, &new);
        let shown = serde_json::to_value(retained(&app, &conventions())).unwrap();
        assert_eq!(
            shown["tables"],
            json!([{"name": "t", "region": "us-west-2", "size": 1}])
        );
        assert_eq!(
            shown["topics"],
            json!([{"name": "a", "region": "us-west-2", "size": 2}])
        );
        let resources = shown["resources"].as_array().unwrap();
        assert_eq!(
            resources[0]["detail"],
            "The test:table/us-west-2/t is retained in AWS with its contents."
        );
        assert_eq!(resources.len(), 2);
        let remove: RepairRequest = serde_json::from_value(resources[1]["remove"].clone()).unwrap();
        let task = Task::Repair {
            remove: remove.remove,
            accept_expiry: false,
        };
        assert_eq!(
            made_up(&nodes(&task, Some(&app), &new, &conventions())),
            expected([
                ("test:topic/us-west-2/b", "Present"),
                ("test:topic/us-west-2/a", "Absent")
            ])
        );

        // Without a record of the entry, its ID is enough.
        app.dropped = Default::default();
        let shown = serde_json::to_value(retained(&app, &conventions())).unwrap();
        assert_eq!(
            shown["topics"],
            json!([{"name": "a", "region": "us-west-2", "size": 1}])
        );
        assert_eq!(shown["resources"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_removal_releases_data_that_it_does_not_name_and_deletes_the_rest() {
        let spec =
            parse(json!({"tables": [{"name": "t"}, {"name": "u"}], "topics": [{"name": "a"}]}))
                .unwrap();
        let removal = json!({
            "buckets": [], "repositories": [], "tables": ["us-west-2/u"], "adopted": false, "requested_by": "ann",
            "requested_at": AT, "remove_at": AT,
        });
        let owned = [
            "test:table/us-west-2/t",
            "test:table/us-west-2/u",
            "test:topic/us-west-2/a",
        ];
        let app = app(&spec, &owned, Some(removal.clone()));
        assert_eq!(
            made_up(&nodes(&Task::Remove, Some(&app), &spec, &conventions())),
            expected([
                ("test:table/us-west-2/t", "Released"),
                ("test:table/us-west-2/u", "Absent"),
                ("test:topic/us-west-2/a", "Absent"),
            ])
        );
        let removal = app.removal.as_ref().unwrap();
        assert_eq!(
            given_back_or_left(&app, removal, &conventions()),
            ["The test:table/us-west-2/t is retained in AWS with its contents."]
        );
    }
}

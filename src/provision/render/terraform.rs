//! Terraform: HCL with import blocks.
//!
//! Invariants:
//! - `terraform plan` of a new file shows imports and no changes.
//! - Values are quoted by the HCL library, so no name or tag is read as an expression.

use std::collections::BTreeSet;

use hcl::expr::{FuncCall, Traversal, Variable};
use hcl::format::{Format as _, Formatter};
use hcl::{Attribute, Block, Body, Expression, Identifier, Structure};
use serde::Serialize;

use crate::domain::names::Region;
use crate::domain::resource_id::ResourceId;
use crate::provision::render::document::{Head, comment};
use crate::provision::render::labels::Labels;
use crate::provision::tags::Tags;

/// The versions of the AWS provider that support all arguments used here.
const PROVIDER: &str = "~> 5.0";
/// The first version of Terraform with import blocks.
const TERRAFORM: &str = ">= 1.5";

/// A part of a file.
#[derive(Debug, Clone)]
pub enum Piece {
    /// A resource to import.
    Thing(Box<Thing>),
    /// A note for the reader.
    Note(String),
}

/// A `resource` block with its `import` block.
#[derive(Debug, Clone)]
pub struct Thing {
    kind: &'static str,
    import: String,
    region: Option<Region>,
    body: Vec<Structure>,
    documents: Vec<(&'static str, Expression)>,
    ignored: &'static [&'static str],
}

impl Thing {
    /// A resource of this type, to be imported by this id (each has its own in the provider's documentation).
    pub fn new(kind: &'static str, import: impl Into<String>) -> Self {
        Self {
            kind,
            import: import.into(),
            region: None,
            body: Vec::new(),
            documents: Vec::new(),
            ignored: &[],
        }
    }

    /// The region. A resource without one, such as a user, is global.
    pub fn at(self, region: &Region) -> Self {
        Self {
            region: Some(region.clone()),
            ..self
        }
    }

    pub fn set(mut self, name: &str, value: impl Into<Expression>) -> Self {
        self.body
            .push(Attribute::new(Identifier::sanitized(name), value).into());
        self
    }

    pub fn block(mut self, block: Block) -> Self {
        self.body.push(block.into());
        self
    }

    pub fn tags(self, tags: &Tags) -> Self {
        if tags.is_empty() {
            self
        } else {
            self.set("tags", strings(tags))
        }
    }

    /// One more argument, which AWS takes as the text of a JSON document.
    pub fn document(mut self, name: &'static str, document: &impl Serialize) -> Self {
        self.documents.push((
            name,
            hcl::to_expression(document).unwrap_or(Expression::Null),
        ));
        self
    }

    /// Arguments that Terraform ignores: those that Slipway does not manage, or that AWS does not store.
    pub fn leaving(self, ignored: &'static [&'static str]) -> Self {
        Self { ignored, ..self }
    }

    fn blocks(self, label: &str, home: &Region) -> Vec<Block> {
        let address = attribute_of(self.kind, label, None);
        let import = Block::builder("import")
            .add_attribute(("to", address))
            .add_attribute(("id", self.import))
            .build();
        let mut resource = Block::builder("resource")
            .add_label(self.kind)
            .add_label(label);
        if let Some(region) = self.region.filter(|region| region != home) {
            resource =
                resource.add_attribute(("provider", attribute_of("aws", &alias(&region), None)));
        }
        resource = resource.add_structures(self.body);
        let mut blocks = vec![import];
        for (argument, document) in self.documents {
            // A local of its own, because only there the document is written over several lines.
            let local = format!("{}_{label}", self.kind.trim_start_matches("aws_"));
            resource = resource.add_attribute((
                argument,
                FuncCall::builder("jsonencode")
                    .arg(attribute_of("local", &local, None))
                    .build(),
            ));
            blocks.push(
                Block::builder("locals")
                    .add_attribute((local, document))
                    .build(),
            );
        }
        if !self.ignored.is_empty() {
            let ignored: Vec<Expression> = self
                .ignored
                .iter()
                .map(|name| Variable::sanitized(*name).into())
                .collect();
            resource = resource.add_block(
                Block::builder("lifecycle")
                    .add_attribute(("ignore_changes", ignored))
                    .build(),
            );
        }
        blocks.push(resource.build());
        blocks
    }
}

impl From<Thing> for Piece {
    fn from(thing: Thing) -> Self {
        Self::Thing(Box::new(thing))
    }
}

fn strings(texts: &Tags) -> Expression {
    hcl::to_expression(texts).unwrap_or(Expression::Null)
}

/// An argument of another resource, or its value if the file does not have it.
pub fn reference(
    labels: &Labels,
    id: &ResourceId,
    kind: &str,
    argument: &str,
    value: &str,
) -> Expression {
    labels.get(id).map_or_else(
        || value.into(),
        |label| attribute_of(kind, label, Some(argument)),
    )
}

fn attribute_of(first: &str, second: &str, third: Option<&str>) -> Expression {
    let traversal =
        Traversal::builder(Variable::sanitized(first)).attr(Identifier::sanitized(second));
    let traversal = third.into_iter().fold(traversal, |traversal, name| {
        traversal.attr(Identifier::sanitized(name))
    });
    traversal.build().into()
}

/// The label of a resource: its name in letters, digits and underscores.
pub fn label(id: &ResourceId) -> String {
    let word: String = id
        .name()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{word}")
    } else {
        word
    }
}

fn alias(region: &Region) -> String {
    region.as_str().replace('-', "_")
}

/// Renders the file.
///
/// # Errors
/// When a value cannot be written in HCL.
pub fn render(
    head: &Head,
    labels: &Labels,
    parts: Vec<(&ResourceId, Vec<Piece>)>,
) -> Result<String, hcl::Error> {
    let elsewhere: BTreeSet<Region> = parts
        .iter()
        .flat_map(|(_, pieces)| pieces)
        .filter_map(|piece| match piece {
            Piece::Thing(thing) => thing.region.clone().filter(|region| *region != head.region),
            Piece::Note(_) => None,
        })
        .collect();
    let mut file = comment(&preface(head)) + "\n";
    file += &written(settings(head, &elsewhere))?;
    for (id, pieces) in parts {
        let label = labels.get(id).unwrap_or_default();
        for piece in pieces {
            file += "\n";
            file += &match piece {
                Piece::Note(text) => comment(&text),
                Piece::Thing(thing) => written(thing.blocks(label, &head.region))?,
            };
        }
    }
    Ok(file)
}

fn written(blocks: Vec<Block>) -> Result<String, hcl::Error> {
    let mut formatter = Formatter::builder().prefer_ident_keys(true).build_vec();
    Body::from_iter(blocks).format_string(&mut formatter)
}

fn preface(head: &Head) -> String {
    format!(
        "{app} in AWS account {account}, as it was in AWS at the time of this export.\n\n\
         terraform init\n\
         terraform plan    shows the imports and no changes\n\
         terraform apply   imports the resources into Terraform and changes nothing in AWS\n\n\
         After the import, change the app only with Terraform. Do not start Slipway jobs for it: Terraform and Slipway would\n\
         revert each other's changes.",
        app = head.app.subject(),
        account = head.account,
    )
}

fn settings(head: &Head, elsewhere: &BTreeSet<Region>) -> Vec<Block> {
    let source = Tags::from([
        ("source".into(), "hashicorp/aws".into()),
        ("version".into(), PROVIDER.into()),
    ]);
    let providers = Block::builder("required_providers")
        .add_attribute(("aws", strings(&source)))
        .build();
    let terraform = Block::builder("terraform")
        .add_attribute(("required_version", TERRAFORM))
        .add_block(providers)
        .build();
    let provider = |region: &Region| {
        let accounts = vec![Expression::from(head.account.as_str())];
        let block = Block::builder("provider")
            .add_label("aws")
            .add_attribute(("region", region.as_str()));
        block.add_attribute(("allowed_account_ids", accounts))
    };
    let others = elsewhere.iter().map(|region| {
        provider(region)
            .add_attribute(("alias", alias(region)))
            .build()
    });
    [terraform, provider(&head.region).build()]
        .into_iter()
        .chain(others)
        .collect()
}

//! What a customer runs once, so that the service can assume a role in the customer's account.
//!
//! Invariants:
//! - The trust policy names the service's own role and the account's external ID (IAM User Guide, "Access to AWS
//!   accounts owned by third parties").
//! - The role's policy is that of the service's own role, for the names of the account.

use hcl::expr::{FuncCall, Traversal, Variable};
use hcl::{Block, Body, Expression, Identifier};
use serde_json::{Value, json};
use strum::{Display, EnumIter, EnumString, IntoEnumIterator as _};

use crate::domain::names::RoleArn;
use crate::provision::conventions::Conventions;
use crate::provision::permissions::role_policy;
use crate::provision::render::shell_words::{document, word};

/// The name of the role's inline policy.
const POLICY: &str = "Slipway";

/// A format of the bootstrap document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, EnumIter, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum BootstrapFormat {
    /// A CloudFormation template.
    Cloudformation,
    /// A Terraform configuration.
    Terraform,
    /// A script of AWS CLI commands.
    AwsCli,
}

impl BootstrapFormat {
    /// Parses the name of a format.
    ///
    /// # Errors
    /// When the format is unknown. The message lists the known formats.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known: Vec<String> = Self::iter().map(|format| format.to_string()).collect();
        text.parse()
            .map_err(|_| format!("must be one of {}", known.join(", ")))
    }

    /// The media type of the document.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Cloudformation => "application/json",
            Self::Terraform | Self::AwsCli => "text/plain; charset=utf-8",
        }
    }
}

/// The role in a customer's account.
pub struct Bootstrap<'a> {
    pub role_arn: &'a RoleArn,
    /// The role of the service, which assumes the customer's.
    pub principal: &'a str,
    pub external_id: &'a str,
    pub conventions: &'a Conventions,
}

impl Bootstrap<'_> {
    /// The document in a format.
    pub fn render(&self, format: BootstrapFormat) -> String {
        match format {
            BootstrapFormat::Cloudformation => format!("{:#}\n", self.cloudformation()),
            BootstrapFormat::Terraform => self.terraform(),
            BootstrapFormat::AwsCli => self.script(),
        }
    }

    /// Who may assume the role, and how.
    pub fn trust_policy(&self) -> Value {
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"AWS": self.principal},
                "Action": ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"],
                "Condition": {"StringEquals": {"sts:ExternalId": self.external_id}},
            }],
        })
    }

    /// What the role may do: what Slipway needs, and what its verification of the account reads.
    pub fn role_policy(&self) -> Value {
        let mut policy = role_policy(self.conventions);
        if let Some(statements) = policy["Statement"].as_array_mut() {
            statements.push(
                json!({"Effect": "Allow", "Action": ["iam:ListAccountAliases"], "Resource": "*"}),
            );
            statements.push(json!({
                "Effect": "Allow", "Action": ["iam:SimulatePrincipalPolicy"], "Resource": self.role_arn,
            }));
        }
        policy
    }

    fn cloudformation(&self) -> Value {
        json!({
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": "The role that Slipway assumes in this account.",
            "Resources": {
                "SlipwayRole": {
                    "Type": "AWS::IAM::Role",
                    "Properties": {
                        "RoleName": self.role_arn.role_name(),
                        "Path": self.role_arn.path(),
                        "AssumeRolePolicyDocument": self.trust_policy(),
                        "MaxSessionDuration": 3600,
                        "Policies": [{"PolicyName": POLICY, "PolicyDocument": self.role_policy()}],
                    },
                },
            },
            "Outputs": {"RoleArn": {"Value": {"Fn::GetAtt": ["SlipwayRole", "Arn"]}}},
        })
    }

    fn terraform(&self) -> String {
        let role = Block::builder("resource")
            .add_label("aws_iam_role")
            .add_label("slipway")
            .add_attribute(("name", self.role_arn.role_name()))
            .add_attribute(("path", self.role_arn.path()))
            .add_attribute(("max_session_duration", 3600))
            .add_attribute(("assume_role_policy", encoded(&self.trust_policy())))
            .build();
        let policy = Block::builder("resource")
            .add_label("aws_iam_role_policy")
            .add_label("slipway")
            .add_attribute(("name", POLICY))
            .add_attribute(("role", attribute_of_role("name")))
            .add_attribute(("policy", encoded(&self.role_policy())))
            .build();
        let output = Block::builder("output")
            .add_label("role_arn")
            .add_attribute(("value", attribute_of_role("arn")))
            .build();
        let body: Body = [role, policy, output].into_iter().collect();
        format!(
            "# The role that Slipway assumes in this account.\n\n{}",
            hcl::to_string(&body).unwrap_or_default()
        )
    }

    fn script(&self) -> String {
        let (name, path, trust) = (
            word(self.role_arn.role_name()),
            word(self.role_arn.path()),
            document(&self.trust_policy()),
        );
        format!(
            "#!/bin/sh\n# The role that Slipway assumes in this account.\nset -eu\n\n\
             TRUST={trust}\n\
             aws iam create-role --role-name {name} --path {path} --max-session-duration 3600 --assume-role-policy-document \"$TRUST\" ||\n  \
             aws iam update-assume-role-policy --role-name {name} --policy-document \"$TRUST\"\n\
             aws iam put-role-policy --role-name {name} --policy-name {POLICY} --policy-document {}\n",
            document(&self.role_policy()),
        )
    }
}

fn encoded(document: &Value) -> Expression {
    let document = hcl::to_expression(document).unwrap_or(Expression::Null);
    FuncCall::builder("jsonencode").arg(document).build().into()
}

fn attribute_of_role(name: &str) -> Expression {
    Traversal::builder(Variable::sanitized("aws_iam_role"))
        .attr(Identifier::sanitized("slipway"))
        .attr(Identifier::sanitized(name))
        .build()
        .into()
}

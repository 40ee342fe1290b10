//! What to put where, so that a pipeline, an instance, a task or a pod uses the role.

use crate::domain::identity::Subject;
use crate::domain::names::Region;
use crate::provision::render::shell_words;

/// What the result of a job says of an identity.
pub(super) fn of(
    subject: &Subject,
    name: &str,
    arn: &str,
    region: &Region,
) -> Vec<(&'static str, String)> {
    let (kind, usage) = match subject {
        Subject::Ec2 => (
            "ec2",
            format!(
                "Start instances with this instance profile: aws ec2 run-instances --region {region} --iam-instance-profile Name={} …",
                shell_words::word(name)
            ),
        ),
        Subject::Ecs => (
            "ecs",
            format!("In the task definition: \"taskRoleArn\": \"{arn}\""),
        ),
        Subject::Github { .. } => (
            "github",
            format!(
                "In the job: permissions: {{id-token: write, contents: read}}, and a step with uses: aws-actions/configure-aws-credentials and with: {{role-to-assume: {arn}, aws-region: {region}}}"
            ),
        ),
        Subject::Gitlab { .. } => (
            "gitlab",
            format!(
                "In the job: id_tokens: {{AWS_TOKEN: {{aud: https://gitlab.com}}}}, write $AWS_TOKEN to a file, and set AWS_ROLE_ARN={arn}, AWS_REGION={region} and AWS_WEB_IDENTITY_TOKEN_FILE to its path"
            ),
        ),
        Subject::Irsa {
            namespace,
            service_account,
            ..
        } => (
            "irsa",
            format!(
                "kubectl annotate serviceaccount --namespace {namespace} {service_account} eks.amazonaws.com/role-arn={arn}"
            ),
        ),
        Subject::Pod {
            cluster,
            namespace,
            service_account,
        } => (
            "pod",
            format!(
                "aws eks create-pod-identity-association --region {region} --cluster-name {cluster} --namespace {namespace} --service-account {service_account} --role-arn {arn}"
            ),
        ),
    };
    let mut values = vec![
        ("kind", kind.to_owned()),
        ("name", name.to_owned()),
        ("role_arn", arn.to_owned()),
        ("region", region.to_string()),
        ("usage", usage),
    ];
    if *subject == Subject::Ec2 {
        values.push(("instance_profile", name.to_owned()));
    }
    values
}

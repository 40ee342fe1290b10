//! Whether a call was signed with the secret of the key that it names.
//!
//! Invariant: calls of IAM, STS and ECR are checked: each is a POST to `/` without a query. S3's addresses are escaped in
//! ways of their own; nobody signs those with a secret that STS has not seen.
//!
//! Source: AWS General Reference, "Signing AWS API requests", Signature Version 4.

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac::{self, HMAC_SHA256};

use super::protocol::Refused;
use crate::support::wire::Call;

/// The host that calls by the SDK's connector go to: that header is only written once there is a connection.
pub const HOST: &str = "aws.test";

/// Refuses a call whose signature another secret made.
pub fn check(call: &Call, secret: &str) -> Result<(), Refused> {
    let signed = call.service == "s3" || is_signed_with(call, secret).unwrap_or(false);
    let message = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
                   and signing method. Consult the service documentation for details.";
    let code = if call.service == "ecr" {
        "InvalidSignatureException"
    } else {
        "SignatureDoesNotMatch"
    };
    if signed {
        Ok(())
    } else {
        Err(Refused::new(
            if call.service == "ecr" { 400 } else { 403 },
            code,
            message,
        ))
    }
}

/// Whether the signature is this secret's; `None` where it cannot be read.
fn is_signed_with(call: &Call, secret: &str) -> Option<bool> {
    let header = call.headers.get("authorization")?;
    let part = |name: &str| header.split(name).nth(1)?.split([',', ' ']).next();
    let (credential, names, signature) = (
        part("Credential=")?,
        part("SignedHeaders=")?,
        part("Signature=")?,
    );
    let scope: Vec<&str> = credential.split('/').skip(1).collect();
    let mut headers = String::new();
    for name in names.split(';') {
        let value = call.headers.get(name).map_or_else(
            || (name == "host").then_some(HOST),
            |value| Some(value.as_str()),
        )?;
        headers += &format!("{name}:{}\n", value.trim());
    }
    let request = format!("POST\n/\n\n{headers}\n{names}\n{}", hash(&call.body));
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{}\n{}",
        call.headers.get("x-amz-date")?,
        scope.join("/"),
        hash(&request)
    );
    let first = format!("AWS4{secret}").into_bytes();
    let key = scope.iter().fold(first, |key, part| mac(&key, part));
    Some(hex(&mac(&key, &to_sign)) == signature)
}

fn hash(text: &str) -> String {
    hex(digest::digest(&SHA256, text.as_bytes()).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

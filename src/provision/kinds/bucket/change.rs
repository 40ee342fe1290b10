//! The changes of a bucket, as plans show them.

use std::fmt;

use serde_json::{Value, json};

use super::cors::cors_document;
use super::state::Cors;
use crate::domain::names::{BucketName, Region};
use crate::domain::plan::Action;
use crate::provision::change::{Change, counted};
use crate::provision::render::shell_words;
use crate::provision::tags::{self, Tags};

/// A change of a bucket.
#[derive(Debug, Clone, PartialEq)]
pub enum BucketChange {
    /// `CreateBucket`, with ownership and tags in the call.
    Create(BucketName, Region, Tags),
    /// `PutBucketOwnershipControls`, which disables ACLs, with the current setting.
    EnforceOwnership(BucketName, Value),
    /// `PutPublicAccessBlock` with all four settings, with the current ones.
    BlockPublicAccess(BucketName, Value),
    /// `PutBucketTagging`, which replaces all tags.
    Tag {
        bucket: BucketName,
        /// The current tags.
        before: Tags,
        /// The tags after the change.
        after: Tags,
    },
    /// `DeleteObjects`, for at most 1,000 object versions and delete markers.
    DeleteObjects {
        bucket: BucketName,
        /// The key and the version of each.
        versions: Vec<(String, Option<String>)>,
        /// Whether the bucket contains more.
        more: bool,
    },
    /// `AbortMultipartUpload`.
    AbortUpload {
        bucket: BucketName,
        /// The key of the object.
        key: String,
        /// The ID of the upload.
        upload: String,
    },
    /// `DeleteBucket`.
    Delete(BucketName),
    /// `PutBucketCors`, which replaces all rules.
    SetCors {
        bucket: BucketName,
        /// The current rules.
        before: Vec<Cors>,
        /// The rules after the change.
        after: Vec<Cors>,
    },
}

impl fmt::Display for BucketChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(name, region, _) => write!(f, "create bucket {name} in {region}"),
            Self::EnforceOwnership(name, _) => write!(f, "disable ACLs on bucket {name}"),
            Self::BlockPublicAccess(name, _) => write!(f, "block public access to bucket {name}"),
            Self::Tag {
                bucket,
                before,
                after,
            } if tags::gives_back(before, after) => {
                write!(
                    f,
                    "remove Slipway's tags from bucket {bucket}, which is retained"
                )
            }
            Self::Tag { bucket, .. } => write!(f, "tag bucket {bucket}"),
            Self::SetCors { bucket, .. } => write!(f, "set CORS of bucket {bucket}"),
            Self::DeleteObjects {
                bucket,
                versions,
                more,
            } => {
                let more = if *more { " (more remain)" } else { "" };
                write!(
                    f,
                    "delete {} from bucket {bucket}{more}",
                    counted(versions.len(), "object version")
                )
            }
            Self::AbortUpload { bucket, key, .. } => {
                write!(f, "abort a multipart upload of {key} to bucket {bucket}")
            }
            Self::Delete(name) => write!(f, "delete bucket {name}"),
        }
    }
}

impl Change for BucketChange {
    fn action(&self) -> Action {
        match self {
            Self::Create(..) => Action::Create,
            Self::DeleteObjects { .. } | Self::AbortUpload { .. } | Self::Delete(_) => {
                Action::Delete
            }
            Self::EnforceOwnership(..)
            | Self::BlockPublicAccess(..)
            | Self::Tag { .. }
            | Self::SetCors { .. } => Action::Update,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::SetCors { before, .. } if !before.is_empty() => Some(cors_document(before)),
            Self::Tag { before, .. } => Some(json!({"tags": before})),
            Self::EnforceOwnership(_, before) | Self::BlockPublicAccess(_, before)
                if !before.is_null() =>
            {
                Some(before.clone())
            }
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        Some(match self {
            Self::Create(name, region, tags) => {
                json!({"name": name, "region": region, "object_ownership": "BucketOwnerEnforced", "tags": tags})
            }
            Self::EnforceOwnership(..) => json!({"object_ownership": "BucketOwnerEnforced"}),
            Self::BlockPublicAccess(..) => public_access_block_document([true; 4]),
            Self::Tag { after, .. } => json!({"tags": after}),
            Self::SetCors { after, .. } => cors_document(after),
            Self::DeleteObjects { .. } | Self::AbortUpload { .. } | Self::Delete(_) => return None,
        })
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Create(name, region, tags) => {
                let mut configuration = json!({"Tags": tags.iter().map(|(k, v)| json!({"Key": k, "Value": v})).collect::<Vec<_>>()});
                if !region.is_us_east_1() {
                    configuration["LocationConstraint"] = json!(region);
                }
                format!(
                    "aws s3api create-bucket --bucket {name} --region {region} --object-ownership BucketOwnerEnforced --create-bucket-configuration {}",
                    shell_words::document(&configuration)
                )
            }
            Self::DeleteObjects { bucket, .. } => format!("aws s3 rm s3://{bucket} --recursive"),
            Self::AbortUpload {
                bucket,
                key,
                upload,
            } => format!(
                "aws s3api abort-multipart-upload --bucket {bucket} --key {} --upload-id {}",
                shell_words::word(key),
                shell_words::word(upload)
            ),
            Self::Delete(name) => format!("aws s3api delete-bucket --bucket {name}"),
            Self::EnforceOwnership(name, _) => {
                format!(
                    "aws s3api put-bucket-ownership-controls --bucket {name} --ownership-controls 'Rules=[{{ObjectOwnership=BucketOwnerEnforced}}]'"
                )
            }
            Self::BlockPublicAccess(name, _) => format!(
                "aws s3api put-public-access-block --bucket {name} --public-access-block-configuration \
                 BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"
            ),
            Self::Tag { bucket, after, .. } => {
                let set: Vec<Value> = after
                    .iter()
                    .map(|(k, v)| json!({"Key": k, "Value": v}))
                    .collect();
                format!(
                    "aws s3api put-bucket-tagging --bucket {bucket} --tagging {}",
                    shell_words::document(&json!({"TagSet": set}))
                )
            }
            Self::SetCors { bucket, after, .. } => {
                format!(
                    "aws s3api put-bucket-cors --bucket {bucket} --cors-configuration {}",
                    shell_words::document(&cors_document(after))
                )
            }
        }
    }
}

pub(super) fn public_access_block_document([acls, ignore, policy, restrict]: [bool; 4]) -> Value {
    json!({"BlockPublicAcls": acls, "IgnorePublicAcls": ignore, "BlockPublicPolicy": policy, "RestrictPublicBuckets": restrict})
}

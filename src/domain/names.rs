//! Names, each parsed once.
//!
//! Invariants:
//! - A name that exists satisfies AWS's rules for it, so no AWS call is made with one that cannot work.
//! - Names compare as AWS compares them: IAM names are unique without regard to case.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a text is not a name of the kind asked for; says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

impl NameError {
    /// An error with a message for the person who gave the name.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        name!($(#[$doc])* $name, $check, Self::parse);
    };
    ($(#[$doc:meta])* $name:ident, $check:expr, $stored:expr) => {
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        $(#[$doc])*
        pub struct $name(String);

        impl $name {
            /// Parses the text, or says what a valid one looks like.
            ///
            /// # Errors
            /// When the text breaks a rule of this kind of name.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text).map(|()| Self(text.to_owned()))
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                let stored: fn(&str) -> Result<Self, NameError> = $stored;
                stored(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// An app's name, which is also its IAM user's: 1 to 64 of letters, digits and `_+=,.@-`, with
    /// a letter or digit first (IAM User Guide, "IAM and AWS STS quotas").
    #[schema(example = "acme-shop", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9_+=,.@-]*$")]
    AppName,
    |text| {
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        let fits = first && text.len() <= 64 && text.chars().all(is_iam_char);
        ensure(fits, "must be 1 to 64 letters, digits or any of _+=,.@- and begin with a letter or digit, such as acme-shop")
    },
    AppName::stored
);

/// What the name of the subject of an account's set-up begins with. No app's name has a colon.
pub const SETUP_PREFIX: &str = "account:";

impl AppName {
    /// The name under which the set-up of an account is recorded, beside the apps.
    pub fn of_setup(account: &AccountName) -> Self {
        Self(format!("{SETUP_PREFIX}{account}"))
    }

    /// Whether it is the name of an account's set-up.
    pub fn is_of_setup(&self) -> bool {
        self.0.starts_with(SETUP_PREFIX)
    }

    /// What it is the name of, for people.
    pub fn subject(&self) -> String {
        match self.0.strip_prefix(SETUP_PREFIX) {
            Some(account) => format!("the set-up of account {account}"),
            None => self.0.clone(),
        }
    }

    /// A name that was recorded: an app's, or that of an account's set-up.
    ///
    /// # Errors
    /// When it is neither.
    pub fn stored(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix(SETUP_PREFIX) {
            Some(account) => AccountName::parse(account).map(|name| Self::of_setup(&name)),
            None => Self::parse(text),
        }
    }

    /// The form in which two names of one IAM thing are equal: IAM names are unique without
    /// regard to case (IAM User Guide, "IAM identifiers").
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

name!(
    /// An IAM group's name: 1 to 128 of letters, digits and `_+=,.@-`.
    #[schema(example = "Apps", min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_+=,.@-]*$")]
    GroupName,
    |text| ensure((1..=128).contains(&text.len()) && text.chars().all(is_iam_char),
        "must be 1 to 128 letters, digits or any of _+=,.@-")
);

name!(
    /// An IAM managed policy's name: 1 to 128 of letters, digits and `_+=,.@-`.
    #[schema(example = "MediaManagement", min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_+=,.@-]*$")]
    PolicyName,
    |text| ensure((1..=128).contains(&text.len()) && text.chars().all(is_iam_char),
        "must be 1 to 128 letters, digits or any of _+=,.@-")
);

name!(
    /// An IAM path: `/`, or segments between slashes such as `/apps/`; at most 512 characters.
    #[schema(example = "/apps/", max_length = 512, pattern = "^/([!-.0-~]+/)*$")]
    IamPath,
    |text| {
        let printable = text.chars().all(|c| ('!'..='~').contains(&c));
        let slashes = text == "/" || (text.len() > 2 && text.starts_with('/') && text.ends_with('/') && !text.contains("//"));
        ensure(printable && slashes && text.len() <= 512, "must begin and end with a slash, such as /apps/")
    }
);

name!(
    /// An S3 bucket's name (Amazon S3 User Guide, "General purpose bucket naming rules"); names
    /// with dots are refused because TLS wildcards do not cover them.
    #[schema(example = "acme-shop-media", min_length = 3, max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    BucketName,
    check_bucket
);

name!(
    /// An ECR repository's name, 2 to 256 characters (Amazon ECR API Reference, `CreateRepository`).
    #[schema(example = "acme-shop", min_length = 2, max_length = 256, pattern = "^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$")]
    RepositoryName,
    check_repository
);

name!(
    /// A region's code, such as `us-west-2`.
    #[schema(example = "us-west-2", max_length = 32, pattern = "^[a-z]+(-[a-z]+){1,3}-[0-9]{1,2}$")]
    Region,
    |text| {
        let parts: Vec<&str> = text.split('-').collect();
        let letters = |p: &&str| !p.is_empty() && p.chars().all(|c| c.is_ascii_lowercase());
        let number = parts.last().is_some_and(|p| !p.is_empty() && p.len() <= 2 && p.chars().all(|c| c.is_ascii_digit()));
        let fits = parts.len() >= 3 && parts.len() <= 5 && number && parts[..parts.len() - 1].iter().all(letters) && text.len() <= 32;
        ensure(fits, "must be an AWS region code, such as us-west-2")
    }
);

impl IamPath {
    /// The path above all others.
    pub fn root() -> Self {
        Self("/".into())
    }
}

impl Region {
    /// The one region whose `CreateBucket` takes no location constraint and answers 200 for a
    /// bucket that the caller owns already (Amazon S3 API Reference, `CreateBucket`).
    pub fn is_us_east_1(&self) -> bool {
        self.0 == "us-east-1"
    }
}

name!(
    /// A registered account's name; `default` is the one the service itself runs in.
    #[schema(example = "default", min_length = 1, max_length = 64, pattern = "^[a-z0-9][a-z0-9-]*$")]
    AccountName,
    |text| {
        let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let fits = first && text.len() <= 64 && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        ensure(fits, "must be 1 to 64 lowercase letters, digits or hyphens")
    }
);

name!(
    /// An account's alias: 3 to 63 lowercase letters, digits and single hyphens (IAM API Reference,
    /// `CreateAccountAlias`).
    #[schema(example = "the-customer", min_length = 3, max_length = 63, pattern = "^[a-z0-9](-?[a-z0-9])*$")]
    AccountAlias,
    |text| {
        let is_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let hyphens = !text.starts_with('-') && !text.ends_with('-') && !text.contains("--");
        let fits = (3..=63).contains(&text.len()) && hyphens && text.chars().all(is_char);
        ensure(fits, "must be 3 to 63 lowercase letters, digits and single hyphens, and begin and end with a letter or digit, such as the-customer")
    }
);

name!(
    /// An AWS account ID: 12 digits.
    #[schema(example = "222222222222", pattern = "^[0-9]{12}$")]
    AccountId,
    |text| ensure(is_account_id(text), "must be an AWS account ID, 12 digits")
);

name!(
    /// The ARN of an IAM role, with its path (IAM User Guide, "IAM identifiers").
    #[schema(example = "arn:aws:iam::222222222222:role/SlipwayAccess", max_length = 2048, pattern = "^arn:aws[a-z-]*:iam::[0-9]{12}:role/([!-.0-~]+/)*[A-Za-z0-9_+=,.@-]{1,64}$")]
    RoleArn,
    |text| ensure(is_role_arn(text), "must be the ARN of an IAM role, such as arn:aws:iam::222222222222:role/SlipwayAccess")
);

impl RoleArn {
    /// The partition: `aws`, `aws-cn`, `aws-us-gov`.
    pub fn partition(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// The ID of the account that the role is in.
    pub fn account_id(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or_default()
    }

    /// The path of the role, with a slash on both sides.
    pub fn path(&self) -> &str {
        let (_, path) = self.0.split_once(":role").unwrap_or_default();
        path.rfind('/').map_or("/", |end| &path[..=end])
    }

    /// The name of the role, without its path.
    pub fn role_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

name!(
    /// An access key's id: 16 to 128 letters, digits and underscores (IAM API Reference, `AccessKey`).
    #[schema(example = "AKIAIOSFODNN7EXAMPLE", min_length = 16, max_length = 128, pattern = "^[A-Za-z0-9_]*$")]
    AccessKeyId,
    |text| ensure((16..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
        "must be 16 to 128 letters, digits or underscores")
);

name!(
    /// A browser's origin: scheme, host and perhaps a port, with at most one `*` (Amazon S3 User
    /// Guide, "Elements of a CORS configuration").
    #[schema(example = "https://acme-shop.example.com", pattern = "^([*]|https?://[A-Za-z0-9.*-]{1,253}(:([*]|[1-9][0-9]{0,4}))?)$")]
    Origin,
    check_origin
);

fn ensure(holds: bool, otherwise: &str) -> Result<(), NameError> {
    if holds {
        Ok(())
    } else {
        Err(NameError::new(otherwise))
    }
}

fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.chars().all(|c| c.is_ascii_digit())
}

fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else {
        return false;
    };
    let Some(role) = resource.strip_prefix("role/") else {
        return false;
    };
    let mut segments: Vec<&str> = role.split('/').collect();
    let name = segments.pop().unwrap_or_default();
    let is_segment = |segment: &&str| {
        !segment.is_empty()
            && segment
                .chars()
                .all(|c| ('!'..='~').contains(&c) && c != '*')
    };
    partition.starts_with("aws")
        && partition
            .chars()
            .all(|c| c.is_ascii_lowercase() || c == '-')
        && is_account_id(account)
        && segments.iter().all(is_segment)
        && (1..=64).contains(&name.len())
        && name.chars().all(is_iam_char)
        && text.len() <= 2048
}

fn is_iam_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

const RESERVED_BUCKET_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_BUCKET_SUFFIXES: [&str; 5] =
    ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

fn check_bucket(text: &str) -> Result<(), NameError> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if let Some(prefix) = RESERVED_BUCKET_PREFIXES
        .iter()
        .find(|p| text.starts_with(**p))
    {
        return Err(NameError::new(format!(
            "must not begin with {prefix}, which AWS reserves"
        )));
    }
    if let Some(suffix) = RESERVED_BUCKET_SUFFIXES
        .iter()
        .find(|s| text.ends_with(**s))
    {
        return Err(NameError::new(format!(
            "must not end with {suffix}, which AWS reserves"
        )));
    }
    ensure(
        text.parse::<Ipv4Addr>().is_err(),
        "must not look like an IP address",
    )?;
    ensure(
        !text.contains('.'),
        "must not contain dots, because the TLS certificate of S3 does not cover them",
    )?;
    let fits = (3..=63).contains(&text.len())
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    ensure(
        fits,
        "must be 3 to 63 lowercase letters, digits or hyphens, and begin and end with a letter or digit",
    )
}

fn check_repository(text: &str) -> Result<(), NameError> {
    let word = |w: &str| {
        !w.is_empty()
            && w.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let component = |part: &str| part.split(['.', '_', '-']).all(word);
    ensure(
        (2..=256).contains(&text.len()) && text.split('/').all(component),
        "must be 2 to 256 lowercase letters and digits, separated by single . _ - or / characters",
    )
}

fn check_origin(text: &str) -> Result<(), NameError> {
    if text == "*" {
        return Ok(());
    }
    let says = "must be an origin such as https://acme-shop.example.com, without a path, with at most one *";
    let Some((scheme, host)) = text.split_once("://") else {
        return Err(NameError::new(says));
    };
    let (name, port) = host.split_once(':').unwrap_or((host, "443"));
    let host_char = |c: char| c.is_ascii_alphanumeric() || "-.*".contains(c);
    let fits = matches!(scheme, "http" | "https")
        && !name.is_empty()
        && name.len() <= 253
        && name.chars().all(host_char)
        && text.matches('*').count() <= 1
        && (port == "*" || is_port(port));
    ensure(fits, says)
}

/// Written as browsers write it: `parse` alone would take `+80` and `0080` as well.
fn is_port(text: &str) -> bool {
    text.parse::<u16>()
        .is_ok_and(|port| port > 0 && port.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_by_the_s3_rules() {
        for good in ["abc", "acme-shop-media", "a1b", "0-0", &"a".repeat(63)] {
            assert!(BucketName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "ab",
            &long,
            "Acme",
            "acme_shop",
            "acme.shop",
            "-acme",
            "acme-",
            "192.168.0.1",
            "xn--acme",
            "sthree-acme",
            "amzn-s3-demo-acme",
            "acme-s3alias",
            "acme--ol-s3",
            "acme.mrap",
            "acme--x-s3",
            "acme--table-s3",
            "acmé-shop",
        ] {
            assert!(BucketName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn repositories_by_the_ecr_rules() {
        for good in ["ab", "acme/shop", "a-b_c.d/e0"] {
            assert!(RepositoryName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(257);
        for bad in [
            "", "a", "A/b", "a//b", "-ab", "ab-", "a..b", "a-_b", "/ab", "ab/", &long,
        ] {
            assert!(RepositoryName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn app_names_by_the_iam_rules_and_without_case() {
        let (upper, lower) = (
            AppName::parse("Acme.Shop").unwrap(),
            AppName::parse("acme.shop").unwrap(),
        );
        assert_ne!(upper, lower);
        assert_eq!(upper.key(), lower.key());
        let long = "a".repeat(65);
        for bad in ["", "..", "a b", "a/b", "-a", "é", "a\n", &long] {
            assert!(AppName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn regions_paths_origins() {
        for good in [
            "us-west-2",
            "us-gov-east-1",
            "ap-southeast-5",
            "us-iso-east-1",
        ] {
            assert!(Region::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "us-west",
            "US-WEST-2",
            "us_west_2",
            "us-west-2a",
            "us-west-222",
        ] {
            assert!(Region::parse(bad).is_err(), "{bad}");
        }
        for good in ["/", "/apps/", "/a/b/"] {
            assert!(IamPath::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "apps", "/apps", "//", "/a//b/", "/a b/"] {
            assert!(IamPath::parse(bad).is_err(), "{bad}");
        }
        for good in [
            "*",
            "https://acme.example",
            "http://localhost:3000",
            "https://*.acme.example",
        ] {
            assert!(Origin::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "acme.example",
            "https://",
            "https://a/b",
            "ftp://a",
            "https://*.*.a",
            "https://a:0",
            "https://a:x",
            "https://a:+80",
            "https://a:080",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_says_why(text in "\\PC{0,80}") {
            for outcome in [
                AppName::parse(&text).err(), BucketName::parse(&text).err(), RepositoryName::parse(&text).err(),
                Region::parse(&text).err(), IamPath::parse(&text).err(), Origin::parse(&text).err(),
            ].into_iter().flatten() {
                prop_assert!(!outcome.to_string().is_empty());
            }
        }

        #[test]
        fn a_bucket_name_is_a_dns_label(text in "[a-z0-9-]{1,70}") {
            if BucketName::parse(&text).is_ok() {
                prop_assert!(text.len() >= 3 && text.len() <= 63);
                prop_assert!(!text.starts_with('-') && !text.ends_with('-'));
            }
        }
    }
}

//! The regions of AWS's partitions.
//!
//! Invariant: a region that exists here is one that AWS has. One that this table does not know yet, or that only a
//! private partition or an emulator has, is named by the settings.

use crate::domain::names::{NameError, Region};

/// Regions by partition, from AWS's `partitions.json` as botocore 1.43 ships it; a test compares the two.
const PARTITIONS: [(&str, &[&str]); 8] = [
    (
        "aws",
        &[
            "af-south-1",
            "ap-east-1",
            "ap-east-2",
            "ap-northeast-1",
            "ap-northeast-2",
            "ap-northeast-3",
            "ap-south-1",
            "ap-south-2",
            "ap-southeast-1",
            "ap-southeast-2",
            "ap-southeast-3",
            "ap-southeast-4",
            "ap-southeast-5",
            "ap-southeast-6",
            "ap-southeast-7",
            "ca-central-1",
            "ca-west-1",
            "eu-central-1",
            "eu-central-2",
            "eu-north-1",
            "eu-south-1",
            "eu-south-2",
            "eu-west-1",
            "eu-west-2",
            "eu-west-3",
            "il-central-1",
            "me-central-1",
            "me-south-1",
            "mx-central-1",
            "sa-east-1",
            "us-east-1",
            "us-east-2",
            "us-west-1",
            "us-west-2",
        ],
    ),
    ("aws-cn", &["cn-north-1", "cn-northwest-1"]),
    ("aws-eusc", &["eusc-de-east-1"]),
    ("aws-iso", &["us-iso-east-1", "us-iso-west-1"]),
    ("aws-iso-b", &["us-isob-east-1", "us-isob-west-1"]),
    ("aws-iso-e", &["eu-isoe-west-1"]),
    ("aws-iso-f", &["us-isof-east-1", "us-isof-south-1"]),
    ("aws-us-gov", &["us-gov-east-1", "us-gov-west-1"]),
];

/// Regions beyond those of AWS's table that are taken for real: the service's own, and those of the settings.
#[derive(Debug, Clone, Default)]
pub struct Extra<'a> {
    /// The service's own region, if it has one.
    pub own: Option<&'a Region>,
    /// Those of `SLIPWAY_REGIONS`.
    pub allowed: &'a [Region],
}

/// The region of a partition that a text names.
///
/// # Errors
/// When there is none; the message names the nearest one.
pub fn region_in(partition: &str, extra: &Extra<'_>, text: &str) -> Result<Region, NameError> {
    let region = Region::parse(text)?;
    let in_partition = PARTITIONS
        .iter()
        .find(|(name, _)| *name == partition)
        .map(|(_, regions)| *regions)
        .unwrap_or_default();
    let beyond = || {
        extra
            .own
            .into_iter()
            .chain(extra.allowed)
            .map(Region::as_str)
    };
    if in_partition.contains(&text) || beyond().any(|known| known == text) {
        return Ok(region);
    }
    if PARTITIONS
        .iter()
        .any(|(_, regions)| regions.contains(&text))
    {
        return Err(NameError::new(format!(
            "is not in this account's partition, {partition}"
        )));
    }
    let nearest = in_partition
        .iter()
        .copied()
        .chain(beyond())
        .min_by_key(|known| distance(known, text));
    let hint = nearest
        .map(|nearest| format!(" Did you mean {nearest}?"))
        .unwrap_or_default();
    Err(NameError::new(format!(
        "is not a region of the partition {partition}.{hint} Set SLIPWAY_REGIONS to allow regions that Slipway does not know"
    )))
}

/// The edit distance of two texts: how many letters are put in, left out or replaced.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_one_that_the_partition_has_or_the_settings_allow() {
        let (own, allowed) = (
            Region::parse("qa-main-1").unwrap(),
            [Region::parse("xx-lab-1").unwrap()],
        );
        let extra = Extra {
            own: Some(&own),
            allowed: &allowed,
        };
        for good in ["us-west-2", "eu-central-2", "qa-main-1", "xx-lab-1"] {
            assert_eq!(region_in("aws", &extra, good).unwrap().as_str(), good);
        }
        let why = |partition: &str, text: &str| {
            region_in(partition, &extra, text).unwrap_err().to_string()
        };
        assert!(
            why("aws", "us-west-9")
                .contains("is not a region of the partition aws. Did you mean us-west-"),
            "{}",
            why("aws", "us-west-9")
        );
        assert!(why("aws", "eu-centrall-1").contains("Did you mean eu-central-1?"));
        assert!(why("aws", "cn-north-1").contains("is not in this account's partition, aws"));
        assert!(why("aws-cn", "us-west-2").contains("is not in this account's partition, aws-cn"));
        assert!(region_in("aws-iso-b", &Extra::default(), "us-isob-east-1").is_ok());
        assert!(
            why("aws", "us-isob-east-1").contains("partition"),
            "a region of another partition, not of any"
        );
        assert!(
            region_in("aws-private", &Extra::default(), "us-west-2").is_err(),
            "a partition that AWS does not publish has no regions here"
        );
        assert!(region_in("aws-private", &extra, "xx-lab-1").is_ok());
    }

    #[test]
    fn every_region_of_the_table_parses() {
        for region in PARTITIONS.iter().flat_map(|(_, regions)| regions.iter()) {
            assert!(Region::parse(region).is_ok(), "{region}");
        }
    }

    #[test]
    fn letters_put_in_left_out_and_replaced_are_counted() {
        for (one, other, edits) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("us-west-2", "us-west-1", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(
                (distance(one, other), distance(other, one)),
                (edits, edits),
                "{one} {other}"
            );
        }
    }
}

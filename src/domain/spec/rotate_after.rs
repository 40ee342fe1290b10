//! The age at which an access key is rotated.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// The units of an age, in hours.
const UNITS: [(&str, u64); 3] = [("w", 7 * 24), ("d", 24), ("h", 1)];

/// The longest age, in hours.
const MAX_AGE: u64 = 3650 * 24;

/// An age such as `90d`, from an hour to some years; what [`RotateAfter`] documents.
///
/// # Errors
/// When it is not written so, or not within that.
pub fn parse_age(text: &str) -> Result<Duration, &'static str> {
    let number = |digits: &str| {
        if digits.starts_with(|c: char| matches!(c, '1'..='9')) {
            digits.parse::<u64>().ok()
        } else {
            None
        }
    };
    let hours = UNITS
        .iter()
        .find_map(|(unit, hours)| number(text.strip_suffix(unit)?)?.checked_mul(*hours));
    let hours = hours
        .filter(|hours| *hours <= MAX_AGE)
        .ok_or("must be a duration from 1h to 3650d, such as 90d")?;
    Ok(Duration::from_secs(hours * 3600))
}

/// Writes an age as [`parse_age`] reads it.
#[expect(clippy::ref_option, reason = "the signature is serde's")]
pub(super) fn write_age<S: Serializer>(
    age: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = age.map(|age| match age.as_secs() / 3600 {
        hours if hours % 24 == 0 => format!("{}d", hours / 24),
        hours => format!("{hours}h"),
    });
    text.serialize(serializer)
}

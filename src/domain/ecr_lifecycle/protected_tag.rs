//! Tags that stand for a release. An image that carries one is missed when it is gone.
//!
//! Invariant: what is protected here is kept by the lifecycle profile `protected`, so naming that
//! profile to a person is a remedy.

/// Names of what is deployed from.
const NAMES: [&str; 3] = ["latest", "main", "master"];
/// Beginnings of names of what is deployed: `release-7`, `production`, `stable-2`.
const BEGINNINGS: [&str; 3] = ["release", "prod", "stable"];

/// Whether the tag stands for a release: `latest`, `main` or `master`; what begins with `release`,
/// `prod` or `stable`; or a version.
///
/// A version is `v` and a digit, as `v2`, or three numbers with dots between, as `1.2.3`, whatever
/// follows: semantic versions with what comes before a release or tells of a build
/// ([semver.org](https://semver.org/spec/v2.0.0.html)), and dates such as `2025.01.31`, are versions.
pub fn is_protected(tag: &str) -> bool {
    NAMES.contains(&tag)
        || BEGINNINGS
            .iter()
            .any(|beginning| tag.starts_with(beginning))
        || is_version(tag)
}

fn is_version(tag: &str) -> bool {
    let digit_first = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    if let Some(number) = tag.strip_prefix('v') {
        return digit_first(number);
    }
    let is_number = |text: &str| digit_first(text) && text.chars().all(|c| c.is_ascii_digit());
    match tag.splitn(3, '.').collect::<Vec<_>>().as_slice() {
        [major, minor, patch] => is_number(major) && is_number(minor) && digit_first(patch),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_protected_and_nothing_else() {
        let protected = [
            "latest",
            "main",
            "master",
            "release",
            "release-7",
            "releases.2",
            "prod",
            "production-1",
            "stable",
            "v1",
            "v2-beta",
            "v1.2.3",
            "v1.2.3-rc.1",
            "1.2.3",
            "0.0.0",
            "1.2.3-alpha.1",
            "1.2.3_build.5",
            "1.2.3rc1",
            "1.2.3.4",
            "2025.01.31",
        ];
        assert_eq!(protected.map(is_protected), protected.map(|_| true));
        let others = [
            "",
            "Latest",
            "latest-1",
            "maintenance",
            "mastery",
            "pre-release",
            "reprod",
            "v",
            "vendor",
            "v-1",
            "1",
            "1.2",
            "1.2.x",
            "1..3",
            ".1.2",
            "a.b.c",
            "1a.2.3",
            "0a1b2c3",
            "develop",
            "testing-1.2.3",
        ];
        assert_eq!(others.map(is_protected), others.map(|_| false));
    }
}

//! Proofs that a request comes from a chat platform.
//!
//! Invariants:
//! - Comparisons take as long for a wrong value as for the right one.
//! - Slack's signature covers the body as it was received, and the time, by the service's clock.

use std::time::Duration;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, verify};
use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Timestamp;
use crate::domain::shared_secret::is_secret;

/// How far the time of a request may be from the clock.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Whether a request is signed with the signing secret of a Slack app
/// (<https://docs.slack.dev/authentication/verifying-requests-from-slack>).
pub fn is_of_slack(
    secret: &SecretString,
    timestamp: &str,
    signature: &str,
    body: &[u8],
    now: Timestamp,
) -> bool {
    let Some(at) = seconds(timestamp) else {
        return false;
    };
    let Some(Ok(tag)) = signature.strip_prefix("v0=").map(hex::decode) else {
        return false;
    };
    let signed = [b"v0:", timestamp.as_bytes(), b":", body].concat();
    let key = Key::new(HMAC_SHA256, secret.expose_secret().as_bytes());
    let is_recent = now.since(at) <= TOLERANCE && at.since(now) <= TOLERANCE;
    verify(&key, &signed, &tag).is_ok() && is_recent
}

fn seconds(text: &str) -> Option<Timestamp> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: i64 = is_number.then(|| text.parse().ok())??;
    seconds.checked_mul(1000).map(Timestamp::from_millis)
}

/// Whether a request has the token of Mattermost's slash command.
pub fn is_of_mattermost(token: &SecretString, authorization: &str) -> bool {
    let given = authorization.strip_prefix("Token ").unwrap_or_default();
    is_secret(token, given)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    /// The example of Slack's documentation.
    #[test]
    fn a_signature_is_that_of_the_documentation_and_lasts_five_minutes() {
        let secret = SecretString::from("8f742231b10e8888abcd99yyyzzz85a5".to_owned());
        let at = |seconds: i64| Timestamp::from_millis((1_531_420_618 + seconds) * 1000);
        let is = |timestamp: &str, signature: &str, body: &str, now| {
            is_of_slack(&secret, timestamp, signature, body.as_bytes(), now)
        };
        for late in [-300, 0, 300] {
            assert!(is("1531420618", SIGNATURE, BODY, at(late)), "{late}");
        }
        for late in [-301, 301] {
            assert!(!is("1531420618", SIGNATURE, BODY, at(late)), "{late}");
        }
        let other = BODY.replace("roadrunner", "coyote");
        assert!(!is("1531420618", SIGNATURE, &other, at(0)));
        for (timestamp, signature) in [
            ("1531420619", SIGNATURE),
            ("+1531420618", SIGNATURE),
            ("", SIGNATURE),
            ("99999999999999999999", SIGNATURE),
            ("1531420618", &SIGNATURE[..SIGNATURE.len() - 2]),
            ("1531420618", &SIGNATURE[3..]),
            ("1531420618", "v0="),
            ("1531420618", ""),
        ] {
            assert!(
                !is(timestamp, signature, BODY, at(0)),
                "{timestamp} {signature}"
            );
        }
    }

    #[test]
    fn a_token_is_compared_as_a_whole() {
        let token = SecretString::from("abc".to_owned());
        assert!(is_of_mattermost(&token, "Token abc"));
        for wrong in ["Token ab", "Token abcd", "Token ", "abc", "Bearer abc", ""] {
            assert!(!is_of_mattermost(&token, wrong), "{wrong}");
        }
    }
}

//! Verifies what a forge has signed: over the bytes that came, before anything is parsed, in constant time.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key, verify};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::domain::webhook_signature::seconds;

/// How far the time of a signature may be from ours. <https://www.standardwebhooks.com>
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);
const PREFIX: &str = "whsec_";

/// Whether GitHub's `X-Hub-Signature-256` is that of the body.
pub fn is_of_github(secret: &SecretString, signature: &str, body: &[u8]) -> bool {
    let Some(tag) = signature.strip_prefix("sha256=") else {
        return false;
    };
    let key = Key::new(HMAC_SHA256, secret.expose_secret().as_bytes());
    hex::decode(tag).is_ok_and(|tag| verify(&key, body, &tag).is_ok())
}

/// The headers of Standard Webhooks.
#[derive(Debug, Clone, Copy)]
pub struct StandardHeaders<'a> {
    /// `webhook-id`
    pub id: &'a str,
    /// `webhook-timestamp`
    pub timestamp: &'a str,
    /// `webhook-signature`
    pub signature: &'a str,
}

impl StandardHeaders<'_> {
    /// Whether one of the signatures is that of the body, and their time is near.
    pub fn are_of(&self, secret: &SecretString, body: &[u8], now: Timestamp) -> bool {
        let is_near = self
            .timestamp
            .parse::<i64>()
            .is_ok_and(|at| seconds(now).abs_diff(at) <= TOLERANCE.as_secs());
        let Some(key) = standard_key(secret).filter(|_| is_near && !self.id.is_empty()) else {
            return false;
        };
        let key = Key::new(HMAC_SHA256, &key);
        let mut context = Context::with_key(&key);
        context.update(format!("{}.{}.", self.id, self.timestamp).as_bytes());
        context.update(body);
        let wanted = context.sign();
        let is_valid = |signature: &str| {
            let tag = signature.strip_prefix("v1,");
            let tag = tag.and_then(|tag| STANDARD.decode(tag).ok());
            tag.is_some_and(|tag| verify_slices_are_equal(wanted.as_ref(), &tag).is_ok())
        };
        self.signature.split(' ').any(is_valid)
    }
}

/// The key that a secret of Standard Webhooks is; `None` if it is none.
pub fn standard_key(secret: &SecretString) -> Option<Zeroizing<Vec<u8>>> {
    let text = secret.expose_secret();
    let key = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
    (!key.is_empty()).then(|| Zeroizing::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation.
    #[test]
    fn githubs_signature_is_over_the_bytes() {
        let secret = SecretString::from("It's a Secret to Everybody".to_owned());
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(is_of_github(&secret, signature, b"Hello, World!"));
        for (signature, body) in [
            (signature, "Hello, World! "),
            (&signature[..60], "Hello, World!"),
            (&signature[7..], "Hello, World!"),
            ("sha256=", ""),
            ("sha1=757107ea", "Hello, World!"),
            ("", "Hello, World!"),
        ] {
            assert!(
                !is_of_github(&secret, signature, body.as_bytes()),
                "{signature}"
            );
        }
    }

    /// The example of the specification's libraries.
    #[test]
    fn a_standard_signature_holds_for_five_minutes() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let valid = StandardHeaders {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: "1614265330",
            signature: "v1,AAAA v1a,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        };
        let holds = |headers: StandardHeaders<'_>, at: i64| {
            let body = br#"{"test": 2432232314}"#;
            headers.are_of(&secret, body, Timestamp::from_millis(at * 1000))
        };
        for (at, is_near) in [
            (0, true),
            (300, true),
            (-300, true),
            (301, false),
            (-301, false),
        ] {
            assert_eq!(holds(valid, 1_614_265_330 + at), is_near, "{at}");
        }
        let now = 1_614_265_330;
        for changed in [
            StandardHeaders {
                id: "msg_other",
                ..valid
            },
            StandardHeaders { id: "", ..valid },
            StandardHeaders {
                timestamp: "1614265331",
                ..valid
            },
            StandardHeaders {
                timestamp: "",
                ..valid
            },
            StandardHeaders {
                signature: "",
                ..valid
            },
            StandardHeaders {
                signature: &valid.signature[..40],
                ..valid
            },
        ] {
            assert!(!holds(changed, now), "{changed:?}");
        }
        assert!(!valid.are_of(
            &"whsec_".to_owned().into(),
            b"",
            Timestamp::from_millis(now * 1000)
        ));
    }
}

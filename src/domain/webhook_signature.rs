//! Signatures of webhooks (Standard Webhooks 1.0, symmetric).
//!
//! Rejected: the crate `standardwebhooks`. It signs with one secret at a time, reads the system's clock, and brings an
//! older base64 (docs/decisions/0031-webhooks-are-an-outbox.md).

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::clock::Timestamp;

const PREFIX: &str = "whsec_";
const SECRET_LEN: usize = 32;

/// A new signing secret; `None` if the system has no randomness.
pub fn new_secret() -> Option<SecretString> {
    let mut secret = Zeroizing::new([0_u8; SECRET_LEN]);
    aws_lc_rs::rand::fill(secret.as_mut()).ok()?;
    Some(format!("{PREFIX}{}", STANDARD.encode(secret.as_ref())).into())
}

/// The header `webhook-signature`: one signature for each secret. Secrets that are malformed sign nothing.
pub fn signatures(secrets: &[SecretString], id: &str, at: Timestamp, body: &[u8]) -> String {
    let signed = [format!("{id}.{}.", seconds(at)).as_bytes(), body].concat();
    let signature = |secret: &SecretString| {
        let key = secret.expose_secret().strip_prefix(PREFIX)?;
        let key = Zeroizing::new(STANDARD.decode(key).ok()?);
        let tag = sign(&Key::new(HMAC_SHA256, &key), &signed);
        Some(format!("v1,{}", STANDARD.encode(tag.as_ref())))
    };
    let signatures: Vec<String> = secrets.iter().filter_map(signature).collect();
    signatures.join(" ")
}

/// The header `webhook-timestamp`.
pub fn seconds(at: Timestamp) -> i64 {
    at.millis().div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's libraries.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signed = |secrets: &[SecretString]| {
            signatures(
                secrets,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                Timestamp::from_millis(1_614_265_330_999),
                br#"{"test": 2432232314}"#,
            )
        };
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(std::slice::from_ref(&secret)), one);
        assert_eq!(signed(&[secret.clone(), secret]), format!("{one} {one}"));
        assert_eq!(signed(&["nonsense".to_owned().into()]), "");
    }

    #[test]
    fn a_secret_has_32_random_bytes() {
        let secrets = [new_secret().unwrap(), new_secret().unwrap()];
        let bytes = secrets.map(|secret| {
            let text = secret
                .expose_secret()
                .strip_prefix(PREFIX)
                .unwrap()
                .to_owned();
            STANDARD.decode(text).unwrap()
        });
        assert!(bytes[0].len() == SECRET_LEN && bytes[0] != bytes[1]);
    }
}

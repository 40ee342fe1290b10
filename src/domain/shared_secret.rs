//! Secrets that another system sends along with its requests.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};

/// Whether a text is the secret. Takes as long for a wrong one, whatever its length, as digests have one length.
pub fn is_secret(secret: &SecretString, given: &str) -> bool {
    let [given, expected] =
        [given, secret.expose_secret()].map(|text| digest(&SHA256, text.as_bytes()));
    verify_slices_are_equal(given.as_ref(), expected.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_compared_whole() {
        let secret = SecretString::from("token".to_owned());
        assert!(is_secret(&secret, "token"));
        for other in ["", "toke", "token ", "Token"] {
            assert!(!is_secret(&secret, other), "{other}");
        }
    }
}

//! Seals secrets: AES-256-GCM, with what the secret belongs to bound in as associated data.
//!
//! Invariants:
//! - A sealed secret opens only with its key and for the row and access key that it was sealed for.
//! - The key and opened secrets are wiped from memory when dropped, and their debug form shows nothing.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use zeroize::Zeroizing;

/// Bytes of a seal key.
pub const KEY_LEN: usize = 32;

/// Why sealing or opening did not work. Says nothing of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The setting is not a key.
    #[error("SLIPWAY_SEAL_KEY must be {KEY_LEN} bytes in base64; `slipway seal-key` prints a new one")]
    NotAKey,
    /// Sealed with another key, for another row, or changed since.
    #[error("a secret cannot be opened: it was sealed with another SLIPWAY_SEAL_KEY, or its row was changed")]
    CannotOpen,
    /// The cipher refused to seal.
    #[error("a secret cannot be sealed")]
    CannotSeal,
}

/// The seal key.
pub struct Vault {
    key: SecretSlice<u8>,
    id: String,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", self.id)
    }
}

impl Vault {
    /// The vault of a key in base64.
    ///
    /// # Errors
    /// When the text is not base64 of 32 bytes.
    pub fn parse(base64_key: &SecretString) -> Result<Self, VaultError> {
        let key = Zeroizing::new(STANDARD.decode(base64_key.expose_secret().trim()).map_err(|_| VaultError::NotAKey)?);
        if key.len() != KEY_LEN {
            return Err(VaultError::NotAKey);
        }
        let id = hex::encode(digest(&SHA256, &key).as_ref()).chars().take(8).collect();
        Ok(Self { key: key.to_vec().into(), id })
    }

    /// A new random key, in base64.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new_key() -> Result<SecretString, VaultError> {
        let mut key = Zeroizing::new([0_u8; KEY_LEN]);
        aws_lc_rs::rand::fill(key.as_mut()).map_err(|_| VaultError::CannotSeal)?;
        Ok(STANDARD.encode(key.as_ref()).into())
    }

    /// Tells keys apart without telling the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals a secret for `belongs_to`.
    ///
    /// # Errors
    /// When the cipher fails, which it does not.
    pub fn seal(&self, secret: &SecretString, belongs_to: &[&str]) -> Result<Vec<u8>, VaultError> {
        let mut text = secret.expose_secret().as_bytes().to_vec();
        let nonce = self.cipher()?.seal_in_place_append_tag(bound(belongs_to), &mut text).map_err(|_| VaultError::CannotSeal)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend(text);
        Ok(sealed)
    }

    /// Opens what was sealed for `belongs_to`.
    ///
    /// # Errors
    /// When it was sealed with another key or for something else, or was changed.
    pub fn open(&self, sealed: &[u8], belongs_to: &[&str]) -> Result<SecretString, VaultError> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(VaultError::CannotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::CannotOpen)?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = self.cipher()?.open_in_place(nonce, bound(belongs_to), &mut text).map_err(|_| VaultError::CannotOpen)?;
        let opened = std::str::from_utf8(opened).map_err(|_| VaultError::CannotOpen)?;
        Ok(opened.to_owned().into())
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, VaultError> {
        RandomizedNonceKey::new(&AES_256_GCM, self.key.expose_secret()).map_err(|_| VaultError::NotAKey)
    }
}

/// Each part with its length before it, so that two lists of parts never look the same.
fn bound(parts: &[&str]) -> Aad<Vec<u8>> {
    Aad::from(parts.iter().flat_map(|part| part.len().to_be_bytes().into_iter().chain(part.bytes())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::parse(&Vault::new_key().unwrap()).unwrap()
    }

    #[test]
    fn opens_for_what_it_was_sealed_for_alone() {
        let (vault, secret) = (vault(), SecretString::from("wJalrXUtnFEMI".to_owned()));
        let sealed = vault.seal(&secret, &["row", "AKIA"]).unwrap();
        assert_eq!(vault.open(&sealed, &["row", "AKIA"]).unwrap().expose_secret(), "wJalrXUtnFEMI");
        for other in [&["row", "AKIB"][..], &["rowA", "KIA"], &["row"], &[]] {
            assert_eq!(vault.open(&sealed, other).unwrap_err(), VaultError::CannotOpen);
        }
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(vault.open(&changed, &["row", "AKIA"]).is_err());
        }
        assert!(super::tests::vault().open(&sealed, &["row", "AKIA"]).is_err(), "another key");
        assert_ne!(sealed, vault.seal(&secret, &["row", "AKIA"]).unwrap(), "a nonce is used once");
    }

    #[test]
    fn keys_are_32_bytes_of_base64() {
        for bad in ["", "abc", "AAAA", &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33])] {
            assert_eq!(Vault::parse(&SecretString::from(bad.to_owned())).unwrap_err(), VaultError::NotAKey);
        }
        let shown = format!("{:?}", vault());
        assert!(shown.len() < 20, "{shown}");
    }
}

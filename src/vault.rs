//! Seals secrets with AES-256-GCM. The access key that a secret belongs to is bound in as associated data.
//!
//! Invariants:
//! - The present encryption key seals; it and the previous ones open. A sealed secret names its key's id.
//! - A sealed secret opens only with its encryption key, and for the row and access key that it was sealed for.
//! - Encryption keys and opened secrets are wiped from memory when dropped, and have no debug form.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use ulid::Ulid;
use zeroize::Zeroizing;

/// Bytes of a encryption key.
pub const KEY_LEN: usize = 32;

/// Why a secret cannot be sealed or opened. Never contains the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The setting is not a key.
    #[error(
        "SLIPWAY_ENCRYPTION_KEY must be {KEY_LEN} bytes in base64; `slipway generate-key` prints a new one"
    )]
    NotAKey,
    /// One of the previous keys is not a key.
    #[error(
        "SLIPWAY_PREVIOUS_ENCRYPTION_KEYS must be encryption keys in base64, separated by commas: key {0} is not {KEY_LEN} bytes long"
    )]
    NotAnOldKey(usize),
    /// Sealed with a key that is not configured.
    #[error("a secret is sealed with the encryption key {0}, which this service does not have")]
    UnknownKey(String),
    /// Sealed for another row, or changed since.
    #[error(
        "a secret cannot be opened with the encryption key {0} that its row names, because the row was changed"
    )]
    CannotOpen(String),
    /// The cipher refused to seal.
    #[error("a secret cannot be sealed")]
    CannotSeal,
}

/// The encryption keys. The first one seals.
pub struct Vault {
    keys: Vec<EncryptionKey>,
}

/// A key and its id.
struct EncryptionKey {
    key: SecretSlice<u8>,
    id: String,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        write!(f, "Vault({})", ids.join(","))
    }
}

impl Vault {
    /// The vault of a key in base64.
    ///
    /// # Errors
    /// When the text is not base64 of 32 bytes.
    pub fn parse(base64_key: &SecretString) -> Result<Self, VaultError> {
        Ok(Self {
            keys: vec![
                EncryptionKey::parse(base64_key.expose_secret()).ok_or(VaultError::NotAKey)?,
            ],
        })
    }

    /// Adds previous encryption keys, in base64 and separated by commas.
    ///
    /// # Errors
    /// When one of them is not base64 of 32 bytes.
    pub fn with_previous_keys(mut self, base64_keys: &SecretString) -> Result<Self, VaultError> {
        let texts = base64_keys
            .expose_secret()
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty());
        for (i, text) in texts.enumerate() {
            let key = EncryptionKey::parse(text).ok_or(VaultError::NotAnOldKey(i + 1))?;
            if self.keys.iter().all(|known| known.id != key.id) {
                self.keys.push(key);
            }
        }
        Ok(self)
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

    /// The id of the present encryption key, a prefix of its hash.
    pub fn id(&self) -> &str {
        self.keys.first().map_or("", |key| &key.id)
    }

    /// Whether it has the encryption key of this id.
    pub fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// Seals the secret of an access key, with the encryption key of [`Vault::id`].
    ///
    /// # Errors
    /// When the cipher fails, which it does not.
    pub fn seal(
        &self,
        secret: &SecretString,
        owner: SecretOwner<'_>,
    ) -> Result<Vec<u8>, VaultError> {
        let cipher = self.keys.first().ok_or(VaultError::NotAKey)?.cipher()?;
        let mut text = secret.expose_secret().as_bytes().to_vec();
        let nonce = cipher
            .seal_in_place_append_tag(owner.associated_data(), &mut text)
            .map_err(|_| VaultError::CannotSeal)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend(text);
        Ok(sealed)
    }

    /// Opens what was sealed for this access key with the encryption key of this id.
    ///
    /// # Errors
    /// When the key is not known, or it was sealed for something else, or was changed.
    pub fn open(
        &self,
        id: &str,
        sealed: &[u8],
        owner: SecretOwner<'_>,
    ) -> Result<SecretString, VaultError> {
        let cipher = self
            .keys
            .iter()
            .find(|key| key.id == id)
            .ok_or_else(|| VaultError::UnknownKey(id.to_owned()))?
            .cipher()?;
        let cannot = || VaultError::CannotOpen(id.to_owned());
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(cannot)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| cannot())?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = cipher
            .open_in_place(nonce, owner.associated_data(), &mut text)
            .map_err(|_| cannot())?;
        let opened = std::str::from_utf8(opened).map_err(|_| cannot())?;
        Ok(opened.to_owned().into())
    }
}

impl EncryptionKey {
    fn parse(base64: &str) -> Option<Self> {
        let key = Zeroizing::new(STANDARD.decode(base64.trim()).ok()?);
        let id = hex::encode(digest(&SHA256, &key).as_ref())
            .chars()
            .take(8)
            .collect();
        (key.len() == KEY_LEN).then(|| Self {
            key: key.to_vec().into(),
            id,
        })
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, VaultError> {
        RandomizedNonceKey::new(&AES_256_GCM, self.key.expose_secret())
            .map_err(|_| VaultError::NotAKey)
    }
}

/// The access key that a secret belongs to. It is bound into the sealed secret as associated data.
#[derive(Debug, Clone, Copy)]
pub struct SecretOwner<'a> {
    /// The id of the credential's row.
    pub credential: Ulid,
    /// AWS's id of the access key.
    pub access_key_id: &'a str,
}

impl SecretOwner<'static> {
    /// A webhook, whose signing secret it is. No access key has such an id.
    pub fn webhook(id: Ulid) -> Self {
        Self {
            credential: id,
            access_key_id: "webhook",
        }
    }
}

impl SecretOwner<'_> {
    /// Each part with its length before it, so that no two owners have the same data.
    fn associated_data(self) -> Aad<Vec<u8>> {
        let parts = [&self.credential.to_string(), self.access_key_id];
        Aad::from(
            parts
                .iter()
                .flat_map(|part| part.len().to_be_bytes().into_iter().chain(part.bytes()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::parse(&Vault::new_key().unwrap()).unwrap()
    }

    fn owner(access_key_id: &str) -> SecretOwner<'_> {
        SecretOwner {
            credential: Ulid::from_parts(1, 1),
            access_key_id,
        }
    }

    fn list(keys: &[&SecretString]) -> SecretString {
        keys.iter()
            .map(|key| key.expose_secret())
            .collect::<Vec<_>>()
            .join(", ")
            .into()
    }

    #[test]
    fn opens_for_what_it_was_sealed_for_alone() {
        let (vault, secret) = (vault(), SecretString::from("wJalrXUtnFEMI".to_owned()));
        let open = |sealed: &[u8], owner| vault.open(vault.id(), sealed, owner);
        let sealed = vault.seal(&secret, owner("AKIA")).unwrap();
        assert_eq!(
            open(&sealed, owner("AKIA")).unwrap().expose_secret(),
            "wJalrXUtnFEMI"
        );
        let other_row = SecretOwner {
            credential: Ulid::from_parts(1, 2),
            ..owner("AKIA")
        };
        for other in [owner("AKIB"), owner("AKI"), owner(""), other_row] {
            assert_eq!(
                open(&sealed, other).unwrap_err(),
                VaultError::CannotOpen(vault.id().to_owned())
            );
        }
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(open(&changed, owner("AKIA")).is_err());
        }
        assert_ne!(
            sealed,
            vault.seal(&secret, owner("AKIA")).unwrap(),
            "a nonce is used once"
        );
    }

    #[test]
    fn old_keys_open_and_the_new_one_seals() {
        let (old, older, new) = (
            Vault::new_key().unwrap(),
            Vault::new_key().unwrap(),
            Vault::new_key().unwrap(),
        );
        let secret = SecretString::from("wJalrXUtnFEMI".to_owned());
        let before = Vault::parse(&old).unwrap();
        let sealed = before.seal(&secret, owner("AKIA")).unwrap();
        let both = Vault::parse(&new)
            .unwrap()
            .with_previous_keys(&list(&[&older, &old, &new]))
            .unwrap();
        assert_eq!(
            both.open(before.id(), &sealed, owner("AKIA"))
                .unwrap()
                .expose_secret(),
            "wJalrXUtnFEMI"
        );
        let after = Vault::parse(&new).unwrap();
        assert_eq!(both.id(), after.id(), "the new key seals");
        assert_eq!(
            after
                .open(
                    both.id(),
                    &both.seal(&secret, owner("AKIA")).unwrap(),
                    owner("AKIA")
                )
                .unwrap()
                .expose_secret(),
            "wJalrXUtnFEMI"
        );
        assert_eq!(
            after.open(before.id(), &sealed, owner("AKIA")).unwrap_err(),
            VaultError::UnknownKey(before.id().to_owned())
        );
        assert_eq!(
            after.open(after.id(), &sealed, owner("AKIA")).unwrap_err(),
            VaultError::CannotOpen(after.id().to_owned()),
            "another key"
        );
        assert!(both.has(before.id()) && both.has(after.id()) && !after.has(before.id()));
        assert!(
            Vault::parse(&new)
                .unwrap()
                .with_previous_keys(&list(&[]))
                .unwrap()
                .has(after.id()),
            "an empty list is none"
        );
    }

    #[test]
    fn keys_are_32_bytes_of_base64() {
        for bad in [
            "",
            "abc",
            "AAAA",
            &STANDARD.encode([0; 31]),
            &STANDARD.encode([0; 33]),
        ] {
            assert_eq!(
                Vault::parse(&SecretString::from(bad.to_owned())).unwrap_err(),
                VaultError::NotAKey
            );
        }
        let good = Vault::new_key().unwrap();
        let told = vault()
            .with_previous_keys(&list(&[&good, &"abc".to_owned().into()]))
            .unwrap_err();
        assert_eq!(told, VaultError::NotAnOldKey(2));
        assert!(
            !told.to_string().contains("abc"),
            "a text that was meant as a key is not shown: {told}"
        );
        let shown = format!("{:?}", vault());
        assert!(shown.len() < 20, "{shown}");
    }
}

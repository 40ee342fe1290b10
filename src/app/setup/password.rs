//! Generates first console passwords.

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::store::StoreError;

/// The classes of characters that a password policy can require (IAM User Guide, "Set an account password policy"),
/// without those that look alike.
const CLASSES: [&str; 4] = [
    "ABCDEFGHJKLMNPQRSTUVWXYZ",
    "abcdefghijkmnpqrstuvwxyz",
    "23456789",
    "!@#%^*()_+-=[]{}",
];

/// A password of `length` characters, with some of each class.
///
/// # Errors
/// When the system's random number generator fails.
pub fn generate(length: u32) -> Result<SecretString, StoreError> {
    let all = CLASSES.concat();
    loop {
        let mut password = Zeroizing::new(String::new());
        for _ in 0..length {
            password.push(one_of(&all)?);
        }
        let has = |class: &str| password.contains(|c| class.contains(c));
        if CLASSES.iter().all(|class| has(class)) {
            return Ok(password.as_str().to_owned().into());
        }
    }
}

/// A random character. Bytes that would make some likelier than others are drawn again.
fn one_of(all: &str) -> Result<char, StoreError> {
    let characters = all.as_bytes();
    let even = 256 - 256 % characters.len();
    loop {
        let mut random = [0_u8; 1];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| {
            StoreError::Unavailable("the system's random number generator failed".into())
        })?;
        let byte = usize::from(random[0]);
        if byte < even {
            return Ok(characters[byte % characters.len()].into());
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_password_has_every_class_and_its_length() {
        for length in [32, 128] {
            let (one, other) = (generate(length).unwrap(), generate(length).unwrap());
            assert_ne!(one.expose_secret(), other.expose_secret());
            let password = one.expose_secret();
            assert_eq!(password.len(), length as usize);
            for class in CLASSES {
                assert!(password.contains(|c| class.contains(c)), "{class}");
            }
        }
    }
}

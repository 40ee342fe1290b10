//! Finds out whether AWS accepts a new access key.
//!
//! Invariant: a key is called ready only after several successes in a row. IAM is eventually consistent, and its
//! answers can alternate before they settle.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::app::service::Service;
use crate::aws::ErrorKind;
use crate::store::CredentialRow;

const REQUIRED_SUCCESSES: u32 = 3;
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A key that AWS does not accept for this long stays unverified.
const VERIFICATION_TIMEOUT: Duration = Duration::from_secs(120);

/// Starts to use a new key until AWS has accepted it several times in a row, unless that is under way.
pub fn start_verification(service: &Arc<Service>, key: CredentialRow, secret: SecretString) {
    let Some(begun) = service.verifications.begin(key.id) else {
        return;
    };
    let worker = service.clone();
    service.tasks.spawn(async move {
        let _begun = begun;
        verify(&worker, &key, &secret).await;
    });
}

async fn verify(service: &Service, key: &CredentialRow, secret: &SecretString) {
    // Any account can ask STS about a key.
    let account = service.own_account();
    let mut successes = 0;
    while successes < REQUIRED_SUCCESSES
        && service.clock.now().since(key.created_at) < VERIFICATION_TIMEOUT
    {
        successes = match account.check_key(&key.access_key_id, secret).await {
            Ok(()) => successes + 1,
            // A throttle says nothing about the key.
            Err(error) if error.kind == ErrorKind::Throttled => successes,
            Err(_) => 0,
        };
        if successes < REQUIRED_SUCCESSES {
            tokio::select! {
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
                () = service.tasks.stopping() => return,
            }
        }
    }
    if successes >= REQUIRED_SUCCESSES
        && let Err(error) = service.store.mark_key_ready(key.id).await
    {
        tracing::warn!(access_key_id = key.access_key_id, %error, "cannot record that the access key is ready");
    }
}

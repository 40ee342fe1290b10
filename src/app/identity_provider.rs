//! The identity provider that people sign in with, as the settings name it.

use crate::config::Settings;
use crate::domain::public_url::PublicUrl;
use crate::domain::sign_in::SignInSettings;
use crate::oidc::{Client, Provider};

/// Sign-in, where it is configured.
pub struct SignIn {
    /// Its settings.
    pub settings: SignInSettings,
    /// The URL at which browsers reach this service.
    pub public_url: PublicUrl,
    /// The identity provider.
    pub provider: Provider,
}

impl SignIn {
    /// Sign-in, if the settings are complete. `Settings::load` fails if a part is missing.
    pub fn of(settings: &Settings) -> Option<Self> {
        let sign_in = settings.sign_in.clone()?;
        let client = Client {
            issuer: sign_in.issuer.clone(),
            id: sign_in.client_id.clone(),
            secret: settings.sign_in_client_secret.clone()?,
        };
        Some(Self {
            settings: sign_in,
            public_url: settings.public_url.clone()?,
            provider: Provider::new(client, settings.oidc_allow_http),
        })
    }
}

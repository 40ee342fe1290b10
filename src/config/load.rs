//! Where settings come from. Sources, each over the one before: built-in defaults, a TOML file (`--config` or
//! `SLIPWAY_CONFIG`), `SLIPWAY_*` environment variables, flags. `AWS_*` variables are the SDK's own.

use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat};

use super::environment::known_variables;
use super::settings::Settings;

impl Settings {
    /// The settings from a file, the environment and flags, each over the one before.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is unknown or does not parse.
    pub fn load(
        file: Option<&Path>,
        environment: &[(String, String)],
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        let mut builder = Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(File::new(
                &PathBuf::from(file).to_string_lossy(),
                FileFormat::Toml,
            ));
        }
        let known = known_variables(environment)?;
        // No guessing of types: a token of digits stays a text.
        builder = builder.add_source(Environment::with_prefix("SLIPWAY").source(Some(known)));
        for (name, value) in flags {
            builder = builder.set_override(*name, value.clone())?;
        }
        let settings: Self = builder.build()?.try_deserialize()?;
        settings.validate()
    }
}

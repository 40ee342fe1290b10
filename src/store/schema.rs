//! The migrations of the schema, which are part of the binary.
//!
//! Invariant: a migration that was released never changes; the database keeps a checksum of each.
//!
//! Rejected: the macro `sqlx::migrate!`. With it the database drivers, TLS and the runtime are compiled a second time, for
//! the compiler's own use, a fifth of the build from nothing.

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// One file in each of `migrations/sqlite` and `migrations/postgres`, by its name.
macro_rules! migrations {
    ($database:literal) => {
        migrations!($database: "0001_onboarding",
            "0002_history",
            "0003_day_two",
            "0004_rotations",
            "0005_drift",
            "0006_audit",
            "0007_steps",
            "0008_order",
            "0009_ownership",
            "0010_installation",
            "0011_in_flight",
            "0012_names",
            "0013_columns",
            "0014_accounts",
            "0015_callers",
            "0016_approvals",
            "0017_account_setup",
            "0018_sessions",
            "0019_webhooks",
            "0020_chat",
            "0021_hook_deliveries",
            "0022_traces",
            "0023_overview")
    };
    ($database:literal: $($name:literal),+) => {
        &[$(($name, include_str!(concat!("../../migrations/", $database, "/", $name, ".sql")))),+]
    };
}

type Files = &'static [(&'static str, &'static str)];

const SQLITE: Files = migrations!("sqlite");
const POSTGRES: Files = migrations!("postgres");

/// The migrations of a SQLite file.
pub fn sqlite() -> Migrator {
    migrator(SQLITE)
}

/// The migrations of a PostgreSQL database.
pub fn postgres() -> Migrator {
    migrator(POSTGRES)
}

fn migrator(files: Files) -> Migrator {
    let migrations = files.iter().filter_map(|(name, sql)| {
        let (version, description) = name.split_once('_')?;
        Some(Migration::new(
            version.parse().ok()?,
            description.replace('_', " ").into(),
            MigrationType::Simple,
            SqlStr::from_static(sql),
            false,
        ))
    });
    Migrator::with_migrations(migrations.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_migration() {
        for (folder, files, migrator) in [
            ("migrations/sqlite", SQLITE, sqlite()),
            ("migrations/postgres", POSTGRES, postgres()),
        ] {
            let mut found: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            found.sort();
            let listed: Vec<String> = files
                .iter()
                .map(|(name, _)| format!("{name}.sql"))
                .collect();
            assert_eq!(found, listed, "{folder}");
            let versions: Vec<i64> = migrator.iter().map(|it| it.version).collect();
            let all: Vec<i64> = (1..).take(listed.len()).collect();
            assert_eq!(versions, all, "{folder}");
        }
    }
}

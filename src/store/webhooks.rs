//! Webhooks, and the secrets that sign what is sent to them.
//!
//! Invariant: a secret is sealed for its webhook. The database never holds an opened one.

use secrecy::SecretString;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::audit::AuditEvent;
use crate::domain::scope::Scope;
use crate::domain::webhook::{
    DISABLED_BY_REQUEST, EventType, Webhook, WebhookChange, WebhookSpec, WebhookState,
};
use crate::store::audit::{self, Subject};
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::{RowReader, readable, to_json};
use crate::store::signals::Signal;
use crate::store::sql::{Sql, for_update};
use crate::vault::{SecretOwner, Vault, VaultError};

/// Webhooks in one installation: each event is held against all of them.
pub const MAX_WEBHOOKS: i64 = 200;
const COLUMNS: &str = "SELECT id, url, description, events, scope, state, disabled_reason, previous_until, created_by, created_at, failing_since, retry_at FROM webhooks";

/// A signing secret, sealed for its webhook.
#[derive(Debug, Clone)]
pub struct SealedWebhookSecret {
    /// The webhook.
    pub webhook: Ulid,
    /// The sealed secret.
    pub sealed: Vec<u8>,
    /// The encryption key's id.
    pub encryption_key: String,
}

impl SealedWebhookSecret {
    /// Seals a secret for a webhook.
    ///
    /// # Errors
    /// When the cipher fails, which it does not.
    pub fn seal(vault: &Vault, webhook: Ulid, secret: &SecretString) -> Result<Self, VaultError> {
        Ok(Self {
            webhook,
            sealed: vault.seal(secret, SecretOwner::webhook(webhook))?,
            encryption_key: vault.id().to_owned(),
        })
    }

    /// Opens it.
    ///
    /// # Errors
    /// When the vault does not have the encryption key, or the row was changed.
    pub fn open(&self, vault: &Vault) -> Result<SecretString, VaultError> {
        let owner = SecretOwner::webhook(self.webhook);
        vault.open(&self.encryption_key, &self.sealed, owner)
    }

    /// Opens it and seals it with the present encryption key.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reencrypt(&self, vault: &Vault) -> Result<Self, VaultError> {
        Self::seal(vault, self.webhook, &self.open(vault)?)
    }
}

impl Store {
    /// Creates a webhook; `None` if there are [`MAX_WEBHOOKS`].
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn create_webhook(
        &self,
        spec: WebhookSpec,
        secret: SealedWebhookSecret,
        by: &str,
    ) -> Result<Option<Webhook>, StoreError> {
        let webhook = Webhook {
            id: secret.webhook,
            spec,
            state: WebhookState::Active,
            disabled_reason: None,
            failing_since: None,
            next_attempt_at: None,
            previous_secret_expires_at: None,
            created_by: by.to_owned(),
            created_at: self.clock.now(),
        };
        self.writer
            .write(move |db| Box::pin(async move { create(db, webhook, secret).await }))
            .await
    }

    /// All webhooks, oldest first, except those that cannot be read.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" ORDER BY id");
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = rows
            .iter()
            .filter_map(|row| readable(read(row)).transpose());
        read.collect()
    }

    /// The webhook by this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhook(&self, id: Ulid) -> Result<Option<Webhook>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE id = ").bind(id.to_string())?;
        let row = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// Changes a webhook; what waits for it is tried at once. `None` if it is gone.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn update_webhook(
        &self,
        id: Ulid,
        change: WebhookChange,
        by: String,
    ) -> Result<Option<Webhook>, StoreError> {
        let now = self.clock.now();
        let updated = self
            .writer
            .write(move |db| Box::pin(async move { update(db, id, &change, &by, now).await }))
            .await?;
        self.signal(Signal::Outbox);
        Ok(updated)
    }

    /// Deletes a webhook with its deliveries. `false` if it is gone already.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn delete_webhook(&self, id: Ulid, by: String) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let deleted = self
            .writer
            .write(move |db| Box::pin(async move { delete(db, id, &by, now).await }))
            .await?;
        self.signal(Signal::Destroyed);
        Ok(deleted)
    }

    /// Replaces the signing secret. Until `overlap` is over requests are signed with the previous one, too. `None` if the
    /// webhook is gone.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn rotate_webhook_secret(
        &self,
        secret: SealedWebhookSecret,
        overlap: std::time::Duration,
        by: String,
    ) -> Result<Option<Webhook>, StoreError> {
        let now = self.clock.now();
        let until = (!overlap.is_zero()).then(|| now.after(overlap));
        let rotated = self
            .writer
            .write(move |db| Box::pin(async move { rotate(db, secret, until, &by, now).await }))
            .await?;
        self.signal(Signal::Destroyed);
        Ok(rotated)
    }

    /// Destroys previous signing secrets whose time is over. Returns their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn expire_webhook_secrets(&self) -> Result<u64, StoreError> {
        let expire = "UPDATE webhooks SET previous_sealed = NULL, previous_encryption_key = NULL, previous_until = NULL WHERE previous_until <= $1";
        let expire = sqlx::query(expire).bind(self.clock.now().millis());
        let expired = self
            .writer
            .write(move |db| Box::pin(async move { Ok(expire.execute(db).await?.rows_affected()) }))
            .await?;
        if expired > 0 {
            self.signal(Signal::Destroyed);
        }
        Ok(expired)
    }

    /// Signing secrets, also previous ones, that are sealed with another encryption key.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhook_secrets_with_other_keys(
        &self,
        encryption_key: &str,
    ) -> Result<Vec<SealedWebhookSecret>, StoreError> {
        let query = "SELECT id, sealed, encryption_key FROM webhooks WHERE encryption_key <> $1 UNION ALL \
            SELECT id, previous_sealed AS sealed, previous_encryption_key AS encryption_key FROM webhooks WHERE previous_encryption_key <> $1";
        let rows = sqlx::query(query)
            .bind(encryption_key)
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row: &AnyRow| {
            let row = RowReader::new(row, "webhooks", "id");
            Ok(SealedWebhookSecret {
                webhook: row.id("id")?,
                sealed: row.plain("sealed")?,
                encryption_key: row.plain("encryption_key")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Replaces a sealed signing secret wherever the webhook has it. `false` if it was replaced or destroyed meanwhile.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replace_webhook_secret(
        &self,
        was: SealedWebhookSecret,
        new: SealedWebhookSecret,
    ) -> Result<bool, StoreError> {
        let replaced = self
            .writer
            .write(move |db| {
                Box::pin(async move {
                    let mut replaced = 0;
                    for update in [
                        "UPDATE webhooks SET sealed = $1, encryption_key = $2 WHERE id = $3 AND sealed = $4",
                        "UPDATE webhooks SET previous_sealed = $1, previous_encryption_key = $2 WHERE id = $3 AND previous_sealed = $4",
                    ] {
                        let update = sqlx::query(update)
                            .bind(new.sealed.clone())
                            .bind(new.encryption_key.clone())
                            .bind(was.webhook.to_string())
                            .bind(was.sealed.clone());
                        replaced += update.execute(&mut *db).await?.rows_affected();
                    }
                    Ok(replaced > 0)
                })
            })
            .await?;
        if replaced {
            // The log still holds what the previous key decrypts.
            self.signal(Signal::Destroyed);
        }
        Ok(replaced)
    }
}

async fn create(
    db: &mut AnyConnection,
    webhook: Webhook,
    secret: SealedWebhookSecret,
) -> Result<Option<Webhook>, StoreError> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM webhooks")
        .fetch_one(&mut *db)
        .await?;
    if count >= MAX_WEBHOOKS {
        return Ok(None);
    }
    let mut sql = Sql::new(
        "INSERT INTO webhooks (lease_token, id, url, state, encryption_key, created_by, description, events, scope, sealed, created_at) VALUES (0, ",
    );
    sql.list([
        webhook.id.to_string(),
        webhook.spec.url.clone(),
        webhook.state.to_string(),
        secret.encryption_key,
        webhook.created_by.clone(),
    ])?;
    let (events, scope) = columns(&webhook.spec)?;
    sql.push(", ")
        .list([webhook.spec.description.clone(), events, scope])?;
    sql.push(", ").bind(secret.sealed)?;
    sql.push(", ").bind(webhook.created_at.millis())?.push(")");
    let event = AuditEvent::WebhookCreated {
        webhook_id: webhook.id,
        host: webhook.spec.host(),
        scope: webhook.spec.scope.clone(),
    };
    note(db, &mut sql, &webhook.created_by, webhook.created_at, event)?;
    sql.run(db).await?;
    Ok(Some(webhook))
}

/// The types of events and the scope, as their columns have them.
fn columns(spec: &WebhookSpec) -> Result<(Option<String>, Option<String>), StoreError> {
    let events = spec.events.as_ref().map(to_json).transpose()?;
    let scope = Some(&spec.scope)
        .filter(|scope| !scope.is_all())
        .map(to_json)
        .transpose()?;
    Ok((events, scope))
}

/// Locks the webhook until the commit.
async fn lock(db: &mut AnyConnection, id: Ulid) -> Result<Option<Webhook>, StoreError> {
    let mut sql = Sql::new(COLUMNS);
    sql.push(" WHERE id = ")
        .bind(id.to_string())?
        .push(for_update(db));
    let row = sql.query().fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

async fn update(
    db: &mut AnyConnection,
    id: Ulid,
    change: &WebhookChange,
    by: &str,
    now: Timestamp,
) -> Result<Option<Webhook>, StoreError> {
    let Some(before) = lock(db, id).await? else {
        return Ok(None);
    };
    let spec = change.apply(&before.spec);
    let state = change.state.unwrap_or(before.state);
    let reason = match (state, before.disabled_reason) {
        (WebhookState::Active, _) => None,
        (WebhookState::Disabled, Some(reason)) => Some(reason),
        (WebhookState::Disabled, None) => Some(DISABLED_BY_REQUEST.to_owned()),
    };
    let (events, scope) = columns(&spec)?;
    let mut sql = Sql::new("UPDATE webhooks SET failing_since = NULL, retry_at = NULL, url = ");
    sql.bind(spec.url.clone())?
        .push(", description = ")
        .bind(spec.description.clone())?;
    sql.push(", events = ")
        .bind(events)?
        .push(", scope = ")
        .bind(scope)?;
    sql.push(", state = ")
        .bind(state.to_string())?
        .push(", disabled_reason = ")
        .bind(reason.clone())?;
    sql.push(" WHERE id = ").bind(id.to_string())?;
    let event = AuditEvent::WebhookUpdated {
        webhook_id: id,
        host: spec.host(),
        state,
        scope: spec.scope.clone(),
    };
    note(db, &mut sql, by, now, event)?;
    sql.run(db).await?;
    Ok(Some(Webhook {
        spec,
        state,
        disabled_reason: reason,
        failing_since: None,
        next_attempt_at: None,
        ..before
    }))
}

async fn delete(
    db: &mut AnyConnection,
    id: Ulid,
    by: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(webhook) = lock(db, id).await? else {
        return Ok(false);
    };
    let mut sql = Sql::new("DELETE FROM webhook_deliveries WHERE webhook_id = ");
    sql.bind(id.to_string())?;
    sql.then(db, "DELETE FROM webhooks WHERE id = ")
        .bind(id.to_string())?;
    let event = AuditEvent::WebhookDeleted {
        webhook_id: id,
        host: webhook.spec.host(),
    };
    note(db, &mut sql, by, now, event)?;
    sql.run(db).await?;
    Ok(true)
}

async fn rotate(
    db: &mut AnyConnection,
    secret: SealedWebhookSecret,
    until: Option<Timestamp>,
    by: &str,
    now: Timestamp,
) -> Result<Option<Webhook>, StoreError> {
    let Some(webhook) = lock(db, secret.webhook).await? else {
        return Ok(None);
    };
    let keeps = if until.is_some() {
        "sealed, previous_encryption_key = encryption_key"
    } else {
        "NULL, previous_encryption_key = NULL"
    };
    let mut sql = Sql::new("UPDATE webhooks SET previous_sealed = ");
    sql.push(keeps)
        .push(", previous_until = ")
        .bind(until.map(Timestamp::millis))?;
    sql.push(", sealed = ")
        .bind(secret.sealed)?
        .push(", encryption_key = ")
        .bind(secret.encryption_key)?;
    sql.push(" WHERE id = ").bind(webhook.id.to_string())?;
    let event = AuditEvent::WebhookSecretRotated {
        webhook_id: webhook.id,
        host: webhook.spec.host(),
    };
    note(db, &mut sql, by, now, event)?;
    sql.run(db).await?;
    Ok(Some(Webhook {
        previous_secret_expires_at: until,
        ..webhook
    }))
}

/// Adds the statement that notes an event in the audit.
pub(super) fn note(
    db: &AnyConnection,
    sql: &mut Sql,
    by: &str,
    at: Timestamp,
    event: AuditEvent,
) -> Result<(), StoreError> {
    audit::record(db, sql, Subject::Service, Some(by), &[(at, event)])
}

fn read(row: &AnyRow) -> Result<Webhook, StoreError> {
    let row = RowReader::new(row, "webhooks", "id");
    Ok(Webhook {
        id: row.id("id")?,
        spec: WebhookSpec {
            url: row.plain("url")?,
            description: row.plain("description")?,
            events: row.json_or_null::<std::collections::BTreeSet<EventType>>("events")?,
            scope: row.json_or_null::<Scope>("scope")?.unwrap_or_default(),
        },
        state: row.parsed("state")?,
        disabled_reason: row.plain("disabled_reason")?,
        failing_since: row.moment_or_null("failing_since")?,
        next_attempt_at: row.moment_or_null("retry_at")?,
        previous_secret_expires_at: row.moment_or_null("previous_until")?,
        created_by: row.plain("created_by")?,
        created_at: row.moment("created_at")?,
    })
}

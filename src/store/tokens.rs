//! API tokens. Invariant: only a token's hash is stored.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::audit::AuditEvent;
use crate::domain::role::{Caller, Role};
use crate::store::audit;
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::RowReader;
use crate::store::sql::Sql;

/// An API token, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenRow {
    /// Its ULID.
    #[schema(value_type = String)]
    pub id: Ulid,
    /// Who or what carries it.
    #[schema(example = "deploy-bot")]
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Who created it.
    pub created_by: String,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Store {
    /// Records a token by its hash.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn create_token(
        &self,
        name: &str,
        role: Role,
        hash: String,
        created_by: &str,
    ) -> Result<TokenRow, StoreError> {
        let token = TokenRow {
            id: Ulid::generate(),
            name: name.into(),
            role,
            created_by: created_by.into(),
            created_at: self.clock.now(),
        };
        let row = token.clone();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::new("INSERT INTO tokens (id, name, role, hash, created_by, created_at) VALUES (");
                    sql.list([row.id.to_string(), row.name.clone(), row.role.to_string(), hash, row.created_by.clone()])?;
                    sql.push(", ").bind(row.created_at.millis())?.push(")");
                    let event = AuditEvent::TokenCreated { token_id: row.id, name: row.name, role: row.role };
                    audit::record(db, &mut sql, Subject::Service, Some(&row.created_by), &[(row.created_at, event)])?;
                    sql.run(db).await.map(drop)
                })
            })
            .await?;
        Ok(token)
    }

    /// The caller whose token has this hash.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn caller_by_token_hash(&self, hash: &str) -> Result<Option<Caller>, StoreError> {
        let row = sqlx::query("SELECT id, name, role FROM tokens WHERE hash = $1")
            .bind(hash)
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row: sqlx::any::AnyRow| {
            let row = RowReader::new(&row, "tokens", "id");
            Ok(Caller {
                id: row.plain("id")?,
                name: row.plain("name")?,
                role: row.parsed("role")?,
            })
        };
        row.map(read).transpose()
    }

    /// The hashes of the newest tokens.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_hashes(&self, most: u32) -> Result<HashSet<String>, StoreError> {
        let hashes = sqlx::query_scalar("SELECT hash FROM tokens ORDER BY id DESC LIMIT $1")
            .bind(i64::from(most));
        Ok(hashes
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?
            .into_iter()
            .collect())
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let rows =
            sqlx::query("SELECT id, name, role, created_by, created_at FROM tokens ORDER BY id")
                .fetch_all(&mut *self.reader().await?)
                .with_timeout()
                .await?;
        let read = |row: &sqlx::any::AnyRow| {
            let row = RowReader::new(row, "tokens", "id");
            Ok(TokenRow {
                id: row.id("id")?,
                name: row.plain("name")?,
                role: row.parsed("role")?,
                created_by: row.plain("created_by")?,
                created_at: row.moment("created_at")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Revokes a token; `false` if there is none by this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn delete_token(&self, id: Ulid, by: &str) -> Result<bool, StoreError> {
        let (now, by) = (self.clock.now(), by.to_owned());
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let delete =
                        sqlx::query("DELETE FROM tokens WHERE id = $1 RETURNING id, name, role")
                            .bind(id.to_string());
                    let Some(row) = delete.fetch_optional(&mut *db).await? else {
                        return Ok(false);
                    };
                    let row = RowReader::new(&row, "tokens", "id");
                    let event = AuditEvent::TokenRevoked {
                        token_id: id,
                        name: row.plain("name")?,
                        role: row.parsed("role")?,
                    };
                    let mut sql = Sql::default();
                    audit::record(db, &mut sql, Subject::Service, Some(&by), &[(now, event)])?;
                    sql.run(db).await.map(|_| true)
                })
            })
            .await
    }
}

//! API tokens. Invariant: only a token's hash is stored.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::audit::AuditEvent;
use crate::domain::caller::{Caller, CallerIdentity, Person};
use crate::domain::role::Role;
use crate::domain::scope::Scope;
use crate::store::actors;
use crate::store::audit;
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::{RowReader, to_json};
use crate::store::scope;
use crate::store::sql::Sql;

const COLUMNS: &str = "SELECT id, name, role, created_by, created_at, scope, expires_at, identity, person FROM tokens";

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
    /// The apps and accounts that it is for. Absent for all.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    #[schema(required = false)]
    pub scope: Scope,
    /// Who created it.
    pub created_by: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires. Absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The pipeline that exchanged its ID token for it, or the person who signed in at a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<CallerIdentity>,
}

/// A token to record.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of a token")]
pub struct NewTokenRow {
    pub name: String,
    pub role: Role,
    pub scope: Scope,
    pub hash: String,
    pub created_by: String,
    /// Whom it counts as; the token itself when absent.
    pub person: Option<Person>,
    pub identity: Option<CallerIdentity>,
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// Records a token for everything, by its hash.
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
        self.add_token(NewTokenRow {
            name: name.into(),
            role,
            scope: Scope::default(),
            hash,
            created_by: created_by.into(),
            person: None,
            identity: None,
            expires_at: None,
        })
        .await
    }

    /// Records a token by its hash.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_token(&self, new: NewTokenRow) -> Result<TokenRow, StoreError> {
        let token = TokenRow {
            id: Ulid::generate(),
            name: new.name,
            role: new.role,
            scope: new.scope,
            created_by: new.created_by,
            created_at: self.clock.now(),
            expires_at: new.expires_at,
            identity: new.identity,
        };
        let (row, hash, person) = (token.clone(), new.hash, new.person);
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::default();
                    insert(&mut sql, &row, hash, person.as_ref())?;
                    if let Some(identity) = &row.identity {
                        actors::record(db, &mut sql, &row.name, identity, row.created_at)?;
                    }
                    let event = AuditEvent::TokenCreated {
                        token_id: row.id,
                        name: row.name,
                        role: row.role,
                        scope: row.scope,
                    };
                    let by = Some(row.created_by.as_str());
                    audit::record(
                        db,
                        &mut sql,
                        Subject::Service,
                        by,
                        &[(row.created_at, event)],
                    )?;
                    sql.run(db).await.map(drop)
                })
            })
            .await?;
        Ok(token)
    }

    /// The caller whose token has this hash, unless the token has expired.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn caller_by_token_hash(&self, hash: &str) -> Result<Option<Caller>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE hash = ").bind(hash)?;
        let row = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let Some(row) = row else { return Ok(None) };
        let caller = read_caller(&row)?;
        let now = self.clock.now();
        Ok(Some(caller).filter(|caller| caller.expires_at.is_none_or(|at| now < at)))
    }

    /// The hashes of the newest tokens and sessions.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_hashes(&self, most: u32) -> Result<HashSet<String>, StoreError> {
        let hashes = "SELECT hash FROM (SELECT id, hash FROM tokens UNION ALL SELECT id, hash FROM sessions) AS known ORDER BY id DESC LIMIT $1";
        let hashes = sqlx::query_scalar(hashes).bind(i64::from(most));
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
        let mut sql = Sql::new(COLUMNS);
        sql.push(" ORDER BY id");
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        rows.iter().map(read_token).collect()
    }

    /// The token by this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token(&self, id: Ulid) -> Result<Option<TokenRow>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE id = ").bind(id.to_string())?;
        let row = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        row.as_ref().map(read_token).transpose()
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

/// Adds the statement that inserts a token.
pub(super) fn insert(
    sql: &mut Sql,
    row: &TokenRow,
    hash: String,
    person: Option<&Person>,
) -> Result<(), StoreError> {
    let scope = scope::column(&row.scope)?;
    sql.push("INSERT INTO tokens (id, name, role, hash, created_by, created_at, scope, expires_at, identity, person) VALUES (");
    sql.list([
        row.id.to_string(),
        row.name.clone(),
        row.role.to_string(),
        hash,
        row.created_by.clone(),
    ])?;
    sql.push(", ").bind(row.created_at.millis())?;
    sql.push(", ").bind(scope)?;
    sql.push(", ").bind(row.expires_at.map(Timestamp::millis))?;
    sql.push(", ")
        .bind(row.identity.as_ref().map(to_json).transpose()?)?;
    sql.push(", ").bind(person.map(to_json).transpose()?)?;
    sql.push(")");
    Ok(())
}

fn read_token(row: &AnyRow) -> Result<TokenRow, StoreError> {
    let row = RowReader::new(row, "tokens", "id");
    Ok(TokenRow {
        id: row.id("id")?,
        name: row.plain("name")?,
        role: row.parsed("role")?,
        scope: row.json_or_null("scope")?.unwrap_or_default(),
        created_by: row.plain("created_by")?,
        created_at: row.moment("created_at")?,
        expires_at: row.moment_or_null("expires_at")?,
        identity: row.json_or_null("identity")?,
    })
}

fn read_caller(row: &AnyRow) -> Result<Caller, StoreError> {
    let token = read_token(row)?;
    let row = RowReader::new(row, "tokens", "id");
    let id = token.id.to_string();
    let person = row.json_or_null("person")?;
    Ok(Caller {
        person: Some(person.unwrap_or_else(|| Person::holder_of(&id))),
        id,
        name: token.name,
        role: token.role,
        scope: token.scope,
        identity: token.identity,
        expires_at: token.expires_at,
        session: None,
        proposes: false,
    })
}

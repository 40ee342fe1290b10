//! Trust rules, and the exchange of ID tokens by them.
//!
//! Invariant: an ID token is marked as used in the commit of the API token that it is exchanged for, and only once.

use std::time::Duration;

use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::audit::AuditEvent;
use crate::domain::caller::{CallerIdentity, Person};
use crate::domain::trust_rule::{TrustRule, TrustRuleSpec};
use crate::store::actors;
use crate::store::audit;
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::{RowReader, to_json};
use crate::store::sql::Sql;
use crate::store::tokens::{TokenRow, insert};

const COLUMNS: &str = "SELECT id, rule, created_by, created_at FROM trust_rules";
/// How long a used token is remembered after its end, for the clocks of replicas.
const USED_MARGIN: Duration = Duration::from_secs(600);

/// An exchange to record.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of a token")]
pub struct Exchange {
    pub rule: TrustRule,
    /// How the caller's name begins; the id of the token follows.
    pub name_prefix: String,
    pub identity: CallerIdentity,
    pub person: Person,
    /// What tells the ID token from all others.
    pub used: String,
    /// When the ID token expires.
    pub used_until: Timestamp,
    pub hash: String,
    pub expires_at: Timestamp,
}

/// What became of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeAnswer {
    /// The token.
    Token(Box<TokenRow>),
    /// The ID token was exchanged before.
    Replayed,
    /// The rule was deleted.
    NoRule,
}

impl Store {
    /// Records a trust rule; `None` if there is one by its name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn create_trust_rule(
        &self,
        spec: TrustRuleSpec,
        created_by: &str,
    ) -> Result<Option<TrustRule>, StoreError> {
        let rule = TrustRule {
            id: Ulid::generate(),
            spec,
            created_by: created_by.into(),
            created_at: self.clock.now(),
        };
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::new(
                        "INSERT INTO trust_rules (id, name, issuer, rule, created_by, created_at) VALUES (",
                    );
                    sql.list([
                        rule.id.to_string(),
                        rule.spec.name.clone(),
                        rule.spec.issuer.clone(),
                        to_json(&rule.spec)?,
                        rule.created_by.clone(),
                    ])?;
                    sql.push(", ").bind(rule.created_at.millis())?;
                    sql.push(") ON CONFLICT (name) DO NOTHING RETURNING id");
                    if sql.run(&mut *db).await?.is_empty() {
                        return Ok(None);
                    }
                    let event = AuditEvent::TrustRuleCreated {
                        rule_id: rule.id,
                        name: rule.spec.name.clone(),
                        issuer: rule.spec.issuer.clone(),
                        role: rule.spec.role,
                        scope: rule.spec.scope.clone(),
                    };
                    let (mut sql, by) = (Sql::default(), Some(rule.created_by.as_str()));
                    audit::record(db, &mut sql, Subject::Service, by, &[(rule.created_at, event)])?;
                    sql.run(db).await?;
                    Ok(Some(rule))
                })
            })
            .await
    }

    /// All trust rules, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trust_rules(&self) -> Result<Vec<TrustRule>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" ORDER BY id");
        self.read_rules(sql).await
    }

    /// The trust rules of an issuer, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trust_rules_of(&self, issuer: &str) -> Result<Vec<TrustRule>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE issuer = ")
            .bind(issuer.to_owned())?
            .push(" ORDER BY id");
        self.read_rules(sql).await
    }

    /// The trust rule by this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trust_rule(&self, id: Ulid) -> Result<Option<TrustRule>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE id = ").bind(id.to_string())?;
        Ok(self.read_rules(sql).await?.pop())
    }

    async fn read_rules(&self, sql: Sql) -> Result<Vec<TrustRule>, StoreError> {
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        rows.iter().map(read).collect()
    }

    /// Deletes a trust rule, and revokes the tokens that were exchanged by it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn delete_trust_rule(
        &self,
        rule: &TrustRule,
        name_prefix: String,
        by: &str,
    ) -> Result<bool, StoreError> {
        let (now, by) = (self.clock.now(), by.to_owned());
        let (id, name) = (rule.id, rule.spec.name.clone());
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::new("DELETE FROM trust_rules WHERE id = ");
                    sql.bind(id.to_string())?.push(" RETURNING id");
                    if sql.run(&mut *db).await?.is_empty() {
                        return Ok(false);
                    }
                    let mut sql = Sql::new("DELETE FROM tokens WHERE identity IS NOT NULL");
                    sql.push(&format!(" AND substr(name, 1, {}) = ", name_prefix.len()))
                        .bind(name_prefix)?;
                    let event = AuditEvent::TrustRuleDeleted { rule_id: id, name };
                    audit::record(db, &mut sql, Subject::Service, Some(&by), &[(now, event)])?;
                    sql.run(db).await.map(|_| true)
                })
            })
            .await
    }

    /// Records the token that an ID token is exchanged for, unless the ID token was exchanged before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn exchange(&self, exchange: Exchange) -> Result<ExchangeAnswer, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::new("SELECT id FROM trust_rules WHERE id = ");
                    sql.bind(exchange.rule.id.to_string())?;
                    if sql.run(&mut *db).await?.is_empty() {
                        return Ok(ExchangeAnswer::NoRule);
                    }
                    let mut sql = Sql::new("INSERT INTO used_tokens (id, expires_at) VALUES (");
                    sql.bind(exchange.used.clone())?.push(", ");
                    sql.bind(exchange.used_until.after(USED_MARGIN).millis())?
                        .push(") ON CONFLICT (id) DO NOTHING RETURNING id");
                    if sql.run(&mut *db).await?.is_empty() {
                        return Ok(ExchangeAnswer::Replayed);
                    }
                    let row = token_of(&exchange, now);
                    let mut sql = Sql::default();
                    insert(&mut sql, &row, exchange.hash, Some(&exchange.person))?;
                    actors::record(db, &mut sql, &row.name, &exchange.identity, now)?;
                    let event = AuditEvent::TokenExchanged {
                        token_id: row.id,
                        rule: exchange.rule.spec.name,
                        role: row.role,
                        scope: row.scope.clone(),
                    };
                    audit::record(
                        db,
                        &mut sql,
                        Subject::Service,
                        Some(&row.name),
                        &[(now, event)],
                    )?;
                    sql.run(db).await?;
                    Ok(ExchangeAnswer::Token(Box::new(row)))
                })
            })
            .await
    }

    /// Removes tokens that have expired, and what is not needed any more to know used ones. Returns how many tokens.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn expire_tokens(&self) -> Result<u64, StoreError> {
        let now = self.clock.now().millis();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    sqlx::query("DELETE FROM used_tokens WHERE expires_at < $1")
                        .bind(now)
                        .execute(&mut *db)
                        .await?;
                    let expired = sqlx::query("DELETE FROM tokens WHERE expires_at < $1")
                        .bind(now)
                        .execute(db)
                        .await?;
                    Ok(expired.rows_affected())
                })
            })
            .await
    }
}

impl Store {
    /// Forgets who was behind names that the audit does not have any more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn prune_actors(&self, age: Duration) -> Result<u64, StoreError> {
        let oldest = self.clock.now().before(age).millis();
        let delete = "DELETE FROM actors WHERE seen_at <= $1 AND NOT EXISTS (SELECT 1 FROM audit e WHERE e.actor = actors.name)";
        let delete = sqlx::query(delete).bind(oldest);
        self.writer
            .write(move |db| Box::pin(async move { Ok(delete.execute(db).await?.rows_affected()) }))
            .await
    }
}

fn token_of(exchange: &Exchange, now: Timestamp) -> TokenRow {
    let id = Ulid::generate();
    let name = format!("{}{id}", exchange.name_prefix);
    TokenRow {
        id,
        created_by: name.clone(),
        name,
        role: exchange.rule.spec.role,
        scope: exchange.rule.spec.scope.clone(),
        created_at: now,
        expires_at: Some(exchange.expires_at),
        identity: Some(exchange.identity.clone()),
    }
}

fn read(row: &AnyRow) -> Result<TrustRule, StoreError> {
    let row = RowReader::new(row, "trust_rules", "id");
    Ok(TrustRule {
        id: row.id("id")?,
        spec: row.json("rule")?,
        created_by: row.plain("created_by")?,
        created_at: row.moment("created_at")?,
    })
}

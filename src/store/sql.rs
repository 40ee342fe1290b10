//! Builds SQL for both databases: `$1` placeholders, and the few clauses that only one of them has.
//!
//! Invariants:
//! - Values are bound, never written into the text.
//! - Consecutive statements go to SQLite in one text: a round trip to its thread costs more than most statements.

use serde::Serialize;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::{Query, QueryScalar};
use sqlx::{Any, AnyConnection, Arguments as _, AssertSqlSafe, Encode, FromRow, Type};

use crate::store::error::StoreError;
use crate::store::rows::to_json;

/// One statement, or several that run one after another.
#[derive(Default)]
pub struct Sql {
    text: String,
    arguments: AnyArguments,
    /// Earlier statements, where each has to run alone.
    before: Vec<(String, AnyArguments)>,
}

impl Sql {
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::default()
        }
    }

    /// Adds another statement. PostgreSQL binds values to single statements only.
    pub fn then(&mut self, db: &AnyConnection, text: &str) -> &mut Self {
        if !self.text.is_empty() {
            if is_postgres(db) {
                self.before.push((
                    std::mem::take(&mut self.text),
                    std::mem::take(&mut self.arguments),
                ));
            } else {
                self.push("; ");
            }
        }
        self.push(text)
    }

    /// Runs all statements and returns their rows.
    pub async fn run(self, db: &mut AnyConnection) -> Result<Vec<AnyRow>, StoreError> {
        let mut rows = Vec::new();
        for (text, arguments) in self.before.into_iter().chain([(self.text, self.arguments)]) {
            rows.extend(
                sqlx::query_with(AssertSqlSafe(text), arguments)
                    .fetch_all(&mut *db)
                    .await?,
            );
        }
        Ok(rows)
    }

    /// Runs all statements if the first one finds a row, and returns that row.
    pub async fn run_if_found(self, db: &mut AnyConnection) -> Result<Option<AnyRow>, StoreError> {
        let mut found = None;
        for (text, arguments) in self.before.into_iter().chain([(self.text, self.arguments)]) {
            let rows = sqlx::query_with(AssertSqlSafe(text), arguments)
                .fetch_all(&mut *db)
                .await?;
            found = found.or(rows.into_iter().next());
            if found.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Adds the elements of a list as a table `item` of JSON values, with their positions as `key`, so one text serves
    /// lists of any length. Documents within are texts: PostgreSQL accepts no NUL in JSON, not even an escaped one.
    pub fn rows(
        &mut self,
        db: &AnyConnection,
        list: &impl Serialize,
    ) -> Result<&mut Self, StoreError> {
        let list = to_json(list)?;
        Ok(if is_postgres(db) {
            self.push("json_array_elements(CAST(")
                .bind(list)?
                .push(" AS json)) WITH ORDINALITY AS item (value, key)")
        } else {
            self.push("json_each(").bind(list)?.push(") AS item")
        })
    }

    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a bound value.
    pub fn bind<'v>(
        &mut self,
        value: impl Encode<'v, Any> + Type<Any>,
    ) -> Result<&mut Self, StoreError> {
        self.arguments
            .add(value)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.text.push_str(&format!("${}", self.arguments.len()));
        Ok(self)
    }

    /// Adds bound values, separated by commas.
    pub fn list<'v, T: Encode<'v, Any> + Type<Any>>(
        &mut self,
        values: impl IntoIterator<Item = T>,
    ) -> Result<&mut Self, StoreError> {
        for (position, value) in values.into_iter().enumerate() {
            self.push(if position == 0 { "" } else { ", " })
                .bind(value)?;
        }
        Ok(self)
    }

    /// The only statement, for its only column.
    pub fn scalars<T>(self) -> QueryScalar<'static, Any, T, AnyArguments>
    where
        (T,): for<'r> FromRow<'r, AnyRow>,
    {
        debug_assert!(
            self.before.is_empty(),
            "several statements are run by run()"
        );
        sqlx::query_scalar_with(AssertSqlSafe(self.text), self.arguments)
    }

    /// The only statement.
    pub fn query(self) -> Query<'static, Any, AnyArguments> {
        debug_assert!(
            self.before.is_empty(),
            "several statements are run by run()"
        );
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments)
    }
}

pub fn is_postgres(db: &AnyConnection) -> bool {
    db.backend_name() == "PostgreSQL"
}

/// The clause that locks the rows of a SELECT until the commit. SQLite has one writer and needs none.
pub fn for_update(db: &AnyConnection) -> &'static str {
    if is_postgres(db) {
        " FOR NO KEY UPDATE"
    } else {
        ""
    }
}

/// The clause by which SQLite uses an index that it would not choose. PostgreSQL has statistics to choose by.
pub fn indexed_by(db: &AnyConnection, index: &str) -> String {
    if is_postgres(db) {
        String::new()
    } else {
        format!("INDEXED BY {index}")
    }
}

/// The clause that skips jobs that another replica is claiming.
pub fn skip_locked(db: &AnyConnection) -> &'static str {
    if is_postgres(db) {
        " FOR UPDATE SKIP LOCKED"
    } else {
        ""
    }
}

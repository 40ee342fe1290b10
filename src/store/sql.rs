//! SQL that both databases take: `$1` placeholders, and the few words that only one of them knows.
//!
//! Invariants:
//! - Values are bound, never written into the text.
//! - Statements that follow one another go to SQLite in one text: each way to its thread and back costs more than
//!   most statements do.

use serde::Serialize;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::{Query, QueryScalar};
use sqlx::{Any, AnyConnection, Arguments as _, AssertSqlSafe, Encode, FromRow, Type};

use crate::store::error::StoreError;
use crate::store::rows::to_json;

/// A statement that is put together from parts, or several that run one after another.
#[derive(Default)]
pub struct Sql {
    text: String,
    arguments: AnyArguments,
    /// What runs before, where each statement goes alone.
    before: Vec<(String, AnyArguments)>,
}

impl Sql {
    /// Begins with a text.
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::default()
        }
    }

    /// Goes on with another statement, to be run after this one. PostgreSQL binds values to single statements only.
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

    /// Runs all statements; the rows of all of them.
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

    /// Runs all statements if the first of them finds a row: that row, which is the only one.
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

    /// Goes on with the elements of a list, as a table `item` of JSON values with their positions as `key`: one text
    /// serves lists of any length. Documents within are texts: PostgreSQL reads no NUL in JSON, not even an escaped one.
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

    /// Goes on with a text.
    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Goes on with a value.
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

    /// Goes on with values, with a comma between two of them.
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

    /// The one statement, to be run for its one column.
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

    /// The one statement, to be run.
    pub fn query(self) -> Query<'static, Any, AnyArguments> {
        debug_assert!(
            self.before.is_empty(),
            "several statements are run by run()"
        );
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments)
    }
}

/// Whether this is a connection to PostgreSQL.
pub fn is_postgres(db: &AnyConnection) -> bool {
    db.backend_name() == "PostgreSQL"
}

/// What a SELECT ends with that keeps others from changing its rows until the commit. SQLite has one
/// writer, so there are no others.
pub fn for_update(db: &AnyConnection) -> &'static str {
    if is_postgres(db) {
        " FOR NO KEY UPDATE"
    } else {
        ""
    }
}

/// What the subquery of a claim ends with: jobs that another replica is about to claim are passed over.
pub fn skip_locked(db: &AnyConnection) -> &'static str {
    if is_postgres(db) {
        " FOR UPDATE SKIP LOCKED"
    } else {
        ""
    }
}

//! SQL that both databases take: `$1` placeholders, and the few words that only one of them knows.
//!
//! Invariant: values are bound, never written into the text.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::{Query, QueryScalar};
use sqlx::{Any, AnyConnection, Arguments as _, AssertSqlSafe, Encode, FromRow, Type};

use super::StoreError;

/// A statement that is put together from parts.
pub struct Sql {
    text: String,
    arguments: AnyArguments,
}

impl Sql {
    /// Begins with a text.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), arguments: AnyArguments::default() }
    }

    /// Goes on with a text.
    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Goes on with a value.
    pub fn bind<'v>(&mut self, value: impl Encode<'v, Any> + Type<Any>) -> Result<&mut Self, StoreError> {
        self.arguments.add(value).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.text.push_str(&format!("${}", self.arguments.len()));
        Ok(self)
    }

    /// Goes on with values, with a comma between two of them.
    pub fn list<'v, T: Encode<'v, Any> + Type<Any>>(&mut self, values: impl IntoIterator<Item = T>) -> Result<&mut Self, StoreError> {
        for (position, value) in values.into_iter().enumerate() {
            self.push(if position == 0 { "" } else { ", " }).bind(value)?;
        }
        Ok(self)
    }

    /// The statement, to be run for its one column.
    pub fn scalars<T>(self) -> QueryScalar<'static, Any, T, AnyArguments>
    where
        (T,): for<'r> FromRow<'r, AnyRow>,
    {
        sqlx::query_scalar_with(AssertSqlSafe(self.text), self.arguments)
    }

    /// The statement, to be run.
    pub fn query(self) -> Query<'static, Any, AnyArguments> {
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
    if is_postgres(db) { " FOR NO KEY UPDATE" } else { "" }
}

/// What the subquery of a claim ends with: jobs that another replica is about to claim are passed over.
pub fn skip_locked(db: &AnyConnection) -> &'static str {
    if is_postgres(db) { " FOR UPDATE SKIP LOCKED" } else { "" }
}

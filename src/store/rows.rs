//! Parses rows into domain values. Errors name the row.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::store::error::StoreError;

/// A row of a table.
pub struct RowReader<'r> {
    row: &'r AnyRow,
    table: &'static str,
    key: &'static str,
}

impl<'a> RowReader<'a> {
    /// A row of `table`, which errors name by its column `key`.
    pub fn new(row: &'a AnyRow, table: &'static str, key: &'static str) -> Self {
        Self { row, table, key }
    }

    /// The same row, where columns of another table are joined to it.
    pub fn in_table(&self, table: &'static str) -> Self {
        Self { table, ..*self }
    }

    pub fn plain<'r, T>(&'r self, column: &'static str) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
    {
        self.row
            .try_get(column)
            .map_err(|error| self.corrupt(column, &error))
    }

    /// A text column that parses into `T`.
    pub fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T::Err: Display,
    {
        let text: String = self.plain(column)?;
        text.parse().map_err(|error| self.corrupt(column, &error))
    }

    /// A name that a text column has to hold.
    pub fn named<T, E: Display>(
        &self,
        column: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let text: String = self.plain(column)?;
        parse(&text).map_err(|error| self.corrupt(column, &error))
    }

    /// A JSON column.
    pub fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        let text: String = self.plain(column)?;
        serde_json::from_str(&text).map_err(|error| self.corrupt(column, &error))
    }

    /// A JSON column that may be NULL.
    pub fn json_or_null<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.plain(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|error| self.corrupt(column, &error)))
            .transpose()
    }

    pub fn id(&self, column: &'static str) -> Result<Ulid, StoreError> {
        let text: String = self.plain(column)?;
        Ulid::from_string(&text).map_err(|error| self.corrupt(column, &error))
    }

    pub fn moment(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.plain(column).map(Timestamp::from_millis)
    }

    pub fn moment_or_null(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        let millis: Option<i64> = self.plain(column)?;
        Ok(millis.map(Timestamp::from_millis))
    }

    /// A count that fits `T`.
    pub fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, StoreError> {
        let number: i64 = self.plain(column)?;
        T::try_from(number).map_err(|_| self.corrupt(column, &format!("{number} is out of range")))
    }

    fn corrupt(&self, column: &'static str, why: &dyn Display) -> StoreError {
        let row = self
            .row
            .try_get::<String, _>(self.key)
            .unwrap_or_else(|_| "?".into());
        StoreError::Corrupt {
            table: self.table,
            column,
            row,
            why: why.to_string(),
        }
    }
}

/// The parsed value, or `None` for a row that cannot be read: it is logged, and does not block the others.
pub fn readable<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::error!(%error, "row skipped: it cannot be read");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A value as JSON text for a column.
pub fn to_json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unavailable(error.to_string()))
}

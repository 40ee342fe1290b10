//! Pages of lists.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::api::params::Params;
use crate::api::path::parse_id;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// A page of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// Send this as `cursor` to get the next page. Null on the last page.
    pub next_cursor: Option<String>,
}

/// The position and size of a page.
pub struct Cursor<C = Ulid> {
    /// The last item of the previous page.
    pub from: Option<C>,
    /// The maximum number of items.
    pub limit: u32,
}

impl Cursor {
    /// Reads `limit` and `cursor` for items that are ordered by id.
    pub fn of(params: &mut Params) -> Self {
        Self::parsed(params, parse_id)
    }
}

impl<C: Display> Cursor<C> {
    /// Reads `limit` and `cursor`.
    pub fn parsed(params: &mut Params, parse: impl FnOnce(&str) -> Option<C>) -> Self {
        let range = || format!("must be a number from 1 to {MAX_LIMIT}");
        let limit = params.take("limit", |text| {
            text.parse()
                .ok()
                .filter(|n| (1..=MAX_LIMIT).contains(n))
                .ok_or_else(range)
        });
        let from = params.take("cursor", |text| {
            parse(text).ok_or("must be the next_cursor of an earlier page")
        });
        Self {
            from,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
        }
    }

    /// One more than the page holds, to find out whether there is another page.
    pub fn probe(&self) -> u32 {
        self.limit + 1
    }

    /// The page of the items found.
    pub fn page<T, U>(
        &self,
        mut found: Vec<T>,
        id: impl Fn(&T) -> C,
        show: impl Fn(T) -> U,
    ) -> Page<U> {
        let more = found.len() > self.limit as usize;
        found.truncate(self.limit as usize);
        let next_cursor = found
            .last()
            .filter(|_| more)
            .map(|last| id(last).to_string());
        Page {
            items: found.into_iter().map(show).collect(),
            next_cursor,
        }
    }
}

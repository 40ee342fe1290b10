//! Lists in pages.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::api::body::{Params, parse_id};

/// Items of a page when nobody says.
const USUAL: u32 = 50;
/// Items of a page at most.
const MOST: u32 = 200;

/// A page of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    pub next_cursor: Option<String>,
}

/// Where a page begins and how long it is.
pub struct Cursor<C = Ulid> {
    /// The last item of the page before.
    pub from: Option<C>,
    /// Items at most.
    pub limit: u32,
}

impl Cursor {
    /// Reads `limit` and `cursor`, of items that are listed by their id.
    pub fn of(params: &mut Params) -> Self {
        Self::parsed(params, parse_id)
    }
}

impl<C: Display> Cursor<C> {
    /// Reads `limit` and `cursor`.
    pub fn parsed(params: &mut Params, parse: impl FnOnce(&str) -> Option<C>) -> Self {
        let range = || format!("must be a number from 1 to {MOST}");
        let limit = params.take("limit", |text| {
            text.parse()
                .ok()
                .filter(|n| (1..=MOST).contains(n))
                .ok_or_else(range)
        });
        let from = params.take("cursor", |text| {
            parse(text).ok_or("must be a next_cursor of an earlier page")
        });
        Self {
            from,
            limit: limit.unwrap_or(USUAL),
        }
    }

    /// One more than a page holds: whether there is another page.
    pub fn probe(&self) -> u32 {
        self.limit + 1
    }

    /// The page of what was found.
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

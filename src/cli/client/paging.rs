//! Lists, page by page.

use clap::Args;
use serde_json::Value;

use super::api::Api;
use super::error::ClientError;
use super::request::Request;
use crate::api::page::Page;

const PAGE_SIZE: usize = 200;

/// How much of a list to show.
#[derive(Debug, Clone, Args)]
pub struct PageArgs {
    /// How many items to show at most.
    #[arg(
        long,
        default_value_t = 50,
        value_name = "COUNT",
        conflicts_with = "all"
    )]
    limit: usize,
    /// Show all items.
    #[arg(long)]
    all: bool,
}

/// The items of a list, and whether there are more than the arguments ask for.
pub async fn list(
    api: &Api,
    request: &Request,
    args: &PageArgs,
) -> Result<(Vec<Value>, bool), ClientError> {
    let wanted = if args.all { usize::MAX } else { args.limit };
    let (mut items, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let size = (wanted - items.len()).clamp(1, PAGE_SIZE);
        let page = request
            .clone()
            .query("limit", Some(size))
            .query("cursor", cursor.as_deref());
        let page: Page<Value> = api.send(&page).await?.read()?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() || items.len() >= wanted {
            return Ok((items, cursor.is_some()));
        }
    }
}

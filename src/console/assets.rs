//! The files that the pages load. Their names contain a hash of their content, so browsers keep them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::store::fingerprint;

const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Hexadecimal digits of the hash in a name.
const HASH_LENGTH: usize = 12;

/// A file that pages load.
pub struct Asset {
    /// The path, with the hash of the content.
    pub path: String,
    media_type: &'static str,
    content: &'static [u8],
}

/// The files by their use.
pub struct Assets {
    pub style: Asset,
    pub script: Asset,
    pub htmx: Asset,
    pub sse: Asset,
    pub icon: Asset,
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// All files.
pub static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new("console.css", CSS, include_bytes!("assets/console.css")),
    script: Asset::new("console.js", JS, include_bytes!("assets/console.js")),
    htmx: Asset::new("htmx.min.js", JS, include_bytes!("assets/htmx.min.js")),
    sse: Asset::new("hx-sse.min.js", JS, include_bytes!("assets/hx-sse.min.js")),
    icon: Asset::new(
        "icon.svg",
        "image/svg+xml",
        include_bytes!("assets/icon.svg"),
    ),
});

impl Asset {
    fn new(name: &str, media_type: &'static str, content: &'static [u8]) -> Self {
        let hash = fingerprint(&[content]);
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let hash = &hash[..HASH_LENGTH];
        Self {
            path: format!("/console/assets/{stem}-{hash}.{extension}"),
            media_type,
            content,
        }
    }
}

/// `GET /console/assets/{name}`
pub async fn get_asset(Path(name): Path<String>) -> Response {
    let Assets {
        style,
        script,
        htmx,
        sse,
        icon,
    } = &*ASSETS;
    let path = format!("/console/assets/{name}");
    let found = [style, script, htmx, sse, icon]
        .into_iter()
        .find(|asset| asset.path == path);
    match found {
        Some(asset) => (
            [
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static(asset.media_type),
                ),
                (header::CACHE_CONTROL, FOREVER),
            ],
            asset.content,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

//! Content negotiation by the `Accept` header (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};
use mime::Mime;

/// The offered media type that the client prefers. The first one if the client states no preference, or accepts none.
///
/// Of types with the same quality, the one that the client names more specifically wins, then the one it names first.
pub fn preferred<'a>(headers: &HeaderMap, offers: &[&'a str]) -> &'a str {
    let ranges: Vec<Mime> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.trim().parse().ok())
        .collect();
    let rank = |offer: &str| {
        let offer: Mime = offer.parse().ok()?;
        ranges
            .iter()
            .enumerate()
            .filter_map(|(i, range)| {
                Some((
                    specificity(range, &offer)?,
                    quality(range),
                    ranges.len() - i,
                ))
            })
            .max()
            .filter(|(_, quality, _)| *quality > 0)
            .map(|(specificity, quality, order)| (quality, specificity, order))
    };
    // `max_by_key` keeps the last of equals, and the first offer is the default.
    offers
        .iter()
        .rev()
        .copied()
        .max_by_key(|offer| rank(offer))
        .unwrap_or_default()
}

/// How exactly a range names an offer: 2 for the type itself, 1 for `type/*`, 0 for `*/*`.
fn specificity(range: &Mime, offer: &Mime) -> Option<u8> {
    match (range.type_(), range.subtype()) {
        (mime::STAR, mime::STAR) => Some(0),
        (kind, mime::STAR) => (kind == offer.type_()).then_some(1),
        _ => (range.essence_str() == offer.essence_str()).then_some(2),
    }
}

/// The quality in thousandths.
fn quality(range: &Mime) -> u16 {
    let quality = range.get_param("q").map(|q| q.as_str().parse::<f32>());
    match quality {
        Some(Ok(quality)) => (quality.clamp(0.0, 1.0) * 1000.0) as u16,
        Some(Err(_)) | None => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> &'static str {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        preferred(&headers, &["application/json", "text/plain"])
    }

    #[test]
    fn the_preferred_type_is_chosen() {
        assert_eq!(preferred(&HeaderMap::new(), &["a/b", "c/d"]), "a/b");
        for (accept, expected) in [
            ("*/*", "application/json"),
            ("text/plain", "text/plain"),
            ("text/*", "text/plain"),
            ("text/plain, */*", "text/plain"),
            ("text/plain, application/json", "text/plain"),
            ("text/plain;q=0.5, application/json", "application/json"),
            ("text/plain;q=0, */*", "application/json"),
            ("application/json;q=0, */*", "text/plain"),
            ("image/png", "application/json"),
            ("nonsense", "application/json"),
        ] {
            assert_eq!(of(accept), expected, "{accept}");
        }
    }
}

//! Pages and filters of lists.

use std::time::Duration;

use super::{get, id, idle, light, post, post_empty, strings};
use crate::support::server::Server;
use crate::support::unique;

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_without_doubles_or_gaps() {
    let setup = idle();
    let server = setup.start().await;
    let names: Vec<String> = (0..5).map(|i| unique(&format!("acme{i}"))).collect();
    for name in &names {
        post(&server, "/v1/apps", &light(name)).await.expect(202);
        // Ids of one millisecond are in no order.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let newest_first: Vec<String> = names.iter().rev().cloned().collect();
    for limit in 1..=6 {
        assert_eq!(
            pages(&server, "/v1/apps", limit, "name").await,
            names,
            "oldest first, {limit} at a time"
        );
        assert_eq!(
            pages(&server, "/v1/jobs", limit, "app").await,
            newest_first,
            "newest first, {limit} at a time"
        );
    }
    let filtered = pages(&server, "/v1/apps?q=acme3", 1, "name").await;
    assert_eq!(filtered, [names[3].clone()], "a filter holds on every page");
}

/// One member of every item of all pages.
async fn pages(server: &Server, path: &str, limit: usize, member: &str) -> Vec<String> {
    let first = format!(
        "{path}{}limit={limit}",
        if path.contains('?') { '&' } else { '?' }
    );
    let (mut all, mut next) = (Vec::new(), first.clone());
    loop {
        let page = get(server, &next).await.expect(200);
        let items = strings(&page["items"], member);
        assert!(items.len() <= limit, "{page}");
        all.extend(items);
        match page["next_cursor"].as_str() {
            None => return all,
            Some(cursor) => next = format!("{first}&cursor={cursor}"),
        }
        assert!(all.len() < 100, "{path} does not end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_the_filters_ask_for() {
    let setup = idle();
    let server = setup.start().await;
    let (one, two) = (unique("Acme_One"), unique("acme-two"));
    let first = post(&server, "/v1/apps", &light(&one)).await.expect(202);
    let second = post(&server, "/v1/apps", &light(&two)).await.expect(202);
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&first)))
        .await
        .expect(202);
    let third = post_empty(&server, &format!("/v1/apps/{one}/repair"))
        .await
        .expect(202);
    let both = [one.clone(), two.clone()];
    for (query, expected) in [
        ("", &both[..]),
        ("?account=default", &both),
        ("?account=other", &[]),
        ("?state=canceled", &both[..1]),
        ("?state=pending", &both[1..]),
        ("?state=ready", &[]),
        ("?q=ACME", &both),
        ("?q=acme_", &both[..1]),
        ("?q=%25", &[]),
        ("?q=two&state=canceled", &[]),
    ] {
        assert_eq!(
            strings(
                &get(&server, &format!("/v1/apps{query}")).await.expect(200)["items"],
                "name"
            ),
            expected,
            "{query}"
        );
    }
    let ids = [
        id(&first).to_owned(),
        id(&second).to_owned(),
        id(&third).to_owned(),
    ];
    for (query, expected) in [
        (String::new(), vec![&ids[2], &ids[1], &ids[0]]),
        (
            format!("?app={}", one.to_uppercase()),
            vec![&ids[2], &ids[0]],
        ),
        ("?app=nobody".to_owned(), vec![]),
        ("?state=canceled".to_owned(), vec![&ids[0]]),
        ("?state=queued".to_owned(), vec![&ids[2], &ids[1]]),
        ("?kind=repair".to_owned(), vec![&ids[2]]),
        (
            format!("?kind=onboard&state=queued&app={two}"),
            vec![&ids[1]],
        ),
        (format!("?app={one}&state=running"), vec![]),
    ] {
        let jobs = get(&server, &format!("/v1/jobs{query}")).await.expect(200);
        assert_eq!(
            strings(&jobs["items"], "id").iter().collect::<Vec<_>>(),
            expected,
            "{query}"
        );
        assert!(
            jobs["items"]
                .as_array()
                .unwrap()
                .iter()
                .all(|job| !job["steps"].as_array().unwrap().is_empty())
        );
    }
}

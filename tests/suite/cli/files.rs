//! `slipway.yaml`.

use serde_json::json;

use super::{Host, Person, assert_has};

const TWO: &str =
    "app: shop\nmedia_access: scoped\n---\napp: blog\nbuckets: []\nrepositories:\n  - name: blog\n";

#[tokio::test(flavor = "multi_thread")]
async fn apps_are_what_the_file_says() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.write("slipway.yaml", TWO);
    let plan = admin.run(&["plan", "--exit-code"]).await.exits(5);
    assert_has(&plan, &["shop", "blog", "+ create user blog"]);
    let markdown = admin.ok(&["plan", "--format", "markdown"]).await;
    assert_has(&markdown, &["### Slipway: `shop`", "```diff\n+ create"]);
    assert_eq!(admin.json(&["plan"]).await.as_array().unwrap().len(), 2);
    admin.run(&["apply"]).await.exits(2);
    let applied = admin.json(&["apply", "--yes"]).await;
    let states: Vec<_> = applied
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["state"])
        .collect();
    assert_eq!(states, [&json!("succeeded"), &json!("succeeded")]);
    admin.ok(&["plan", "--exit-code"]).await;
    assert_eq!(
        admin.json(&["apply", "--yes"]).await,
        json!([]),
        "nothing is left to do"
    );
    let lists = "apps:\n- app: shop\n  media_access: scoped\n  protected: true\n- app: blog\n  buckets: []\n";
    admin.write("apps.yaml", lists);
    let changed = admin
        .run(&["apply", "--file", "apps.yaml", "--yes"])
        .await
        .exits(0);
    assert_has(&changed, &["shop"]);
    assert_eq!(
        admin.json(&["app", "show", "shop"]).await["spec"]["protected"],
        true
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_the_file_is_shown_with_its_line() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.write(
        "slipway.yaml",
        "app: shop\n---\napp: blog\nbuckts: []\nrepositories:\n  - name: blog\n    regon: us-west-2\n",
    );
    let wrong = admin.run(&["plan"]).await.exits(2);
    assert_has(
        &wrong,
        &[
            "slipway.yaml:4: /buckts: Unknown field.",
            "Did you mean `buckets`?",
            "slipway.yaml:7: /repositories/0/regon: Unknown field.",
        ],
    );
    admin.write("slipway.yaml", "app: shop\n  region: x\n");
    assert_has(
        &admin.run(&["plan"]).await.exits(2),
        &["slipway.yaml", "line 2"],
    );
    admin.run(&["plan", "--file", "absent.yaml"]).await.exits(1);
    let by_pipe = admin
        .run_with_input(&["plan", "--file", "-"], "app: shop\n")
        .await;
    assert_has(&by_pipe.exits(0), &["+ create user shop"]);
    server.stop().await;
}

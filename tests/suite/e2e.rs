//! The main job on both emulators, seen by an independent client.

use serde_json::{Value, json};

use crate::support::aws::{Emulator, Place};
use crate::support::server::Setup;
use crate::support::{eyes, unique};

const BOTH: [Emulator; 2] = [Emulator::Moto, Emulator::Ministack];

#[tokio::test(flavor = "multi_thread")]
async fn the_least_body_gives_an_app_its_whole_place() {
    for emulator in BOTH {
        let setup = Setup::new(Place::new(emulator));
        let server = setup.start().await;
        let name = unique("acme");
        let job = server.onboard(&json!({"name": name})).await;
        let app = server.json(&format!("/v1/apps/{name}")).await;
        let seen = eyes::look(&setup.place, &app["spec"]);
        assert_place(&setup.place, &seen, &name);
        assert_eq!(job["result"]["user_arn"], seen["user"]["arn"]);
        assert_eq!(job["result"]["access_key_id"], seen["access_keys"][0]["id"]);
        assert_eq!(job["result"]["repositories"][0]["uri"], seen["repositories"][&name]["uri"]);
        assert_eq!(app["state"], "ready");
        assert!(app["resources"].as_array().unwrap().iter().all(|r| r["state"] == "done"), "{app:#}");

        setup.wire.take_log();
        let again = server.run(&format!("/v1/apps/{name}/repair"), None).await;
        assert_eq!(again["state"], "succeeded");
        let mutating: Vec<String> = setup.wire.take_log().iter().filter(|call| call.mutates()).map(|call| call.name()).collect();
        assert_eq!(mutating, Vec::<String>::new(), "a converged app's job changes nothing");
        server.stop().await;
    }
}

/// All eleven rows of the guide.
fn assert_place(place: &Place, seen: &Value, name: &str) {
    let account = &place.account;
    assert_eq!(seen["user"]["path"], "/apps/");
    assert_eq!(seen["user"]["tags"]["slipway:app"], name);
    assert_eq!(seen["groups"], json!(["Apps"]));
    assert_eq!(seen["attached"], json!([format!("arn:aws:iam::{account}:policy/MediaManagement")]));
    assert_eq!(seen["access_keys"].as_array().unwrap().len(), 1);
    assert_eq!(seen["access_keys"][0]["status"], "Active");
    let statement = &seen["policy_document"]["Statement"][0];
    assert_eq!(statement["Action"].as_array().unwrap().len(), 20);
    assert_eq!(statement["Resource"], json!(["arn:aws:s3:::*", "arn:aws:s3:::*/*"]));
    let bucket = &seen["buckets"][format!("{name}-media-{account}")];
    assert_eq!(bucket["region"], "us-west-2");
    assert_eq!(bucket["ownership"], "BucketOwnerEnforced");
    assert_eq!(bucket["tags"]["slipway:app"], name);
    assert_eq!(
        bucket["public_access_block"],
        json!({"BlockPublicAcls": true, "IgnorePublicAcls": true, "BlockPublicPolicy": true, "RestrictPublicBuckets": true})
    );
    assert_eq!(
        bucket["cors"],
        json!([
            {"AllowedHeaders": ["Authorization"], "AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "MaxAgeSeconds": 3000},
            {"AllowedHeaders": ["*"], "AllowedMethods": ["PUT", "POST", "DELETE"], "AllowedOrigins": [format!("https://{name}.herokuapp.com")],
             "ExposeHeaders": ["x-amz-server-side-encryption", "ETag"], "MaxAgeSeconds": 3000},
        ])
    );
    let repository = &seen["repositories"][name];
    assert_eq!(repository["tags"]["slipway:app"], name);
    let rules = repository["lifecycle"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 19);
    assert_eq!(rules[0]["selection"]["tagStatus"], "untagged");
    assert_eq!(rules[1]["selection"]["tagPrefixList"], json!(["testing"]));
    assert_eq!(rules[18]["selection"]["tagPrefixList"], json!(["f"]));
    assert!(rules[1..].iter().all(|rule| rule["selection"]["countNumber"] == 3 && rule["selection"]["countUnit"] == "days"));
}

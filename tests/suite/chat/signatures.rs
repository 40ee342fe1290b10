//! Only what a platform has signed is read.

use serde_json::{Value, json};

use super::{Chat, SECRET, signature};
use crate::support::aws::required;
use crate::support::script;

/// What the library of Slack signs requests with.
fn by_sdk(requests: &Value) -> Vec<String> {
    let python = required("SLIPWAY_TEST_PYTHON");
    let signatures = script::answer(&python, "slack_signatures.py", requests);
    serde_json::from_value(signatures).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_slacks_own_library_signs_are_accepted_and_others_refused() {
    let chat = Chat::start().await;
    let path = "/hooks/slack/commands";
    let body = chat.body_of("U1", "help", "1");
    let now = chat.now();
    let at =
        |late: i64| json!({"secret": SECRET, "timestamp": (now + late).to_string(), "body": body});
    let times = [0, -280, 280, -400, 400];
    let signatures = by_sdk(&times.map(at).as_slice().into());
    for (late, signed) in times.iter().zip(&signatures) {
        let timestamp = (now + late).to_string();
        assert_eq!(*signed, signature(SECRET, &timestamp, &body));
        let response = chat
            .raw(path, &body, &timestamp, signed)
            .send()
            .await
            .unwrap();
        let expected = if late.abs() < 300 { 200 } else { 401 };
        assert_eq!(response.status(), expected, "{late}");
    }

    let (time, good) = (now.to_string(), signatures[0].clone());
    let tampered = body.replace("help", "link");
    let other_secret = by_sdk(&json!([{"secret": "other", "timestamp": time, "body": body}]));
    let earlier = (now - 1).to_string();
    for (body, time, signature) in [
        (&tampered, &time, &good),
        (&body, &earlier, &good),
        (&body, &time, &other_secret[0]),
        (&body, &time, &good[3..].to_owned()),
        (&body, &time, &String::new()),
        (&body, &String::new(), &good),
    ] {
        for path in [path, "/hooks/slack/interactions"] {
            let request = chat.raw(path, body, time, signature);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{body} {time} {signature}");
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["code"], "unauthorized");
        }
    }
    // Nothing of a body is read before: what is wrong with it is not told.
    let nonsense = chat.raw(path, "%zz", &time, &good).send().await.unwrap();
    assert_eq!(nonsense.status(), 401);
    let unknown = chat.signed("/hooks/mattermost/commands", &body);
    assert_eq!(
        unknown.send().await.unwrap().status(),
        404,
        "is not configured"
    );
    let asks = chat
        .signed(path, "token=x&ssl_check=1")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (asks.status().as_u16(), asks.text().await.unwrap()),
        (200, String::new())
    );
    chat.stop().await;
}

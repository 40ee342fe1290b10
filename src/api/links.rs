//! The links of the OpenAPI document: which requests can follow a response.
//!
//! Invariant: every link starts at a documented response, and leads to an operation by parameters that the operation
//! has. A test checks this table.

use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

/// The response that a link starts at: its operation and status.
type From = (&'static str, &'static str);
/// The parameters of the next request: the name of each, and the expression of its value.
type Parameters = &'static [(&'static str, &'static str)];
/// The operation that a link leads to, and its parameters.
type Target = (&'static str, Parameters);

/// Every link, from each of these responses to each of those operations.
const LINKS: [(&[From], &[Target]); 22] = [
    (
        &[
            ("onboardApp", "202"),
            ("updateApp", "202"),
            ("removeApp", "202"),
            ("restoreApp", "202"),
            ("repairApp", "202"),
            ("rotateCredential", "202"),
            ("rollbackRotation", "202"),
            ("activateKey", "202"),
            ("deactivateKey", "202"),
            ("deleteKey", "202"),
            ("cancelJob", "202"),
            ("retryJob", "202"),
            ("approveJob", "202"),
            ("rejectJob", "202"),
            ("getJob", "200"),
        ],
        &OF_JOB,
    ),
    (
        &[("getJob", "200")],
        &[(
            "claimSecret",
            &[
                ("app", "$response.body#/app"),
                ("access_key_id", "$response.body#/result/access_key_id"),
            ],
        )],
    ),
    (&[("getApp", "200")], &OF_APP),
    (&[("getDrift", "200"), ("checkDrift", "200")], &OF_DRIFT),
    (
        &[("listApps", "200")],
        &[
            ("getApp", &[("app", "$response.body#/items/0/name")]),
            ("listApps", &NEXT),
        ],
    ),
    (
        &[("listJobs", "200")],
        &[
            ("getJob", &[("id", "$response.body#/items/0/id")]),
            ("listJobs", &NEXT),
        ],
    ),
    (
        &[("listCredentials", "200")],
        &[
            ("claimSecret", &OF_KEY),
            ("deactivateKey", &OF_KEY),
            ("activateKey", &OF_KEY),
            ("deleteKey", &OF_KEY),
        ],
    ),
    (
        &[("getAppHistory", "200")],
        &[(
            "getAppHistory",
            &[
                ("app", "$request.path.app"),
                ("cursor", "$response.body#/next_cursor"),
            ],
        )],
    ),
    (
        &[("listAudit", "200")],
        &[
            (
                "getAppHistory",
                &[
                    ("app", "$response.body#/items/0/app"),
                    ("job", "$response.body#/items/0/job"),
                ],
            ),
            ("listAudit", &NEXT),
        ],
    ),
    (
        &[("registerAccount", "201"), ("updateAccount", "200")],
        &OF_ACCOUNT,
    ),
    (
        &[("listAccounts", "200")],
        &[("getAccount", &[("account", "$response.body#/items/0/name")])],
    ),
    (
        &[("setupAccount", "202"), ("repairSetup", "202")],
        &OF_SETUP_JOB,
    ),
    (&[("getSetup", "200")], &OF_SETUP),
    (
        &[("getSetupDrift", "200"), ("checkSetupDrift", "200")],
        &[("repairSetup", &SETUP), ("getSetup", &SETUP)],
    ),
    (
        &[("createToken", "201")],
        &[("revokeToken", &[("id", "$response.body#/id")])],
    ),
    (
        &[("listTokens", "200")],
        &[("revokeToken", &[("id", "$response.body#/items/0/id")])],
    ),
    (
        &[("listSessions", "200")],
        &[("revokeSession", &[("id", "$response.body#/items/0/id")])],
    ),
    (
        &[("createTrustRule", "201")],
        &[
            ("getTrustRule", &[("id", "$response.body#/id")]),
            ("deleteTrustRule", &[("id", "$response.body#/id")]),
        ],
    ),
    (
        &[("createWebhook", "201"), ("updateWebhook", "200")],
        &OF_WEBHOOK,
    ),
    (
        &[("listWebhooks", "200")],
        &[("getWebhook", &[("id", "$response.body#/items/0/id")])],
    ),
    (
        &[("testWebhook", "200")],
        &[("listWebhookDeliveries", &WEBHOOK)],
    ),
    (
        &[("listWebhookDeliveries", "200")],
        &[
            ("replayWebhook", &WEBHOOK),
            (
                "listWebhookDeliveries",
                &[
                    ("id", "$request.path.id"),
                    ("cursor", "$response.body#/next_cursor"),
                ],
            ),
        ],
    ),
];

const WEBHOOK: [(&str, &str); 1] = [("id", "$request.path.id")];
/// The links of a webhook.
const OF_WEBHOOK: [Target; 7] = [
    ("getWebhook", &ID),
    ("updateWebhook", &ID),
    ("deleteWebhook", &ID),
    ("testWebhook", &ID),
    ("listWebhookDeliveries", &ID),
    ("replayWebhook", &ID),
    ("rotateWebhookSecret", &ID),
];

const ACCOUNT: [(&str, &str); 1] = [("account", "$response.body#/name")];
/// The links of a registered account.
const OF_ACCOUNT: [Target; 5] = [
    ("getAccount", &ACCOUNT),
    ("updateAccount", &ACCOUNT),
    ("verifyAccount", &ACCOUNT),
    ("deleteAccount", &ACCOUNT),
    (
        "getBootstrap",
        &[
            ("account", "$response.body#/name"),
            ("format", "cloudformation"),
        ],
    ),
];

const SETUP: [(&str, &str); 1] = [("account", "$response.body#/account")];
/// The links of an account's set-up.
const OF_SETUP: [Target; 7] = [
    ("setupAccount", &SETUP),
    ("checkSetupDrift", &SETUP),
    ("getSetupDrift", &SETUP),
    ("repairSetup", &SETUP),
    ("getSetupHistory", &SETUP),
    (
        "exportSetup",
        &[
            ("account", "$response.body#/account"),
            ("format", "terraform"),
        ],
    ),
    (
        "claimPassword",
        &[
            ("account", "$response.body#/account"),
            ("email", "$response.body#/passwords/0/person"),
        ],
    ),
];
/// The links of a job of an account's set-up.
const OF_SETUP_JOB: [Target; 8] = [
    ("getJob", &[("id", "$response.body#/id"), ("wait", "10s")]),
    ("streamJobEvents", &ID),
    ("cancelJob", &ID),
    ("retryJob", &ID),
    ("getApproval", &ID),
    ("approveJob", &ID),
    ("rejectJob", &ID),
    ("getSetup", &SETUP),
];

const NEXT: [(&str, &str); 1] = [("cursor", "$response.body#/next_cursor")];
const ID: [(&str, &str); 1] = [("id", "$response.body#/id")];
const APP: [(&str, &str); 1] = [("app", "$response.body#/app")];
const NAME: [(&str, &str); 1] = [("app", "$response.body#/name")];

const OF_KEY: [(&str, &str); 2] = [
    ("app", "$request.path.app"),
    ("access_key_id", "$response.body#/items/0/access_key_id"),
];

/// The links of a job.
const OF_JOB: [Target; 13] = [
    ("getJob", &[("id", "$response.body#/id"), ("wait", "10s")]),
    ("streamJobEvents", &ID),
    ("cancelJob", &ID),
    ("retryJob", &ID),
    ("getApproval", &ID),
    ("approveJob", &ID),
    ("rejectJob", &ID),
    ("getApp", &APP),
    ("planApp", &APP),
    ("repairApp", &APP),
    ("restoreApp", &APP),
    ("listCredentials", &APP),
    (
        "getAppHistory",
        &[
            ("app", "$response.body#/app"),
            ("job", "$response.body#/id"),
        ],
    ),
];
/// The links of an app.
const OF_APP: [Target; 12] = [
    ("planApp", &NAME),
    ("updateApp", &NAME),
    ("repairApp", &NAME),
    ("removeApp", &NAME),
    ("restoreApp", &NAME),
    ("checkDrift", &NAME),
    ("getDrift", &NAME),
    ("listCredentials", &NAME),
    ("rotateCredential", &NAME),
    ("rollbackRotation", &NAME),
    ("getAppHistory", &NAME),
    (
        "exportApp",
        &[("app", "$response.body#/name"), ("format", "terraform")],
    ),
];
/// The links of a drift report.
const OF_DRIFT: [Target; 3] = [("getApp", &APP), ("planApp", &APP), ("repairApp", &APP)];

/// Adds the links to the document.
pub fn add(api: &mut OpenApi) {
    for operation in api.paths.paths.values_mut().flat_map(operations) {
        let Some(id) = operation.operation_id.clone() else {
            continue;
        };
        for (froms, targets) in LINKS {
            for (_, status) in froms.iter().filter(|(from, _)| *from == id) {
                let Some(RefOr::T(response)) = operation.responses.responses.get_mut(*status)
                else {
                    continue;
                };
                response.links.extend(
                    targets
                        .iter()
                        .map(|(target, parameters)| link(target, parameters)),
                );
            }
        }
    }
}

/// The operations of a path.
pub fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut path.get,
        &mut path.put,
        &mut path.post,
        &mut path.patch,
        &mut path.delete,
    ]
    .into_iter()
    .flatten()
}

fn link(target: &str, parameters: Parameters) -> (String, RefOr<Link>) {
    let link = parameters.iter().fold(
        LinkBuilder::new().operation_id(target),
        |link, (name, value)| link.parameter(*name, *value),
    );
    (target.to_owned(), RefOr::T(link.build()))
}

//! The real process, killed at every call of every kind of job, and started again on the same database.

use std::time::Duration;

use slipway::domain::job_kind::JobKind;
use strum::IntoEnumIterator as _;

use super::case::{Case, Left, More};
use super::ground::Emulated;
use super::scenarios::{SCENARIOS, Scenario};
use super::{enumerated, run_all};
use crate::support::alone;
use crate::support::aws::Place;
use crate::support::process::Launch;
use crate::support::proxy::Proxy;
use crate::support::wire::{Fault, mutates};

/// Cases at once: each has processes of its own, and the machine is the limit.
const AT_ONCE: usize = 6;

/// Before AWS acts, after it, and while the next process is already at work.
const BOUNDARIES: [Fault; 3] = [
    Fault::LostBefore,
    Fault::LostAfter,
    Fault::LostBetween(Duration::from_millis(150)),
];

/// One run of a scenario, killed at a call or not at all.
fn run(scenario: &Scenario, more: More) -> Left {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let place = Place::new(scenario.emulator).in_region(scenario.region);
        let ground = Emulated {
            proxy: Proxy::before(&place.endpoint),
            place,
        };
        let case = Case::new(scenario, more, &ground);
        let launch = Launch::new(&ground.place)
            .with("AWS_ENDPOINT_URL", &ground.proxy.endpoint)
            .with("AWS_REGION", scenario.region);
        let launch = launch.with_short_waits();
        let launch = if scenario.kind() == JobKind::Remove {
            launch.with("SLIPWAY_QUARANTINE", "0s")
        } else {
            launch
        };
        let mut process = launch.serve().await;
        let id = case.begin(&process.api).await;
        if more.is_some() {
            tokio::time::timeout(Duration::from_secs(60), ground.proxy.lost())
                .await
                .expect("the call is made");
            process.kill().await;
            process = launch.serve().await;
        }
        let left = case.end(&process.api, &id).await;
        process.stop().await;
        left
    })
}

/// What can be doubled or lost: a change that AWS has made and nobody has recorded.
#[test]
fn killed_after_every_change_of_every_kind_of_job() {
    let _turn = futures::executor::block_on(alone());
    let clean = clean_runs();
    let mut cases = enumerated(&clean, &[Fault::LostAfter]);
    cases.retain(|case| case.more.is_none_or(|(call, ..)| mutates(call)));
    assert!(cases.len() > 50, "{}", cases.len());
    run_all(&cases, AT_ONCE, run);
}

#[test]
#[ignore = "takes long: make test-all"]
fn killed_at_every_call_of_every_kind_of_job() {
    let _turn = futures::executor::block_on(alone());
    let clean = clean_runs();
    let mut cases = enumerated(&clean, &BOUNDARIES);
    // A look that AWS answers late changes nothing that the next process could meet.
    cases.retain(|case| {
        case.more
            .is_none_or(|(call, _, fault)| mutates(call) || !matches!(fault, Fault::LostBetween(_)))
    });
    run_all(&cases, AT_ONCE, run);
}

/// A run without a fault of one scenario of each kind of job.
fn clean_runs() -> Vec<(&'static Scenario, Left)> {
    let first = |kind| {
        SCENARIOS
            .iter()
            .find(|scenario| scenario.kind() == kind)
            .expect("a scenario")
    };
    JobKind::iter()
        .map(first)
        .map(|scenario| (scenario, run(scenario, None)))
        .collect()
}

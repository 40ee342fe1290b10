//! The real process, killed at every call of every kind of job, and started again on the same database.

use std::time::Duration;

use slipway::domain::job::JobKind;
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

/// Cases at once: a lost key's answer is waited for half a minute.
const AT_ONCE: usize = 16;

/// Before AWS acts, after it, and while the next process is already at work.
const BOUNDARIES: [Fault; 3] = [Fault::LostBefore, Fault::LostAfter, Fault::LostBetween(Duration::from_millis(150))];

/// One run of a scenario, killed at a call or not at all.
fn run(scenario: &Scenario, more: More) -> Left {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let place = Place::new(scenario.emulator).in_region(scenario.region);
        let ground = Emulated { proxy: Proxy::before(&place.endpoint), place };
        let case = Case::new(scenario, more, &ground);
        let launch = Launch::new(&ground.place).with("AWS_ENDPOINT_URL", &ground.proxy.endpoint).with("AWS_REGION", scenario.region);
        let launch = if scenario.kind() == JobKind::Remove { launch.with("SLIPWAY_QUARANTINE", "0s") } else { launch };
        let mut process = launch.serve().await;
        let id = case.begin(&process.api).await;
        if more.is_some() {
            tokio::time::timeout(Duration::from_secs(60), ground.proxy.lost()).await.expect("the call is made");
            process.kill().await;
            process = launch.serve().await;
        }
        let left = case.end(&process.api, &id).await;
        process.stop().await;
        left
    })
}

#[test]
fn killed_at_every_call_of_every_kind_of_job() {
    let _turn = futures::executor::block_on(alone());
    let first = |kind| SCENARIOS.iter().find(|scenario| scenario.kind() == kind).expect("a scenario");
    let clean: Vec<(&Scenario, Left)> = JobKind::iter().map(first).map(|scenario| (scenario, run(scenario, None))).collect();
    let mut cases = enumerated(&clean, &BOUNDARIES);
    // A look that AWS answers late changes nothing that the next process could meet.
    cases.retain(|case| case.more.is_none_or(|(call, _, fault)| mutates(call) || !matches!(fault, Fault::LostBetween(_))));
    run_all(&cases, AT_ONCE, run);
}

//! Every fault at every call, and the process lost at every step of its tasks, on the AWS in memory and in simulated time.

use std::collections::BTreeSet;
use std::time::Duration;

use slipway::domain::job::JobKind;
use slipway::resources::{KINDS, permission};

use super::case::{Case, Left, More};
use super::scenarios::{SCENARIOS, Scenario};
use super::{enumerated, run_simulated};
use crate::aws::Options;
use crate::support::alone;
use crate::support::simulated::{Host, runtime};
use crate::support::wire::{Fault, mutates};

/// One run of a scenario, with one more fault or none.
fn run(scenario: &Scenario, more: More) -> Left {
    let runtime = runtime();
    let left = runtime.block_on(async {
        let host = host(scenario);
        let case = Case::new(scenario, more, &host);
        let mut process = host.start().await;
        let id = case.begin(&process).await;
        if more.is_some_and(|(.., fault)| fault.loses_the_process()) {
            tokio::time::timeout(Duration::from_secs(600), host.aws.lost()).await.expect("the call is made");
            process.kill().await;
            process = host.start().await;
        }
        let left = case.end(&process, &id).await;
        process.stop().await;
        left
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    left
}

fn host(scenario: &Scenario) -> Host {
    let mut host = Host::new(Options::default());
    host.region = scenario.region;
    if scenario.kind() == JobKind::Remove {
        host.settings.quarantine = Duration::ZERO;
    }
    host
}

fn clean_runs() -> Vec<(&'static Scenario, Left)> {
    SCENARIOS.iter().map(|scenario| (scenario, run(scenario, None))).collect()
}

#[test]
fn every_fault_at_every_call_of_every_kind_of_job() {
    let _turn = futures::executor::block_on(alone());
    let clean = clean_runs();
    let mut cases = enumerated(&clean, &Fault::ALL);
    assert!(cases.len() > 1000, "the enumeration is not empty: {}", cases.len());
    // A read has no effect that could be lost: to its caller these are the same.
    cases.retain(|case| case.more.is_none_or(|(call, _, fault)| mutates(call) || !matches!(fault, Fault::ResetAfter | Fault::LostAfter)));
    run_simulated(&cases, run);
}

/// Calls that no scenario makes: only plans ask for a preview; and what hardly any user has is looked for only once AWS
/// has refused to delete the user, which the emulators do not, and know none of it:
/// `removal::what_is_rare_is_found_when_aws_does_not_delete_the_user` makes those.
const NOT_REPLAYED: [&str; 7] = [
    "LifecyclePolicyPreview",
    ":ListSigningCertificates",
    ":ListSSHPublicKeys",
    ":ListServiceSpecificCredentials",
    ":DeleteSigningCertificate",
    ":DeleteSSHPublicKey",
    ":DeleteServiceSpecificCredential",
];

/// No kind of resource and no call of one can be left out of the replay.
#[test]
fn the_scenarios_reach_every_kind_and_every_call() {
    let runs: Vec<Left> = clean_runs().into_iter().map(|(_, left)| left).collect();
    let kinds: BTreeSet<&str> = runs.iter().flat_map(|run| &run.resources).map(|id| id.split('/').next().unwrap()).collect();
    assert_eq!(kinds, KINDS.iter().copied().collect());
    let called: BTreeSet<String> = runs.iter().flat_map(|run| &run.calls).map(|(call, _)| call.clone()).collect();
    let declared: BTreeSet<String> = permission::all().map(|p| format!("{}:{}", p.service, p.operation)).collect();
    let declared: BTreeSet<String> = declared.into_iter().filter(|call| !NOT_REPLAYED.iter().any(|what| call.ends_with(what))).collect();
    assert_eq!(called, declared);
}

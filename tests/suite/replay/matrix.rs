//! Every fault at every call, and the process lost at every step of its tasks, on the AWS in memory and in simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use slipway::domain::job_kind::JobKind;
use slipway::provision::kinds::KINDS;
use slipway::provision::permissions;

use super::case::{Case, Left, More};
use super::scenarios::{SCENARIOS, Scenario};
use super::{Planned, compared, enumerated, identities, run_simulated, setups};
use crate::aws::Options;
use crate::support::simulated::{Host, runtime};
use crate::support::wire::{Fault, mutates};
use crate::support::{alone, for_each_of};

/// One run of a scenario, with one more fault or none.
fn run(scenario: &Scenario, more: More) -> Left {
    let runtime = runtime();
    let left = runtime.block_on(async {
        let host = host(scenario);
        let case = case(scenario, more, &host).await;
        let mut process = host.start().await;
        let id = case.begin(&process).await;
        if more.is_some_and(|(.., fault)| fault.loses_the_process()) {
            tokio::time::timeout(Duration::from_secs(600), host.aws.lost())
                .await
                .expect("the call is made");
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

/// How long everything that a scenario sets going takes, in simulated time.
const GOES_ON: Duration = Duration::from_secs(600);

/// The steps of a process after a scenario's job is accepted, counted from there, before which something had changed in AWS or in
/// the database, or was on its way: what a process leaves that is lost between two of them is the same.
fn places_to_die(scenario: &Scenario) -> Vec<u64> {
    let runtime = runtime();
    let places = runtime.block_on(async {
        let host = host(scenario);
        let case = case(scenario, None, &host).await;
        let process = host.start().await;
        case.begin(&process).await;
        let (aws, database) = (
            host.aws.clone(),
            host.settings.database_url.replace("sqlite://", "") + "-wal",
        );
        let (first, seen) = (
            process.simulated.steps(),
            Arc::new(Mutex::new((BTreeSet::new(), Vec::new()))),
        );
        let noted = seen.clone();
        process.simulated.watch(move |step| {
            let log = aws.log();
            let answered = log.iter().filter(|call| call.ended.is_some()).count();
            let mark = (
                log.len(),
                answered,
                std::fs::metadata(&database).map_or(0, |file| file.len()),
            );
            let (marks, places) = &mut *noted.lock().unwrap();
            if marks.insert(mark) {
                places.push(step - first);
            }
        });
        tokio::time::sleep(GOES_ON).await;
        process.stop().await;
        std::mem::take(&mut seen.lock().unwrap().1)
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    places
}

/// One run of a scenario whose process is lost before a step, and another goes on.
fn run_killed(scenario: &Scenario, place: u64) -> Left {
    let runtime = runtime();
    let left = runtime.block_on(async {
        let host = host(scenario);
        let case = case(scenario, None, &host).await.killed();
        let mut process = host.start().await;
        let id = case.begin(&process).await;
        process
            .simulated
            .kill_before(process.simulated.steps() + place);
        let began = tokio::time::Instant::now();
        while !process.simulated.is_killed() && began.elapsed() < GOES_ON {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        process.kill().await;
        process = host.start().await;
        let left = case.end(&process, &id).await;
        process.stop().await;
        left
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    left
}

/// What the case starts from is older than its job: IAM reports whole seconds, by which a job knows what it created.
async fn case<'a>(scenario: &'a Scenario, more: More<'a>, host: &'a Host) -> Case<'a, Host> {
    let case = Case::new(scenario, more, host);
    tokio::time::sleep(Duration::from_secs(2)).await;
    case
}

fn host(scenario: &Scenario) -> Host {
    // A bucket whose lost create left no tags is found by when it was made.
    let tags_with_bucket = !scenario
        .always
        .iter()
        .any(|(call, ..)| *call == "s3:CreateBucket");
    let mut host = Host::new(Options {
        tags_with_bucket,
        ..Options::default()
    });
    host.region = scenario.region;
    host.settings.approvals.administrator_access = false;
    if scenario.kind() == JobKind::Remove {
        host.settings.quarantine = Duration::ZERO;
    }
    host
}

/// All scenarios: also those with calls that the emulators do not know.
fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS
        .iter()
        .chain(&identities::SCENARIOS)
        .chain(&setups::SCENARIOS)
}

fn clean_runs() -> Vec<(&'static Scenario, Left)> {
    scenarios()
        .map(|scenario| (scenario, run(scenario, None)))
        .collect()
}

/// Every call of every scenario, met by every fault.
fn every_case<'a>(clean: &'a [(&'a Scenario, Left)]) -> Vec<Planned<'a>> {
    let faults: Vec<Fault> = Fault::ALL.into_iter().chain([Fault::CutShort]).collect();
    let mut cases = enumerated(clean, &faults);
    assert!(
        cases.len() > 1000,
        "the enumeration is not empty: {}",
        cases.len()
    );
    // A read has no effect that could be lost or be late: to its caller these are the same as others.
    let is_of_effects = |fault: Fault| {
        matches!(
            fault,
            Fault::ResetAfter | Fault::LostAfter | Fault::LostBetween(_) | Fault::TooLate(_)
        )
    };
    cases.retain(|case| {
        case.more
            .is_none_or(|(call, _, fault)| mutates(call) || !is_of_effects(fault))
    });
    cases
}

#[test]
fn every_fault_at_every_operation_of_every_kind_of_job() {
    let _turn = futures::executor::block_on(alone());
    let clean = clean_runs();
    let mut cases = every_case(&clean);
    let mut met = BTreeSet::new();
    cases.retain(|case| {
        let (call, _, fault) = case.more.expect("a fault");
        met.insert((case.scenario.kind().to_string(), call, format!("{fault:?}")))
    });
    run_simulated(&cases, run);
}

#[test]
#[ignore = "takes long: make test-all"]
fn every_fault_at_every_call_of_every_kind_of_job() {
    let _turn = futures::executor::block_on(alone());
    let clean = clean_runs();
    run_simulated(&every_case(&clean), run);
}

#[test]
fn a_process_is_lost_at_every_step_that_counts() {
    let _turn = futures::executor::block_on(alone());
    let began = std::time::Instant::now();
    let cases: Vec<(&Scenario, u64)> = scenarios()
        .flat_map(|scenario| {
            places_to_die(scenario)
                .into_iter()
                .map(move |place| (scenario, place))
        })
        .collect();
    assert!(
        cases.len() > 300,
        "the enumeration is not empty: {}",
        cases.len()
    );
    let clean: BTreeMap<&str, Left> = scenarios()
        .map(|scenario| (scenario.title, run(scenario, None)))
        .collect();
    let failed = Mutex::new(Vec::new());
    for_each_of(
        &cases,
        std::thread::available_parallelism().map_or(2, usize::from),
        |(scenario, place)| {
            let left = || run_killed(scenario, *place).seen;
            if let Err(failure) = compared(left, &clean[scenario.title]) {
                failed.lock().unwrap().push(format!(
                    "{} lost before step {place} {failure}",
                    scenario.title
                ));
            }
        },
    );
    let failed = failed.into_inner().unwrap();
    println!(
        "{} cases in {:.0?}, {} failed",
        cases.len(),
        began.elapsed(),
        failed.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
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
    let kinds: BTreeSet<&str> = runs
        .iter()
        .flat_map(|run| &run.resources)
        .map(|id| id.split('/').next().unwrap())
        .collect();
    assert_eq!(kinds, KINDS.iter().copied().collect());
    let called: BTreeSet<String> = runs
        .iter()
        .flat_map(|run| &run.calls)
        .map(|(call, _)| call.clone())
        .collect();
    let declared: BTreeSet<String> = permissions::all()
        .map(|p| format!("{}:{}", p.service, p.operation))
        .collect();
    let declared: BTreeSet<String> = declared
        .into_iter()
        .filter(|call| !NOT_REPLAYED.iter().any(|what| call.ends_with(what)))
        .collect();
    assert_eq!(called, declared);
}

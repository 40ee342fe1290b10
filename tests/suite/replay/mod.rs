//! The replay harness: every call of every job, met by every fault.
//!
//! Each scenario runs clean once and its calls are recorded. Then it runs again for each of those calls
//! and each fault: the job has to end as the clean one did, with exactly one live key whose secret can be
//! claimed and works, nothing left over, nothing foreign touched, and nothing left to change.

mod case;
mod emulated;
mod ground;
mod identities;
mod kills;
mod matrix;
mod scenarios;
mod setups;
mod throttled;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use slipway::domain::job_kind::JobKind;
use strum::IntoEnumIterator as _;

use case::{Left, More};
pub use identities::of_every_kind;
use scenarios::{SCENARIOS, Scenario};

use super::support::for_each_of;

/// A scenario and what goes wrong in it.
struct Planned<'a> {
    scenario: &'a Scenario,
    clean: &'a Left,
    more: More<'a>,
}

/// Every case but the clean runs: every call of each with every fault, except calls that always meet one.
fn enumerated<'a>(
    clean: &'a [(&'a Scenario, Left)],
    faults: &[super::support::wire::Fault],
) -> Vec<Planned<'a>> {
    let mut cases = Vec::new();
    for (scenario, clean) in clean {
        let is_taken = |call: &str, nth: usize| {
            scenario
                .always
                .iter()
                .any(|(name, n, _)| *name == call && *n == nth)
        };
        let calls: Vec<_> = clean
            .calls
            .iter()
            .filter(|(call, nth)| !is_taken(call, *nth))
            .collect();
        let before = cases.len();
        cases.extend(calls.iter().flat_map(|(call, nth)| {
            faults.iter().map(|fault| Planned {
                scenario,
                clean,
                more: Some((call.as_str(), *nth, *fault)),
            })
        }));
        assert!(!calls.is_empty());
        assert_eq!(
            cases.len() - before,
            (clean.calls.len() - scenario.always.len()) * faults.len(),
            "every call meets every fault"
        );
        println!(
            "{} ({}): {} calls, {} cases",
            scenario.title,
            scenario.kind(),
            clean.calls.len(),
            cases.len() - before
        );
    }
    cases
}

/// Runs every case, some at once, and answers those that did not leave what their clean run left.
fn failures<'c, 'p>(
    cases: &'c [Planned<'p>],
    at_once: usize,
    run: &(impl Fn(&Scenario, More) -> Left + Sync),
) -> Vec<(&'c Planned<'p>, String)> {
    let (done, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    for_each_of(cases, at_once, |case| {
        let outcome = outcome(case, run);
        done.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = outcome {
            failed.lock().unwrap().push((case, failure));
        }
    });
    assert_eq!(done.into_inner(), cases.len(), "every case was run");
    failed.into_inner().unwrap()
}

/// Runs every case in simulated time, where nothing depends on how busy the machine is.
fn run_simulated(cases: &[Planned], run: impl Fn(&Scenario, More) -> Left + Sync) {
    let began = std::time::Instant::now();
    let failed = failures(
        cases,
        std::thread::available_parallelism().map_or(2, usize::from),
        &run,
    );
    println!(
        "{} cases in {:.0?}, {} failed",
        cases.len(),
        began.elapsed(),
        failed.len()
    );
    let failed: Vec<String> = failed.into_iter().map(|(_, failure)| failure).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Runs every case on real connections. Beside others a case can meet its time-outs on a busy machine: what failed there has
/// to work alone.
fn run_all(cases: &[Planned], at_once: usize, run: impl Fn(&Scenario, More) -> Left + Sync) {
    let began = std::time::Instant::now();
    let beside_others = failures(cases, at_once, &run);
    let mut failed = Vec::new();
    for (case, failure) in &beside_others {
        println!("once more, alone: {failure}");
        failed.extend(outcome(case, &run).err());
    }
    println!(
        "{} cases in {:.0?}, {} failed beside others, {} alone",
        cases.len(),
        began.elapsed(),
        beside_others.len(),
        failed.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn outcome(case: &Planned, run: &(impl Fn(&Scenario, More) -> Left + Sync)) -> Result<(), String> {
    let outcome = compared(|| run(case.scenario, case.more).seen, case.clean);
    outcome.map_err(|failure| {
        format!(
            "{}: {:?} {failure}",
            case.scenario.title,
            case.more.expect("a fault")
        )
    })
}

/// Whether a run leaves what the clean one left.
fn compared(run: impl FnOnce() -> Value, clean: &Left) -> Result<(), String> {
    let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .map_err(|panic| words(panic.as_ref()))?;
    let differences = differences("", &seen, &clean.seen);
    if differences.is_empty() {
        Ok(())
    } else {
        Err(format!("left {}", differences.join("; ")))
    }
}

pub fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").to_owned()
}

/// Where two documents differ.
fn differences(at: &str, left: &Value, right: &Value) -> Vec<String> {
    let (Some(l), Some(r)) = (left.as_object(), right.as_object()) else {
        return if left == right {
            Vec::new()
        } else {
            vec![format!("{at}: {left}, not {right}")]
        };
    };
    let names: BTreeSet<&String> = l.keys().chain(r.keys()).collect();
    names
        .into_iter()
        .flat_map(|key| differences(&format!("{at}/{key}"), &left[key], &right[key]))
        .collect()
}

/// No kind of job can be left out of the replay.
#[test]
fn every_kind_of_job_has_a_scenario() {
    for kind in JobKind::iter() {
        assert!(
            SCENARIOS.iter().any(|scenario| scenario.kind() == kind),
            "{kind} needs an entry among the scenarios"
        );
    }
}

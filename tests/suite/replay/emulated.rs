//! Every fault at every call, on the emulators and real connections: somebody else's reading of AWS. It takes long, so it
//! is for `make test-all`; the same cases on the AWS in memory are in `matrix`.

use std::time::Duration;

use slipway::domain::job_kind::JobKind;

use super::case::{Case, Left, More};
use super::ground::Emulated;
use super::scenarios::{SCENARIOS, Scenario};
use super::{enumerated, run_all};
use crate::support::alone;
use crate::support::aws::Place;
use crate::support::server::{Server, Setup};
use crate::support::wire::Fault;

/// Cases at once: the emulators are the slowest part, and most cases wait for a while.
const AT_ONCE: usize = 14;

/// One run of a scenario, with one more fault or none.
fn run(scenario: &Scenario, more: More) -> Left {
    let place = Place::new(scenario.emulator).in_region(scenario.region);
    let mut setup = Setup::new(place.clone());
    // Long enough for an emulator that is busy with other cases.
    setup.timing.answer = Duration::from_millis(1500);
    if scenario.kind() == JobKind::Remove {
        setup.settings.quarantine = Duration::ZERO;
        // A key that is gone and that nobody has noted as gone could be one that is too young to be listed.
        setup.timing.propagation = Duration::from_secs(2);
    }
    if more.is_some_and(|(.., fault)| fault == Fault::Denied) {
        // A denial on what was made just now is waited out for as long.
        setup.timing.propagation = Duration::from_secs(2);
    }
    let ground = Emulated {
        place,
        proxy: setup.proxy.clone(),
    };
    let case = Case::new(scenario, more, &ground);
    let mut process = Process::start(&setup);
    let id = process.block_on(async |server| case.begin(server).await);
    if more.is_some_and(|(.., fault)| fault.loses_the_process()) {
        process.block_on(async |_| {
            tokio::time::timeout(Duration::from_secs(60), setup.proxy.lost())
                .await
                .expect("the call is made")
        });
        process.kill();
        process = Process::start(&setup);
    }
    let left = process.block_on(async |server| case.end(server, &id).await);
    process.stop();
    left
}

/// A process of the service, as far as a test can tell: a runtime of its own, which can be lost at any call.
struct Process {
    runtime: tokio::runtime::Runtime,
    server: Server,
}

impl Process {
    fn start(setup: &Setup) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let server = runtime.block_on(setup.start());
        Self { runtime, server }
    }

    fn block_on<T>(&self, work: impl AsyncFnOnce(&Server) -> T) -> T {
        self.runtime.block_on(work(&self.server))
    }

    /// Everything that it was doing ends where it stands.
    fn kill(self) {
        drop(self.server);
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }

    fn stop(self) {
        self.runtime.block_on(self.server.stop());
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

fn clean_runs() -> Vec<(&'static Scenario, Left)> {
    SCENARIOS
        .iter()
        .map(|scenario| (scenario, run(scenario, None)))
        .collect()
}

#[test]
#[ignore = "takes some twenty minutes: make test-all"]
fn every_fault_at_every_call_of_every_kind_of_job() {
    let _turn = futures::executor::block_on(alone());
    let clean = clean_runs();
    let cases = enumerated(&clean, &Fault::ALL);
    assert!(
        cases.len() > 1000,
        "the enumeration is not empty: {}",
        cases.len()
    );
    run_all(&cases, AT_ONCE, run);
}

"""How near 16 workers come to what AWS's distance allows, at 50 ms a call.

An onboarding is three waves of calls, so a worker that needs no time of its own ends a job every 150 ms.
The jobs wait in the database, and AWS is answers from a text, so that the processors are the service's.
"""

import sqlite3
import statistics
import time

from canned_aws import FIRST, canned_aws
from emulators import emulators
from instance_metadata import instance_metadata
from load import accepted
from service import processor_seconds, service
from table import Row

ROUNDS = 3
WORKERS = 16
WAVES = 3
DELAY = 0.05
# The backlog is what these clients get accepted in this time: several hundred jobs.
CLIENTS = 16
SECONDS = 0.4
PATIENCE = 120


def run(binary):
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata:
        with canned_aws(urls["ministack"], DELAY) as (endpoint, backend):
            with service(binary, endpoint, metadata, workers=WORKERS) as slipway:
                onboard_first(slipway)
                rates = [worked_off(slipway, f"round-{n}") for n in range(ROUNDS)]
    print(
        f"The backend was late by {1000 * backend.late:.1f} ms on average "
        f"and used {1e6 * backend.processor / backend.answers:.0f} µs of processor a call.\n"
    )
    allowed = WORKERS / (WAVES * DELAY)
    rate = statistics.median(rates)
    return [Row(f"jobs of {WORKERS} workers, against what AWS's distance allows", rate, "/s", allowed, at_least=0.9)]


def onboard_first(slipway):
    """One app first, so that whatever the service looks up once is looked up."""
    _, _, job = slipway.request("POST", "/v1/apps", {"name": FIRST})
    if slipway.ended(job)["state"] != "succeeded":
        raise RuntimeError(f"the first app failed: {slipway.tail()}")


def worked_off(slipway, prefix):
    """Jobs a second, from the start of the backlog's first to the end of its last."""
    used = processor_seconds(slipway.process.pid)
    jobs, _, _ = accepted(slipway.port, slipway.token, CLIENTS, SECONDS, prefix)
    database = sqlite3.connect(f"file:{slipway.directory}/slipway.db?mode=ro", uri=True)
    await_end(slipway, database)
    began, ended, succeeded = database.execute(
        "SELECT min(j.started_at), max(j.finished_at), sum(j.state = 'succeeded') FROM jobs j "
        "JOIN apps a ON a.id = j.app_id WHERE a.name LIKE ? || '-%'", (prefix,)
    ).fetchone()
    database.close()
    if succeeded < jobs:
        raise RuntimeError(f"of {jobs} jobs {succeeded} succeeded: {slipway.tail()}")
    used = processor_seconds(slipway.process.pid) - used
    print(f"{jobs} jobs in {(ended - began) / 1000:.2f} s, {1000 * used / jobs:.1f} ms of processor a job\n")
    return 1000 * succeeded / (ended - began)


def await_end(slipway, database):
    deadline = time.monotonic() + PATIENCE
    while database.execute("SELECT count(*) FROM jobs WHERE finished_at IS NULL").fetchone()[0]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the backlog is not worked off after {PATIENCE} s: {slipway.tail()}")
        time.sleep(0.5)

"""How many jobs a second the service accepts, each on disk before its 202.

On SQLite against a bare loop of single-row SQLite commits as durable (WAL, synchronous=FULL) in the
same directory; on PostgreSQL against SQLite. Jobs should cost nothing meanwhile, so there is one worker
and, once the services are ready, AWS answers after ten minutes: what is measured is accepting alone.
"""

import json
import sqlite3
import statistics
import subprocess
import time

from emulators import emulators, postgres, postgres_programs
from instance_metadata import instance_metadata
from latency_proxy import LatencyProxy
from load import accepted
from service import service
from table import Row

ROUNDS = 3
SECONDS = 3
FAR_AWAY = 600
CROWD = 64


def run(binary):
    commits = []
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata:
        with LatencyProxy(urls["ministack"]) as proxy, postgres(durable=True) as url:
            with (
                service(binary, proxy.url, metadata, workers=1) as slipway,
                service(binary, proxy.url, metadata, workers=1, database_url=url) as on_postgres,
            ):
                sqlite, other = Rounds(slipway, "sqlite"), Rounds(on_postgres, "postgres")
                proxy.delay = FAR_AWAY
                for n in range(ROUNDS):
                    commits.append(commits_per_second(slipway.directory / f"bare-{n}.db"))
                    sqlite.run(n)
                    other.run(n)
                check_kept(sqlite.jobs(), in_sqlite(slipway))
                check_kept(other.jobs(), in_postgres(url))
    floor = statistics.median(commits)
    used = statistics.median(used / jobs for jobs, _, used in sqlite.crowd)
    print(f"The load of {CROWD} clients itself used {1e6 * used:.0f} µs of processor a job.\n")
    one, crowd = rate(sqlite.one), rate(sqlite.crowd)
    return [
        Row("jobs accepted by one client, against bare commits", one, "/s", floor, at_least=0.7),
        Row(f"jobs accepted by {CROWD} clients, against bare commits", crowd, "/s", floor, at_least=2.0),
        Row("jobs accepted by one client, PostgreSQL against SQLite", rate(other.one), "/s", one),
        Row(f"jobs accepted by {CROWD} clients, PostgreSQL against SQLite", rate(other.crowd), "/s", crowd),
    ]


class Rounds:
    """What one service accepted, round by round. It gets one whole app first: what it looks up once is looked up."""

    def __init__(self, slipway, name):
        self.slipway, self.one, self.crowd = slipway, [], []
        _, _, job = slipway.request("POST", "/v1/apps", {"name": f"first-{name}"})
        if slipway.ended(job)["state"] != "succeeded":
            raise RuntimeError(f"the first app failed: {slipway.tail()}")

    def run(self, n):
        port, token = self.slipway.port, self.slipway.token
        self.one.append(accepted(port, token, 1, SECONDS, f"one-{n}"))
        self.crowd.append(accepted(port, token, CROWD, SECONDS, f"crowd-{n}"))

    def jobs(self):
        return sum(jobs for jobs, _, _ in self.one + self.crowd)


def rate(rounds):
    return statistics.median(jobs / seconds for jobs, seconds, _ in rounds)


def check_kept(accepted_jobs, kept):
    """A 202 counts if its job is in the database, so they are counted there too."""
    if kept < accepted_jobs:
        raise RuntimeError(f"{accepted_jobs} jobs were accepted, {kept} are in the database")


def in_sqlite(slipway):
    database = sqlite3.connect(f"file:{slipway.directory}/slipway.db?mode=ro", uri=True)
    kept = database.execute("SELECT count(*) FROM jobs").fetchone()[0]
    database.close()
    return kept


def in_postgres(url):
    count = [postgres_programs() / "psql", url, "-Atc", "SELECT count(*) FROM jobs"]
    return int(subprocess.run(count, capture_output=True, text=True, check=True).stdout)


def commits_per_second(path):
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    body, done, began = json.dumps({"name": "an-app-of-usual-length"}), 0, time.perf_counter()
    while time.perf_counter() < began + SECONDS:
        database.execute("INSERT INTO jobs (body) VALUES (?)", (body,))
        done += 1
    taken = time.perf_counter() - began
    database.close()
    return done / taken

"""How soon a job goes on whose process was killed: restarted at once, and by another replica.

The process is killed while the second wave of a job's calls is out, and AWS is told apart from the
start's own question who the caller is. The worst of the rounds counts.
"""

import contextlib
import pathlib
import secrets
import tempfile
import time

from emulators import emulators, postgres, stop
from instance_metadata import instance_metadata
from latency_proxy import LatencyProxy
from service import await_ready, encryption_key, start
from table import Row

ROUNDS = 5
# A job of three waves lasts long enough to be killed in the middle; then AWS is as far away as it is.
SLOW, USUAL = 0.5, 0.05
FIRST_WAVE = 3
LEASE = 3
PATIENCE = 60
NOT_THE_JOBS = "GetCallerIdentity"


def run(binary):
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata:
        restarts = after_restarts(binary, urls["ministack"], metadata)
        takeovers = after_takeovers(binary, urls["ministack"], metadata)
    show("restart", restarts)
    show("takeover", takeovers)
    return [
        Row("killed and restarted (SQLite): start to the job's next call", max(restarts), "s", at_most=1),
        Row("killed beside a replica (PostgreSQL), against lease + 1 s", max(takeovers), "s", LEASE + 1, at_most=1),
    ]


def after_restarts(binary, endpoint, metadata):
    """Seconds from each start of a new process to its next call of the job that the killed one was at."""
    secret, seconds = {"encryption_key": encryption_key(binary), "admin_token": secrets.token_urlsafe(24)}, []
    with LatencyProxy(endpoint, USUAL) as proxy, tempfile.TemporaryDirectory(prefix="slipway-") as name:
        with running(binary, proxy.url, metadata, pathlib.Path(name), **secret) as slipway:
            onboard_first(slipway, "restart-first")
            for n in range(ROUNDS):
                job = in_the_middle(slipway, [proxy], f"restart-{n}")
                kill(slipway)
                proxy.delay, began = USUAL, time.monotonic()
                slipway.become(start(binary, proxy.url, metadata, pathlib.Path(name), **secret))
                seconds.append(next_call(proxy, began) - began)
                check_succeeded(slipway, job)
    return seconds


def after_takeovers(binary, endpoint, metadata):
    """Seconds from each kill to the other replica's next call of the job."""
    secret, seconds = {"encryption_key": encryption_key(binary), "admin_token": secrets.token_urlsafe(24)}, []
    with contextlib.ExitStack() as held:
        secret |= {"database_url": held.enter_context(postgres(durable=True)), "lease": f"{LEASE}s"}
        proxies = [held.enter_context(LatencyProxy(endpoint, USUAL)) for _ in range(2)]
        folders = [pathlib.Path(held.enter_context(tempfile.TemporaryDirectory(prefix="slipway-"))) for _ in range(2)]
        replicas = [
            held.enter_context(running(binary, proxy.url, metadata, folder, **secret))
            for proxy, folder in zip(proxies, folders)
        ]
        for n, replica in enumerate(replicas):
            onboard_first(replica, f"takeover-first-{n}")
        for n in range(ROUNDS):
            marks = [len(proxy.calls) for proxy in proxies]
            job = in_the_middle(replicas[n % 2], proxies, f"takeover-{n}")
            lost = max((0, 1), key=lambda each: len(calls_of_a_job(proxies[each], marks[each])))
            other = 1 - lost
            began = time.monotonic()
            kill(replicas[lost])
            proxies[other].delay = USUAL
            seconds.append(next_call(proxies[other], began) - began)
            check_succeeded(replicas[other], job)
            proxies[lost].delay = USUAL
            replicas[lost].become(start(binary, proxies[lost].url, metadata, folders[lost], **secret))
            await_ready(replicas[lost])
    return seconds


@contextlib.contextmanager
def running(binary, endpoint, metadata, directory, **settings):
    """A service that is ready, and that may be another process in the end."""
    slipway = start(binary, endpoint, metadata, directory, **settings)
    try:
        await_ready(slipway)
        yield slipway
    finally:
        slipway.connection.close()
        stop(slipway.process)


def onboard_first(slipway, app):
    """One app first, so that whatever the service looks up once is looked up."""
    _, _, job = slipway.request("POST", "/v1/apps", {"name": app})
    check_succeeded(slipway, job)


def in_the_middle(slipway, proxies, app):
    """Asks for an app and returns its job when its second wave of calls is out."""
    for proxy in proxies:
        proxy.delay = SLOW
    marks = [len(proxy.calls) for proxy in proxies]
    _, _, job = slipway.request("POST", "/v1/apps", {"name": app})
    deadline = time.monotonic() + PATIENCE
    while all(len(calls_of_a_job(*each)) <= FIRST_WAVE for each in zip(proxies, marks)):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the job of {app} does not get on: {slipway.tail()}")
        time.sleep(0.01)
    return job


def kill(slipway):
    slipway.connection.close()
    slipway.process.kill()
    slipway.process.wait()


def next_call(proxy, moment):
    """When the first call of a job after the moment began."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for call in calls_of_a_job(proxy, 0):
            if call.began > moment:
                return call.began
        time.sleep(0.005)
    raise RuntimeError(f"no call of a job within {PATIENCE} s")


def calls_of_a_job(proxy, mark):
    return [call for call in proxy.since(mark) if call.name != NOT_THE_JOBS]


def check_succeeded(slipway, job):
    """A time counts only if the job came to its end."""
    await_ready(slipway)
    job = slipway.ended(job)
    if job["state"] != "succeeded":
        raise RuntimeError(f"the job of {job['app']} ended as {job['state']}: {job}")


def show(what, seconds):
    print(f"Each {what}: " + ", ".join(f"{each:.2f} s" for each in seconds) + "\n")

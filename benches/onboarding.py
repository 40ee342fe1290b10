"""How long an app takes at 50 ms from AWS: the service, the bare calls, the rivals, in one run.

The service and the bare calls take turns, so that whatever else the machine does hits both.
"""

import collections
import datetime
import statistics
import time

import rivals
from bare import CALLS, Bare
from emulators import emulators
from instance_metadata import instance_metadata
from latency_proxy import LatencyProxy
from service import service
from table import Row

DELAY = 0.05
APPS = 15
# Long enough for calls that the service makes after the job has ended.
AFTERMATH = 0.5


def run(binary):
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata:
        with LatencyProxy(urls["ministack"], DELAY) as proxy:
            with service(binary, proxy.url, metadata) as slipway:
                onboard(slipway, proxy, {"name": "warm"})
                bare, served, jobs, calls, later = in_turns(slipway, proxy)
            theirs = {name: rivals.run(name, proxy.url, f"rival-{n}").seconds for n, name in enumerate(rivals.COMMANDS)}
    ours = statistics.median(served)
    show_calls("until the job's end", calls)
    show_calls(f"in the {AFTERMATH} s after it", later)
    return [
        Row("onboarding, POST to the job's end, against bare calls", ours, "s", statistics.median(bare), at_most=1.25),
        Row("onboarding, start to end of the job by its own clock", statistics.median(jobs), "s"),
        Row("AWS calls an app, against bare calls", statistics.median(map(len, calls)), "", CALLS),
        *(Row(f"onboarding against the {name}", ours, "s", seconds) for name, seconds in theirs.items()),
    ]


def in_turns(slipway, proxy):
    """Medians need the samples: bare and served seconds, job seconds, calls during and after."""
    samples = [], [], [], [], []
    floor = Bare(proxy.url)
    floor.onboard("bare-warm")
    for n in range(APPS):
        seconds, job, calls, later = onboard(slipway, proxy, {"name": f"served-{n}"})
        for sample, value in zip(samples, (floor.onboard(f"bare-{n}"), seconds, job, calls, later)):
            sample.append(value)
    floor.close()
    return samples


def onboard(slipway, proxy, spec):
    """One app by one call: the client's seconds, the job's seconds, and its AWS calls by name."""
    mark, began = len(proxy.calls), time.perf_counter()
    status, _, job = slipway.request("POST", "/v1/apps", spec)
    if status != 202:
        raise RuntimeError(f"POST /v1/apps answered {status}: {job}")
    job = slipway.ended(job)
    seconds, end = time.perf_counter() - began, len(proxy.calls)
    if job["state"] != "succeeded":
        raise RuntimeError(f"the job of {spec['name']} ended as {job['state']}: {job}")
    time.sleep(AFTERMATH)
    names = [call.name for call in proxy.since(mark)]
    return seconds, duration(job), names[: end - mark], names[end - mark :]


def duration(job):
    started, finished = (parsed(job[key]) for key in ("started_at", "finished_at"))
    return (finished - started).total_seconds()


def parsed(text):
    """An RFC 3339 time, with any number of digits after the second."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole)
    return moment + datetime.timedelta(seconds=float(f"0.{fraction or 0}"))


def show_calls(when, samples):
    counted = collections.Counter(name for sample in samples for name in sample)
    line = ", ".join(f"{name} {count / len(samples):g}" for name, count in sorted(counted.items()))
    print(f"AWS calls an app {when}: {line or 'none'}\n")

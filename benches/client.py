"""The command line: `slipway app list`, from its start to its end, against a bare curl of the same list."""

import os
import statistics
import subprocess
import time

from emulators import emulators
from instance_metadata import instance_metadata
from service import service
from table import Row

ROUNDS = 30


def run(binary):
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata:
        with service(binary, urls["ministack"], metadata) as slipway:
            environment = {"PATH": os.environ["PATH"], "SLIPWAY_URL": slipway.url, "SLIPWAY_TOKEN": slipway.token}
            curl = ["curl", "-sS", "-H", f"Authorization: Bearer {slipway.token}", f"{slipway.url}/v1/apps"]
            listed, bare = [], []
            # In turns: what else the machine does meets both.
            for _ in range(ROUNDS):
                listed.append(milliseconds([binary, "app", "list"], environment))
                bare.append(milliseconds(curl, environment))
    figure, against = statistics.median(listed), statistics.median(bare)
    return [
        Row("slipway app list, start to end", figure, "ms", at_most=50),
        Row("the same against a bare curl", figure, "ms", against=against, at_most=2),
    ]


def milliseconds(command, environment):
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return 1000 * (time.perf_counter() - began)

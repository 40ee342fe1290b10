"""What the server itself costs: its start, its memory when idle, its size on disk."""

import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from emulators import emulators, stop
from instance_metadata import instance_metadata
from service import await_ready, service, start
from table import Row

STARTS = 5
IDLE = 5
MB = 1_000_000


def run(binary):
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata:
        starts = [start_to_ready(binary, urls["ministack"], metadata) for _ in range(STARTS)]
        with service(binary, urls["ministack"], metadata) as slipway:
            time.sleep(IDLE)
            memory = resident(slipway.process.pid)
    return [
        Row("start to /readyz 200", statistics.median(starts), "s", at_most=0.3),
        Row(f"resident memory after {IDLE} s idle", memory / MB, "MB", at_most=40),
        Row("stripped binary", stripped_size(binary) / MB, "MB", at_most=30),
    ]


def start_to_ready(binary, endpoint, metadata):
    with tempfile.TemporaryDirectory(prefix="slipway-") as name:
        running = start(binary, endpoint, metadata, pathlib.Path(name))
        try:
            return await_ready(running)
        finally:
            stop(running.process)


def resident(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def stripped_size(binary):
    if not shutil.which("strip"):
        return pathlib.Path(binary).stat().st_size
    with tempfile.TemporaryDirectory() as name:
        copy = pathlib.Path(name) / "slipway"
        subprocess.run(["strip", "-o", copy, binary], check=True)
        return copy.stat().st_size

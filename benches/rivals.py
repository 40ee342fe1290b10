"""The two scripts that people use instead, run as they would run them, and timed."""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
COMMANDS = {
    "AWS CLI script": ["bash", str(HERE / "guide.sh")],
    "boto3 script": [sys.executable, str(HERE / "boto3_script.py")],
}


@dataclasses.dataclass
class Run:
    seconds: float
    exit_code: int
    known_keys: list
    errors: str


def run(name, endpoint, app):
    """Onboards the app with the rival of this name; its keys are handed to it, to be fair."""
    environment = {
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_PAGER": "",
    }
    began = time.perf_counter()
    done = subprocess.run([*COMMANDS[name], app], env=environment, capture_output=True, text=True)
    known = re.findall(r"^AWS_ACCESS_KEY_ID=(\S+)$", done.stdout, re.MULTILINE)
    return Run(time.perf_counter() - began, done.returncode, known, done.stderr)

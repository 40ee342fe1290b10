"""Generates two clients from openapi.yaml and lets each of them onboard an app, claim its key and remove it.

    python tests/emulators.py --only moto -- python tests/clients.py [--binary target/debug/slipway]

One is in Python (openapi-python-client), one in TypeScript (openapi-typescript and openapi-fetch, checked by tsc). A
part of the document that a generator does not understand is a failure.
"""

import argparse
import contextlib
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "benches")]

from emulators import clean_environment, end_on_signals  # noqa: E402
from instance_metadata import instance_metadata  # noqa: E402
from service import service  # noqa: E402

EMULATOR = "SLIPWAY_TEST_MOTO"
TYPESCRIPT = HERE / "typescript_client"
# What the Python generator says of responses that are no JSON: it gives out their bytes.
NO_JSON = ("Unsupported content_type application/yaml", "Unsupported content_type application/x-ndjson")


class Broken(Exception):
    """A client could not be generated, or did not do its work."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/debug/slipway", help="the slipway to run")
    options = parser.parse_args()
    if (endpoint := os.environ.get(EMULATOR)) is None:
        parser.error(f"{EMULATOR} is not set: run this with tests/emulators.py, or run make test")
    end_on_signals()
    try:
        with contextlib.ExitStack() as stack:
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-clients-")))
            metadata = stack.enter_context(instance_metadata(endpoint))
            slipway = stack.enter_context(service(options.binary, endpoint, metadata))
            python_client(slipway, directory)
            typescript_client(slipway, directory)
    except Broken as problem:
        print(f"clients: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(*command, directory, text=""):
    """What a command says; it has to succeed."""
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        [str(part) for part in command], cwd=directory, env={**clean_environment(), "PATH": path}, input=text,
        capture_output=True, text=True, check=False,
    )
    if ended.returncode:
        raise Broken(f"{' '.join(map(str, command))}\n{ended.stdout}{ended.stderr}")
    return ended.stdout + ended.stderr


def python_client(slipway, directory):
    said = run(
        sys.executable, "-m", "openapi_python_client", "generate", "--path", ROOT / "openapi.yaml",
        "--output-path", directory / "generated_client", "--meta", "none", directory=directory,
    )
    problems = [part for part in said.split("\n\n") if "Cannot parse" in part or "Unable to" in part]
    if problems := [part for part in problems if not any(known in part for known in NO_JSON)]:
        raise Broken("the Python generator does not understand:\n" + "\n".join(problems))
    sys.path.insert(0, str(directory))
    onboard(slipway, "python-client")


def onboard(slipway, name):
    """What people write against the generated client."""
    def part(module):
        return importlib.import_module(f"generated_client.{module}")

    models = part("models")
    client = part("client").AuthenticatedClient(base_url=slipway.url, token=slipway.token)

    def call(module, *values, **named):
        return part(f"api.{module}").sync(*values, client=client, **named)

    def end(job):
        if not isinstance(job, models.Job):
            raise Broken(f"no job of the Python client: {job}")
        ended = call("jobs.get_job", job.id, wait="30s")
        if not isinstance(ended, models.Job) or ended.state != models.JobState.SUCCEEDED:
            raise Broken(f"the job of the Python client ends as {ended}")
        return ended

    wrong = call("apps.onboard_app", body=models.AppRequest(name="not a name"))
    if not isinstance(wrong, models.Problem) or wrong.code != "invalid_fields":
        raise Broken(f"a wrong name gets {wrong}")
    job = end(call("apps.onboard_app", body=models.AppRequest(name=name, media_access=models.MediaAccess.SCOPED)))
    entries = call("history.list_audit", app=name).items
    if not any(entry.action == "job_requested" for entry in entries):
        raise Broken(f"the audit has {entries}")
    claim = call("credentials.claim_secret", name, job.result.access_key_id)
    if not claim.aws_secret_access_key:
        raise Broken(f"the claim is {claim}")
    end(call("apps.remove_app", name))
    print(f"{name}: onboarded, claimed and removed")


def typescript_client(slipway, directory):
    place = directory / "typescript"
    place.mkdir()
    for name in ("package.json", "tsconfig.json", "onboard.ts"):
        shutil.copy(TYPESCRIPT / name, place)
    (place / "node_modules").symlink_to(TYPESCRIPT / "node_modules")
    tools = TYPESCRIPT / "node_modules" / ".bin"
    # A field with a default may be left out of a request.
    defaults = "--default-non-nullable=false"
    run(tools / "openapi-typescript", ROOT / "openapi.yaml", "-o", "schema.d.ts", defaults, directory=place)
    run(tools / "tsc", directory=place)
    said = run("node", "built/onboard.js", slipway.url, "typescript-client", directory=place, text=slipway.token)
    print(said, end="")


if __name__ == "__main__":
    sys.exit(main())

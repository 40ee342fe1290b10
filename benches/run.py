"""Runs the benchmarks against a release build and prints one table of figures and targets.

    python benches/run.py --binary target/release/slipway [--only onboarding,figures]

Ratios are what to read: both of their sides come from the same run on the same machine.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

import accepting  # noqa: E402
import accounts  # noqa: E402
import client  # noqa: E402
import doors  # noqa: E402
import figures  # noqa: E402
import history  # noqa: E402
import lost_answer  # noqa: E402
import onboarding  # noqa: E402
import overload  # noqa: E402
import recovery  # noqa: E402
import webhooks  # noqa: E402
import workers  # noqa: E402
from emulators import end_on_signals  # noqa: E402
from table import markdown  # noqa: E402

SECTIONS = {
    "onboarding": onboarding,
    "lost-answer": lost_answer,
    "figures": figures,
    "accepting": accepting,
    "overload": overload,
    "workers": workers,
    "recovery": recovery,
    "history": history,
    "webhooks": webhooks,
    "client": client,
    "doors": doors,
    "accounts": accounts,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/slipway", help="the release build of slipway")
    parser.add_argument("--only", default=",".join(SECTIONS), help="comma-separated: " + ", ".join(SECTIONS))
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(SECTIONS):
        parser.error("no such section: " + ", ".join(sorted(unknown)))
    end_on_signals()
    rows = []
    for name in names:
        print(f"{name}: {SECTIONS[name].__doc__.splitlines()[0]}\n", flush=True)
        rows += SECTIONS[name].run(options.binary)
    print(markdown(rows))


if __name__ == "__main__":
    main()

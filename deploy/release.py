"""Builds a release: the binary, its packages, and what it is made of.

    python deploy/release.py [--to target/dist] [--binary-only]

The binary is stripped and has the list of its crates in it (cargo-auditable), which scanners read. The same commit gives
the same files, wherever it is cloned: paths of the machine are mapped to fixed ones, and times are those of the commit.
Needs cargo-auditable, which it installs into the target folder where it is missing, and what deploy/package.py needs.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zlib

import inventory
from package import ROOT, crate_version, last_commit

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TOOLS = TARGET / "tools"
DIST = TARGET / "dist"
TRIPLE = inventory.TARGET
AUDITABLE = "0.7.7"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=pathlib.Path, default=DIST)
    parser.add_argument("--binary-only", action="store_true", help="no packages and no inventory")
    options = parser.parse_args()
    os.environ["SOURCE_DATE_EPOCH"] = last_commit()
    install("cargo-auditable", AUDITABLE)
    if options.to == DIST:
        shutil.rmtree(options.to, ignore_errors=True)
    options.to.mkdir(parents=True, exist_ok=True)
    if any(options.to.iterdir()):
        parser.error(f"{options.to} is not empty")
    binary = options.to / f"slipway-{crate_version()}-{TRIPLE}"
    shutil.copyfile(build(), binary)
    binary.chmod(0o755)
    check_list_of_crates(binary)
    if not options.binary_only:
        for script, arguments in (("package.py", ["--binary", binary]), ("inventory.py", [])):
            subprocess.run([sys.executable, ROOT / "deploy" / script, *arguments, "--to", options.to], check=True)
    for path in sorted(options.to.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size / 1e6:8.1f} MB  {path.relative_to(options.to)}")
    return 0


def install(tool, version):
    """Installs this version of a subcommand of cargo, unless it is there."""
    os.environ["PATH"] = f"{TOOLS / 'bin'}{os.pathsep}{os.environ['PATH']}"
    installed = TOOLS / ".crates.toml"
    if not installed.exists() or f'"{tool} {version} ' not in installed.read_text():
        subprocess.run(["cargo", "install", "--locked", "--quiet", "--root", TOOLS, f"{tool}@{version}"], check=True)


def build():
    """Compiles the binary so that it does not tell where."""
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    places = {ROOT: "/slipway", TARGET.resolve(): "/target", home: "/cargo"}
    environment = {
        **os.environ,
        "CARGO_INCREMENTAL": "0",
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(f"--remap-path-prefix={place}={name}" for place, name in places.items()),
        "CFLAGS": " ".join(f"-ffile-prefix-map={place}={name}" for place, name in places.items()),
    }
    # With a target of its own, build scripts and macros are not compiled with these flags.
    command = ["cargo", "auditable", "build", "--release", "--locked", "--bin", "slipway", "--target", TRIPLE]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return TARGET / TRIPLE / "release" / "slipway"


def check_list_of_crates(binary):
    """The binary's list and the inventory have the same crates, but for those of macros, which some lists have."""
    section = subprocess.check_output(["objcopy", "-O", "binary", "--dump-section", ".dep-v0=/dev/stdout", binary, "/dev/null"])
    listed = json.loads(zlib.decompress(section))["packages"]
    listed = {(crate["name"], crate["version"]) for crate in listed if crate.get("kind", "runtime") == "runtime"}
    crates, _ = inventory.dependencies()
    linked = {(crate["name"], crate["version"]) for crate in crates}
    differ = (linked - listed) | (listed - linked - inventory.of_macros())
    if differ:
        raise SystemExit(f"in one of the binary's list of crates and the inventory alone: {sorted(differ)}")


if __name__ == "__main__":
    sys.exit(main())

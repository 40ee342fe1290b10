"""Builds the present commit in two clones at different paths and compares the binaries, byte by byte.

    python tests/reproducible.py
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    with tempfile.TemporaryDirectory(prefix="slipway-reproducible-") as folder:
        # Paths that differ in length, too: an offset is a difference.
        built = [build(pathlib.Path(folder) / name) for name in ("a", "a-second/and-longer-path")]
        first, second = (hashlib.sha256(binary).hexdigest() for binary in built)
        print(f"{first}\n{second}")
        if first != second:
            print("the binaries differ", file=sys.stderr)
            return 1
        for place in (folder, str(pathlib.Path.home())):
            if place.encode() in built[0]:
                print(f"the binary tells of {place}", file=sys.stderr)
                return 1
    return 0


def build(clone):
    clone.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("CARGO_TARGET_DIR", "RUSTFLAGS")}
    script = clone / "deploy" / "release.py"
    subprocess.run([sys.executable, script, "--binary-only", "--to", clone / "dist"], env=environment, check=True)
    return next((clone / "dist").iterdir()).read_bytes()


if __name__ == "__main__":
    sys.exit(main())

"""Writes what a release is made of, beside its packages.

    python deploy/inventory.py [--to target/dist]

- slipway.cdx.json: the crates in the binary with their versions, licences and checksums, as CycloneDX 1.5.
- THIRD-PARTY-LICENSES: the texts of their licences.
- SHA256SUMS: of everything in the folder, for `sha256sum --check`.

The same commit gives the same files.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tomllib
import uuid

from package import ROOT, last_commit

TARGET = "x86_64-unknown-linux-gnu"
TEXTS = ("LICENSE*", "LICENCE*", "COPYING*", "COPYRIGHT*", "NOTICE*", "license*")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=pathlib.Path, default=ROOT / "target" / "dist")
    to = parser.parse_args().to
    to.mkdir(parents=True, exist_ok=True)
    crates, edges = dependencies()
    (to / "slipway.cdx.json").write_text(json.dumps(bill_of_materials(crates, edges), indent=2) + "\n")
    (to / "THIRD-PARTY-LICENSES").write_text(licences(crates))
    (to / "SHA256SUMS").write_text(checksums(to))
    print(f"{len(crates) - 1} crates")
    return 0


def resolved():
    """The crates by their ids, what each depends on, and the id of Slipway."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.check_output(command, cwd=ROOT, text=True, stderr=subprocess.DEVNULL))
    packages = {package["id"]: package for package in metadata["packages"]}
    return packages, {node["id"]: node["deps"] for node in metadata["resolve"]["nodes"]}, metadata["resolve"]["root"]


def dependencies():
    """The crates that are linked into the binary, Slipway first, and what each depends on."""
    packages, needs, root = resolved()
    edges, waiting = {}, [root]
    while waiting:
        crate = waiting.pop()
        if crate in edges:
            continue
        # Not those of tests and of build scripts, nor macros, which run in the compiler.
        edges[crate] = sorted(
            dep["pkg"] for dep in needs[crate]
            if any(kind["kind"] is None for kind in dep["dep_kinds"]) and not is_macro(packages[dep["pkg"]])
        )
        waiting += edges[crate]
    crates = [packages[root], *sorted((packages[crate] for crate in edges if crate != root), key=lambda it: (it["name"], it["version"]))]
    return crates, edges


def of_macros():
    """The macros that run in the compiler, and what they are linked with."""
    packages, needs, _ = resolved()
    found, waiting = set(), [crate for crate, package in packages.items() if is_macro(package)]
    while waiting:
        crate = waiting.pop()
        if crate not in found:
            found.add(crate)
            waiting += [dep["pkg"] for dep in needs[crate]]
    return {(packages[crate]["name"], packages[crate]["version"]) for crate in found}


def is_macro(crate):
    return any("proc-macro" in target["kind"] for target in crate["targets"])


def reference(crate):
    return f"pkg:cargo/{crate['name']}@{crate['version']}"


def bill_of_materials(crates, edges):
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in locked}
    by_id = {crate["id"]: reference(crate) for crate in crates}
    moment = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or last_commit()), datetime.UTC)
    root, *others = [component(crate, sums) for crate in crates]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(sorted(map(str, sums.items()))))}",
        "version": 1,
        "metadata": {"timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": {**root, "type": "application"}},
        "components": others,
        "dependencies": [{"ref": by_id[crate["id"]], "dependsOn": sorted({by_id[dep] for dep in edges[crate["id"]]})} for crate in crates],
    }


def component(crate, sums):
    described = {"type": "library", "bom-ref": reference(crate), "name": crate["name"], "version": crate["version"], "purl": reference(crate)}
    if crate["license"]:
        # An older way to write OR, which SPDX does not know.
        described["licenses"] = [{"expression": " OR ".join(part.strip() for part in crate["license"].split("/"))}]
    if checksum := sums.get((crate["name"], crate["version"])):
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return described


def licences(crates):
    """The texts of the crates' licences; each text once, with the crates that have it."""
    holders = {}
    for crate in crates[1:]:
        folder = pathlib.Path(crate["manifest_path"]).parent
        paths = sorted({path for pattern in TEXTS for path in folder.glob(pattern) if path.is_file()})
        for path in paths:
            holders.setdefault(path.read_text(errors="replace").strip(), []).append(f"{crate['name']} {crate['version']}")
        if not paths:
            text = f"No text comes with it. Its licence is {crate['license']}."
            holders.setdefault(text, []).append(f"{crate['name']} {crate['version']}")
    parts = (f"{', '.join(sorted(set(names)))}\n\n{text}\n" for text, names in sorted(holders.items(), key=lambda it: it[1]))
    return f"\n{'=' * 80}\n".join(parts)


def checksums(folder):
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "SHA256SUMS":
            with open(path, "rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(folder)}\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())

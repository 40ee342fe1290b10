"""Builds the Debian and the RPM package of a binary.

    python deploy/package.py --binary target/release/slipway [--version 0.2.0] [--to target/dist] [deb] [rpm]

Needs dpkg-dev for deb, and rpmbuild (Debian: rpm) for rpm. The same inputs give the same packages: times are those of
SOURCE_DATE_EPOCH, or of the last commit. docs/decisions/0034-packages-without-a-packaging-tool.md says why no cargo
subcommand is used.
"""

import argparse
import email.utils
import gzip
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
MAINTAINER = "The Slipway maintainers <slipway@example.org>"
SUMMARY = "provision what apps need in AWS"
DESCRIPTION = """Slipway is a service that gives an app its place in an AWS account in one call:
an IAM user or role, a private S3 bucket and an ECR repository. It shows a plan
before it changes anything, and survives lost responses, throttling and crashes
without leaving a second access key behind."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# What is in both packages: source, path, mode. The unit's folder differs.
FILES = (
    ("deploy/slipway.sysusers", "usr/lib/sysusers.d/slipway.conf", 0o644),
    ("deploy/slipway.toml", "etc/slipway/slipway.toml", 0o644),
    ("deploy/environment", "etc/slipway/environment", 0o644),
    ("deploy/prometheus/rules.yml", "usr/share/doc/slipway/examples/prometheus-rules.yml", 0o644),
    ("deploy/grafana/dashboard.json", "usr/share/doc/slipway/examples/grafana-dashboard.json", 0o644),
    ("docs/role-policy.json", "usr/share/doc/slipway/examples/role-policy.json", 0o644),
)
CONFIGURATION = ("/etc/slipway/environment", "/etc/slipway/slipway.toml")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--version", default=crate_version())
    parser.add_argument("--to", type=pathlib.Path, default=ROOT / "target" / "dist")
    parser.add_argument("formats", nargs="*", choices=["deb", "rpm", []], default=[])
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("SOURCE_DATE_EPOCH", last_commit())
    for name in options.formats or ["deb", "rpm"]:
        with tempfile.TemporaryDirectory() as folder:
            build = {"deb": build_deb, "rpm": build_rpm}[name]
            print(build(pathlib.Path(folder), options.binary.resolve(), options.version, options.to.resolve()))
    return 0


def crate_version():
    return re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def last_commit():
    return subprocess.check_output(["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True).strip()


def stage(tree, binary, units):
    """Puts what both packages have into a folder."""
    put(tree, binary, "usr/bin/slipway", 0o755)
    put(tree, ROOT / "deploy/systemd/slipway.service", f"{units}/slipway.service", 0o644)
    for source, path, mode in FILES:
        put(tree, ROOT / source, path, mode)
    compress(tree, "usr/share/man/man1/slipway.1.gz", (HERE / "slipway.1").read_bytes())
    stage_completions(tree, binary)


def put(tree, source, path, mode):
    target = tree / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def compress(tree, path, text):
    target = tree / path
    target.parent.mkdir(parents=True, exist_ok=True)
    # Without a name and a time, so that the same text gives the same file.
    target.write_bytes(gzip.compress(text, 9, mtime=0))
    target.chmod(0o644)


def stage_completions(tree, binary):
    """Completions, if the binary prints them and runs on this machine."""
    for shell, path in (("bash", "usr/share/bash-completion/completions/slipway"), ("zsh", "usr/share/zsh/vendor-completions/_slipway")):
        printed = subprocess.run([binary, "completions", shell], capture_output=True)
        if printed.returncode == 0 and printed.stdout:
            target = tree / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(printed.stdout)


def build_deb(work, binary, version, to):
    tree = work / "tree"
    stage(tree, binary, "lib/systemd/system")
    documents = "usr/share/doc/slipway"
    licence = "\n".join(f" {line or '.'}" for line in (ROOT / "LICENSE-MIT").read_text().strip().splitlines()[2:])
    copyright = (HERE / "debian/copyright").read_text().replace("@MIT@", licence)
    (tree / documents / "copyright").write_text(copyright)
    put(tree, HERE / "debian/lintian-overrides", "usr/share/lintian/overrides/slipway", 0o644)
    put(tree, HERE / "debian/README.Debian", f"{documents}/README.Debian", 0o644)
    compress(tree, f"{documents}/changelog.gz", debian_changelog(version).encode())
    compress(tree, f"{documents}/NEWS.gz", (ROOT / "CHANGELOG.md").read_bytes())
    normalize(tree)
    control = tree / "DEBIAN"
    control.mkdir()
    for script in ("postinst", "prerm", "postrm"):
        put(tree, HERE / "debian" / script, f"DEBIAN/{script}", 0o755)
    (control / "conffiles").write_text("".join(f"{path}\n" for path in CONFIGURATION))
    (control / "md5sums").write_text(md5sums(tree))
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    architecture = ARCHITECTURES[platform.machine()]
    (control / "control").write_text(
        f"Package: slipway\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: {MAINTAINER}\n"
        f"Installed-Size: {size}\nPre-Depends: init-system-helpers (>= 1.54~)\n"
        f"Depends: {shared_libraries(work, binary)}, ca-certificates, systemd (>= 250) | systemd-standalone-sysusers\n"
        f"Section: admin\nPriority: optional\nHomepage: https://slipway.example.org/\nDescription: {SUMMARY}\n"
        + "".join(f" {line}\n" for line in DESCRIPTION.splitlines())
    )
    set_times(tree)
    package = to / f"slipway_{version}_{architecture}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", tree, package], check=True, stdout=subprocess.DEVNULL)
    return package


def debian_changelog(version):
    date = email.utils.formatdate(int(os.environ["SOURCE_DATE_EPOCH"]))
    return f"slipway ({version}) stable; urgency=medium\n\n  * See NEWS.gz for what has changed.\n\n -- {MAINTAINER}  {date}\n"


def md5sums(tree):
    files = sorted(path.relative_to(tree) for path in tree.rglob("*") if path.is_file())
    files = [str(path) for path in files if path.parts[0] not in ("DEBIAN", "etc")]
    return subprocess.check_output(["md5sum", "--", *files], cwd=tree, text=True)


def shared_libraries(work, binary):
    """The packages with the libraries that the binary is linked to."""
    (work / "debian").mkdir()
    (work / "debian/control").write_text("Source: slipway\n\nPackage: slipway\nArchitecture: any\n")
    found = subprocess.check_output(["dpkg-shlibdeps", "-O", f"-e{binary}"], cwd=work, text=True, stderr=subprocess.DEVNULL)
    return found.strip().removeprefix("shlibs:Depends=")


def normalize(tree):
    """Modes that do not depend on the umask."""
    for path in tree.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def set_times(tree):
    moment = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (moment, moment))


def build_rpm(work, binary, version, to):
    tree = work / "tree"
    stage(tree, binary, "usr/lib/systemd/system")
    for name in ("LICENSE-MIT", "LICENSE-APACHE"):
        put(tree, ROOT / name, f"usr/share/licenses/slipway/{name}", 0o644)
    (tree / "etc/slipway/credentials").mkdir(parents=True)
    normalize(tree)
    set_times(tree)
    files = [f"/{path.relative_to(tree)}" for path in sorted(tree.rglob("*")) if path.is_file()]
    kept = [path for path in files if path not in CONFIGURATION]
    manifest = "\n".join([*kept, *(f"%config(noreplace) {path}" for path in CONFIGURATION)])
    values = {"version": version, "tree": str(tree), "files": manifest, "summary": SUMMARY, "description": DESCRIPTION}
    spec = re.sub(r"@(\w+)@", lambda name: values[name[1]], (HERE / "rpm/slipway.spec").read_text())
    (work / "slipway.spec").write_text(spec)
    subprocess.run(
        ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {work}", "--define", f"_rpmdir {to}", "--define", "_build_id_links none",
         "--define", "use_source_date_epoch_as_buildtime 1", "--define", "_buildhost localhost", work / "slipway.spec"],
        check=True,
    )
    return next(to.glob(f"**/slipway-{version}-1.*.rpm"))


if __name__ == "__main__":
    sys.exit(main())

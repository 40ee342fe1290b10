"""Checks what is in deploy/ without running the service: quick, and without rights.

    python tests/deployment.py [--all | CHECK …]

Each check is a function below. One that needs a program that this machine does not have is skipped, and says so. Without
--all it takes a few seconds.
"""

import glob
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
DEPLOY = ROOT / "deploy"
MAX_EXPOSURE = 1.5
METRIC = re.compile(r"\bslipway_[a-z_]+\b")
ROW = re.compile(r"^\| `(slipway_[a-z_]+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
MACRO = re.compile(r'metrics::(counter|gauge|histogram)!\(\s*"(slipway_[a-z_]+)"')
PARTS = ("_bucket", "_sum", "_count")
# Labels that Prometheus adds.
SCRAPE_LABELS = {"instance", "job", "le"}


class Skipped(Exception):
    """The machine does not have what the check needs."""


def documented_metrics():
    """By name: the type and the labels that docs/operations.md gives."""
    text = (ROOT / "docs/operations.md").read_text()
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(text)}


def base(name, documented):
    """The metric that a series belongs to."""
    for part in PARTS:
        whole = name.removesuffix(part)
        if whole != name and documented.get(whole, ("",))[0] == "histogram":
            return whole
    return name


def dashboard():
    return json.loads((DEPLOY / "grafana/dashboard.json").read_text())


def dashboard_queries():
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def alerts():
    groups = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def check_metrics():
    """The metrics in the source are those in docs/operations.md, with their types."""
    in_source = {name: kind for path in ROOT.glob("src/**/*.rs") for kind, name in MACRO.findall(path.read_text())}
    documented = {name: kind for name, (kind, _) in documented_metrics().items()}
    assert in_source == documented, sorted(set(in_source.items()) ^ set(documented.items()))
    for name, kind in documented.items():
        assert (kind == "counter") == name.endswith("_total"), f"{name} is a {kind}"


def check_queries():
    """The dashboard and the alerts name metrics and labels that exist."""
    documented = documented_metrics()
    queries = [*dashboard_queries(), *((rule["alert"], rule["expr"]) for rule in alerts())]
    for where, query in queries:
        for name in METRIC.findall(query):
            assert base(name, documented) in documented, f"{where}: no metric {name}"
        known = SCRAPE_LABELS.union(*(documented[base(name, documented)][1] for name in METRIC.findall(query)), set())
        used = {label for block in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", block)}
        used |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
        assert used <= known, f"{where}: no label {used - known}"
    shown = {base(name, documented) for _, query in dashboard_queries() for name in METRIC.findall(query)}
    # Alerts alone: it is 0 for as long as nothing is wrong.
    assert set(documented) - shown <= {"slipway_unopenable_secrets"}, f"not in the dashboard: {set(documented) - shown}"
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids)), "panels with the same id"


def check_alerts():
    """Each alert has a section with its name, and a test that it fires and one that it is quiet."""
    sections = set(re.findall(r"^## (\w+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE))
    names = {rule["alert"] for rule in alerts()}
    assert sections == names, sections ^ names
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}", rule["alert"]
    tests = {case["name"] for case in yaml.safe_load((DEPLOY / "prometheus/rules_test.yml").read_text())["tests"]}
    expected = {f"{name} {what}" for name in names for what in ("fires", "is quiet")}
    assert tests == expected, tests ^ expected


def check_promtool():
    """Prometheus reads the rules and the dashboard's queries, and the rules' own tests pass."""
    promtool = found("promtool", HERE.parent / ".venv/bin/promtool")
    run(promtool, "check", "rules", DEPLOY / "prometheus/rules.yml")
    run(promtool, "test", "rules", DEPLOY / "prometheus/rules_test.yml")
    variables = {"$job": "slipway", "$account": ".*", "$__rate_interval": "5m"}
    rules = []
    for number, (_, query) in enumerate(dashboard_queries()):
        for name, value in variables.items():
            query = query.replace(name, value)
        rules.append({"record": f"dashboard:{number}", "expr": query})
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "dashboard.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        run(promtool, "check", "rules", path)


def check_unit():
    """systemd reads the unit, and finds little to expose."""
    analyze = found("systemd-analyze")
    unit = DEPLOY / "systemd/slipway.service"
    run(analyze, "security", "--offline=true", f"--threshold={MAX_EXPOSURE * 10:.0f}", "--no-pager", unit)
    with tempfile.TemporaryDirectory() as folder:
        # It looks for the program.
        copy = pathlib.Path(folder) / "slipway.service"
        copy.write_text(unit.read_text().replace("/usr/bin/slipway", "/bin/true"))
        told = run(analyze, "verify", "--man=no", copy)
        assert not told.strip(), told


def check_kubernetes():
    """The manifests are valid, and run as the security standard `restricted` wants."""
    for path in sorted(DEPLOY.glob("kubernetes/*.yaml")):
        validate_manifests(path.name, list(yaml.safe_load_all(path.read_text())))


def check_chart():
    """So is what the Helm chart renders, which refuses values that lack what it needs."""
    for values in sorted(DEPLOY.glob("helm/tests/*.yaml")):
        manifests = [yaml.safe_load(text) for text in render(yaml.safe_load(values.read_text())).values()]
        validate_manifests(f"chart with {values.name}", manifests)
        kinds = {manifest["kind"] for manifest in manifests}
        assert ("PodDisruptionBudget" in kinds) == (values.stem == "postgresql"), kinds
        assert ("PersistentVolumeClaim" in kinds) == (values.stem == "sqlite"), kinds
    whole = {"image": {"repository": "slipway"}, "existingSecret": "slipway"}
    for wrong in ({**whole, "existingSecret": ""}, {**whole, "image": {}}, {**whole, "database": "mysql"}, {**whole, "replicas": 0}):
        try:
            render(wrong)
        except Skipped:
            raise
        except Exception as problem:
            assert "schema" in str(problem), problem
        else:
            raise AssertionError(f"the chart takes {wrong}")


def render(values):
    """The chart's manifests, by template."""
    try:
        import helm_python as helm
    except ImportError as error:
        raise Skipped("helm-python-sdk is not installed") from error
    with helm.Chart.load(str(DEPLOY / "helm/slipway")) as chart:
        return {name: text for name, text in chart.render(values, name="slipway", namespace="slipway").items() if name.endswith(".yaml") and text.strip()}


def validate_manifests(where, manifests):
    try:
        import kubernetes_validate
    except ImportError as error:
        raise Skipped("kubernetes-validate is not installed") from error
    kinds = []
    for manifest in filter(None, manifests):
        kinds.append(manifest["kind"])
        if manifest["apiVersion"] not in ("monitoring.coreos.com/v1",):
            kubernetes_validate.validate(manifest, "1.33", strict=True)
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            check_pod(where, manifest["spec"]["template"]["spec"])
    assert {"Service", "ServiceAccount"} <= set(kinds), f"{where}: {kinds}"


def check_pod(where, pod):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    security = pod["securityContext"]
    assert security["runAsNonRoot"] and security["runAsUser"] and security["seccompProfile"]["type"] == "RuntimeDefault", where
    assert pod["terminationGracePeriodSeconds"] > 25, f"{where}: shorter than SLIPWAY_SHUTDOWN_TIMEOUT"
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], where
        assert security["capabilities"]["drop"] == ["ALL"], where
        assert "readinessProbe" in container and "livenessProbe" in container and "resources" in container, where


def check_terraform():
    """Terraform accepts the modules and their examples, and they are formatted."""
    terraform, plugins = found("terraform"), provider_folder()
    run(terraform, "fmt", "-check", "-recursive", "-diff", DEPLOY / "terraform")
    for example in sorted(DEPLOY.glob("terraform/examples/*")):
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "terraform"
            shutil.copytree(DEPLOY / "terraform", copy)
            inside = copy / "examples" / example.name
            settings = pathlib.Path(folder) / "terraformrc"
            settings.write_text("")
            environment = {**os.environ, "TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1"}
            run(terraform, f"-chdir={inside}", "init", "-backend=false", "-input=false", "-no-color", f"-plugin-dir={plugins}", environment=environment)
            run(terraform, f"-chdir={inside}", "validate", "-no-color", environment=environment)


def provider_folder():
    """A folder with Terraform's AWS provider, of those where it usually is."""
    folders = [os.environ.get("SLIPWAY_TEST_TERRAFORM_PLUGINS", ""), "/opt/tf-plugins", os.path.expanduser("~/.terraform.d/plugins")]
    for folder in filter(None, folders):
        if glob.glob(f"{folder}/registry.terraform.io/hashicorp/aws"):
            return folder
    raise Skipped("no folder with Terraform's AWS provider (SLIPWAY_TEST_TERRAFORM_PLUGINS)")


def check_policy():
    """The modules' policy is the one that the documents give."""
    policy = json.loads((ROOT / "docs/role-policy.json").read_text())
    template = json.loads((DEPLOY / "terraform/modules/role/policy.json.tftpl").read_text())
    filled = json.loads(json.dumps(template).replace("${account_id}", "123456789012").replace("${partition}", "aws"))
    assert filled == policy, "deploy/terraform/modules/role/policy.json.tftpl is not docs/role-policy.json"


def check_licences():
    """Each crate in the binary has a licence that deny.toml allows, comes from crates.io, and is not banned there.

    cargo-deny does the same and more, but has to be built for minutes first.
    """
    sys.path.insert(0, str(DEPLOY))
    import inventory

    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    banned = {entry["crate"] for entry in rules["bans"]["deny"]}
    exceptions = {entry["crate"]: entry["allow"] for entry in rules["licenses"].get("exceptions", [])}
    crates, edges = inventory.dependencies()
    for crate in crates[1:]:
        allowed = {*rules["licenses"]["allow"], *exceptions.get(crate["name"], [])}
        assert is_allowed(crate["license"].replace("/", " OR "), allowed), f"{crate['name']}: {crate['license']}"
        assert crate["source"] == "registry+https://github.com/rust-lang/crates.io-index", f"{crate['name']}: {crate['source']}"
        assert crate["name"] not in banned, crate["name"]
    listed = inventory.bill_of_materials(crates, edges)
    assert all("hashes" in entry and "licenses" in entry for entry in listed["components"])
    texts = inventory.licences(crates)
    missing = [crate["name"] for crate in crates[1:] if f"{crate['name']} {crate['version']}" not in texts]
    assert not missing, missing


def is_allowed(expression, allowed):
    """Whether the allowed licences satisfy an SPDX expression."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    words = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    # Of the names only whether they are allowed is left.
    return eval(" ".join(words.get(token) or str(token in allowed) for token in tokens))


def found(program, *elsewhere):
    for path in (shutil.which(program), *elsewhere):
        if path and os.access(path, os.X_OK):
            return path
    raise Skipped(f"{program} is not installed")


def run(*command, environment=None):
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


CHECKS = {
    check.__name__.removeprefix("check_"): check
    for check in (check_metrics, check_queries, check_alerts, check_promtool, check_unit, check_kubernetes, check_policy, check_licences, check_chart, check_terraform)
}
# Terraform reads the schema of the whole provider.
LONG = {"terraform"}


def main():
    failed, passed = 0, 0
    names = sys.argv[1:] or [name for name in CHECKS if name not in LONG]
    for name in list(CHECKS) if names == ["--all"] else names:
        try:
            CHECKS[name]()
            passed += 1
            print(f"deployment {name}: ok")
        except Skipped as why:
            print(f"deployment {name}: skipped: {why}")
        except AssertionError as problem:
            failed += 1
            print(f"deployment {name}: FAILED\n{problem}")
        except Exception as problem:
            failed += 1
            print(f"deployment {name}: FAILED\n{type(problem).__name__}: {problem}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

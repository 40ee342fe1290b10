"""Runs every command that the documents show and compares its output with what they show.

    python tests/documents.py [--binary target/debug/slipway] [--update] [PAGE …]

Each page runs on its own: a new service on a new emulated AWS account, and one shell for all of its commands, in order.
A page is Markdown; what this script needs beyond that is in HTML comments, which a reader does not see:

    ```console                         Lines that begin with `$ ` are commands, the lines below are their output.
    ```sh                              Commands without output.
    <!-- test: run                     Commands of the test alone, such as a setup, up to the end of the comment.
    <!-- test: file NAME -->           The next block is written to the file NAME, for the commands that read it.
    <!-- test: not run: REASON -->     The next block is not run.
    <!-- test: prelude -->             The next block also runs at the start of every other page.
    <!-- test: settings NAME=VALUE --> The page's service starts with SLIPWAY_NAME=VALUE; $ROOT is the repository.
    <!-- test: emulator NAME -->       The page's AWS account is that of another emulator.

In an output `…` stands for any text, and on a line of its own for any lines. Ids, times, keys, ports and durations
change from run to run: any value of the same form matches. An id or key that a page shows twice must be the same value
twice, and one that was shown can be used in a later command. A code block that is neither run, nor written to a file,
nor marked is an error. With --update the documents get the output that came.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import difflib
import os
import pathlib
import re
import secrets
import selectors
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "benches")]

from emulators import NotStarted, clean_environment, emulators, end_on_signals, stop  # noqa: E402
from instance_metadata import instance_metadata  # noqa: E402
from service import REGION, NotReady, encryption_key, service  # noqa: E402

EMULATOR = "ministack-auth"
PAGES = ("README.md", "SECURITY.md", "CHANGELOG.md", "docs/*.md", "docs/api/*.md", "docs/architecture/*.md", "docs/decisions/*.md")
PRELUDE = "docs/api/README.md"
COMMAND_TIMEOUT = 120.0
# Most of a page's time is that of programs that start.
PAGES_AT_ONCE = os.cpu_count() or 2
END_OF_COMMAND = "\x1e"
# What a reader starts by make, which builds first.
MAKE = """make() { if [ "$*" = demo ]; then python "$ROOT/demo/demo.py" --binary "$BINARY"; else command make "$@"; fi; }"""

# Values that change from run to run. Those of the first group must be the same value wherever a page repeats them.
NAMED = {
    "id": r"\b[0-9][0-9A-HJKMNP-TV-Z]{25}\b",
    "key": r"\b(?:AKIA|LKIA)[0-9A-Z]{12,17}\b",
}
VOLATILE = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    "clock": r"\b\d\d:\d\d:\d\d\.\d{3}\b",
    "uuid": r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
    "request_id": r"\b[0-9A-Za-z]{52}\b",
    "secret": r"(?<=AWS_SECRET_ACCESS_KEY=)[0-9A-Za-z/+]{40}",
    "hash": r"\b[0-9a-f]{40}\b|\b[0-9a-f]{16}\b",
    "trace": r"(?<=\"trace_id\": \")[0-9a-f]{32}|(?<=\"trace_id\":\")[0-9a-f]{32}",
    "masked": r"\b[0-9A-Za-z]{4}\*{36}",
    "token": r"\bslipway_[0-9a-f]{32,}\b",
    "external_id": r"\bslipway-[0-9a-f]{32}\b",
    "date": r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\b",
    "address": r"127\.0\.0\.1:\d+",
    "number": r"(?:(?<=\"seq\":)|(?<=\"duration_ms\":)|(?<=\"age_seconds\":)|(?<=\"seq\": )|(?<=\"duration_ms\": )"
              r"|(?<=\"age_seconds\": )|(?<=after )(?=\d+ ms)|(?<=^id: ))\d+",
}
VALUE = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in (NAMED | VOLATILE).items()), re.MULTILINE)
ANY = "…"


class Wrong(Exception):
    """A document that cannot be read as one, or whose commands do not do what it shows."""


@dataclasses.dataclass
class Command:
    """A command of a page: the text to run and the lines of output that the page shows, if it shows any."""

    line: int
    text: str
    shown: list | None


@dataclasses.dataclass
class Page:
    path: pathlib.Path
    lines: list
    steps: list
    settings: dict
    prelude: list
    emulator: str = EMULATOR

    @property
    def name(self):
        return str(self.path.relative_to(ROOT))


# Reading

def read(path):
    """A page with its steps in order: commands, and files as (name, text)."""
    page = Page(path, path.read_text().splitlines(), [], {}, [])
    directive, at = "", 0
    while at < len(page.lines):
        line = page.lines[at]
        if opened := re.match(r"\s*<!-- test: (.*)", line):
            end = next(number for number in range(at, len(page.lines)) if "-->" in page.lines[number])
            text = "\n".join([opened[1], *page.lines[at + 1:end + 1]] if end > at else [opened[1]]).replace("-->", "").strip()
            if text.startswith("run"):
                page.steps += [Command(at + 1, text, None) for text in commands_in(text[3:].strip().splitlines())]
            elif text.startswith("settings"):
                page.settings |= dict(pair.replace("$ROOT", str(ROOT)).split("=", 1) for pair in text.split()[1:])
            elif text.startswith("emulator"):
                page.emulator = text.split()[1]
            else:
                directive = text
            at = end + 1
        elif fence := re.match(r"(\s*)(`{3,})(\w*)", line):
            end = next(number for number in range(at + 1, len(page.lines)) if page.lines[number].strip() == fence[2])
            take_block(page, directive, fence[3], at + 1, end)
            directive, at = "", end + 1
        else:
            at += 1
    return page


def take_block(page, directive, language, start, end):
    """Adds the block of the lines from start to end to the page's steps."""
    block = page.lines[start:end]
    kind, _, argument = directive.partition(" ")
    if kind == "file":
        return page.steps.append((argument, "\n".join(block) + "\n"))
    if directive.startswith("not run: ") or language in ("", "text", "mermaid"):
        return None
    if language == "console":
        page.steps += shown_in(page, start, block)
    elif language == "sh":
        made = [Command(start + 1, text, None) for text in commands_in(block)]
        page.steps += made
        if kind == "prelude":
            page.prelude += made
    else:
        raise Wrong(f"{page.name}:{start}: a {language} block that is neither run nor written to a file nor marked")


def commands_in(lines):
    """The commands of a script: each line, with those below it that belong to it."""
    found, text = [], ""
    for line in lines:
        text = f"{text}\n{line}" if text else line
        if text.strip() and is_whole(text):
            found.append(text)
            text = ""
    return found


def is_whole(text):
    """Whether the shell takes the text for a whole command."""
    if text.endswith("\\"):
        return False
    parsed = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True)
    return parsed.returncode == 0 and not parsed.stderr


def shown_in(page, start, block):
    """The commands of a console block, with the output below each."""
    found, at = [], 0
    while at < len(block):
        if not block[at].startswith("$ "):
            raise Wrong(f"{page.name}:{start + at + 1}: a console block begins with a command")
        first, text = at, block[at][2:]
        while not is_whole(text):
            at += 1
            text += "\n" + block[at]
        at += 1
        output = at
        while at < len(block) and not block[at].startswith("$ "):
            at += 1
        found.append(Command(start + first + 1, text, block[output:at]))
    return found


# Links

def broken_links(path):
    """The relative links of a page, and its names of files, that lead nowhere."""
    text = path.read_text()
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield f"{path.relative_to(ROOT)}: the link {target} leads nowhere"
    # The decisions and the changelog are records of their time.
    if path.parent.name == "decisions" or path.name == "CHANGELOG.md":
        return
    for name in re.findall(r"`((?:src|tests|docs|demo|benches|migrations)/[\w./-]*)`", text):
        if not (ROOT / name).exists():
            yield f"{path.relative_to(ROOT)}: there is no {name}"


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Running

class Shell:
    """One bash for all commands of a page."""

    def __init__(self, environment, directory):
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], env=environment, cwd=directory, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def run(self, text):
        """The command's exit code, and what it printed."""
        self.process.stdin.write(f"{{ {text}\n}} </dev/null 2>&1; printf '\\n{END_OF_COMMAND}%s\\n' $?\n")
        self.process.stdin.flush()
        deadline, output = time.monotonic() + COMMAND_TIMEOUT, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not (ended := re.search(rf"\n?\n{END_OF_COMMAND}(\d+)\n$".encode(), b"\n" + output)):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise Wrong(f"a command takes longer than {COMMAND_TIMEOUT:.0f} s: {text}")
                part = os.read(self.process.stdout.fileno(), 65536)
                if not part:
                    raise Wrong(f"the shell ended with: {text}")
                output += part
        return int(ended[1]), (b"\n" + output)[1:ended.start()].decode().replace("\r", "")

    def stop(self):
        self.process.stdin.close()
        self.process.stdout.close()
        stop(self.process)


def tried(page, prelude, binary, update):
    """How many commands the page has, and what is wrong with it."""
    count = sum(isinstance(step, Command) for step in page.steps)
    if not count:
        return 0, []
    began = time.monotonic()
    try:
        wrong = run_page(page, prelude, binary, update)
    except (Wrong, NotReady, NotStarted) as problem:
        wrong = [f"{page.name}: {problem}"]
    print(f"  {page.name}: {count} commands in {time.monotonic() - began:.0f} s", flush=True)
    return count, wrong


def run_page(page, prelude, binary, update):
    """Runs the page's steps. Returns what is wrong with it."""
    with tempfile.TemporaryDirectory(prefix="slipway-documents-") as directory:
        with emulators(page.emulator) as urls, instance_metadata(urls[page.emulator]) as metadata:
            settings = {"encryption_key": encryption_key(binary), "admin_token": secrets.token_urlsafe(24)} | page.settings
            with service(binary, urls[page.emulator], metadata, **settings) as running:
                shell = Shell(environment(running, urls[page.emulator], metadata, binary, settings), directory)
                try:
                    shell.run(MAKE)
                    return run_steps(page, prelude, shell, pathlib.Path(directory), running, update)
                finally:
                    shell.stop()


def environment(running, endpoint, metadata, binary, settings):
    """What the shell starts with: where the service and its AWS account are, and an administrator of that account."""
    programs = [binary.parent, ROOT / ".venv" / "bin", os.environ["PATH"]]
    return clean_environment() | {
        "PATH": ":".join(map(str, programs)),
        "HOME": str(running.directory),
        "PYTHONWARNINGS": "ignore",
        "ROOT": str(ROOT),
        "BINARY": str(binary),
        "SLIPWAY": running.url,
        "TOKEN": running.token,
        "SLIPWAY_DATABASE_URL": f"sqlite://{running.directory}/slipway.db",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_PAGER": "",
    } | {f"SLIPWAY_{name.upper()}": value for name, value in settings.items()}


def run_steps(page, prelude, shell, directory, running, update):
    values, wrong, changes = {}, [], []
    steps = page.steps if page.prelude else [*prelude, *page.steps]
    for step in steps:
        if isinstance(step, tuple):
            (directory / step[0]).write_text(step[1])
            continue
        code, output = shell.run(as_now(step.text, values))
        came = output.rstrip("\n").splitlines() if output.strip() else []
        place = f"{page.name}:{step.line}: $ {step.text}"
        if code:
            wrong.append(f"{place}\nends with {code}:\n{output}")
            break
        if step.shown is None:
            continue
        if (problem := compare(step.shown, came, values)) is None:
            continue
        if update:
            changes.append((step, updated(step.shown, came, values)))
        else:
            wrong.append(f"{place}\n{problem}")
    if changes:
        write(page, changes)
    if wrong:
        wrong[-1] += f"\nThe end of the service's log:\n{running.tail()}"
    return wrong


def as_now(text, values):
    """A command with the values that came in place of those that the page shows."""
    return VALUE.sub(lambda found: values.get(found[0], found[0]), text)


# Comparing

def compare(shown, came, values):
    """What differs, or None. Learns which value came for each that the page shows."""
    parts, part = [], []
    for line in shown:
        if line.strip() == ANY:
            parts.append(part)
            part = []
        else:
            part.append(line)
    parts.append(part)
    learned, at = dict(values), 0
    for number, part in enumerate(parts):
        is_first, is_last = number == 0, number == len(parts) - 1
        places = range(at, len(came) - len(part) + 1)
        if is_first:
            places = [0] if len(part) <= len(came) else []
        if is_last:
            places = [place for place in [len(came) - len(part)] if place in places]
        for place in places:
            if (more := matched(part, came[place:place + len(part)], learned)) is not None:
                learned, at = more, place + len(part)
                break
        else:
            return difference(shown, came)
    values.update(learned)
    return None


def matched(shown, came, values):
    """The values, with those that these lines tell, if the lines fit."""
    learned = dict(values)
    for line, got in zip(shown, came):
        names = []
        found = re.fullmatch(pattern(line, names), got)
        if not found:
            return None
        for (kind, value), actual in zip(names, found.groups()):
            if kind in NAMED and not is_pair(learned, value, actual):
                return None
    return learned


def is_pair(learned, value, actual):
    """Whether the shown value and the one that came stand for each other, and only for each other."""
    if value not in learned and actual in learned.values():
        return False
    return learned.setdefault(value, actual) == actual


def pattern(line, names):
    """The regular expression of a shown line; names gets kind and text of each of its values."""
    made, at = "", 0
    for found in VALUE.finditer(line):
        names.append((found.lastgroup, found[0]))
        form = NAMED.get(found.lastgroup) or VOLATILE[found.lastgroup]
        made += literal(line[at:found.start()]) + f"({form})"
        at = found.end()
    return made + literal(line[at:])


def literal(text):
    return ".*?".join(map(re.escape, text.split(ANY)))


def plain(line):
    """A line with the names of its values in their place."""
    return VALUE.sub(lambda found: f"<{found.lastgroup}>", line)


def difference(shown, came):
    lines = difflib.unified_diff([*map(plain, shown)], [*map(plain, came)], "shown", "came", lineterm="", n=2)
    return "\n".join(lines) or "the output differs in an id or key that the page shows more than once"


# Updating

def updated(shown, came, values):
    """The lines that came, as far as the page shows lines: what it leaves out stays out, and its ids stay."""
    if ANY not in (line.strip() for line in shown):
        return [with_shown_values(line, came_line, values) for line, came_line in paired(shown, came)]
    keys = [ANY if line.strip() == ANY else plain(line) for line in shown]
    lines = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, keys, [*map(plain, came)], autojunk=False).get_opcodes():
        if kind == "equal":
            lines += [with_shown_values(*pair, values) for pair in zip(shown[a:b], came[c:d])]
        elif ANY in keys[a:b]:
            lines.append(ANY)
        elif ANY not in (keys[a - 1:a] + keys[b:b + 1]) or kind == "replace":
            lines += came[c:d]
    return lines


def paired(shown, came):
    """Each line that came, with the shown line that it takes the place of."""
    matcher = difflib.SequenceMatcher(None, [*map(plain, shown)], [*map(plain, came)], autojunk=False)
    partner = {}
    for kind, a, b, c, d in matcher.get_opcodes():
        partner |= dict(zip(range(c, d), shown[a:b]))
    return [(partner.get(number, ""), line) for number, line in enumerate(came)]


def with_shown_values(shown, came, values):
    """The line that came, with the page's values where it has them."""
    known = {actual: value for value, actual in values.items()}
    before, now = list(VALUE.finditer(shown)), list(VALUE.finditer(came))
    is_like = [found.lastgroup for found in before] == [found.lastgroup for found in now]
    texts = collections.deque(found[0] for found in before)

    def back(found):
        text = texts.popleft() if is_like else found[0]
        if found.lastgroup in NAMED:
            text = known.get(found[0], text)
            values.setdefault(text, found[0])
        return text

    return VALUE.sub(back, came)


def write(page, changes):
    lines = list(page.lines)
    for step, output in sorted(changes, key=lambda change: -change[0].line):
        start = step.line + step.text.count("\n")
        lines[start:start + len(step.shown)] = output
    page.path.write_text("\n".join(lines) + "\n")
    print(f"  updated {page.name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/debug/slipway", help="the slipway to run")
    parser.add_argument("--update", action="store_true", help="write the output that came into the documents")
    parser.add_argument("pages", nargs="*", help="the pages, if not all")
    options = parser.parse_args()
    end_on_signals()
    began, ran, wrong = time.monotonic(), 0, []
    try:
        prelude = read(ROOT / PRELUDE).prelude
        paths = [ROOT / page for page in options.pages] or sorted(path for glob in PAGES for path in ROOT.glob(glob))
        pages = [read(path.resolve()) for path in paths]
        for page in pages:
            wrong += broken_links(page.path)
        binary = pathlib.Path(options.binary).resolve()
        with concurrent.futures.ThreadPoolExecutor(PAGES_AT_ONCE) as pool:
            for count, problems in pool.map(lambda page: tried(page, prelude, binary, options.update), pages):
                ran += count
                wrong += problems
    except Wrong as problem:
        wrong.append(str(problem))
    except KeyboardInterrupt:
        return 130
    for problem in wrong:
        print(f"\n{problem}", file=sys.stderr)
    print(f"documents: {ran} commands in {time.monotonic() - began:.0f} s, {len(wrong)} wrong")
    return 1 if wrong or not ran else 0


if __name__ == "__main__":
    sys.exit(main())

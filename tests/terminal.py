"""Runs a command in a pseudo-terminal, as a person would: waits for texts, types, presses Ctrl-C.

    python tests/terminal.py STEPS COMMAND …

STEPS is a JSON list of pairs: a text to wait for, and what to type then. Prints what the terminal shows while it shows it,
and ends with the command's exit code.
"""

import json
import os
import pty
import select
import sys
import time

PATIENCE = 60


def main():
    steps, command = json.loads(sys.argv[1]), sys.argv[2:]
    child, terminal = pty.fork()
    if not child:
        os.execvp(command[0], command)
    unread = b""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # The child has closed the terminal.
            break
        if not part:
            break
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        unread += part
        while steps and steps[0][0].encode() in unread:
            text, typed = steps.pop(0)
            unread = unread.partition(text.encode())[2]
            os.write(terminal, typed.encode())
    else:
        os.kill(child, 9)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if steps:
        print(f"\nnever shown: {steps[0][0]}")
        return 99
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())

"""A Debian machine with systemd as its first process, on this machine's files, that leaves nothing behind.

Its root is an overlay over this machine's: what it writes is kept in memory and is gone when it ends. It has its own
mounts, processes and control groups, but shares the network, so that the emulators on loopback can be reached. Needs
root.
"""

import os
import pathlib
import subprocess
import tempfile
import time

CGROUP = pathlib.Path("/sys/fs/cgroup")
PATIENCE = 30.0
# What a machine in namespaces must not do to the one that it runs on, and what it cannot do.
MASKED = (
    "systemd-sysctl.service", "systemd-modules-load.service", "systemd-remount-fs.service", "systemd-udevd.service",
    "systemd-udev-trigger.service", "systemd-random-seed.service", "systemd-timesyncd.service", "systemd-networkd.service",
    "systemd-resolved.service", "networking.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "dev-hugepages.mount", "dev-mqueue.mount",
)
BOOT = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
if [ -d /sys/fs/cgroup/systemd ]; then
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
else
    mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
: > etc/machine-id
# Containers forbid packages to start services.
rm -f usr/sbin/policy-rc.d
rm -rf etc/systemd/system/*.wants
for unit in $2; do ln -sf /dev/null "etc/systemd/system/$unit"; done
mkdir .old
pivot_root . .old
umount -l /.old
# A service's credentials are mounted elsewhere, and get to it by propagation.
mount --make-rshared /
exec /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=basic.target --show-status=0
"""


class NotBooted(Exception):
    """The machine did not start; the message has what it said."""


class Machine:
    """Runs commands in the machine while the context is open."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="slipway-machine-")
        self.log = open(pathlib.Path(self.folder.name) / "log", "w+b")
        self.root = pathlib.Path(self.folder.name) / "root"
        self.root.mkdir()
        self.groups = [path / f"slipway-machine-{os.getpid()}" for path in self._hierarchies()]
        for group in self.groups:
            group.mkdir()
        spaces = ["--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc"]
        self.process = subprocess.Popen(
            ["unshare", *spaces, "sh", "-c", BOOT, "sh", str(self.root), " ".join(MASKED)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True, preexec_fn=self._join,
        )
        try:
            self._await_boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Its first process does not end by SIGTERM; what it runs ends with it.
        for pid in self._children():
            os.kill(pid, 9)
        self.process.wait()
        for group in self.groups:
            self._remove(group)
        self.log.close()
        self.folder.cleanup()

    def run(self, *command, check=True, text=None):
        """Runs a command and returns what it printed."""
        inside = ["nsenter", "--target", str(self.init), "--all", "--root", "--wd", "--", *map(str, command)]
        done = subprocess.run(inside, input=text, capture_output=True, text=True)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def succeeds(self, *command):
        inside = ["nsenter", "--target", str(self.init), "--all", "--root", "--wd", "--", *map(str, command)]
        return subprocess.run(inside, capture_output=True).returncode == 0

    def write(self, path, text, mode=0o644):
        self.run("sh", "-c", f'umask 077; cat > "{path}" && chmod {mode:o} "{path}"', text=text)

    def copy(self, source, path):
        with open(source, "rb") as file:
            inside = ["nsenter", "--target", str(self.init), "--all", "--root", "--wd", "--", "sh", "-c", f'cat > "{path}"']
            subprocess.run(inside, stdin=file, check=True)

    def _hierarchies(self):
        return [CGROUP / "systemd"] if (CGROUP / "systemd").is_dir() else [CGROUP]

    def _join(self):
        for group in self.groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def _children(self):
        found = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in found.read_text().split()] if found.exists() else []

    def _await_boot(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            if children := self._children():
                self.init = children[0]
                if self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"):
                    return
            time.sleep(0.2)
        self.log.seek(0)
        raise NotBooted(self.log.read().decode(errors="replace")[-4000:])

    def _remove(self, group):
        folders = [folder for folder, _, _ in os.walk(group, topdown=False)]
        deadline = time.monotonic() + 5
        for folder in folders:
            while os.path.isdir(folder):
                try:
                    os.rmdir(folder)
                except OSError:
                    # Its processes are dead, but not all of them are gone.
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)

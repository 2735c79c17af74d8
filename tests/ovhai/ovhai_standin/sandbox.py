"""Mount and process namespaces in which a job's command runs, as root or as an ordinary user.

The new root is an empty tmpfs into which the folders of this machine are bind-mounted read-only, without those of
users, with volumes at their absolute mount paths. A process namespace makes sure that no process outlives the job.
"""

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)

# <sched.h>, <sys/mount.h>, <sys/prctl.h>
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 1, 32, 4096, 16384, 1 << 18, 1 << 21
SAME_FLAGS = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME
PR_SET_PDEATHSIG = 1

CANNOT_START = 128  # exit code of containers whose command does not exist


@dataclass
class Mount:
    """A folder or file at an absolute path in the sandbox."""

    source: Path
    target: Path
    read_only: bool = False


@dataclass
class Sandbox:
    root: Path  # an empty folder, where the new root is built
    errors: Path  # file for what went wrong before the command could start
    mounts: list[Mount]
    hidden: list[Path]  # folders of this machine that are empty in the sandbox
    user: int | None  # user and group of the command, if this is root
    mount_parents_writable: bool
    working_folder: Path

    def start(self, command: list[str], environment: dict[str, str], output: int) -> int:
        """Start a command with its output going to a file descriptor; answers the process to wait for and to kill.

        That process, killed, takes all others with it; on SIGTERM it sends SIGTERM to all others and waits for
        them. It ends with the command's exit code, or 128 and the number of the signal that ended the command.
        """
        return in_child(lambda: self.supervise(command, environment, output))

    def supervise(self, command: list[str], environment: dict[str, str], output: int) -> int:
        """The process outside of the process namespace: its only child is the first one inside."""
        with self.recorded_errors():
            enter_namespaces()
        die_with_parent()
        first = in_child(lambda: self.run_as_first(command, environment, output))
        signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGTERM))
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        return exit_code(os.waitpid(first, 0)[1])

    def run_as_first(self, command: list[str], environment: dict[str, str], output: int) -> int:
        """The first process of the namespace, with whose end the kernel kills all others."""
        die_with_parent()
        with self.recorded_errors():
            self.build_root()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 256)
        main = in_child(lambda: self.execute(command, environment))
        stopping = []

        def stop(*_: object) -> None:
            stopping.append(True)
            os.kill(-1, signal.SIGTERM)  # everyone else in the namespace

        signal.signal(signal.SIGTERM, stop)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        return wait_for_main(main, stopping)

    def execute(self, command: list[str], environment: dict[str, str]) -> int:
        os.setsid()
        os.chdir(self.working_folder)
        if self.user is not None:
            os.setgroups([])
            os.setgid(self.user)
            os.setuid(self.user)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        try:
            os.execvpe(command[0], command, environment)
        except OSError as error:
            print(f'exec: "{command[0]}": {error.strerror}', file=sys.stderr, flush=True)
        return CANNOT_START

    def build_root(self) -> None:
        mount("none", Path("/"), flags=MS_REC | MS_PRIVATE)
        mount("tmpfs", self.root, "tmpfs", data="mode=755")
        self.show_machine(Path("/"))
        for folder in sorted(self.hidden):
            if folder != Path("/proc") and self.inside(folder).is_dir():
                mount("tmpfs", self.inside(folder), "tmpfs", data="mode=755")
        mounts = sorted(self.mounts, key=lambda entry: len(entry.target.parts))
        for entry in mounts:
            self.make_mount_point(entry)
            bind(entry.source, self.inside(entry.target))
        # Last, because a volume may lie in another one.
        for entry in mounts:
            if entry.read_only:
                remount_read_only(self.inside(entry.target))
        remount_read_only(self.root)
        os.chroot(self.root)
        os.chdir("/")

    def show_machine(self, folder: Path) -> None:
        """Show a folder of this machine in the new root; if a mount point is missing in it, it is made anew."""
        for source in sorted(folder.iterdir()):
            target = self.inside(source)
            if source.is_symlink():
                target.symlink_to(os.readlink(source))
            elif source == Path("/proc"):
                target.mkdir()
                mount_proc(target)
            elif source in self.hidden:
                target.mkdir()
            elif source.is_dir() and any(self.is_missing_below(entry.target, source) for entry in self.mounts):
                target.mkdir()
                self.show_machine(source)
            else:
                target.mkdir() if source.is_dir() else target.touch()
                bind(source, target)
                with contextlib.suppress(OSError):  # some, such as /sys for an ordinary user, cannot be remounted
                    remount_read_only(target)

    def is_missing_below(self, mount_point: Path, folder: Path) -> bool:
        """Whether a mount point must be made in a folder. In hidden folders there is room for it anyway."""
        below = mount_point != folder and mount_point.is_relative_to(folder)
        return below and not mount_point.exists() and not any(mount_point.is_relative_to(path) for path in self.hidden)

    def make_mount_point(self, entry: Mount) -> None:
        target = self.inside(entry.target)
        missing = [path for path in target.parents if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o755)
            if self.mount_parents_writable and self.user is not None:
                os.chown(path, self.user, self.user)
        if not target.exists():
            target.mkdir() if entry.source.is_dir() else target.touch()

    def inside(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    @contextlib.contextmanager
    def recorded_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.errors.write_text(traceback.format_exc())
            raise


def in_child(function: Callable[[], int]) -> int:
    """Fork; the child ends with the function's exit code."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        code = function()
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait_for_main(main: int, stopping: list[bool]) -> int:
    """Wait for the command, and, when the job is stopped, for all others too: each may still save its work."""
    code = 0
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.wait()
            if pid == main:
                code = exit_code(status)
                if not stopping:
                    break
    return code


def exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def enter_namespaces() -> None:
    """The process namespace begins with the next child."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        check(libc.unshare(CLONE_NEWNS | CLONE_NEWPID))
        return
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def die_with_parent() -> None:
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def bind(source: Path, target: Path) -> None:
    mount(str(source), target, flags=MS_BIND | MS_REC)


def remount_read_only(path: Path) -> None:
    """Flags of the mount below are kept, since an ordinary user may not take them off."""
    present = os.statvfs(path).f_flag
    flags = present & SAME_FLAGS | (MS_RELATIME if present & os.ST_RELATIME else 0)
    mount("none", path, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def mount_proc(target: Path) -> None:
    try:
        mount("proc", target, "proc")
    except OSError:  # forbidden inside some containers: then the job sees the processes of this machine
        bind(Path("/proc"), target)


def mount(source: str, target: Path, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    words = [text.encode() if text is not None else None for text in (source, str(target), kind, data)]
    check(libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), str(target))


def check(result: int, path: str | None = None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)

"""Answers calls of the command `ovhai`, each in a forked copy of a process that has read all libraries.

A call has the arguments, the variables, the folder and the streams of the command that hands it over (../bin/ovhai). It
ends if that is killed, and that ends with its exit code, or killed as it was.
"""

import atexit
import functools
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from ovhai_standin import cli, runner  # noqa: F401  runner: what `job run` needs

VARIABLE = "OVHAI_STANDIN_SERVER"


@functools.cache
def start() -> str:
    """The path of a server's socket, which is there until this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="ovhai-")
    path = f"{folder.name}/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(256)
        server = subprocess.Popen(
            [sys.executable, "-m", "ovhai_standin.server", str(listener.fileno())],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=subprocess.PIPE,  # its end tells the server that this process has ended
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the calls
        )
    atexit.register(folder.cleanup)
    atexit.register(server.kill)
    return path


def serve(listener: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a call that has ended
    with selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        waiting.register(0, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in waiting.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(connection)
            connection.close()


def answer(connection: socket.socket) -> None:
    """Does not come back."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        argv, process, caller = take_over(connection)
        threading.Thread(target=end_with_caller, args=(connection,), daemon=True).start()
        code = cli.main(argv, process, caller)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads it any more
        code = 1
    connection.send(bytes([code]))
    os._exit(code)


def take_over(connection: socket.socket) -> tuple[list[str], int, int]:
    """The arguments, the process of the command, and that which called it. This process becomes like the command's."""
    size, streams, _, _ = socket.recv_fds(connection, 4, 3)
    content = b""
    while len(content) < int.from_bytes(size, "big"):
        content += connection.recv(1 << 20)
    process, caller, folder, count, *rest = map(os.fsdecode, content.split(b"\0"))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(dict(variable.split("=", 1) for variable in rest[int(count) :]))
    os.chdir(folder)
    return rest[: int(count)], int(process), int(caller)


def end_with_caller(connection: socket.socket) -> None:
    if not connection.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))

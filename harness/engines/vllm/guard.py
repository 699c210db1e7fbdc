"""Starts a command and stops it, and all it started, once the process that asked for it is gone.

    python guard.py COMMAND ARGUMENT...

It has to be started in a session of its own. It reads its standard input, a pipe whose other end the asking process
holds: the pipe ends with that process, however it dies, SIGKILL included. A parent-death signal would reach the
command alone and not the processes it starts. The interpreter that runs this need not have assay.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

_STOP_TIMEOUT_S = 20.0


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop the whole process group, at last this process too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpgrp(), signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(os.getpgrp(), signal.SIGKILL)  # the stragglers, and this process


def main() -> None:
    """Run the command until it ends or the pipe does."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # this process outlives its group; a handler is not inherited
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)

    def watch() -> None:
        while os.read(0, 1024):
            pass
        _stop(process)

    threading.Thread(target=watch, daemon=True).start()
    status = process.wait()
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()

"""A child process that may not outlive us, not even where we are killed."""

import os
import signal
import subprocess

_SCRIPT = 'read _; kill -"$1" "$2" 2>/dev/null'
"""Wait for the end of standard input, which comes when nobody holds the other end any more."""


class Guardian:
    """A small process beside a child: when this process is gone, however it went, it ends it.

    It holds one end of a pipe and we the other, which the system closes with us. That works on
    every Unix, while PR_SET_PDEATHSIG is Linux's alone and ends the child with a mere thread.

    Args:
        pid: of the child.
        number: signal that ends it.
    """

    def __init__(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        end, self._kept = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "guardian", str(number.value), str(pid)],
                stdin=end, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C reaches every process of the terminal's session
            )  # fmt: skip
        except OSError:
            os.close(self._kept)
            raise
        finally:
            os.close(end)

    def dismiss(self) -> None:
        """Let the child alone. To be called before it is waited for: its pid may then be another's.

        Calling it again does nothing.
        """
        if self._process.returncode is not None:
            return
        self._process.kill()
        self._process.wait()
        os.close(self._kept)

"""All tests, in processes side by side: those that only compute stand back behind those that wait for processes.

python -m tests [OPTIONS OF PYTEST]
"""

import contextlib
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import psutil

HERE: Final = Path(__file__).parent
WAITING: Final = (
    "client",
    "database",
    "docs",
    "jobs",
    "processes",
)  # for servers and workers that they start
COMPUTING: Final = ("simulation", "theory")
# What the others wait for, shards of simulations in processes of their own, has niceness 10.
SERVICE_NICENESS, COMPUTING_NICENESS = 15, 19


@dataclass
class _Behind:
    """pytest with this niceness, also where Linux divides time by session; what it prints is kept."""

    arguments: list[str]
    niceness: int
    printed: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            self.arguments, stdout=self.printed, stderr=subprocess.STDOUT, start_new_session=True
        )
        psutil.Process(self.process.pid).nice(self.niceness)
        with contextlib.suppress(OSError):  # another system, or a Linux that does not
            Path(f"/proc/{self.process.pid}/autogroup").write_text(str(self.niceness))

    def shown(self) -> int:
        """What it printed, once it has ended, and how that went."""
        found = self.process.wait()
        self.printed.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(self.printed.read())
        sys.stdout.flush()
        return found

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # it stops its database
            self.process.wait()


def main(options: list[str]) -> int:
    """Run all; 0 if all pass."""
    pytest = [sys.executable, "-m", "pytest", *options]
    apart = [*WAITING, *COMPUTING]
    quiet = [*pytest, "-p", "no:cacheprovider"]
    behind = [
        _Behind([*quiet, *_paths(COMPUTING)], COMPUTING_NICENESS),
        _Behind([*quiet, str(HERE), *(f"--ignore={path}" for path in _paths(apart))], SERVICE_NICENESS),
    ]
    try:
        found = [subprocess.call([*pytest, *_paths(WAITING)])]
        found += [one.shown() for one in behind]
    finally:
        for one in behind:
            one.stop()
    return max(found, key=abs)


def _paths(names: "list[str] | tuple[str, ...]") -> list[str]:
    return [str(HERE / name) for name in names]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

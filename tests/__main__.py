"""All tests, in two processes side by side: those that only compute stand back behind those with real processes.

python -m tests [OPTIONS OF PYTEST]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

HERE = Path(__file__).parent
COMPUTING = [str(HERE / name) for name in ("theory", "simulation")]
_YIELDING = 19  # niceness: shards of simulations, which tests wait for, have 10


def main(options: list[str]) -> int:
    """Run both; what the computing ones print comes at the end. 0 if both pass."""
    pytest = [sys.executable, "-m", "pytest", *options]
    with tempfile.TemporaryFile() as printed:
        computing = subprocess.Popen(
            [*pytest, "-p", "no:cacheprovider", *COMPUTING],
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        psutil.Process(computing.pid).nice(_YIELDING)
        try:
            others = subprocess.call([*pytest, str(HERE), *(f"--ignore={path}" for path in COMPUTING)])
            found = computing.wait()
        finally:
            computing.kill()
            computing.wait()
            printed.seek(0)
            sys.stdout.flush()
            sys.stdout.buffer.write(printed.read())
    return others or found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

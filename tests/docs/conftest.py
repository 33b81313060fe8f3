"""The service as a user starts it: ``collapse up`` on a data directory of its own and a free port."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def service_url() -> Iterator[str]:
    data_dir = tempfile.mkdtemp(prefix="collapse-docs-")
    environment = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "HOST")}
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "up"],
        env={**environment, "DATA_DIR": data_dir, "PORT": "0", "LOG_LEVEL": "warning"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    watchdog = threading.Timer(90, process.kill)
    watchdog.start()
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("ready: "):
            break
    else:
        pytest.fail(f"the service did not start: {''.join(said)}")
    watchdog.cancel()
    try:
        yield line.split()[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        shutil.rmtree(data_dir, ignore_errors=True)
    assert process.returncode == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the examples are run: the examples' files are there, nothing else."""
    shutil.copytree(Path(__file__).parents[2] / "examples", tmp_path / "examples")
    return tmp_path

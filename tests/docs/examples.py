"""The examples of the documents: every ```console block is a list of commands and what they print.

A line that begins with ``$ `` is a command of bash; the lines up to the next one are its output, standard output and
standard error together. Ids, times and temporary paths differ from run to run and are compared by their form.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What may differ: the id's random part is content-addressed, but over an engine version or a random number.
VOLATILE = (
    (re.compile(r"\b(prd|dst|sim)_[a-z2-7]{26}\b"), r"\1_xxxxxxxxxxxxxxxxxxxxxxxxxx"),
    (re.compile(r"\breq_[0-9a-f]{26}\b"), "req_xxxxxxxxxxxxxxxxxxxxxxxxxx"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)"), "2000-01-01T00:00:00Z"),
    (re.compile(r"sha256:[0-9a-f]{64}"), "sha256:x"),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
)


@dataclass(frozen=True)
class Example:
    """A command and the output that the document claims."""

    command: str
    output: str


def examples(text: str) -> list[list[Example]]:
    """The blocks of a document, in order."""
    blocks = []
    for block in BLOCK.findall(text):
        parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
        assert parts[0] == "", f"a console block begins with a command: {block!r}"
        blocks.append([Example(*part.partition("\n")[::2]) for part in parts[1:]])
    return blocks


def run(command: str, url: str, folder: Path) -> str:
    """What the command prints in ``folder``, against the service at ``url``, on a terminal of 80 columns."""
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "COLLAPSE_URL": url,
        "COLUMNS": "80",
        "TERM": "dumb",
        "NO_COLOR": "1",
    }
    shown = command.replace(".venv/bin/", f"{programs}/").replace("http://127.0.0.1:8000", url)
    done = subprocess.run(
        ["bash", "-c", shown],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    return done.stdout.replace(url, "http://127.0.0.1:8000")


def normal(output: str) -> str:
    """The output with everything volatile in its place's form."""
    for pattern, form in VOLATILE:
        output = pattern.sub(form, output)
    return output.strip("\n")

"""Every command in the documents, run as printed, prints what the document says."""

import os
import re
from pathlib import Path

import pytest

from tests.docs.examples import BLOCK, DOCUMENTS, ROOT, examples, normal, run

WITH_EXAMPLES = [path for path in DOCUMENTS if examples(path.read_text(encoding="utf-8"))]
UPDATE = "COLLAPSE_UPDATE_DOCS" in os.environ  # write what is printed into the documents (make docs)


@pytest.mark.processes
@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_print_what_the_document_says(path: Path, service_url: str, folder: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for block in examples(text):
        printed = [(one, run(one.command, service_url, folder)) for one in block]
        if UPDATE:
            old = "".join(f"$ {one.command}\n{one.output}" for one, _ in printed)
            new = "".join(f"$ {one.command}\n{_trimmed(output)}" for one, output in printed)
            assert old in text
            text = text.replace(old, new)
            path.write_text(text, encoding="utf-8")
            continue
        for one, output in printed:
            assert normal(output) == normal(one.output), one.command


def test_the_readme_has_examples() -> None:
    assert ROOT / "README.md" in WITH_EXAMPLES


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_documents_lead_somewhere(path: Path) -> None:
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def _trimmed(output: str) -> str:
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    return "".join(f"{line}\n" for line in lines)

"""Write openapi/openapi.json from the application, or with --check fail where it differs."""

import difflib
import json
import sys
from pathlib import Path

from service.app import create_app
from service.settings import Settings

COMMITTED = Path(__file__).parent / "openapi.json"


def document() -> str:
    """The OpenAPI document as it is committed; independent of the environment."""
    return json.dumps(create_app(Settings.model_construct()).openapi(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write or check; 1 when the committed document differs."""
    new = document()
    if "--check" not in sys.argv[1:]:
        COMMITTED.write_text(new, encoding="utf-8")
        return 0
    old = COMMITTED.read_text(encoding="utf-8")
    if old == new:
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(
            old.splitlines(True), new.splitlines(True), "openapi/openapi.json", "the application"
        )
    )
    print("openapi/openapi.json is out of date: run `make openapi`")
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""What goes to stdout.

Rules: whole lines of text that any stream can carry. Apart from the subcommands because each of them answers in JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def print_json(value: Any) -> None:
    """One line of JSON: readable where the stream can carry it, else escaped."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(value)
    print(text, flush=True)

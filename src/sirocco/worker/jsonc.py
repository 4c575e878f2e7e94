"""JSON with comments and commas at the end of a list, as wrangler's configuration has it."""

import json
import re
from typing import Any

_STRING_OR_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])')


def parse(text: str) -> Any:
    """Read a value. Raises: ValueError."""
    bare = _STRING_OR_COMMENT.sub(lambda found: found[1] or " ", text)
    return json.loads(_STRING_OR_COMMA.sub(lambda found: found[1] or "", bare))

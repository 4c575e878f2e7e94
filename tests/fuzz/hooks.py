"""What Schemathesis is told beyond the document: a model that is there, in most of the bodies."""

import os
from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Name the model that is served where any text stands for one; it finds others unknown."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 4:
        return {**body, "model": os.environ["FUZZED_MODEL"]}
    return body

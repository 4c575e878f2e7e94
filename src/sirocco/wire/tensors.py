"""The binding protocol's first generation: tensors in, tensors out.

Its package applied the chat template itself, and sent the prompt as one tensor and the limit of
tokens as another. Models that ran on vLLM got both under other names, and answered with the
prompt in front, which the package cuts off again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sirocco.errors import InvalidInput
from sirocco.wire.body import json_type
from sirocco.wire.envelope import JsonObject

_PROMPTS = ("INPUT_0", "text_input")
_LIMIT = "INPUT_1"
_PARAMETERS = "sampling_parameters"
_TAKEN_PARAMETERS = ("max_tokens", "temperature", "top_p", "top_k", "seed")


@dataclass(frozen=True, slots=True)
class TensorCall:
    """What the package asks for.

    Attributes:
        inputs: the body that the REST route would get.
        echo: what has to stand before the answer.
    """

    inputs: JsonObject
    echo: str


def read_tensors(members: Mapping[str, Any]) -> TensorCall:
    """Read the body of the first generation. Raises: InvalidInput."""
    values = _values_by_name(members.get("input"))
    name = next((name for name in _PROMPTS if name in values), None)
    if name is None:
        raise InvalidInput("'/input' has no tensor INPUT_0 or text_input with a prompt")
    inputs = {"prompt": values[name], "raw": True, "stream": bool(members.get("stream"))}
    if values.get(_LIMIT) is not None:
        inputs["max_tokens"] = values[_LIMIT]
    inputs.update(_parameters(values.get(_PARAMETERS)))
    echo = values[name] if name == "text_input" and isinstance(values[name], str) else ""
    return TensorCall(inputs, echo)


def tensors(model_id: str, text: str) -> JsonObject:
    """Write a text as the package looks for it, whole or a piece of a stream."""
    name = "generated_text" if model_id.startswith("@hf/") else "name"
    return {"result": [{"type": "str", "shape": [1], "name": name, "value": [text]}]}


def _values_by_name(given: object) -> JsonObject:
    """Take the first value of each tensor."""
    if not isinstance(given, list):
        raise InvalidInput(f"Type mismatch of '/input', '{json_type(given)}' not in 'array'")
    values: JsonObject = {}
    for place, tensor in enumerate(given):
        value = tensor.get("value") if isinstance(tensor, dict) else None
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str) or value in (None, []):
            raise InvalidInput(f"'/input/{place}' must be a tensor with a name and a value")
        values[name] = value[0] if isinstance(value, list) else value
    return values


def _parameters(text: object) -> JsonObject:
    """Read the sampling parameters, which are JSON in a text."""
    if text is None:
        return {}
    try:
        parameters = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        raise InvalidInput("the tensor sampling_parameters must be a JSON object as a text")
    return {name: parameters[name] for name in _TAKEN_PARAMETERS if name in parameters}

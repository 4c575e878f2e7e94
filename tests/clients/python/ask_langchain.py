"""langchain-cloudflare: chat on the native route."""

import httpx
from asked import ACCOUNT_ID, API_TOKEN, BASE, MAX_TOKENS, MODEL, PROMPT, UNKNOWN_MODEL, report
from langchain_cloudflare import ChatCloudflareWorkersAI

PERSON = {
    "type": "object",
    "properties": {"name": {"enum": ["Ann", "Bob"]}, "age": {"enum": [1, 2]}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
OF_A_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}


def chat(model: str) -> ChatCloudflareWorkersAI:
    """Make a chat with a model."""
    return ChatCloudflareWorkersAI(
        base_url=BASE,
        account_id=ACCOUNT_ID,
        api_token=API_TOKEN,
        model=model,
        max_tokens=MAX_TOKENS,
        temperature=0,
    )


def refusal() -> dict[str, object]:
    """What it raises when the server refuses."""
    try:
        chat(UNKNOWN_MODEL).invoke(PROMPT)
    except httpx.HTTPStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.response.status_code,
            "codes": [entry["code"] for entry in error.response.json()["errors"]],
        }
    return {}


def any_json() -> str:
    """The beginning of some JSON: a small model does not come to its end."""
    bound = chat(MODEL).bind(response_format={"type": "json_object"})
    return "".join(chunk.content for chunk in bound.stream("A person"))[:2]


plain = chat(MODEL).invoke(PROMPT)
report(
    text=plain.content,
    usage={"completion_tokens": plain.usage_metadata["output_tokens"]},
    streamed="".join(chunk.content for chunk in chat(MODEL).stream(PROMPT)),
    person=chat(MODEL).bind(response_format=OF_A_SCHEMA).invoke("A person").content,
    any_json=any_json(),
    refusal=refusal(),
)

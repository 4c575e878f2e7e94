"""langchain-cloudflare: chat on the native route."""

import httpx
from asked import ACCOUNT_ID, API_TOKEN, BASE, MAX_TOKENS, MODEL, PROMPT, UNKNOWN_MODEL, report
from langchain_cloudflare import ChatCloudflareWorkersAI


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


plain = chat(MODEL).invoke(PROMPT)
report(
    text=plain.content,
    usage={"completion_tokens": plain.usage_metadata["output_tokens"]},
    streamed="".join(chunk.content for chunk in chat(MODEL).stream(PROMPT)),
    refusal=refusal(),
)

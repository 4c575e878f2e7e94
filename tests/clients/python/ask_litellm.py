"""litellm, with its provider for Workers AI and the one for OpenAI."""

import litellm
from asked import ACCOUNT_ID, API_TOKEN, BASE, MAX_TOKENS, MODEL, PROMPT, UNKNOWN_MODEL, report

litellm.suppress_debug_info = True  # it would print among our JSON
QUESTION = {
    "messages": [{"role": "user", "content": PROMPT}],
    "max_tokens": MAX_TOKENS,
    "temperature": 0,
    "api_base": f"{BASE}/accounts/{ACCOUNT_ID}/ai/v1",
    "api_key": API_TOKEN,
    "num_retries": 0,
}


def refusal(provider: str) -> dict[str, object]:
    """What it raises when the server refuses."""
    try:
        litellm.completion(model=f"{provider}/{UNKNOWN_MODEL}", **QUESTION)
    except litellm.exceptions.BadRequestError as error:
        return {"class": type(error).__name__, "status": error.status_code, "text": str(error)}
    return {}


def asked(provider: str) -> dict[str, object]:
    """Ask through one provider."""
    plain = litellm.completion(model=f"{provider}/{MODEL}", **QUESTION)
    chunks = list(litellm.completion(model=f"{provider}/{MODEL}", stream=True, **QUESTION))
    return {
        "text": plain.choices[0].message.content,
        "finish_reason": plain.choices[0].finish_reason,
        "usage": {"completion_tokens": plain.usage.completion_tokens},
        "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
        "streamed_finish_reason": chunks[-1].choices[0].finish_reason,
        "refusal": refusal(provider),
    }


report(cloudflare=asked("cloudflare"), openai=asked("openai"))

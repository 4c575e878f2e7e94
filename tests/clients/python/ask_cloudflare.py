"""Cloudflare's own Python package."""

import json

import cloudflare
from asked import ACCOUNT_ID, API_TOKEN, BASE, MAX_TOKENS, MODEL, PROMPT, UNKNOWN_MODEL, report

client = cloudflare.Cloudflare(api_token=API_TOKEN, base_url=BASE)
QUESTION = {"account_id": ACCOUNT_ID, "prompt": PROMPT, "max_tokens": MAX_TOKENS, "temperature": 0}


def streamed() -> tuple[str, bool]:
    """The text of a stream, and whether it came to its end."""
    asked = client.ai.with_streaming_response
    with asked.run(MODEL, stream=True, **QUESTION) as stream:
        data = [line.removeprefix("data: ") for line in stream.iter_lines() if line]
    events = [json.loads(event) for event in data if event != "[DONE]"]
    return "".join(event["response"] for event in events), data[-1] == "[DONE]"


def refusal() -> dict[str, object]:
    """What it raises when the server refuses."""
    try:
        client.ai.run(UNKNOWN_MODEL, **QUESTION)
    except cloudflare.APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "codes": [entry.code for entry in error.errors],
        }
    return {}


plain = client.ai.run(MODEL, **QUESTION)
text, is_whole = streamed()
report(
    text=plain["response"],
    usage=plain["usage"],
    streamed=text,
    is_whole=is_whole,
    refusal=refusal(),
    models=[model["name"] for model in client.ai.models.list(account_id=ACCOUNT_ID)],
    mistrals=[
        model["name"]
        for model in client.ai.models.list(account_id=ACCOUNT_ID, author="mistral", per_page=1)
    ],
    schema=sorted(client.ai.models.schema.get(account_id=ACCOUNT_ID, model=MODEL).to_dict()),
    tasks=[task["name"] for task in client.ai.tasks.list(account_id=ACCOUNT_ID)],
    authors=[author["name"] for author in client.ai.authors.list(account_id=ACCOUNT_ID)],
    finetunes=client.ai.finetunes.list(account_id=ACCOUNT_ID),
    accounts=[account.id for account in client.accounts.list()],
    memberships=[membership.account.id for membership in client.memberships.list()],
    verified=client.user.tokens.verify().status,
)

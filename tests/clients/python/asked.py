"""What every client is asked, and how its script reports what it returned."""

import json
import os
import sys

BASE = os.environ["CLOUDFLARE_API_BASE_URL"]
ACCOUNT_ID = os.environ["CLOUDFLARE_ACCOUNT_ID"]
API_TOKEN = os.environ["CLOUDFLARE_API_TOKEN"]
MODEL = os.environ["MODEL"]
UNKNOWN_MODEL = os.environ["UNKNOWN_MODEL"]
PROMPT = os.environ["PROMPT"]
MAX_TOKENS = int(os.environ["MAX_TOKENS"])


def report(**returned: object) -> None:
    """Print one JSON object."""
    json.dump(returned, sys.stdout)

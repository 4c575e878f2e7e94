"""`…/ai/v1`: the same models in the shapes of OpenAI's API."""

"""The shapes of OpenAI's API, as the public service speaks them under `/ai/v1`."""

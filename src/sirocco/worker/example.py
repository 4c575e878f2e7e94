"""A small project to begin with."""

from pathlib import Path

from sirocco.errors import ConfigError

_CONFIG = """{
  // `sirocco worker dev` runs this against your own models, `wrangler deploy` against Cloudflare's.
  "name": "hello-mistral",
  "main": "src/index.js",
  "compatibility_date": "2026-06-01",
  "ai": { "binding": "AI" },
  "vars": { "MODEL": "@cf/mistral/mistral-7b-instruct-v0.1" }
}
"""
_SCRIPT = """export default {
  async fetch(request, env) {
    const { searchParams } = new URL(request.url);
    const question = searchParams.get("q") ?? "What is grouped query attention?";
    const stream = await env.AI.run(env.MODEL, {
      messages: [{ role: "user", content: question }],
      stream: true,
    });
    return new Response(stream, { headers: { "content-type": "text/event-stream" } });
  },
};
"""
_FILES = {"wrangler.jsonc": _CONFIG, "src/index.js": _SCRIPT}


def write_example(folder: Path) -> list[Path]:
    """Write the project's files; give their paths.

    Raises: ConfigError if one of them is there already, or the folder is not to be written.
    """
    files = [folder / name for name in _FILES]
    there = next((file for file in files if file.exists()), None)
    if there is not None:
        raise ConfigError(f"{there} is there already, and is left as it is")
    try:
        for file, text in zip(files, _FILES.values(), strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror}") from error
    return files

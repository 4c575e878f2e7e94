"""Worker scripts in Cloudflare's own runtime, with `env.AI` answered by a Sirocco server.

Knows npm, esbuild and workerd; nothing of models, and of a server only its address.
"""

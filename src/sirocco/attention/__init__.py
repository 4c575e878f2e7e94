"""Siblings that compute one thing: `dense` is the definition, `sdpa` computes it over blocks."""

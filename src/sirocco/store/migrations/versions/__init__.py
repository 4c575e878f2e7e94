"""One module per step; the number in front of its name is its revision."""

"""Which part of an answer is text, and which is calls of tools, while it grows."""

from sirocco.tokenizer.tools import CallsRead, begins_call, read_tool_calls


class ToolReader:
    """Reads one answer that kept to a grammar of tools: its first character tells what it is."""

    def __init__(self) -> None:
        self._held = ""
        self._is_text = False

    def feed(self, text: str) -> str:
        """Take a piece; return the text to be shown now."""
        if self._is_text:
            return text
        self._held += text
        if not self._held or begins_call(self._held):
            return ""
        self._is_text = True
        held, self._held = self._held, ""
        return held

    def end(self) -> CallsRead:
        """End the answer; return its calls: all that was not shown as text."""
        return read_tool_calls(self._held)

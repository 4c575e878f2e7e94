"""Log lines: what they show, and what they never do."""

import logging

import pytest
import structlog

from sirocco.logs import configure_logs


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_shows_lines_of_code_and_no_values(capsys, style):
    configure_logs("info", style)

    def fail(secret):
        raise RuntimeError("it broke")

    held = "s3cret"
    try:
        fail(held)
    except RuntimeError:
        logging.getLogger("uvicorn.error").exception("unforeseen")

    log = capsys.readouterr().err
    assert "it broke" in log
    assert "s3cret" not in log


@pytest.mark.parametrize(("style", "line"), [("json", '"n": 3'), ("text", "n=3")])
def test_a_line_has_its_fields_in_the_wanted_form(capsys, style, line):
    configure_logs("info", style)

    structlog.get_logger("sirocco.test").info("happened", n=3)
    structlog.get_logger("sirocco.test").debug("too quiet")

    log = capsys.readouterr().err
    assert line in log
    assert "too quiet" not in log


def test_a_websocket_that_was_refused_is_no_news(capsys):
    configure_logs("info", "json")

    logging.getLogger("uvicorn.error").warning("Unsupported upgrade request.")
    logging.getLogger("uvicorn.error").warning("Something else.")

    assert "upgrade" not in (log := capsys.readouterr().err)
    assert "Something else." in log

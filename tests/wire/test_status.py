"""Every error has its public status, code, text and envelope."""

import inspect

import pytest

from sirocco import errors
from sirocco.errors import (
    Aborted,
    CheckpointError,
    ConfigError,
    DailyQuotaExceeded,
    InvalidApiToken,
    InvalidInput,
    JunkCredentials,
    MalformedCredentials,
    MissingBody,
    MissingCredentials,
    MissingScope,
    ModelFault,
    ModelNotInstalled,
    OutOfCapacity,
    PromptTooLong,
    RateLimited,
    RequestTooLarge,
    SiroccoError,
    Unavailable,
    UnknownModel,
    WrongCredentials,
)
from sirocco.wire.status import describe, failure, layer_of, status_of

ERROR_CLASSES = [
    cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, SiroccoError)
]
DOCUMENTED = [
    (UnknownModel("@cf/x/y"), 400, 5007, "AiError: No such model: No such model @cf/x/y or task"),
    (
        InvalidInput("'/temperature' must be <= 5"),
        400,
        5006,
        "AiError: Bad input: Error: '/temperature' must be <= 5",
    ),
    (MissingBody("body"), 400, 3003, "Request is missing headers or body: body"),
    (
        PromptTooLong(3000, 256, 2824),
        413,
        5021,
        "The estimated number of input and maximum output tokens (3000 + 256) "
        "exceeded this model context window limit (2824)",
    ),
    (RequestTooLarge("more than 10 bytes"), 413, 3006, "more than 10 bytes"),
    (
        MissingCredentials("x"),
        400,
        9106,
        "Missing X-Auth-Key, X-Auth-Email or Authorization headers",
    ),
    (MalformedCredentials("x"), 400, 6003, "Invalid request headers"),
    (JunkCredentials("x"), 400, 9106, "Authentication failed (status: 400)"),
    (WrongCredentials("x"), 401, 10000, "Authentication error"),
    (InvalidApiToken("x"), 401, 1000, "Invalid API Token"),
    (MissingScope("x"), 403, 10000, "Authentication error"),
    (OutOfCapacity("x"), 429, 3040, "Capacity temporarily exceeded, please try again."),
    (
        RateLimited("x", retry_after_s=4),
        429,
        3021,
        "rate limiting: inference request per min rate reached",
    ),
    (DailyQuotaExceeded("you have used up"), 429, 4006, "AiError: you have used up"),
    (Aborted("the engine stopped"), 408, 3008, "the engine stopped"),
    (ModelFault("no finite logits"), 500, 5012, "no finite logits"),
    (ModelNotInstalled("@cf/x/y is not installed"), 503, 3040, "@cf/x/y is not installed"),
    (Unavailable("shutting down"), 503, 3040, "shutting down"),
    (ConfigError("port: 99999"), 500, 1000, "AiError: Internal server error"),
    (CheckpointError("in /srv/models/x"), 500, 1000, "AiError: Internal server error"),
]


def an_error(cls: type[SiroccoError]) -> SiroccoError:
    return PromptTooLong(3000, 256, 2824) if cls is PromptTooLong else cls("text")


@pytest.mark.parametrize(
    ("error", "http", "code", "text"), DOCUMENTED, ids=lambda v: type(v).__name__
)
def test_documented_errors(error, http, code, text):
    assert status_of(error) == (http, code)
    assert describe(error) == text


@pytest.mark.parametrize("cls", ERROR_CLASSES)
def test_every_error_class_has_a_status_of_an_error(cls):
    error = an_error(cls)

    http, code = status_of(error)

    assert 400 <= http <= 599
    assert code >= 1000
    assert failure(error, "id")["success"] is False


@pytest.mark.parametrize("cls", [cls for cls in ERROR_CLASSES if not cls.__subclasses__()])
def test_only_faults_of_ours_are_5xx(cls):
    http, _ = status_of(an_error(cls))

    assert (http >= 500) == issubclass(
        cls, errors.SetupError | errors.ModelFault | errors.EngineFault | errors.Unavailable
    )


def test_a_class_without_a_row_has_its_parents_status():
    class TooManyNeurons(errors.LimitError):
        pass

    assert status_of(TooManyNeurons()) == status_of(OutOfCapacity())


@pytest.mark.parametrize("cls", ERROR_CLASSES)
def test_the_gateway_answers_for_credentials_and_inference_for_the_rest(cls):
    error = an_error(cls)

    body = failure(error, "72ef7198")

    of_no_model = (
        errors.AuthError | errors.UnknownRequest | errors.HeaderTooLarge | errors.MalformedRequest
    )
    if issubclass(cls, of_no_model):
        assert layer_of(error) == "gateway"
        assert body["result"] is None
        assert "72ef7198" not in body["errors"][0]["message"]
    else:
        assert layer_of(error) == "inference"
        assert body["result"] == {}
        assert body["errors"][0]["message"].endswith(" (72ef7198)")


def test_malformed_credentials_name_their_cause():
    body = failure(MalformedCredentials(), "id")

    assert body["errors"] == [
        {
            "code": 6003,
            "message": "Invalid request headers",
            "error_chain": [{"code": 6111, "message": "Invalid format for Authorization header"}],
        }
    ]


@pytest.mark.parametrize("cls", [c for c in ERROR_CLASSES if issubclass(c, errors.AuthError)])
def test_credential_errors_never_repeat_what_was_sent(cls):
    assert "s3cret" not in str(failure(cls("s3cret"), "id"))

"""What the routes answer, as types for the API's own description; tests compare it with answers.

Nothing is written with these: answers are plain objects, and their members stand in the order of
the public service. A member with a default may be absent.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

Figure = float | int | str | bool | None
Empty = Annotated[list[Any], Field(max_length=0)]


class Described(BaseModel):
    """An object that has these members and no others."""

    model_config = ConfigDict(extra="forbid")


# --- the two envelopes ---


class Said(Described):
    """A message for a person."""

    code: int
    message: str
    type: None = None


class Success(Described, Generic[T]):
    """The envelope of an answer that went well."""

    result: T
    success: Literal[True]
    errors: Empty
    messages: list[Said]


class PageInfo(Described):
    """Where a page stands."""

    page: int
    per_page: int
    count: int
    total_count: int
    total_pages: int = 0


class Page(Success[list[T]], Generic[T]):
    """The envelope of a page of a list."""

    result_info: PageInfo


class GatewayError(Described):
    """What is wrong, and what led to it."""

    code: int
    message: str
    error_chain: list[Said] = []


class GatewayFailure(Described):
    """Errors of authentication and routing."""

    result: None
    success: Literal[False]
    errors: Annotated[list[GatewayError], Field(min_length=1)]
    messages: Empty


class InferenceError(Described):
    """What is wrong; the text ends with the request id in brackets."""

    message: str
    code: int


class InferenceFailure(Described):
    """Errors of everything behind authentication and routing."""

    errors: Annotated[list[InferenceError], Field(min_length=1)]
    success: Literal[False]
    result: Annotated[dict[str, Any], Field(max_length=0)]
    messages: Empty


# --- text ---


class CachedTokens(Described):
    """The part of a prompt that was computed before."""

    cached_tokens: int


class Counts(Described):
    """What an answer used."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    neurons: float


class FlatCall(Described):
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]


class TextAnswer(Described):
    """A whole answer; `response` is text, or in JSON mode any value."""

    response: Any
    tool_calls: list[FlatCall]
    finish_reason: Literal["length", "stop"] = "length"
    usage: Counts


class BatchQueued(Described):
    """A batch that was taken in."""

    status: Literal["queued"]
    request_id: str
    model: str


class BatchProgress(Described):
    """A batch that is not done."""

    status: Literal["queued", "running"]
    request_id: str


class BatchEntry(Described):
    """What became of one of a batch's requests."""

    id: int
    result: TextAnswer | Annotated[dict[str, Any], Field(max_length=0)]
    success: bool
    errors: list[InferenceError] = []
    external_reference: str | None


class BatchDone(Described):
    """A batch that is done."""

    responses: list[BatchEntry]
    usage: Counts


class RunAnswer(Success[TextAnswer | BatchQueued | BatchProgress | BatchDone]):
    """What a model says, or how far a batch is."""


# --- OpenAI's shapes ---


class Function(Described):
    """Which function is called; `arguments` is JSON."""

    name: str
    arguments: str


class OpenAICall(Described):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: Function


class ChatTurn(Described):
    """What the assistant says."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: list[OpenAICall] = []


class ChatChoice(Described):
    """One of the answers."""

    index: int
    message: ChatTurn
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatAnswer(Described):
    """A whole chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Counts


class CompletionChoice(Described):
    """One of the texts."""

    text: str
    index: int
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class CompletionAnswer(Described):
    """A whole completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Counts


class ResponseAnswer(BaseModel):
    """A whole response."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any]


class OpenAIModel(Described):
    """A model whose weights are here."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModels(Described):
    """All of them."""

    object: Literal["list"]
    data: list[OpenAIModel]


# --- the catalogue ---


class Named(Described):
    """An author."""

    name: str


class Task(Described):
    """What models can do."""

    id: str
    name: str
    description: str


class Property(Described):
    """A property of a model; all values are texts."""

    property_id: str
    value: str


class ModelRow(Described):
    """A model of the catalogue."""

    id: str
    source: int
    name: str
    description: str
    task: Task
    created_at: None
    tags: list[str]
    properties: list[Property]


class ModelSchemas(Described):
    """JSON Schemas of a model's body and answer."""

    input: dict[str, Any]
    output: dict[str, Any]


class NoAdapters(Success[Empty]):
    """There are none."""


# --- looking inside ---


class Grouping(Described):
    """What a token would keep with so many KV heads."""

    n_kv_heads: int
    kv_bytes_per_token: int


class NetworkShape(Described):
    """The network that answered, and its KV cache."""

    id: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    group_size: int
    head_dim: int
    window: int | None
    vocab_size: int
    max_seq_len: int
    block_size: int
    n_blocks: int
    weights: str
    kv_format: str
    kv_bytes_per_token: int
    groupings: list[Grouping]


class SeenToken(Described):
    """A token, and how likely the model found it."""

    id: int
    text: str
    control: bool = False
    probability: float = 0.0
    alternatives: list["SeenToken"] = []


class AttentionMaps(Described):
    """Who looks at whom: base64 of `shape` numbers."""

    layers: list[int]
    heads: list[int]
    shape: list[int]
    encoding: Literal["uint8", "float16"]
    data: str


class Inspected(Described):
    """How a model reads a text."""

    model: NetworkShape
    tokens: list[SeenToken]
    next: list[SeenToken]
    attention: AttentionMaps
    usage: Counts


class Pool(Described):
    """All blocks of an engine."""

    n_blocks: int
    free: int
    idle: int
    held: int


class HeldBlock(Described):
    """A block of the KV cache that an answer holds."""

    id: int
    filled: int
    cached: bool
    shared_by: int


class LiveAnswer(Described):
    """An answer in the making."""

    index: int
    running: bool
    prompt_tokens: int
    tokens: int
    computed: int
    given_back: int
    blocks: list[HeldBlock]


class Blocks(Described):
    """What a request's answers hold."""

    block_size: int
    pool: Pool
    answers: list[LiveAnswer]


# --- planning ---


class Machine(Described):
    """What a machine offers."""

    id: str
    name: str
    memory_bytes: float
    read_bytes_per_s: float
    operations_per_s: dict[str, float]
    attention_operations_per_s: float
    share: float
    usd_per_hour: float | None


class Planned(Described):
    """What fits, how fast it is, what it costs."""

    model: str
    shape: dict[str, int | None]
    machine: Machine
    weights: str
    kv_format: str
    context: int
    plan: dict[str, Figure]
    compared: list[dict[str, Figure]]
    by_batch: dict[str, list[dict[str, Figure]]]
    by_context: dict[str, list[dict[str, Figure]]]


class PlanChoices(Described):
    """What can be planned for."""

    models: list[str]
    machines: list[Machine]
    weights: list[str]
    kv_formats: list[str]


# --- accounts ---


class Verified(Described):
    """A good API token."""

    id: str
    status: Literal["active"]
    expires_on: str = ""


class User(Described):
    """The account in the place of a person."""

    id: str
    email: None
    username: str


class AccountSettings(Described):
    """What accounts have elsewhere."""

    enforce_twofactor: Literal[False]


class AccountShown(Described):
    """An account."""

    id: str
    name: str
    type: Literal["standard"]
    settings: AccountSettings
    created_on: str


class Membership(Described):
    """The account once more."""

    id: str
    status: Literal["accepted"]
    account: AccountShown
    roles: Empty


class UsageGroup(Described):
    """What was used on a day, of a model, or with an API token: one of the three is there."""

    day: str = ""
    model: str = ""
    token: str | None = None
    name: str | None = None
    requests: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    neurons: float


# --- health ---


class Live(Described):
    """The process answers."""

    status: Literal["live"]


class Ready(Described):
    """Requests are served."""

    status: Literal["ready"]
    models: list[str]


class NotReady(Described):
    """They are not, and why."""

    status: Literal["not ready"]
    faults: list[str]

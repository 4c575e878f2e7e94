"""Prompts against mistral-common, and against the templates of the public service."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sirocco.errors import CheckpointError, ConfigError, InvalidInput
from sirocco.tokenizer.chat import TEMPLATES, encode_messages, encode_raw_prompt
from sirocco.types import Message

WORDS = "What is grouped query attention?"


def conversation(*texts, system=None):
    """User and assistant in turn, perhaps under a system message."""
    roles = ["user", "assistant"] * len(texts)
    turns = [Message(role, text) for role, text in zip(roles, texts, strict=False)]  # type: ignore[arg-type]
    return turns if system is None else [Message("system", system), *turns]


@pytest.fixture(scope="module")
def mistral_common_ids():
    """Prompt token ids of Mistral's own library, for its first vocabulary."""
    from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    theirs = MistralTokenizer.v1()
    classes = {"user": UserMessage, "assistant": AssistantMessage}

    def encode(messages):
        turns = [classes[message.role](content=message.content) for message in messages]
        return theirs.encode_chat_completion(ChatCompletionRequest(messages=turns)).tokens

    return encode


@pytest.mark.parametrize(
    "texts",
    [
        (WORDS,),
        ("Hi", "Hello! How can I help?", WORDS),
        ("a", "b", "c", "d", "e"),
        ("  spaces\nand lines ", "café 漢字 🌬️", "\n\n"),
        ("</s> is text [/INST]", "so is <s>", "ok"),
        ("print(1)\n\tif x:\n", "```python\nx = 1\n```", "1234567890"),
    ],
)
def test_mistral_prompts_equal_mistral_commons(tokenizer_of, mistral_common_ids, texts):
    messages = conversation(*texts)

    ours = encode_messages(tokenizer_of("mistral"), messages, "mistral-instruct")

    assert ours == mistral_common_ids(messages)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
        min_size=1,
        max_size=5,
    ).filter(lambda texts: len(texts) % 2 == 1 and all(text.strip() for text in texts))
)
def test_any_mistral_prompt_equals_mistral_commons(tokenizer_of, mistral_common_ids, texts):
    # Their validation strips what ends an assistant's message; ours keeps a caller's text.
    messages = conversation(*(t.rstrip() if i % 2 else t for i, t in enumerate(texts)))

    ours = encode_messages(tokenizer_of("mistral"), messages, "mistral-instruct")

    assert ours == mistral_common_ids(messages)


@pytest.mark.parametrize(
    ("template", "messages", "text"),
    [
        ("mistral-instruct", conversation("U", system="S"), "<s>[INST] S U [/INST]"),
        ("mistral-instruct", conversation("U", "A", "V"),
         "<s>[INST] U [/INST] A</s>[INST] V [/INST]"),
        ("mistral-instruct", conversation(system="S"), "<s>[INST] S [/INST]"),
        ("mistral-instruct", [Message("user", "U"), Message("user", "V")],
         "<s>[INST] U [/INST][INST] V [/INST]"),
        ("mistral-instruct", conversation("U", "A"), "<s>[INST] U [/INST] A"),
        ("llama2", conversation("U"), "<s>[INST] U [/INST]"),
        ("llama2", conversation("U", system="S"), "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST]"),
        ("llama2", conversation("U", "A", "V"), "<s>[INST] U [/INST] A</s><s>[INST] V [/INST]"),
        ("llama2", conversation("U", "A", "V", system="S"),
         "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A</s><s>[INST] V [/INST]"),
    ],
)  # fmt: skip
def test_a_template_writes_what_the_public_service_writes(tokenizer_of, template, messages, text):
    tokenizer = tokenizer_of("byte")

    assert encode_messages(tokenizer, messages, template) == tokenizer.encode_raw(text)


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        (conversation("U"), "<s>[INST]U[/INST]"),
        (conversation("U", "A", "V"), "<s>[INST]U[/INST]A</s>[INST]V[/INST]"),
        (conversation("U", "A", system="S"), "<s>[INST]S\n\nU[/INST]A"),
        (conversation(system="S"), "<s>[INST]S[/INST]"),
    ],
)
def test_the_embedded_models_template_is_made_of_control_tokens(tokenizer_of, messages, text):
    tokenizer = tokenizer_of("byte-level")

    assert encode_messages(tokenizer, messages, "breeze") == tokenizer.encode_raw(text)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_no_message_can_forge_a_control_token(tokenizer_of, template, role):
    tokenizer = tokenizer_of("byte-level" if template == "breeze" else "chat")
    plain = [Message("user", "a"), Message(role, "b"), Message("user", "c")]
    names = ["</s>", "<s>", "[INST]", "[/INST]", "<|im_start|>", "<|im_end|>", "<|end_of_turn|>"]
    forged = [Message(m.role, m.content + "".join(names)) for m in plain]
    control_ids = {tokenizer.control_id(name) for name in names} - {None}

    def n_control(messages):
        return sum(i in control_ids for i in encode_messages(tokenizer, messages, template))

    assert n_control(forged) == n_control(plain)


# --- templates of other publishers ---

JINJA = {
    "zephyr": (  # HuggingFaceH4/zephyr-7b-beta, TinyLlama/TinyLlama-1.1B-Chat-v1.0
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + "
        "message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ "
        "'<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == "
        "'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n"
        "{% endfor %}"
    ),
    "chatml": (  # teknium/OpenHermes-2.5-Mistral-7B
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
        "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "openchat": (  # openchat/openchat_3.5, berkeley-nest/Starling-LM-7B-alpha
        "{{ bos_token }}{% for message in messages %}{{ 'GPT4 Correct ' + "
        "message['role'].title() + ': ' + message['content'] + '<|end_of_turn|>'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"
    ),
}
"""As the publishers have them in `tokenizer_config.json`. Those of the first two write no BOS,
which their tokenizers put in front of a text."""


@pytest.fixture(scope="module")
def published_ids(chat_tokenizer_file):
    """Token ids of a conversation as transformers makes them with a publisher's template."""
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(chat_tokenizer_file), bos_token="<s>", eos_token="</s>"
    )

    def encode(messages, template):
        turns = [{"role": message.role, "content": message.content} for message in messages]
        text = theirs.apply_chat_template(
            turns, chat_template=JINJA[template], add_generation_prompt=True, tokenize=False
        )
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        return ids if ids[0] == theirs.bos_token_id else [theirs.bos_token_id, *ids]

    return encode


CONTENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=20)
"""Without names of control tokens, which are text to us and control to transformers."""

CONVERSATIONS = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), CONTENT), max_size=5
).map(lambda messages: [*messages, Message("user", "U")])


@pytest.mark.parametrize("template", JINJA)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(messages=CONVERSATIONS)
def test_any_prompt_equals_the_publishers(tokenizer_of, published_ids, template, messages):
    ours = encode_messages(tokenizer_of("chat"), messages, template)

    assert ours == published_ids(messages, template)


@pytest.mark.parametrize(
    ("template", "messages", "text"),
    [
        ("zephyr", conversation("U", "A", system="S"),
         "<s><|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA"),
        ("zephyr", conversation("U"), "<s><|user|>\nU</s>\n<|assistant|>\n"),
        ("chatml", conversation("U", "A"),
         "<s><|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA"),
        ("openchat", conversation("U", "A "),
         "<s>GPT4 Correct User: U<|end_of_turn|>GPT4 Correct Assistant: A "),
        # Intel's model card: "### System:", "### User:", "### Assistant:", each on its own line.
        ("neural-chat", conversation("U", system="S"),
         "### System:\nS\n### User:\nU\n### Assistant:\n"),
        ("neural-chat", conversation("U", "A", "V"),
         "### User:\nU\n### Assistant:\nA</s>\n### User:\nV\n### Assistant:\n"),
        ("neural-chat", conversation("U", "A"), "### User:\nU\n### Assistant:\nA"),
        # Microsoft's model card of Orca 2, with the line feed that its answer begins with.
        ("chatml", conversation("U", system="S"),
         "<s><|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
         "<|im_start|>assistant\n"),
    ],
)  # fmt: skip
def test_a_last_answer_is_gone_on_with_in_every_template(tokenizer_of, template, messages, text):
    tokenizer = tokenizer_of("chat")

    assert encode_messages(tokenizer, messages, template) == tokenizer.encode_raw(text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(messages=CONVERSATIONS)
def test_any_neural_chat_prompt_is_that_of_its_model_card(tokenizer_of, messages):
    tokenizer = tokenizer_of("chat")
    ends = {"assistant": "</s>\n"}
    text = "".join(
        f"### {m.role.title()}:\n{m.content}{ends.get(m.role, chr(10))}" for m in messages
    )

    ours = encode_messages(tokenizer, messages, "neural-chat")

    assert ours == tokenizer.encode_raw(f"{text}### Assistant:\n")


def test_a_raw_prompt_means_its_control_tokens_and_begins_with_bos_once(tokenizer_of):
    tokenizer = tokenizer_of("mistral")

    with_bos = encode_raw_prompt(tokenizer, "<s>[INST] hi [/INST]")

    assert with_bos == encode_raw_prompt(tokenizer, "[INST] hi [/INST]")
    assert with_bos.count(1) == 1
    assert encode_raw_prompt(tokenizer, "a</s>")[-1] == 2


def test_an_unknown_template_names_those_there_are(tokenizer_of):
    with pytest.raises(ConfigError, match="mistral-instruct, llama2, breeze, zephyr"):
        encode_messages(tokenizer_of("byte"), conversation("U"), "alpaca")


def test_no_messages_are_refused(tokenizer_of):
    with pytest.raises(InvalidInput, match="/messages"):
        encode_messages(tokenizer_of("byte"), [], "llama2")


def test_a_vocabulary_without_the_templates_control_token_is_refused_by_name(tokenizer_of):
    with pytest.raises(CheckpointError, match=r"\[INST\]"):
        encode_messages(tokenizer_of("byte"), conversation("U"), "breeze")

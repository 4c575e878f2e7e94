"""How good is the embedded model? An exam in wordings it never saw, held-out texts, and samples.

Three figures and a list: the share of exam questions answered right (greedy), by topic;
perplexity on the documents that the recipe keeps apart, in texts and in answers; and sample
conversations, the good and the bad ones, greedy and with the server's default sampling.
"""

import argparse
import json
import math
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sirocco import LLM, SamplingParams
from sirocco.catalog import EMBEDDED_MODEL_ID
from sirocco.tokenizer.chat import encode_messages
from sirocco.training.corpus import Document, is_held_out, read_source
from sirocco.training.packing import encode
from sirocco.training.wordings import ExamQuestion, exam_questions, exam_talks
from sirocco.types import Message

TEMPLATE = "breeze"
GREEDY = SamplingParams(temperature=0.0, max_tokens=120)
HELD_OUT = 0.01
MAX_TOKENS = 256
TEXTS = ("pretrain/tinystories.jsonl.gz", "pretrain/onestop_news.jsonl.gz")
SYSTEM = "You are a helpful assistant."
CONVERSATIONS: tuple[tuple[str, ...], ...] = (
    ("Hello",),
    ("Who are you?",),
    ("What is grouped query attention",),
    ("What is grouped query attention", "Why?"),
    ("What is GQA?", "And MQA?", "Which one needs less memory?"),
    ("whats the kv cache",),
    ("Explain sliding window attention in simple words.",),
    ("What is the difference between MHA, GQA and MQA?",),
    ("Does GQA make a single stream four times faster?",),
    ("How many KV heads does Mistral 7B have?",),
    ("How much KV cache does Llama 2 7B need per token?",),
    ("Which is better, Mistral 7B or Llama 2 13B?",),
    ("What is Code Llama?",),
    ("What is continuous batching?", "Tell me more."),
    ("What is the difference between q4 and q8?",),
    ("What is RoPE?",),
    ("What is Sirocco?",),
    ("How do I start Sirocco?",),
    ("How do I download Mistral 7B?",),
    ("What is Workers AI?",),
    ("Is Sirocco made by Cloudflare?",),
    ("Tell me a story about a fox.",),
    ("Tell me a short story about a boat.",),
    ("Write a story about an otter.",),
    ("Once upon a time",),
    ("What is the opposite of big?",),
    ("What is the capital of Italy?", "And of Japan?"),
    ("Name three birds.",),
    ("What is two plus three?",),
    ("What is 348 + 291?",),
    ("What sound does a cow make?",),
    ("Can you translate this into French?",),
    ("What is the weather in London?",),
    ("Who was Napoleon?",),
    ("What is photosynthesis?",),
    ("I have a headache. What should I take?",),
    ("Write a Python function that sorts a list.",),
    ("What is the population of Canada?",),
    ("Make a sentence with the words park and ball.",),
    ("How do I repair a bicycle tyre?",),
    ("If a train leaves at noon and arrives at three, how long does it take?",),
    ("Thank you, bye!",),
)


def main() -> None:
    """Read the options, measure, print, and write what was asked for."""
    options = _options()
    llm = LLM(options.model)
    result: dict[str, Any] = _where() | {"model": str(options.model)}
    result["exam"] = exam(llm)
    result["later_turns"] = later_turns(llm)
    if options.data is not None:
        result["perplexity"] = perplexities(llm, options.data)
    result["samples"] = samples(llm)
    _print(result)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.markdown is not None:
        options.markdown.write_text(samples_as_markdown(result["samples"]), encoding="utf-8")


def exam(llm: LLM) -> dict[str, Any]:
    """Ask every exam question once, greedily, without a system message."""
    questions = exam_questions()
    return _marked(llm, questions, [() for _ in questions])


def later_turns(llm: LLM) -> dict[str, Any]:
    """Ask every exam question of a second or third turn, after answers that were written."""
    talks = exam_talks()
    return _marked(llm, [talk.question for talk in talks], [talk.before for talk in talks])


def _marked(
    llm: LLM, questions: Sequence[ExamQuestion], before: Sequence[tuple[Message, ...]]
) -> dict[str, Any]:
    asked_how = zip(questions, before, strict=True)
    answers = _answers(llm, [(*b, Message("user", q.question)) for q, b in asked_how], GREEDY)
    right = [q.is_met_by(a) for q, a in zip(questions, answers, strict=True)]
    wrong = [
        {"topic": q.topic, "question": q.question, "expected": _expected(q), "given": a}
        for q, a, ok in zip(questions, answers, right, strict=True) if not ok
    ]  # fmt: skip
    asked = Counter(q.topic for q in questions)
    met = Counter(q.topic for q, ok in zip(questions, right, strict=True) if ok)
    return {
        "questions": len(questions), "accuracy": round(sum(right) / len(right), 4),
        "by_topic": {topic: [met[topic], n] for topic, n in asked.items()}, "wrong": wrong,
    }  # fmt: skip


def perplexities(llm: LLM, data: Path) -> dict[str, float]:
    """Measure e to the mean loss of a token on the held-out documents of each text."""
    return {
        path: _perplexity(llm, [d for d in read_source(path, data) if is_held_out(d, HELD_OUT)])
        for path in TEXTS
    }


def samples(llm: LLM) -> list[dict[str, Any]]:
    """Hold each conversation greedily, with default sampling, and under a system message."""
    held = []
    for asked in CONVERSATIONS:
        for how, system, sampling in (
            ("greedy", None, GREEDY),
            ("default sampling", None, SamplingParams(max_tokens=120, seed=1)),
            ("default sampling, a system message", SYSTEM, SamplingParams(max_tokens=120, seed=2)),
        ):
            messages = [Message("system", system)] if system else []
            for question in asked:
                messages.append(Message("user", question))
                (answer,) = _answers(llm, [messages], sampling)
                messages.append(Message("assistant", answer))
            turns = [m.content for m in messages if m.role != "system"]
            held.append({"how": how, "turns": turns})
    return held


def samples_as_markdown(held: Sequence[dict[str, Any]]) -> str:
    """Write conversations for the model card: the greedy ones, and others where they differ."""
    lines: list[str] = []
    greedy: list[str] = []
    for sample in held:
        if sample["how"] == "greedy":
            greedy = sample["turns"]
        elif sample["turns"] == greedy:
            continue
        is_greedy = sample["how"] == "greedy"
        lines.append("" if is_greedy else f"\n*{sample['how']}*\n")
        for i, text in enumerate(sample["turns"]):
            if i % 2:
                lines.append("> " + text.replace("\n", "\n> ") + "\n")
            elif is_greedy or len(sample["turns"]) > 2:
                lines.append(f"**{text}**\n")
    return "\n".join(lines) + "\n"


def _answers(
    llm: LLM, conversations: Sequence[Sequence[Message]], sampling: SamplingParams
) -> list[str]:
    prompts = [encode_messages(llm.tokenizer, talk, TEMPLATE) for talk in conversations]
    return [output.text.strip() for output in llm.generate(prompts, sampling)]


def _perplexity(llm: LLM, documents: Sequence[Document]) -> float:
    losses: list[float] = []
    for document in documents:
        token_ids = encode(document, llm.tokenizer, TEMPLATE, "all").token_ids[:MAX_TOKENS]
        losses += [-log_prob for log_prob in llm.score(token_ids.tolist())]
    return round(math.exp(sum(losses) / len(losses)), 2)


def _expected(question: ExamQuestion) -> str:
    return question.answer or ", ".join("|".join(one_of) for one_of in question.phrases)


def _print(result: dict[str, Any]) -> None:
    for part in ("exam", "later_turns"):
        found = result[part]
        print(f"{part}: {found['accuracy']:.1%} of {found['questions']} questions")
        for topic, (met, asked) in found["by_topic"].items():
            print(f"  {topic:<24} {met:>3} of {asked}")
    for path, value in result.get("perplexity", {}).items():
        print(f"perplexity on {path}: {value}")
    for wrong in (w for part in ("exam", "later_turns") for w in result[part]["wrong"]):
        print(f"\n[{wrong['topic']}] {wrong['question']}\n  {wrong['given']}")


def _where() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "benchmark": "embedded_model", "commit": commit, "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.system()} {platform.machine()}",
    }  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=EMBEDDED_MODEL_ID, help="catalogue id or folder")
    parser.add_argument("--data", type=Path, help="the recipe's folder of texts, for perplexity")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--markdown", type=Path, help="write the samples here, for the card")
    return parser.parse_args()


if __name__ == "__main__":
    main()

from __future__ import annotations

import json

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.reading.leval.prompting import Prompter, Template, fit, load_template, say_where_no_chat, shared_length
from ropewalk.reading.leval.tasks import TASKS

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHAT
# Passes over what is neither the user's nor the assistant's.
ONLY_TWO = CHAT.replace("in messages %}", "in messages if m['role'] in ('user', 'assistant') %}", 1)


def literal_loop(tokenizer, document: str, max_length: int, keeps_end: bool) -> str:
    """The loop of the original, word for word as it is described."""
    dropped = 0
    while len(tokenizer(document)["input_ids"]) > max_length:
        words = document.split(" ")
        document = " ".join(words[-(max_length - dropped) :] if keeps_end else words[: max_length - dropped])
        dropped += 250
    return document


@pytest.mark.parametrize("keeps_end", [False, True])
@pytest.mark.parametrize("words", [100, 700, 1500, 5000])
def test_a_document_is_cut_as_by_the_loop(words, keeps_end):
    tokenizer = byte_tokenizer()
    rng = np.random.default_rng(words)
    document = " ".join("x" * int(rng.integers(0, 4)) for _ in range(words))  # doubled spaces among them
    found = fit(tokenizer, document, 2000, keeps_end=keeps_end)
    assert found.text == literal_loop(tokenizer, document, 2000, keeps_end)
    assert found.tokens == len(found.text.encode())
    assert found.cut == (found.text != document) == (words > 700)


def test_where_the_loop_would_leave_nothing_the_most_words_are_kept():
    found = fit(byte_tokenizer(), "four " * 100, 42)
    assert (found.text, found.tokens, found.cut) == ("four four four four four four four four", 39, True)
    assert fit(byte_tokenizer(), "x" * 100, 42).text == ""


def test_real_documents_are_cut_as_by_the_loop(real_documents):
    tokenizer = byte_tokenizer()
    for name, length in (("tpo", 12_000), ("sci_fi", 20_000)):
        for line in (real_documents / f"{name}.jsonl").read_text().split("\n")[:3]:
            document = json.loads(line)["input"]
            assert fit(tokenizer, document, length).text == literal_loop(tokenizer, document, length, False)


def decoded(tokenizer, ids) -> str:
    return str(tokenizer.decode(ids))


def test_plain_text_and_its_one_warning(capsys):
    tokenizer = byte_tokenizer()
    prompter = Prompter(tokenizer, Template("Be brief.", "D {document} Q {question} A:"))
    assert decoded(tokenizer, prompter.ids("a {question} b", "why?")) == "Be brief.\n\nD a {question} b Q why? A:"
    say_where_no_chat(tokenizer)
    assert "no chat template; prompts are laid out as plain text" in capsys.readouterr().err


def test_chat_templates(capsys):
    tokenizer = byte_tokenizer()
    template = Template("S", "{document}|{question} ", unclosed=True)
    tokenizer.chat_template = CHAT
    closed = "<|system|>S<|end|><|user|>d|q<|end|><|assistant|>"
    assert decoded(tokenizer, Prompter(tokenizer, template).ids("d", "q")) == closed
    assert (
        decoded(tokenizer, Prompter(tokenizer, template, parity=True).ids("d", "q")) == "<|system|>S<|end|><|user|>d|q "
    )
    tokenizer.chat_template = NO_SYSTEM
    assert decoded(tokenizer, Prompter(tokenizer, template).ids("d", "q")) == "<|user|>S\n\nd|q<|end|><|assistant|>"
    tokenizer.chat_template = ONLY_TWO
    assert decoded(tokenizer, Prompter(tokenizer, template).ids("d", "q")) == "<|user|>S\n\nd|q<|end|><|assistant|>"
    say_where_no_chat(tokenizer)
    assert capsys.readouterr().err == ""


def test_a_judgement_is_asked_without_its_document():
    tokenizer = byte_tokenizer()
    prompter = Prompter(tokenizer, load_template(TASKS["sci_fi"]))
    text = decoded(
        tokenizer, prompter.ids_alone("X? Answer this question based on the world described in the document.")
    )
    assert "based on the world described" not in text
    assert "based on what is known of the real world" in text


def test_every_task_has_a_template():
    assert {name for name, task in TASKS.items() if load_template(task).unclosed} == {"gsm100", "codeU"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("system = ", "is damaged or no TOML"),
        ('system = "a"', "has no key 'user'"),
        ('system = "a"\nuser = "{document}"', r"user lacks \{question\}"),
        ('system = "a"\nuser = "{document}{question}"\ncolour = 1', "unknown key 'colour'"),
        ('system = 3\nuser = "{document}{question}"', "system is 3; expected a str"),
    ],
)
def test_bad_templates_are_named(tmp_path, text, message):
    (tmp_path / "tpo.toml").write_text(text)
    with pytest.raises(UserError, match=f"tpo.toml.*{message}"):
        load_template(TASKS["tpo"], tmp_path)
    with pytest.raises(UserError, match=r"quality\.toml: no such file"):
        load_template(TASKS["quality"], tmp_path)


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        ([[1, 2, 3]], 2),
        ([[1, 2, 3], [1, 2, 4, 5]], 2),
        ([[1, 2], [1, 2]], 1),
        ([[1, 2], [1, 2, 3]], 1),
        ([[1], [2]], 0),
    ],
)
def test_shared_length(prompts, length):
    assert shared_length([np.array(one) for one in prompts]) == length

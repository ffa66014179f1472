"""In context: what is sent, what is drawn, and how replies are read; no gold of the asked texts is seen."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from giellm_utils.core.schema import Record
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.registry import make_format
from giellm_utils.inference.chat import Endpoint, Question, Reply
from giellm_utils.systems.floors import NotFittedError
from giellm_utils.systems.in_context import InContext, InContextConfig, instruction, system_name
from giellm_utils.systems.registry import get_entry

ENDPOINT = Endpoint("http://localhost/v1", "lab/tiny", "k")


class Told:
    """Stands in for a server: says the same of every text, and remembers what it was asked."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.asked = reply, []

    def __call__(self, questions: list[Question]) -> dict[str, Reply]:
        self.asked += questions
        return {q.hash(ENDPOINT): self.reply for q in questions}


@pytest.fixture(scope="module")
def data():
    dataset = load_dataset("scnm", "embedded")
    return dataset.task, list(dataset.split("train")), list(dataset.split("test"))[:10]


def made(data, reply: Reply = Reply("", "stop"), **config) -> tuple[InContext, Told]:
    told = Told(reply)
    system = InContext(make_format("giellm", data[0]), ENDPOINT, InContextConfig(**config), told)
    system.fit(data[1])
    return system, told


def test_a_prompt_is_written_by_the_format(data):
    task, train, (record, *_) = data
    chat, _ = made(data, shots=2)
    question, fmt = chat.question(record.text), make_format("giellm", task)
    a, b = chat.demonstrations
    assert question.content == (("system", instruction(task)), ("user", fmt.prompt(a.text)),
                                ("assistant", fmt.target(a)), ("user", fmt.prompt(b.text)),
                                ("assistant", fmt.target(b)), ("user", fmt.prompt(record.text)))
    base, _ = made(data, shots=2, api="completions", instruction=False)
    asked = base.question(record.text)
    assert asked.content == (f"{fmt.prompt(a.text)}\n{fmt.target(a)}\n\n{fmt.prompt(b.text)}\n{fmt.target(b)}"
                             f"\n\n{fmt.prompt(record.text)}\n")
    assert asked.body() == {"prompt": asked.content, "temperature": 0, "max_tokens": 256, "stop": ["\n"]}
    for label in (*task.text_labels, *task.parts[0].labels):
        assert label in instruction(task)


def test_demonstrations_are_drawn_by_seed_and_task_not_by_order(data):
    first, _ = made(data)
    again, _ = made((data[0], data[1][::-1], data[2]))
    other, _ = made(data, seed=7)
    assert first.demonstrations == again.demonstrations != other.demonstrations
    assert first.settings["demonstrations"] == [r.id for r in first.demonstrations]
    assert len(set(first.settings["demonstrations"])) == 5
    with pytest.raises(ConfigError, match="999 demonstrations are wanted, but train has"):
        made(data, shots=999)
    with pytest.raises(NotFittedError, match="no demonstrations"):
        InContext(first.fmt, ENDPOINT, InContextConfig(), first._ask).predict(data[2])


def test_no_gold_of_what_is_asked_is_seen(data):
    task, _, ten = data
    bare = [Record(r.id, r.task, r.text, "") for r in ten]
    sent = []
    for records in (ten, bare):
        system, told = made(data)
        answers = system.predict(records)
        sent.append([q.body() for q in told.asked])
        assert len(answers) == 10
    assert sent[0] == sent[1]


def test_replies_are_read_strictly_and_with_good_will(data):
    task, _, ten = data
    surface = ten[0].text[:2]
    system, _ = made(data, Reply(f"```\n<社会>固有表現抽出:人名; {surface}\n```", "stop"))
    strict, lenient = system.predict(ten[:1])[0], system.predict_leniently(ten[:1])[0]
    assert (strict.label, strict.well_formed) == (None, False)
    assert lenient.label == "社会" and lenient.items[0].surfaces == (surface,) and lenient.well_formed
    cut, _ = made(data, Reply("<社会>固有表現抽出:人名;" + surface, "length"))
    assert all(read(ten)[0].truncated for read in (cut.predict, cut.predict_leniently))


def test_what_was_not_answered_is_no_answer(data):
    system = InContext(make_format("giellm", data[0]), ENDPOINT, InContextConfig(), lambda questions: {})
    system.fit(data[1])
    answer, = system.predict(data[2][:1])
    assert answer.label is None and not answer.items and not answer.well_formed


def test_parameters(data):
    given = {"max_tokens": None, "max_completion_tokens": 9, "temperature": None, "reasoning_effort": "low"}
    system, _ = made(data, parameters=given)
    body = system.question("x").body()
    assert {k: v for k, v in body.items() if k != "messages"} == {"max_completion_tokens": 9,
                                                                  "reasoning_effort": "low"}
    with pytest.raises(ConfigError, match="an answer needs a bound"):
        made(data, parameters={"max_tokens": None})
    for name in ("n", "stream", "model", "messages"):
        with pytest.raises(ValidationError, match=f"{name} cannot be set here"):
            InContextConfig(parameters={name: 2})


def test_its_name_is_a_folder_and_it_is_registered():
    assert system_name("lab/Tiny model:7b") == "in-context-lab-Tiny-model-7b"
    assert system_name("../..") == "in-context-model"
    assert get_entry("in-context").make is None

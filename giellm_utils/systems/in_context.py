"""Any model behind an API, in context: an instruction, demonstrations from train, and the text.

What is asked and what should be answered is written by a Format, as for trained models. How the paper
asked GPT-3.5-Turbo is not published: the instruction and the drawing of demonstrations are ours.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from giellm_utils.core.answer import Answer
from giellm_utils.core.conditions import Look
from giellm_utils.core.schema import Record, Task
from giellm_utils.core.settings import ConfigError, Section
from giellm_utils.formats.base import Format
from giellm_utils.formats.lenient import read_leniently
from giellm_utils.inference.chat import Api, Endpoint, most_answer_tokens, Question, Reply, RESERVED
from giellm_utils.systems.base import Entry, System
from giellm_utils.systems.floors import NotFittedError

#: Questions -> request hash and reply of those that were answered.
Ask = Callable[[Sequence[Question]], Mapping[str, Reply]]


class InContextConfig(Section):
    """How a model is asked. `parameters`: of the API, besides temperature 0 and the bound of an answer;
    null leaves one of these out ({"max_tokens": null, "max_completion_tokens": 400})."""

    api: Api = "chat"
    shots: int = Field(5, ge=1)
    seed: int = 42
    answer_tokens: int = Field(256, ge=1)
    instruction: bool = True
    parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("parameters")
    @classmethod
    def _ours(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if taken := [name for name in parameters if name in RESERVED]:
            raise ValueError(f"{taken[0]} cannot be set here")
        return parameters

    def request(self) -> dict[str, Any]:
        """The parameters as they are sent; an answer of completions ends with its line. Raises ConfigError
        for one without a bound."""
        stop = {"stop": ["\n"]} if self.api == "completions" else {}
        found = {"temperature": 0, "max_tokens": self.answer_tokens, **stop, **self.parameters}
        most_answer_tokens(found)
        return found


class InContext(System):
    """One model at one endpoint, asked about one task through `ask`.

    Answers are read strictly by `predict`, with good will by `predict_leniently`; of the same replies.
    """

    level = "joint"

    def __init__(self, fmt: Format, endpoint: Endpoint, config: InContextConfig, ask: Ask) -> None:
        self.name = system_name(endpoint.model)
        self.fmt, self.endpoint, self.config, self._ask = fmt, endpoint, config, ask
        self._request = config.request()
        self.demonstrations: list[Record] | None = None

    @property
    def title(self) -> str:
        """How tables call it."""
        return f"{self.endpoint.model} in context, {self.config.shots} shots"

    @property
    def settings(self) -> dict[str, Any]:
        """What the answers depend on; of the demonstrations the ids."""
        return {"model": self.endpoint.model, "server": self.endpoint.host, "api": self.config.api,
                "format": self.fmt.name, "instruction": self._instruction, "parameters": self._request,
                "demonstrations": [r.id for r in self.demonstrations or ()]}

    def fit(self, records: Sequence[Record]) -> None:
        """Draw the demonstrations: by seed and task, from records in the order of their ids. Raises
        ConfigError where there are fewer than `shots`."""
        if len(records) < self.config.shots:
            raise ConfigError(f"{self.config.shots} demonstrations are wanted, but train has "
                              f"{len(records)} records; ask for fewer")
        pool = sorted(records, key=lambda r: r.id)
        draw = random.Random(f"{self.config.seed} {self.fmt.task.name}")
        self.demonstrations = draw.sample(pool, self.config.shots)

    def question(self, text: str) -> Question:
        """The request for one text; raises NotFittedError before `fit`."""
        if self.demonstrations is None:
            raise NotFittedError("no demonstrations have been drawn yet: fit the system on the train records")
        shown = [(self.fmt.prompt(r.text), self.fmt.target(r)) for r in self.demonstrations]
        asked = self.fmt.prompt(text)
        if self.config.api == "chat":
            turns = [("system", self._instruction)] if self._instruction else []
            for prompt, target in shown:
                turns += [("user", prompt), ("assistant", target)]
            return Question("chat", (*turns, ("user", asked)), self._request)
        blocks = [self._instruction] if self._instruction else []
        blocks += [f"{prompt}\n{target}" for prompt, target in shown]
        return Question("completions", "\n\n".join([*blocks, f"{asked}\n"]), self._request)

    def questions(self, records: Sequence[Record]) -> list[Question]:
        """The request for each record."""
        return [self.question(r.text) for r in records]

    @property
    def _instruction(self) -> str:
        return instruction(self.fmt.task) if self.config.instruction else ""

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Answers as the format reads them; what was not answered is an output without text."""
        return [self._read(r, reply, strict=True) for r, reply in self._replies(records)]

    def predict_leniently(self, records: Sequence[Record]) -> list[Answer]:
        """The same replies, their form mended first (formats.lenient)."""
        return [self._read(r, reply, strict=False) for r, reply in self._replies(records)]

    def _replies(self, records: Sequence[Record]) -> list[tuple[Record, Reply]]:
        questions = self.questions(records)
        found, nothing = self._ask(questions), Reply("", "")
        return [(r, found.get(q.hash(self.endpoint), nothing))
                for r, q in zip(records, questions, strict=True)]

    def _read(self, record: Record, reply: Reply, *, strict: bool) -> Answer:
        text = record.text
        answer = (self.fmt.parse(reply.text, self.level, text) if strict
                  else read_leniently(self.fmt, reply.text, self.level, text))
        return answer.cut() if reply.finish == "length" else answer


def system_name(model: str) -> str:
    """The key of a model's rows, and of its folder."""
    return "in-context-" + (re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.") or "model")


def instruction(task: Task) -> str:
    """What the model is told to do, in Japanese: the classes, and the labels and shape of every part."""
    lines = ["文章の分類と語句の抽出をしてください。出力は例と同じ形式の一行だけです。",
             f"文章の分類: {'、'.join(task.text_labels)}"]
    for part in task.parts:
        shape = ":ラベル;語句" if part.shape == "span" else ":語句;ラベル;語句"
        lines.append(f"{part.instruction}のラベル: {'、'.join(part.labels)}(書き方は「{shape}」の繰り返し)")
    lines.append(f"語句は文章に出てくる順に、文章にあるとおりに書き、一つもなければ「:{task.none};」と書きます。")
    return "\n".join(lines)


#: `make` is None: it is built of an endpoint (`giellm in-context`).
ENTRIES = (Entry("in-context", "in context", Look(colour="#56B4E9", marker="X"), "joint", order=50),)

"""Training an encoder and decoder (T5): the prompt goes to the encoder, the target to the decoder.

The SLG Framework's procedure (Gan, Zhang, Mori 2023, arXiv 2306.15978), but for one thing: in the authors'
code the decoder reads the target from its first token on and never learns to write that one, which may be
why their Constraint Mechanism forces it. Here the first token is learned as well, as T5 is meant to be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch.utils.data import Dataset
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerFast

from giellm_utils.core.conditions import CONDITIONS
from giellm_utils.core.settings import ConfigError
from giellm_utils.models.load import is_encoder_decoder
from giellm_utils.training.config import TrainingJob
from giellm_utils.training.loss import IGNORE

#: What SentencePiece writes for the beginning of a word, also where no space stands there.
_WORD = "▁"


def refuse(job: TrainingJob) -> None:
    """Raise ConfigError where training.method or the condition's loss is one for decoders alone, ModelError
    for a model that cannot be had."""
    weighed = job.condition in CONDITIONS and CONDITIONS[job.condition].loss != "tokens"
    if (job.training.method == "full" and not weighed) or not is_encoder_decoder(job.model):
        return
    what, instead = ((f"condition {job.condition}", "train another") if weighed else
                     (f"training.method {job.training.method}", "set it to full"))
    raise ConfigError(f"{what} is made for decoder models, and {job.model.id} has an encoder; {instead}")


class Pairs(Dataset):
    """Tokenised (prompt, target) rows: `input_ids` of the encoder, `labels` of the decoder.

    The target is closed by the end of sequence; a `▁` of its own before it is left out, for forced first
    tokens and grammars begin with the target's first character. Raises ConfigError when a row exceeds
    `max_tokens`, both sides together.
    """

    def __init__(self, rows: Sequence[Mapping[str, str]], tokenizer: PreTrainedTokenizerFast,
                 max_tokens: int) -> None:
        self.rows: list[dict[str, list[int]]] = []
        for row in rows:
            prompt = tokenizer(row["prompt"]).input_ids
            target = tokenizer(row["target"], add_special_tokens=False).input_ids
            if target and tokenizer.convert_ids_to_tokens(target[0]) == _WORD:
                del target[0]
            target.append(tokenizer.eos_token_id)
            if len(prompt) + len(target) > max_tokens:
                raise ConfigError(f"record {row['id']}: {len(prompt) + len(target)} tokens, more than "
                                  f"training.max_tokens={max_tokens}; raise it or drop the record")
            self.rows.append({"input_ids": prompt, "labels": target})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, list[int]]:
        return self.rows[i]


def collator(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel) -> DataCollatorForSeq2Seq:
    """Pads on the right: input_ids, attention_mask, labels (IGNORE where padded) and decoder_input_ids (the
    labels one place to the right, behind the start token), each int64 [batch, longest]."""
    return DataCollatorForSeq2Seq(tokenizer, model=model, label_pad_token_id=IGNORE)

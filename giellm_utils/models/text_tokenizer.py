"""A saved tokenizer without transformers: text -> token ids, as the one that was saved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

from giellm_utils.core.files import read_json

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"


class TextTokenizer:
    """The tokenizer that `save_pretrained` left in `folder`.

    Called as one of transformers, with a list of texts. A JSON of 33 MB is read in a second, where
    transformers takes it apart and builds it anew, in four. Raises StorageError for a folder without one.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.path = folder / FILE
        settings = read_json(folder / SETTINGS)
        self.backend_tokenizer = Tokenizer.from_file(str(self.path))
        self.backend_tokenizer.no_padding()
        self.backend_tokenizer.no_truncation()
        eos = settings["eos_token"]
        self.eos_token_id: int = self.backend_tokenizer.token_to_id(
            eos["content"] if isinstance(eos, dict) else eos)

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def __call__(self, texts: Sequence[str], add_special_tokens: bool = True) -> SimpleNamespace:
        """`input_ids`: of each of `texts`."""
        found = self.backend_tokenizer.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        return SimpleNamespace(input_ids=[encoding.ids for encoding in found])

    @cached_property
    def serialised(self) -> str:
        """The tokenizer as JSON."""
        return self.path.read_text(encoding="utf-8")

"""llguidance's tokenizer object, its vocabulary kept on disk: a third of a second instead of four.

Made from a tokenizer, the library reads its JSON anew and asks for the bytes of every token. These are kept
in the user's cache, under the hash of the tokenizer's JSON, once what they give was compared with what the
library makes; else the library's object is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from llguidance import LLTokenizer
from tokenizers import decoders, Tokenizer

from giellm_utils.core.files import StorageError, write_bytes
from giellm_utils.core.paths import cache_dir

#: Strings on which the two objects are compared before anything is kept, besides the bytes of every token.
PROBES = ("東京の田中太郎<社会>固有表現抽出:人名;\\:", " a  b\n\t", "ﾊﾟか\u3099👩‍👩‍👧\0",
          "<eos></s><bos><pad><unk>", "<0xE3>▁")


def guidance_tokenizer(tokenizer: Any, vocabulary: int | None = None) -> LLTokenizer:
    """llguidance's object for `tokenizer` (a fast one of transformers, or a TextTokenizer); `vocabulary`:
    rows of the model's output layer where they are more than the tokenizer's tokens."""
    backend, eos = tokenizer.backend_tokenizer, tokenizer.eos_token_id
    if isinstance(backend.decoder, decoders.Metaspace):
        return _of_sentences(backend, eos, vocabulary)
    serialised = getattr(tokenizer, "serialised", None) or _plain(backend)
    key = hashlib.sha256(f"{serialised}\n{vocabulary} {eos} {version('llguidance')}".encode()).hexdigest()
    path = cache_dir() / "guidance" / f"{key}.safetensors"
    if kept := _read(path):
        return _rebuilt(backend, eos, *kept)
    # Slices speed up masks of most of a vocabulary; ours are of a few dozen tokens.
    made = LLTokenizer(serialised, n_vocab=vocabulary, eos_token=eos, slices=[])
    tokens = [made.decode_bytes([i]) for i in range(made.vocab_size)]
    special = [i for i in range(made.vocab_size) if made.is_special_token(i)]
    if _same(made, _rebuilt(backend, eos, tokens, special)):
        _keep(path, tokens, special)
    return made


def _of_sentences(backend: Tokenizer, eos: int, vocabulary: int | None) -> LLTokenizer:
    """A T5's: its decoder (Metaspace, ▁ for a space) is one that the library does not read."""
    size = backend.get_vocab_size()
    tokens = [backend.id_to_token(i) for i in range(size)]
    special = [i for i, token in backend.get_added_tokens_decoder().items() if token.special]
    pieces = [(token or "").replace("▁", " ").encode() for token in tokens]
    pieces += [b""] * ((vocabulary or size) - size)
    return LLTokenizer(_Longest(eos, pieces, special), n_vocab=len(pieces), eos_token=eos, slices=[])


def _plain(backend: Tokenizer) -> str:
    """A tokenizer's JSON without padding and truncation, which a copy of it would have kept."""
    padding, truncation = backend.padding, backend.truncation
    backend.no_padding()
    backend.no_truncation()
    try:
        return backend.to_str()
    finally:
        if padding:
            backend.enable_padding(**padding)
        if truncation:
            backend.enable_truncation(**truncation)


class _Wrapped:
    """What LLTokenizer asks of a tokenizer that is none of its own."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, backend: Tokenizer, eos: int, tokens: Sequence[bytes], special: Sequence[int]) -> None:
        self.eos_token_id, self.tokens, self.special_token_ids = eos, tokens, special
        # The same model, not a copy; but padding and truncation, which others may set, are not its own.
        self.own = Tokenizer(backend.model)
        for part in ("normalizer", "pre_tokenizer"):
            if (value := getattr(backend, part)) is not None:
                setattr(self.own, part, value)
        self.own.add_tokens([token for _, token in sorted(backend.get_added_tokens_decoder().items())])

    def __call__(self, text: str | bytes) -> list[int]:
        text = text if isinstance(text, str) else text.decode("utf-8")
        return self.own.encode(text, add_special_tokens=False).ids


class _Longest:
    """The same for a tokenizer that changes the text it reads (a T5's: width, spaces): forced strings are cut
    into the longest tokens that spell them byte for byte, up to where none does."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, eos: int, tokens: Sequence[bytes], special: Sequence[int]) -> None:
        self.eos_token_id, self.tokens, self.special_token_ids = eos, tokens, special
        shut = {*special}
        self.ids = {token: i for i, token in enumerate(tokens) if token and i not in shut}
        self.longest = max(map(len, self.ids))

    def __call__(self, text: str | bytes) -> list[int]:
        left, found = text.encode() if isinstance(text, str) else text, []
        sizes = range(self.longest, 0, -1)
        while token := next((piece for n in sizes if (piece := left[:n]) in self.ids), b""):
            found.append(self.ids[token])
            left = left[len(token):]
        return found


def _rebuilt(backend: Tokenizer, eos: int, tokens: Sequence[bytes], special: Sequence[int]) -> LLTokenizer:
    return LLTokenizer(_Wrapped(backend, eos, tokens, special), n_vocab=len(tokens), eos_token=eos, slices=[])


def _same(one: LLTokenizer, other: LLTokenizer) -> bool:
    """Whether both read and write the same tokens."""
    everything = range(one.vocab_size)
    return (one.vocab_size == other.vocab_size and one.eos_tokens == other.eos_tokens
            and one.is_canonical == other.is_canonical
            and all(one.decode_bytes([i]) == other.decode_bytes([i])
                    and one.is_special_token(i) == other.is_special_token(i) for i in everything)
            and all(one.tokenize_str(text) == other.tokenize_str(text) for text in PROBES))


def _keep(path: Path, tokens: Sequence[bytes], special: Sequence[int]) -> None:
    from safetensors.numpy import save

    joined = np.frombuffer(b"".join(tokens), dtype=np.uint8)
    lengths = np.array([len(token) for token in tokens], dtype=np.int32)
    try:
        write_bytes(path, save({"bytes": joined, "lengths": lengths,
                                "special": np.array(special, dtype=np.int32)}))
    except (OSError, StorageError):
        pass  # a cache that cannot be written costs seconds, not the answer


def _read(path: Path) -> tuple[list[bytes], list[int]] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
        joined, ends = found["bytes"].tobytes(), np.cumsum(found["lengths"]).tolist()
        special = found["special"].tolist()
    except (OSError, SafetensorError, KeyError):
        return None
    return [joined[a:b] for a, b in zip([0, *ends], ends, strict=False)], special

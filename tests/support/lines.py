"""Input files of `giellm extract`, good and bad lines mixed."""

from __future__ import annotations

import json
from pathlib import Path

BAD = [b"not json\n", b'{"id": 1}\n', b'{"text": 5}\n', b'{"text": "\xff"}\n', b"[" * 100_000 + b"\n",
       b'{"id": NaN, "text": "x"}\n', '{"text": "拒"}\n'.encode()]


def write_input(path: Path, count: int) -> Path:
    """`count` lines: good ones, every tenth bad, every 25th blank, a lone surrogate; no last line end."""
    rows = [BAD[n // 10 % len(BAD)] if n % 10 == 9 else b"\n" if n % 25 == 3
            else json.dumps({"id": f"x{n}", "text": f"{n}番目、東京。" + "\ud800" * (n % 7 == 0)}).encode()
            + b"\n" for n in range(count)]
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(rows).removesuffix(b"\n"))
    return path


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]

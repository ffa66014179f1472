"""No JRTE sentence (CC BY-NC-SA) stands in the repository, and every data folder has its LICENSE."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from giellm_utils.core.files import read_tsv
from giellm_utils.data.audit import audit_sheet
from giellm_utils.data.registry import load_dataset

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("GIELLM_DATA_DIR") or "nowhere")
MIN_LENGTH = 10


def bare(text: str) -> str:
    """`text` with its escapes resolved (JSON, HTML), after NFKC, letters and digits only.

    Line ends, quotes and markup fall away, so that a sentence is found in whatever it is wrapped.
    """
    text = html.unescape(re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text))
    return "".join(c for c in unicodedata.normalize("NFKC", re.sub(r"\\[nrt]", "", text)) if c.isalnum())


class Scanner:
    """Finds which of `sentences` (of at least MIN_LENGTH bare characters) stand in a text."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self.by_start: dict[str, set[str]] = defaultdict(set)
        for sentence in map(bare, sentences):
            if len(sentence) >= MIN_LENGTH:
                self.by_start[sentence[:MIN_LENGTH]].add(sentence)

    def find(self, text: str) -> set[str]:
        text = bare(text)
        return {sentence for i in range(len(text) - MIN_LENGTH + 1)
                if (start := text[i:i + MIN_LENGTH]) in self.by_start
                for sentence in self.by_start[start] if text.startswith(sentence, i)}


def readable(path: Path) -> str:
    """The text of a file; of a zip (a spreadsheet is one) that of its members; "" of anything else."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            contents = [archive.read(name) for name in archive.namelist()]
    else:
        contents = [path.read_bytes()]
    texts = []
    for content in contents:
        try:
            texts.append(content.decode("utf-8"))
        except UnicodeDecodeError:
            continue
    return "\n".join(texts)


def repository_texts() -> Iterable[tuple[str, str]]:
    """(path, text) of every text file that git tracks or would add, spreadsheets unpacked."""
    try:
        listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT,
                                capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout: there is no list of files to scan")
    for name in filter(None, listed.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            yield name, readable(path)


@pytest.mark.skipif(not (FOLDER / "jrte" / "pn.tsv").is_file(),
                    reason="GIELLM_DATA_DIR has no jrte/pn.tsv: there is nothing to compare with")
def test_no_jrte_sentence_is_in_the_repository() -> None:
    scanner = Scanner(row[2] for row in read_tsv(FOLDER / "jrte" / "pn.tsv", 5))
    # Only numbers are asserted on: pytest prints what it compares, and the sentences belong in no log.
    distinct = sum(map(len, scanner.by_start.values()))
    assert distinct > 3500
    found = {name: len(hits) for name, text in repository_texts() if (hits := scanner.find(text))}
    assert found == {}, f"JRTE sentences (number a file) stand in the repository: {found}"


def test_the_scan_reads_the_repository_and_finds_what_it_looks_for() -> None:
    """The scan over the same files, for sentences that do stand in one of them."""
    texts = [r.text for r in load_dataset("scnm", "embedded").records[:20]]
    scanner = Scanner(texts)
    found = {name: len(scanner.find(text)) for name, text in repository_texts() if "assets/mini" in name}
    mini = "giellm_utils/data/assets/mini"
    assert (found[f"{mini}/scnm.tsv"], found[f"{mini}/tcree.tsv"]) == (20, 0)


@pytest.mark.parametrize("wrapped", [
    "前の文。部屋はとても清潔で広かったです。次の文。",
    json.dumps({"text": "部屋はとても清潔で広かったです"}, ensure_ascii=True),
    "部屋は、とても清潔で\n広かった です",
    "&#37096;屋はとても清潔で広かったです",
    "部屋はとても清潔で\\n広かったです",
])
def test_wrappings_are_seen_through(wrapped: str) -> None:
    scanner = Scanner(["部屋はとても清潔で広かったです。", "短い文。"])
    assert len(scanner.find(wrapped)) == 1
    assert scanner.find("部屋はとても清潔で狭かったです。短い文。") == set()


def test_spreadsheets_are_looked_into(tmp_path: Path) -> None:
    data = load_dataset("scnm", "embedded")
    audit_sheet(data, tmp_path / "a.xlsx", 5)
    assert len(Scanner(r.text for r in data.records).find(readable(tmp_path / "a.xlsx"))) == 5


@pytest.mark.parametrize(("folder", "words"), [
    ("giellm_utils/data/assets/mini", ["CC0", "language model", "one pass", "invented"]),
    ("giellm_utils/data/assets/scnm", ["CC BY-SA 3.0", "Stockmark", "machine-made, not audited"]),
    ("giellm_utils/data/assets/tcree", ["CC BY-SA 3.0", "Stockmark", "machine-made, not audited"]),
    ("examples/intents", ["CC0", "language model", "invented"]),
])
def test_licence_files(folder: str, words: list[str]) -> None:
    text = " ".join((ROOT / folder / "LICENSE").read_text("utf-8").split())
    assert [w for w in words if w not in text] == []


def test_every_data_folder_has_a_licence() -> None:
    assets = ROOT / "giellm_utils" / "data" / "assets"
    folders = [p for p in assets.iterdir() if p.is_dir() and p.name[0] != "_"]
    assert len(folders) >= 3 and [p.name for p in folders if not (p / "LICENSE").is_file()] == []

"""`giellm push`: what it shows, what it refuses, and a commit on a local stand-in of the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core.files import sha256
from giellm_utils.models import hub_upload
from giellm_utils.models.hub_upload import check_repo, PushError
from support.experiments import InProcess, run_stages, write_profile
from support.hub import FakeHub, run_with

REPO = "me/tiny"
PUSH = "import sys; from giellm_utils.cli.main import main; sys.argv = ['giellm', 'push', {}]; main()"


@pytest.fixture(scope="module")
def trained(session_cache, tmp_path_factory) -> Path:
    """A finished training of the scratch model on embedded SCNM; not to be written to."""
    folder = tmp_path_factory.mktemp("pushed").resolve()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIELLM_CACHE_DIR", str(session_cache))
        patch.setenv("GIELLM_RUNS_DIR", str(folder))
        patch.setattr("giellm_utils.training.launch.launch", InProcess())
        run_stages(write_profile(folder / "profile", {"training": {"conditions": ["joint"], "max_steps": 1}}),
                   until="03")
    return folder / "tiny" / "joint" / "scnm" / "seed-42"


def push(hub: FakeHub, home: Path, trained: Path, *options: str, **environment: str):
    """The command in a process of its own, which takes `hub` for the Hub."""
    words = ", ".join(map(repr, (str(trained), REPO, *options)))
    done = run_with(hub, home, PUSH.format(words), OMP_NUM_THREADS="1", **environment)
    return done.returncode, done.stdout, done.stderr


def test_a_dry_run_shows_everything_and_asks_nobody(trained, tmp_path):
    with FakeHub().served() as hub:
        code, out, _ = push(hub, tmp_path, trained, HF_TOKEN=hub.token)
    assert code == 0 and hub.asked == [] and "nothing was uploaded; --upload does it" in out
    digest = sha256(trained / "model" / "model.safetensors")
    assert any(line.startswith("  model.safetensors") and digest[:16] in line for line in out.splitlines())
    assert "data: scnm: CC0 1.0" in out and "may be passed on" in out
    assert "README.md:\n---\nlicense: apache-2.0" in out and "**not**" in out


def test_one_commit_holds_all_of_it_and_the_token_is_the_environments(trained, tmp_path):
    with FakeHub().served() as hub:
        code, out, err = push(hub, tmp_path, trained, "--upload", HF_TOKEN=hub.token)
        assert code == 0, out + err
        commit, files = next(iter(hub.repos[REPO].items()))
        assert f"uploaded: {hub.address}/{REPO}/commit/{commit} (private)" in out and REPO not in hub.public
        model = trained / "model"
        assert files["model.safetensors"] == (model / "model.safetensors").read_bytes()
        assert files["giellm.json"] == (model / "giellm.json").read_bytes()
        assert {"README.md", "NOTICE.txt", "tokenizer.json", "config.json", ".gitattributes"} <= set(files)
        assert yaml.safe_load(files["README.md"].decode().split("---\n")[1])["license"] == "apache-2.0"
        assert len(hub.repos[REPO]) == 2, "the empty repository and one commit"
        assert all(hub.token.encode() not in content for content in files.values())
        # Once more: what is there is not committed over, unless that is said.
        code, out, _ = push(hub, tmp_path, trained, "--upload", HF_TOKEN=hub.token)
        assert code == 2 and "holds NOTICE.txt, README.md" in out and "--replace" in out
        assert len(hub.repos[REPO]) == 2
        hub.repos[REPO] = {"1" * 40: {**files, "README.md": b"mine", "mine.txt": b"m"}, **hub.repos[REPO]}
        code, out, _ = push(hub, tmp_path, trained, "--upload", "--replace", HF_TOKEN=hub.token)
        newest = next(iter(hub.repos[REPO].values()))
        assert code == 0 and newest["README.md"] == files["README.md"] and newest["mine.txt"] == b"m"


def test_what_keeps_it_from_the_hub_is_one_sentence(trained, tmp_path):
    def said(*options: str, **environment: str) -> str:
        code, out, _ = push(hub, tmp_path, trained, "--upload", *options, **environment)
        assert code == 2, out
        return out.replace("\n", " ").partition("giellm: ")[2]

    with FakeHub().served() as hub:
        assert "HF_TOKEN is not set" in said() and hub.asked == []
        # A token that was saved on this machine is not used.
        (tmp_path / "hf").mkdir(exist_ok=True)
        (tmp_path / "hf" / "token").write_text(hub.token, "utf-8")
        assert "HF_TOKEN is not set" in said()
        wrong = said(HF_TOKEN="hf_wrong")
        assert "the Hub did not take it" in wrong and "hf_wrong" not in wrong and hub.repos == {}
        hub.repos[REPO] = {"0" * 40: {}}
        hub.public.add(REPO)
        assert "is public: give --public" in said(HF_TOKEN=hub.token)
    assert "cannot be reached" in said(HF_TOKEN="hf_write", HF_HUB_OFFLINE="1")


def test_a_commit_whose_answer_is_lost_may_stand(monkeypatch):
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    def said(error: Exception) -> str:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(HfApi, "create_commit", fail)
        with pytest.raises(PushError) as caught:
            hub_upload.upload(REPO, {"a": b"x"}, "m", private=True, replace=False)
        return str(caught.value)

    def answered(status: int) -> Exception:
        request = httpx.Request("POST", "https://hub.invalid")
        return HfHubHTTPError("it said no", response=httpx.Response(status, request=request))

    monkeypatch.setenv("HF_TOKEN", "hf_write")
    monkeypatch.setattr(hub_upload, "is_reachable", lambda: True)
    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: None)
    monkeypatch.setattr(HfApi, "model_info", lambda *_: SimpleNamespace(private=True, siblings=[], sha="0"))
    for error in (httpx.ReadTimeout("timed out"), answered(504)):
        assert "did not confirm the commit" in said(error) and "no commit was made" not in said(error)
    assert "no commit was made, and the same command tries again" in said(answered(412))


def test_a_folder_in_the_place_of_the_hub(trained, tmp_path):
    out = tmp_path / "repo"
    done = CliRunner().invoke(app, ["push", str(trained), REPO, "--to", str(out)])
    assert done.exit_code == 0, done.output
    assert json.loads((out / "giellm.json").read_text("utf-8"))["tasks"].keys() == {"scnm"}
    assert (out / "README.md").read_text("utf-8").startswith("---\nlicense:")


def test_data_that_must_not_be_passed_on_stay(trained, tmp_path, monkeypatch):
    manifest = trained.parents[2] / "03_train" / "manifest.json"
    before = manifest.read_bytes()
    try:
        manifest.write_bytes(before.replace(b'"redistributable": true', b'"redistributable": false'))
        done = CliRunner().invoke(app, ["push", str(trained), REPO])
        assert done.exit_code == 1 and "it may not be published: it learned from scnm" in done.output
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        for option in (["--upload"], ["--to", str(tmp_path / "x")]):
            done = CliRunner().invoke(app, ["push", str(trained), REPO, *option])
            assert isinstance(done.exception, PushError) and "must not be passed on" in str(done.exception)
        assert not (tmp_path / "x").exists()
    finally:
        manifest.write_bytes(before)


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "../x", "me/", "me/a b", "-a/b", "me/a--b", "https://x/y"])
def test_a_repository_is_owner_and_name(name):
    with pytest.raises(PushError, match="OWNER/NAME"):
        check_repo(name)

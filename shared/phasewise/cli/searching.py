"""``phasewise search``: Phase 1 of a study's unit, or of a study written from files and flags."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from phasewise.cli.options import DEFAULT_STUDY, LogOption, require_unit
from phasewise.cli.tracked import tracking
from phasewise.errors import ConfigError
from phasewise.settings import Study, load_study

"""Clones that share nothing: each holds the study's units that its machine has run."""

from pathlib import Path

from phasewise.merging.units import at
from phasewise.records import RECORD_FILE, read_record, write_record
from phasewise.settings import Study
from synthetic import UnitWriter, write_baselines, write_ledger

TASK = "rotten_tomatoes"


class Clone:
    """Another machine's clone of the study."""

    def __init__(self, study: Study, root: Path, host: str) -> None:
        self.root, self.host = root, host
        self.study = at(study, root)

    def run(self, method: str, *, phases: int = 3, first: float = 0.7) -> "Clone":
        """All of a unit, or its first phases."""
        unit = UnitWriter(self.study, TASK, method)
        unit.phase0([0.6, 0.61], [0.6, 0.61])
        if phases > 1:
            unit.phase1([first, 0.72, 0.71, 0.69], confirm=[0.71, 0.7], final=phases > 2)
        if phases > 2:
            unit.phase2([0.7, 0.72])
        write_baselines(self.study, TASK)
        write_ledger(self.study, TASK, 2)
        self.note("host", self.host)
        return self

    def note(self, name: str, value: str) -> "Clone":
        """Changes an entry of every record's environment, as if it had always been so."""
        for file in self.root.rglob(RECORD_FILE):
            record = read_record(file.parent)
            assert record is not None
            environment = {**record.environment, name: value}
            write_record(file.parent, record.model_copy(update={"environment": environment}))
        return self

    def unit(self, method: str) -> Path:
        return self.study.settings.experiments_path / TASK / method


def snapshot(root: Path = Path()) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder with its content and time, but for the cache."""
    return {
        str(file.relative_to(root)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in sorted(root.rglob("*"))
        if file.is_file() and "cache" not in file.parts
    }

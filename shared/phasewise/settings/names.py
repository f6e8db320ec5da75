"""What names and folders of a study may look like: they become files and words of commands."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

#: A study or a shard: a folder.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
#: A task or a method: a part of file names, of Snakemake's wildcards and of the report's anchors.
UnitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]
_FOLDER = re.compile(r"[\w./~]([\w ./~@%+=:,()-]*[\w./~@%+=:,()-])?")


def _check_folder(folder: Path) -> Path:
    if not _FOLDER.fullmatch(str(folder)):
        raise ValueError(
            "expected a folder of letters, digits, blanks and any of . / ~ @ % + = : , ( ) _ -"
        )
    return folder


#: A folder that is written to.
Folder = Annotated[Path, AfterValidator(_check_folder)]

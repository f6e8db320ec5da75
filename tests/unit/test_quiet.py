"""What other libraries would say in every command."""

import subprocess
import sys


def test_importing_an_engine_says_nothing() -> None:
    code = "import phasewise.training.trainer_engine, bitsandbytes"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")

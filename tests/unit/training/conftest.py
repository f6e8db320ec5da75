"""What tests of steps share."""

from collections.abc import Iterator

import pytest
import torch

from phasewise.training.kernels.library import use_kernels


@pytest.fixture
def kernels() -> Iterator[None]:
    """Turns the compiled kernels on, where there is a compiler, in the one thread they are for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    use_kernels(True)
    yield
    use_kernels(False)
    torch.set_num_threads(threads)

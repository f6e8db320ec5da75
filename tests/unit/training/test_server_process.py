"""What a worker's environment holds before its program starts."""

import pytest

from phasewise.training.server_process import worker_environment

_OURS = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432"
    ":glibc.malloc.trim_threshold=536870912"
)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, _OURS),
        ("", _OURS),
        ("glibc.malloc.check=1", f"glibc.malloc.check=1:{_OURS}"),
        (
            "glibc.malloc.hugetlb=0:glibc.malloc.mmap_threshold=1",
            "glibc.malloc.hugetlb=0:glibc.malloc.mmap_threshold=1"
            ":glibc.malloc.trim_threshold=536870912",
        ),
    ],
)
def test_malloc_is_tuned_beside_what_the_user_tuned(
    own: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if own is None:
        monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    else:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    assert worker_environment(1, None)["GLIBC_TUNABLES"] == expected


def test_a_worker_of_a_worker_has_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    first = worker_environment(2, "1")
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    assert worker_environment(2, "1") == first

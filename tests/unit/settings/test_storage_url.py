"""A study's database is named without its password, and a refused URL is not shown."""

from collections.abc import Callable
from typing import Any

import pytest

from phasewise.errors import ConfigError
from phasewise.settings import Study

SECRET = "t0p"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@db.example.org:5432/studies",
        "postgresql://db/studies?sslmode=require",
        "postgresql:///?service=studies",
        "postgresql://[::1]:5432/studies",
    ],
)
def test_a_url_without_a_password_is_taken(url: str, write_study: Callable[..., Study]) -> None:
    assert write_study(storage=url).settings.storage == url


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@db/studies",
        f"postgresql://me:{SECRET}/x@y@db/studies",
        f"postgresql://me:{SECRET}@db:99x/studies",
        f"postgresql://db/studies?password={SECRET}",
        f"postgresql://db/studies?PASSWORD={SECRET}",
        f"postgresql://:{SECRET}@/studies",
        f"mysql://me:{SECRET}@db/studies",
        f"postgresql:/me:{SECRET}@db/studies",
        f"postgresql+psycopg://me:{SECRET}@db/studies",
        f"postgresql://db/{{{SECRET}}}",
        [f"postgresql://me:{SECRET}@db/studies"],
        {"url": f"postgresql://me:{SECRET}@db/studies"},
    ],
)
def test_what_may_hold_a_password_is_refused_unseen(
    url: Any, write_study: Callable[..., Study]
) -> None:
    with pytest.raises(ConfigError, match=r"study\.yaml: storage: expected ") as caught:
        write_study(storage=url)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)

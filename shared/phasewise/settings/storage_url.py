"""The address of a database that several controllers share; it never holds a password."""

from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

#: Type of an error whose message must not repeat the value.
SECRET = "may_hold_a_secret"
_SCHEME = "postgresql"
#: Parameters of libpq that are or unlock secrets (PostgreSQL 15 manual, 34.1.2).
_SECRET_PARAMETERS = {"password", "sslpassword"}
_EXPECTED = (
    "expected postgresql://HOST:PORT/DATABASE (USER@ before it, or PGUSER) "
    "or postgresql:///?service=NAME"
)


def _check(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.startswith(f"{_SCHEME}://"):
        raise PydanticCustomError(SECRET, _EXPECTED)
    try:
        parts = urlsplit(value)
        _ = parts.port
        parameters = {name.lower() for name in parse_qs(parts.query, keep_blank_values=True)}
    except ValueError:
        raise PydanticCustomError(SECRET, f"{_EXPECTED}, got what is no URL") from None
    # A password may hold any sign, so that whatever looks like one is taken for it.
    user = value.removeprefix(f"{_SCHEME}://").rpartition("@")[0]
    if ":" in user or "/" in user or parameters & _SECRET_PARAMETERS:
        raise PydanticCustomError(
            SECRET,
            "expected no password, since settings are copied and shown; leave it out and set "
            "PGPASSWORD, or put it into ~/.pgpass or a service of ~/.pg_service.conf",
        )
    if not value.isprintable() or "{" in value or "}" in value or parts.fragment:
        raise PydanticCustomError(SECRET, f"{_EXPECTED}, without blanks and braces")
    return value


StorageUrl = Annotated[str | None, BeforeValidator(_check)]

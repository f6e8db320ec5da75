"""Seeds: every random stream of a study is derived from one number by name."""

import hashlib


def derive_seed(*parts: object) -> int:
    """Returns a 31-bit seed that depends on every part and on nothing else.

    Args:
        parts: Anything whose ``str`` is stable, such as ``("phase2", "order", 3)``.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1

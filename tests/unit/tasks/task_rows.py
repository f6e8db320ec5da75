"""Rows for small tasks, and files of them."""

import json
from pathlib import Path
from typing import Any

WORDS = ("good", "fine", "bright", "warm", "bad", "dull", "flat", "cold", "long", "short")


def classification_rows(count: int, prefix: str = "") -> list[dict[str, Any]]:
    """Distinct texts, labels in turn."""
    return [
        {"text": f"{prefix} film {index} is {WORDS[index % 10]}", "label": index % 2}
        for index in range(count)
    ]


def question_rows(contexts: int, prefix: str = "") -> list[dict[str, Any]]:
    """Three questions a context, the third unanswerable."""
    rows: list[dict[str, Any]] = []
    for number in range(contexts):
        context = f"{prefix}In the year {1800 + number} the town of Place{number} was founded."
        for kind, answer in (("year", str(1800 + number)), ("town", f"Place{number}"), ("who", "")):
            starts = [context.index(answer)] if answer else []
            rows.append(
                {
                    "id": f"{prefix}{number}-{kind}",
                    "context": context,
                    "question": f"Which {kind}?",
                    "answers": {"text": [answer] if answer else [], "answer_start": starts},
                }
            )
    return rows


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path

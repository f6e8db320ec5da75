"""Conditions and constraints of a search space: small comparisons, read without ``eval``.

``alpha >= r``, ``lr_scheduler_type in ["cosine", "linear"]``, ``lora_rank * 2 <= 64 and not
epochs > 3``: names, numbers, texts, lists, ``+ - * /``, comparisons, ``and or not``, brackets.
Anything else (calls, attributes, subscripts, powers) is refused when the file is read.
"""

import ast
import copy
import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


def expression_names(text: str) -> tuple[str, ...]:
    """Returns the names that an expression uses, each once, in order.

    Raises:
        ValueError: It is no expression of this language; the message quotes the part.
    """
    nodes = [node for node in ast.walk(_parse(text)) if isinstance(node, ast.Name)]
    nodes.sort(key=lambda node: node.col_offset)
    return tuple(dict.fromkeys(node.id for node in nodes))


def is_true(text: str, values: Mapping[str, Any]) -> bool:
    """Returns whether an expression holds.

    Args:
        text: The expression.
        values: A value for each of its names.

    Raises:
        ValueError: It cannot be computed of these values: text against number, division by 0.
    """
    try:
        return bool(_evaluate(_parse(text), values))
    except (TypeError, ZeroDivisionError) as error:
        shown = ", ".join(f"{name}={values[name]!r}" for name in expression_names(text))
        raise ValueError(f"'{text}' cannot be computed with {shown}: {error}") from error


def rename(text: str, names: Mapping[str, str]) -> str:
    """Returns the expression with names replaced; names not in the mapping stay."""
    tree = copy.deepcopy(_parse(text))  # the cached one stays as it is
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return ast.unparse(tree)


@cache
def _parse(text: str) -> ast.expr:
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ValueError(
            f"'{text}' is no comparison such as alpha >= r or epochs == 1 ({reason})"
        ) from error
    _check(tree, text)
    return tree


def _check(node: ast.expr, text: str) -> None:
    """Refuses what the language does not hold."""
    children: list[ast.expr]
    match node:
        case ast.Name():
            return
        case ast.Constant(value=bool() | int() | float() | str()):
            return
        case ast.BoolOp(values=values):
            children = values
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            children = [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            children = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(
            type(op) in _COMPARISONS for op in ops
        ):
            children = [left, *rest]
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            children = elements
        case _:
            raise ValueError(
                f"'{text}': '{ast.unparse(node)}' is not allowed; expected names, numbers, texts, "
                "lists, + - * /, comparisons, and, or, not"
            )
    for child in children:
        _check(child, text)


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return values[name]
        case ast.Constant(value=value):
            return value
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_evaluate(part, values) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_evaluate(part, values) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _evaluate(operand, values)
        case ast.UnaryOp(operand=operand):
            return -_evaluate(operand, values)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATIONS[type(op)](_evaluate(left, values), _evaluate(right, values))
        case ast.Compare(left=left, ops=ops, comparators=rest):
            terms = [_evaluate(term, values) for term in (left, *rest)]
            pairs = zip(ops, terms, terms[1:], strict=False)
            return all(_COMPARISONS[type(op)](a, b) for op, a, b in pairs)
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_evaluate(element, values) for element in elements]
    raise AssertionError(f"unchecked expression {ast.dump(node)}")

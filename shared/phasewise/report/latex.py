"""LaTeX: what is special in it, and the report's one renderer of tables for papers."""

from itertools import groupby

from phasewise.report.columns import Column, Row, Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "–": "--",
    "‡": r"$^{\ddagger}$",
}


def escape_latex(text: str) -> str:
    """Returns text in which nothing is a command; signs that need math mode are in it."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def render_latex(table: Table[Row], *, caption: str, label: str) -> str:
    """Returns one floating table, ready for ``\\input``; it needs ``\\usepackage{booktabs}``.

    Args:
        table: Its columns with a LaTeX heading are shown; groups are parted by rules.
        caption: LaTeX already.
        label: Without ``tab:``.
    """
    columns = [column for column in table.columns if column.latex_heading]
    lines = [[_show(column, row) for column in columns] for row in table.rows]
    groups = [list(each) for _, each in groupby(lines, lambda cells: table.grouped and cells[0])]
    bodies = ["\n".join(" & ".join(cells) + r" \\" for cells in group) for group in groups]
    parts = [
        r"% Written by Phasewise; needs \usepackage{booktabs}.",
        r"\begin{table}",
        r"\centering",
        r"\small",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{''.join('l' if each.words else 'r' for each in columns)}}}",
        r"\toprule",
        " & ".join(column.latex_heading for column in columns) + r" \\",
        r"\midrule",
        "\n\\midrule\n".join(bodies),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(parts) + "\n"


def _show(column: Column[Row], row: Row) -> str:
    return column.latex(row) if column.latex else escape_latex(column.show(row))

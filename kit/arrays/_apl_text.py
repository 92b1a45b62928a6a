"""Arrays as APL prints them: columns aligned, ¯ for negative, ten digits, and a box around each nested item."""

import numpy as np

from kit.arrays._apl_functions import is_nested, is_text, items

DIGITS = 10
MOST_ROWS, MOST_COLUMNS = 60, 200  # of text; more is not read


def number_text(number):
    """A number with ten digits: ¯1.5, 3, 1E¯7."""
    text = f"{number:.{DIGITS}g}"
    if "e" in text:
        digits, exponent = text.split("e")
        text = f"{digits}E{int(exponent)}"
    return text.replace("-", "¯")


def boxed(array):
    """The array as lines of text; what is too large is cut, and … says where."""
    return "\n".join(line.rstrip() for line in _cut(_lines(_corner(array))))


def _corner(array):
    """No more of an array than can be shown."""
    if array.ndim == 0:
        return array
    kept = [slice(MOST_ROWS + 1)] * (array.ndim - 1) + [slice(MOST_COLUMNS + 1)]
    return array[tuple(kept)]


def _cut(lines):
    lines = [line if len(line) <= MOST_COLUMNS else line[: MOST_COLUMNS - 1] + "…" for line in lines]
    return lines if len(lines) <= MOST_ROWS else [*lines[: MOST_ROWS - 1], "…"]


def _lines(array):
    """Lines of equal length; none for an empty matrix, one for anything simple of at most one axis."""
    if is_nested(array):
        return _table(array)
    if array.ndim == 0:
        return [str(array) if is_text(array) else number_text(float(array))]
    if 0 in array.shape:
        return [""] if array.ndim == 1 else []
    return _in_planes(_text_rows(array) if is_text(array) else _number_rows(array), array.shape)


def _text_rows(array):
    return ["".join(row) for row in array.reshape(-1, array.shape[-1])]


def _number_rows(array):
    columns = [
        _aligned([number_text(float(cell)) for cell in column]) for column in array.reshape(-1, array.shape[-1]).T
    ]
    return [" ".join(row) for row in zip(*columns, strict=True)]


def _in_planes(rows, shape):
    """The rows of an array of more than two axes, with an empty line after each plane, two after each block, ..."""
    lines = []
    for r, row in enumerate(rows):
        ends = [r % size == 0 for size in np.cumprod(shape[-2:0:-1])] if r else []
        lines += [""] * sum(ends) + [row]
    return _even(lines)


def _aligned(texts):
    """Numbers with their points below each other."""
    heads = [len(text.partition(".")[0]) for text in texts]
    return _even([" " * (max(heads) - head) + text for head, text in zip(heads, texts, strict=True)])


def _even(lines):
    width = max(map(len, lines), default=0)
    return [f"{line:<{width}}" for line in lines]


def _table(array):
    """A nested array: lines between its items."""
    if not array.size:
        return [""] if array.ndim == 1 else []
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    cells = [[_lines(_corner(item)) or [""] for item in items(row)] for row in rows]
    widths = [max(len(row[k][0]) for row in cells) for k in range(rows.shape[1])]
    tables, planes = [], array.shape[-2] if array.ndim > 2 else len(cells)
    for start in range(0, len(cells), planes):
        tables += ([""] if start else []) + _ruled(cells[start : start + planes], widths)
    return _even(tables)


def _ruled(rows, widths):
    def rule(left, middle, right):
        return left + middle.join("─" * width for width in widths) + right

    lines = [rule("┌", "┬", "┐")]
    for r, row in enumerate(rows):
        lines += [rule("├", "┼", "┤")] if r else []
        for k in range(max(map(len, row))):
            parts = [cell[k] if k < len(cell) else "" for cell in row]
            lines.append("│" + "│".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)) + "│")
    return [*lines, rule("└", "┴", "┘")]

"""Arrays as rows of cells: the numbers as texts for the browser, and a picture where no browser is. No torch."""

import itertools

from PIL import Image, ImageDraw, ImageFont

from kit.panels._pictures import png

MOST_CELLS, LONGEST = 10_000, 128  # as in _cells.js
MOST_PICTURED = 400  # cells of an array in a picture
AXIS_COLOURS = ("#2f63c0", "#b4502d", "#2d7d46", "#9a3fa0", "#227f8c", "#7d6a1b")
INK, MUTED, LINE, CELL, ALARM = "#1c2330", "#5b6270", "#c9ccd3", "#edeef0", "#b42318"
MARGIN = 18


def texts(values):
    """Numbers as the browser takes them: repr, so that none loses a digit, and NaN can be said."""
    return [repr(value) for value in values]


def number_text(text):
    """A number as it is shown: four digits, whole numbers whole."""
    try:
        number = float(text)
    except ValueError:
        return text
    return f"{number:.4g}" if not number.is_integer() else str(int(number))


def shown_shape(shape, most=MOST_CELLS):
    """Sizes as far as they are drawn: the longest axis is halved until the cells are few enough."""
    shown = [min(size, LONGEST) for size in shape]
    while _product(shown) > most:
        longest = shown.index(max(shown))
        shown[longest] = -(-shown[longest] // 2)
    return tuple(shown)


def _product(sizes):
    count = 1
    for size in sizes:
        count *= size
    return count


def facets(shape, cell):
    """(steps, [width, height]) of nested facets: the last axis goes across, the one before down, and so on."""
    extent, steps = list(cell), [0] * len(shape)
    for depth, axis in enumerate(reversed(range(len(shape)))):
        level, way = divmod(depth, 2)
        gap = 6 + 6 * level if level else 0
        steps[axis] = extent[way] + gap
        extent[way] = max(0, shape[axis] * steps[axis] - gap)
    return steps, extent


class Picture:
    """A white page that is written from the top down."""

    def __init__(self, width=680):
        self.image = Image.new("RGB", (width, 4000), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.y = 14

    def text(self, x, words, fill=INK, size=13, anchor="lt"):
        self.draw.text((x, self.y), words, fill=fill, font=ImageFont.load_default(size), anchor=anchor)

    def line(self, words, fill=INK, size=13):
        self.text(14, words, fill, size)
        self.y += size + 7

    def tiles(self, shape, cell_of, x=14, measured=True):
        """Draw an array, or as many cells as fit; cell_of(index) -> (text, fill, ghost), fill None for no cell."""
        shown = shown_shape(shape, MOST_PICTURED)
        left, top = x, self.y
        if measured:
            left, top = x + MARGIN * (len(shape) // 2), self.y + MARGIN * -(-len(shape) // 2)
        cell = next(
            ((w, 22) for w in (26, 18, 12, 8, 5) if left + facets(shown, (w, 22))[1][0] < self.image.width), (3, 22)
        )
        steps, (_, height) = facets(shown, cell)
        for index in itertools.product(*map(range, shown)):
            place = [left, top]
            for axis, at in enumerate(index):
                place[(len(shape) - 1 - axis) % 2] += at * steps[axis]
            self._cell(place, cell[0], *cell_of(index))
        for axis in range(len(shape)) if measured and _product(shown) else ():
            self._measure(left, top, shown, steps, axis, f"{shape[axis]}{' ...' * (shown[axis] < shape[axis])}", cell)
        self.y = top + height + 14

    def _cell(self, place, width, words, fill, ghost):
        box = (place[0] + 1, place[1] + 1, place[0] + width - 2, place[1] + 20)
        if fill is None:
            return
        self.draw.rounded_rectangle(
            box, min(3, width // 6), fill=None if ghost else fill, outline=LINE if ghost else None
        )
        if len(words) <= 4 and width == 26:
            middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            font = ImageFont.load_default(10)
            self.draw.text(middle, words, fill=MUTED if ghost else INK, font=font, anchor="mm")

    def _measure(self, left, top, shape, steps, axis, words, cell):
        depth = len(shape) - 1 - axis
        level, way = divmod(depth, 2)
        inner = [(shape[at] - 1) * steps[at] for at in range(axis, len(shape), 2)]
        length, away = sum(inner) + cell[way], MARGIN * level + 6
        ends = [(left, top - away), (left + length, top - away)]
        if way:
            ends = [(left - away, top), (left - away, top + length)]
        self.draw.line(ends, fill=AXIS_COLOURS[depth % 6], width=2)
        middle = ((ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2)
        self.draw.rectangle(
            (middle[0] - 4 * len(words) - 2, middle[1] - 5, middle[0] + 4 * len(words) + 2, middle[1] + 5), "white"
        )
        self.draw.text(middle, words, fill=AXIS_COLOURS[depth % 6], font=ImageFont.load_default(11), anchor="mm")

    def png(self):
        """PNG bytes of the page as far as it was written."""
        return png(self.image.crop((0, 0, self.image.width, min(self.y, self.image.height))), 64)

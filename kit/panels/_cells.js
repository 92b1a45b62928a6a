// Shared by the panels of arrays: an n-d array drawn as nested facets, one colour per axis, and a cursor in it.

const MOST_CELLS = 10000, LONGEST = 128;  // drawn at most: in all, and along one axis
const AXIS_COLOURS = 6;
const TALLEST = 440;  // pixels, unless the cells would be too small to see
const MARGIN = 18;  // of the line that measures one axis

const product = sizes => sizes.reduce((a, b) => a * b, 1);

// Sizes as far as they are drawn: the longest axis is halved until the cells are few enough.
function shownShape(shape, most = MOST_CELLS) {
  const shown = shape.map(size => Math.min(size, LONGEST));
  while (product(shown) > most) {
    const longest = shown.indexOf(Math.max(...shown));
    shown[longest] = Math.ceil(shown[longest] / 2);
  }
  return shown;
}

// All indices of a shape in row-major order.
function* indices(shape) {
  if (shape.includes(0)) return;
  const index = shape.map(() => 0);
  for (;;) {
    yield [...index];
    let axis = shape.length - 1;
    while (axis >= 0 && ++index[axis] === shape[axis]) index[axis--] = 0;
    if (axis < 0) return;
  }
}

const ravel = (index, shape) => index.reduce((flat, i, axis) => flat * shape[axis] + i, 0);

const unravel = (flat, shape) => shape.map((size, axis) => Math.floor(flat / product(shape.slice(axis + 1))) % size);

// Where cells lie: the last axis goes across, the one before down, the next across again around the whole, and so on.
// steps: pixels from one index of an axis to the next.
function facets(shape, [cellWidth, cellHeight]) {
  const extent = [cellWidth, cellHeight], steps = [];
  for (let depth = 0; depth < shape.length; depth++) {
    const axis = shape.length - 1 - depth, way = depth % 2, level = depth >> 1;
    const gap = level ? 6 + 6 * level : 0;
    steps[axis] = extent[way] + gap;
    extent[way] = Math.max(0, shape[axis] * steps[axis] - gap);
  }
  return { shape, steps, cell: [cellWidth, cellHeight], width: extent[0], height: extent[1] };
}

const wayOf = (layout, axis) => (layout.shape.length - 1 - axis) % 2;

function placeOf({ shape, steps }, index) {
  let across = 0, down = 0;
  for (let axis = shape.length - 1; axis >= 0; axis -= 2) across += index[axis] * steps[axis];
  for (let axis = shape.length - 2; axis >= 0; axis -= 2) down += index[axis] * steps[axis];
  return [across, down];
}

// The index of the cell at a point, or null between cells and outside.
function indexAt(layout, x, y) {
  const at = [x, y], index = [];
  for (let axis = 0; axis < layout.shape.length; axis++) {
    const way = wayOf(layout, axis), i = Math.floor(at[way] / layout.steps[axis]);
    if (i < 0 || i >= layout.shape[axis]) return null;
    at[way] -= i * layout.steps[axis];
    index.push(i);
  }
  return at.every((rest, way) => rest >= 0 && rest < layout.cell[way]) ? index : null;
}

// One cell further across (way 0) or down (way 1), by an odometer of the axes that go that way; stops at the ends.
function stepped(layout, index, way, by) {
  const next = [...index], axes = layout.shape.map((_, axis) => axis).filter(axis => wayOf(layout, axis) === way);
  for (const axis of axes.reverse()) {
    next[axis] += by;
    if (next[axis] >= 0 && next[axis] < layout.shape[axis]) return next;
    next[axis] = by > 0 ? 0 : layout.shape[axis] - 1;
  }
  return index;
}

// Around a node of a fixed size, so that what changes in it lays out nothing outside.
const inPlace = node => element("span", { className: "kit-place" }, node);

// The colours of the page for a canvas, read again when the theme changes.
class Palette {
  static NAMES = ["ink", "muted", "line", "soft", "bg", "accent", "alarm", "cell", "dense",
    ...Array.from({ length: AXIS_COLOURS }, (_, axis) => `axis-${axis}`)];

  #pixels = new Map();
  #one = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

  constructor(root, changed, signal) {
    const sensor = element("i", { className: "kit-sensor", "aria-hidden": "true" });
    this.reader = element("i", { hidden: true });
    root.append(sensor, this.reader);
    // JupyterLab changes its theme in steps and hides the page meanwhile, which cancels the transitions: the last cancel
    // finds the last colours, and the frame after it a page to draw on.
    const redraw = debounceFrame(changed);
    signal.addEventListener("abort", redraw.cancel);
    const hear = () => {
      const { color, backgroundColor } = getComputedStyle(sensor);
      if (color === this.ink && backgroundColor === this.scheme) return;
      this.#read();
      redraw();
    };
    for (const type of ["transitionend", "transitioncancel"]) sensor.addEventListener(type, hear, { signal });
  }

  // Read the colours unless they are known. JupyterLab renders a panel before it is in the page, where there are none.
  ready() { if (!this.ink) this.#read(); }

  #read() {
    this.#pixels.clear();
    const of = colour => { this.reader.style.color = colour; return getComputedStyle(this.reader).color; };
    for (const name of Palette.NAMES) this[name] = of(`var(--kit-${name})`);
    this.scheme = of("light-dark(#000, #fff)");
    this.dark = this.scheme === "rgb(255, 255, 255)";
    const [light, chroma] = this.dark ? [0.42, 0.075] : [0.895, 0.065];
    this.tints = Array.from({ length: 256 }, (_, i) => `oklch(${light} ${chroma} ${230 + i})`);
    this.font = getComputedStyle(this.reader).fontFamily;
  }

  // A colour as the four bytes of a pixel.
  pixel(colour) {
    if (!this.#pixels.has(colour)) {
      this.#one.clearRect(0, 0, 1, 1);
      this.#one.fillStyle = colour;
      this.#one.fillRect(0, 0, 1, 1);
      this.#pixels.set(colour, new Uint32Array(this.#one.getImageData(0, 0, 1, 1).data.buffer)[0]);
    }
    return this.#pixels.get(colour);
  }

  axis(depth) { return this[`axis-${depth % AXIS_COLOURS}`]; }

  // A pale hue for a share in [0, 1], one of 256; equal shares look equal wherever they are drawn.
  tint(share) { return this.tints[Math.max(0, Math.min(255, Math.floor(256 * share)))]; }
}

// The largest cells for which an array is no wider than the room and not much taller than a screen. Where the longest
// number has no room, the cells are squares without numbers, of at least 4 pixels.
function fitCell(shown, room, widest) {
  const ideal = [Math.max(26, Math.min(54, widest * 6.6 + 12)), 26];
  const { width, height } = facets(shown, ideal), gaps = facets(shown, [0, 0]);
  const most = [(room - gaps.width) / (width - gaps.width) * ideal[0],
    (TALLEST - gaps.height) / (height - gaps.height) * ideal[1]];
  const cell = ideal.map((side, way) => Math.floor(Math.min(side, most[way] || side)));
  const written = cell[1] >= 15 && widest * 6.2 + 4 <= cell[0];
  return { cell: written ? cell : cell.fill(Math.max(4, Math.min(...cell))), written };
}

// A canvas of cells under a canvas of marks. The cursor moves with the pointer and with the arrow keys.
class Tiles {
  cursor = null;

  constructor(palette, label, moved, signal) {
    Object.assign(this, { palette, moved });
    this.base = element("canvas", { "aria-hidden": "true" });
    this.over = element("canvas", { tabIndex: 0, role: "application", "aria-label": label,
      "aria-roledescription": "array" });
    this.none = element("p", { className: "kit-none" });
    this.node = element("div", { className: "kit-tiles" }, this.base, this.over, this.none);
    const on = (type, hear) => this.over.addEventListener(type, hear, { signal });
    on("pointermove", event => this.#point(event));
    on("pointerdown", event => this.#point(event));
    on("pointerleave", event => this.#set(null, event));
    on("keydown", event => this.#key(event));
    on("blur", event => this.#set(null, event));
  }

  // Draw an array. `cellOf(index, written)` gives {text, fill, ghost, faint, alarm, none} of a cell, the text only if it
  // is to be written, and does not keep the index; `colours(into)` writes only the colours, as pixels in row-major order,
  // 0 for none, where there is no room for more; `room` is the width there is;
  // `rowText(row)` stands beside the rows and `blockText` above them, instead of the lines that measure the axes. Those
  // have the colours and texts of `axes`, if it is given: {colour, text} of each; `fitted`: a fitCell of several arrays.
  show({ shape, room, widest = 2, cellOf, colours, rowText, blockText, axes, fitted }) {
    const shown = rowText ? shape : shownShape(shape);
    Object.assign(this, { shape, shown, cellOf, colours: colours ?? (into => this.#colours(into)), rowText, blockText, axes });
    this.left = rowText ? 50 : MARGIN * Math.floor(shape.length / 2);
    this.top = rowText ? MARGIN : MARGIN * Math.ceil(shape.length / 2);
    const { cell, written } = fitted ?? fitCell(shown, room - this.left - 1, widest);
    Object.assign(this, { layout: facets(shown, cell), written });
    const empty = product(shape) === 0;
    this.node.classList.toggle("kit-empty", empty);
    say(this.none, empty ? "no cells: an axis has size 0" : "");
    this.#size();
    this.draw();
  }

  #size() {
    const width = Math.max(1, this.left + this.layout.width + 1), height = Math.max(1, this.top + this.layout.height + 1);
    const size = `${width} ${height} ${devicePixelRatio}`;
    if (size === this.sized) return;
    this.sized = size;
    this.marked = false;
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(width * devicePixelRatio);
      canvas.height = Math.round(height * devicePixelRatio);
      Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    }
  }

  #context(canvas) {
    const context = canvas.getContext("2d");
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    return context;
  }

  // Whether there is room for corners, dashes and numbers, and time.
  get roomy() { return this.layout.cell[0] > 9 && product(this.shown) <= 2000; }

  #box(index) {
    const [x, y] = placeOf(this.layout, index), [w, h] = this.layout.cell, inset = w > 9 ? 1.5 : 0.5;
    return [this.left + x + inset, this.top + y + inset, w - 2 * inset, h - 2 * inset];
  }

  draw() {
    if (!this.roomy) return this.#drawPixels();
    this.mosaic = null;
    const context = this.#page();
    this.#drawEach(context);
    this.#drawMargins(context);
  }

  #page() {
    const context = this.#context(this.base);
    context.font = `11px ${this.palette.font}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    return context;
  }

  #drawMargins(context) {
    if (this.rowText) this.#rows(context);
    else if (product(this.shown)) this.shown.forEach((_, axis) => this.#measure(context, axis));
  }

  #drawEach(context) {
    const { palette } = this;
    for (const index of indices(this.shown)) {
      const { text, fill, ghost, faint, alarm, none } = this.cellOf(index, this.written), box = this.#box(index);
      if (none) continue;
      if (alarm) this.#alarm(context, box);
      else if (!ghost) this.#solid(context, box, fill ?? palette.cell);
      else this.#ghost(context, box);
      if (text === undefined || !this.written) continue;
      context.fillStyle = alarm ? palette.alarm : ghost || faint ? palette.muted : palette.ink;
      context.fillText(text, box[0] + box[2] / 2, box[1] + box[3] / 2 + 0.5);
    }
  }

  // Thousands of cells: written as pixels, for a canvas takes longer over as many rectangles than a frame lasts. Only what
  // changed since the last time is written.
  #drawPixels() {
    const key = this.#frame();
    if (this.mosaic?.key !== key) {
      const context = this.#page();
      this.#drawMargins(context);
      this.mosaic = this.#mosaic(context, key);
    }
    const changed = this.#recolour();
    if (changed) this.base.getContext("2d").putImageData(this.mosaic.image, 0, 0, ...changed);
  }

  // What the margins and the places of the cells depend on.
  #frame() {
    const { sized, shown, layout, palette, rowText, blockText } = this;
    const texts = rowText ? [blockText, ...Array.from({ length: shown[1] }, (_, row) => rowText(row))]
      : shown.map((_, axis) => [this.#sizeText(axis), this.#colour(axis)]);
    return JSON.stringify([sized, shown, layout.cell, palette.ink, palette.scheme, texts]);
  }

  // The image, and of each cell, in row-major order, its colour and [left, right, top, bottom] in pixels of the canvas.
  #mosaic(context, key) {
    const { layout, shown } = this, { width, height } = this.base, count = product(shown);
    const inset = layout.cell[0] > 9 ? 1.5 : 0.5, corners = [this.left, this.top];
    const places = new Uint16Array(4 * count);
    let at = 0;
    for (const index of indices(shown)) {
      placeOf(layout, index).forEach((place, way) => {
        for (const end of [inset, layout.cell[way] - inset]) {
          places[at++] = Math.round((corners[way] + place + end) * devicePixelRatio);
        }
      });
    }
    return { key, places, image: context.createImageData(width, height),
      colours: new Uint32Array(count), before: new Uint32Array(count) };
  }

  // The pixels of the cells whose colour is another than before; [x, y, width, height] of all that is so written, if any.
  #recolour() {
    const { mosaic } = this, { image, places, before: colours, colours: before } = mosaic, { width } = image;
    Object.assign(mosaic, { colours, before });
    this.colours(colours);
    const pixels = new Uint32Array(image.data.buffer);
    let left = Infinity, right = 0, top = Infinity, bottom = 0;
    for (let cell = 0; cell < colours.length; cell++) {
      const colour = colours[cell];
      if (colour === before[cell]) continue;
      const at = 4 * cell, [x, end, y, low] = [places[at], places[at + 1], places[at + 2], places[at + 3]];
      for (let row = y; row < low; row++) {
        for (let pixel = row * width + x; pixel < row * width + end; pixel++) pixels[pixel] = colour;
      }
      left = Math.min(left, x);
      right = Math.max(right, end);
      top = Math.min(top, y);
      bottom = Math.max(bottom, low);
    }
    return bottom ? [left, top, right - left, bottom - top] : null;
  }

  #colours(into) {
    const { palette } = this;
    let at = 0;
    for (const index of indices(this.shown)) {
      const { fill, ghost } = this.cellOf(index, false);
      into[at++] = palette.pixel(fill ?? (ghost ? palette.cell : palette.dense));
    }
  }

  // Beside each row its text, above the first block the length of one.
  #rows(context) {
    this.#measure(context, 2, this.blockText, this.palette.muted);
    const [, rows] = this.shown, [, step] = this.layout.steps, every = Math.ceil(12 / step);
    context.textAlign = "right";
    context.font = `10px ${this.palette.font}`;
    context.fillStyle = this.palette.muted;
    const middle = this.top + this.layout.cell[1] / 2 + 0.5;
    for (let row = 0; row < rows; row += every) context.fillText(this.rowText(row), this.left - 8, middle + row * step);
  }

  #solid(context, box, fill) {
    context.fillStyle = fill;
    context.beginPath();
    context.roundRect(...box, Math.min(3, box[2] / 5));
    context.fill();
  }

  #ghost(context, [x, y, w, h]) {
    context.strokeStyle = this.palette.line;
    context.setLineDash([3, 2]);
    context.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
    context.setLineDash([]);
  }

  #alarm(context, [x, y, w, h]) {
    context.strokeStyle = this.palette.alarm;
    context.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
    context.beginPath();
    context.moveTo(x + 0.5, y + h - 0.5);
    context.lineTo(x + w - 0.5, y + 0.5);
    context.globalAlpha = 0.4;
    context.stroke();
    context.globalAlpha = 1;
  }

  // The line along an axis, in its colour, with its size: the last axis nearest to the cells.
  #measure(context, axis, text = this.#sizeText(axis), colour = this.#colour(axis)) {
    const depth = this.shape.length - 1 - axis, level = depth >> 1, way = depth % 2;
    const length = (this.shown[axis] - 1) * this.layout.steps[axis] + this.#inner(axis), away = MARGIN * level + 5;
    context.save();
    context.translate(this.left, this.top);
    if (way) context.transform(0, 1, 1, 0, 0, 0);
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(1.5, -away);
    context.lineTo(length - 1.5, -away);
    context.stroke();
    context.restore();
    const [x, y] = way ? [this.left - away, this.top + length / 2] : [this.left + length / 2, this.top - away];
    const room = context.measureText(text).width + 6;
    context.save();
    context.translate(x, y);
    if (way && text.length > 1) context.rotate(-Math.PI / 2);
    context.fillStyle = this.palette.bg;
    context.fillRect(-room / 2, -4, room, 8);
    context.fillStyle = colour;
    context.fillText(text, 0, 0.5);
    context.restore();
  }

  #colour(axis) { return this.palette.axis(this.axes?.[axis].colour ?? this.shape.length - 1 - axis); }

  #sizeText(axis) {
    return this.axes?.[axis].text ?? String(this.shape[axis]) + (this.shown[axis] < this.shape[axis] ? " …" : "");
  }

  // How far the axes within one index of this axis reach, the same way.
  #inner(axis) {
    const inner = axis + 2;
    if (inner >= this.shown.length) return this.layout.cell[wayOf(this.layout, axis)];
    return (this.shown[inner] - 1) * this.layout.steps[inner] + this.#inner(inner);
  }

  // Scroll to a cell that is out of sight.
  reveal(index) {
    const y = this.top + placeOf(this.layout, index)[1], { scrollTop, clientHeight } = this.node;
    if (y < scrollTop || y + this.layout.cell[1] > scrollTop + clientHeight) this.node.scrollTop = y - clientHeight / 2;
  }

  // Marks over the cells: [indices, strong] pairs.
  mark(...marks) {
    if (!marks.length && !this.marked) return;
    this.marked = marks.length > 0;
    const context = this.#context(this.over), { palette } = this, roomy = this.layout.cell[0] > 9;
    context.lineWidth = 2;
    for (const [marked, strong] of marks) {
      context.strokeStyle = palette.accent;
      context.fillStyle = palette.accent;
      context.globalAlpha = 1;
      for (const index of marked) {
        if (index.some((i, axis) => i >= this.shown[axis])) continue;
        const [x, y, w, h] = this.#box(index);
        context.globalAlpha = strong ? (roomy ? 0.28 : 1) : (roomy ? 0.12 : 0.45);
        context.fillRect(x, y, w, h);
        if (!roomy || !strong) continue;
        context.globalAlpha = 1;
        context.strokeRect(x, y, w, h);
      }
    }
  }

  // Blocks under the marks: [first, length] of each axis; the last two axes are filled as one, gaps and all.
  shade(...blocks) {
    const context = this.over.getContext("2d"), { palette, shown } = this, slab = shown.length - 2;
    context.fillStyle = palette.accent;
    context.globalAlpha = 0.16;
    for (const ranges of blocks) {
      const firsts = ranges.map(([first]) => first);
      const ends = ranges.map(([first, length], axis) => first + (axis < slab ? 0 : length - 1));
      for (const outer of indices(ranges.map(([, length], axis) => axis < slab ? length : 1))) {
        const [x, y] = this.#box(outer.map((i, axis) => i + firsts[axis]));
        const [right, bottom, w, h] = this.#box(outer.map((i, axis) => i + ends[axis]));
        context.fillRect(x, y, right + w - x, bottom + h - y);
      }
    }
  }

  #point(event) {
    const box = this.over.getBoundingClientRect();
    this.#set(indexAt(this.layout, event.clientX - box.left - this.left, event.clientY - box.top - this.top), event);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !product(this.shown)) return;
    const first = this.shown.map(() => 0), last = this.shown.map(size => size - 1), at = this.cursor ?? first;
    const move = (way, by) => this.cursor ? stepped(this.layout, at, way, by) : first;
    const next = { ArrowLeft: () => move(0, -1), ArrowRight: () => move(0, 1), ArrowUp: () => move(1, -1),
      ArrowDown: () => move(1, 1), Home: () => first, End: () => last, Escape: () => null }[event.key];
    if (!next) return;
    event.preventDefault();
    this.#set(next(), event);
  }

  #set(index, event) {
    if (String(index) === String(this.cursor)) return;
    this.cursor = index;
    this.moved(index, event);
  }
}

// Numbers and texts as they are read.
function numberText(value) {
  if (typeof value === "string") {
    if (Number.isNaN(Number(value))) return value.replace("-", "−");
    value = Number(value);
  }
  const text = Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  return text.replace("Infinity", "∞").replaceAll("-", "−");
}

const grouped = new Intl.NumberFormat("en");  // one for all: toLocaleString makes its own every time

const countText = (count, word) => `${grouped.format(count)} ${word}${count === 1 ? "" : "s"}`;

function bytesText(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (bytes >= 10240 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return `${unit ? Number(bytes.toPrecision(3)) : bytes} ${units[unit]}`;
}

// [1, 0, 3] with each number in the colour of its axis; `result` axes are counted from the right.
function indexText(index, marks = index) {
  return index.length ? ["[", ...index.flatMap((_, axis) => [
    ...(axis ? [", "] : []),
    phrase("b", { className: `kit-axis kit-axis-${(index.length - 1 - axis) % AXIS_COLOURS}` }, String(marks[axis])),
  ]), "]"] : [];
}

// What was typed as a shape: sizes between commas or spaces, brackets allowed; or null.
function parseShape(text) {
  const inner = text.trim().replace(/^[([]|[)\]]$/g, "").trim().replace(/,$/, "");
  if (!inner) return [];
  const parts = inner.split(/\s*,\s*|\s+/);
  return parts.every(part => /^\d{1,9}$/.test(part)) ? parts.map(Number) : null;
}

const shapeText = shape => shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;

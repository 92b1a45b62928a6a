// A picture under a mask of coarser cells, pixel by pixel: tinted, outlined, cut out, or beside the map itself.

const SIDE = 512, TINT = [230, 73, 128], GOLD = [255, 212, 59], BEYOND = 1e-9;
const HEAT = [[18, 10, 60], [102, 26, 110], [196, 56, 88], [246, 142, 52], [252, 240, 160]];

// Colours are the four bytes of a canvas's pixel, read as one number on a little-endian machine.
const colour = ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;
const INNER = colour([255, 255, 255]), OUTER = colour([20, 20, 24]), TRUE = colour(GOLD);

function mixed(pixel, [r, g, b], part) {
  const mix = (shift, to) => Math.round((pixel >> shift & 255) * (1 - part) + to * part);
  return colour([mix(0, r), mix(8, g), mix(16, b)]);
}

// A pixel three quarters of the way to black, or to white.
const toInk = [20, 24].map(to => Uint8Array.from({ length: 256 }, (_, value) => Math.round(0.25 * value + 0.75 * to)));
const toChalk = Uint8Array.from({ length: 256 }, (_, value) => Math.round(0.25 * value + 0.75 * 255));
const inked = pixel => (255 << 24 | toInk[1][pixel >> 16 & 255] << 16 | toInk[0][pixel >> 8 & 255] << 8 | toInk[0][pixel & 255]) >>> 0;
const chalked = pixel => (255 << 24 | toChalk[pixel >> 16 & 255] << 16 | toChalk[pixel >> 8 & 255] << 8 | toChalk[pixel & 255]) >>> 0;

const same = (a, b) => a.length === b?.length && a.every((part, i) => part === b[i]);

const heats = Uint32Array.from({ length: 256 }, (_, i) => {
  const place = i / 255 * (HEAT.length - 1), below = Math.min(Math.floor(place), HEAT.length - 2);
  return colour(HEAT[below].map((from, c) => Math.round(from + (place - below) * (HEAT[below + 1][c] - from))));
});

// Where between the cells each of `length` pixels stands: the cell before, the cell after, and how far between.
function between(length, cells) {
  const before = new Uint32Array(length), after = new Uint32Array(length), part = new Float64Array(length);
  for (let i = 0; i < length; i++) {
    const at = clamp((i + 0.5) * cells / length - 0.5, 0, cells - 1);
    before[i] = Math.floor(at);
    after[i] = Math.min(before[i] + 1, cells - 1);
    part[i] = at - before[i];
  }
  return { before, after, part };
}

// Of each pixel whether a neighbour is on the other side of a mask of 0 and 1.
function ending(bits, width, height) {
  const ends = new Uint8Array(bits.length);
  for (let y = 0, i = 0; y < height; y++) {
    const up = y ? width : 0, down = y + 1 < height ? width : 0, first = i, last = i + width - 1;
    for (; i <= last; i++) {
      const sum = bits[i > first ? i - 1 : i] + bits[i < last ? i + 1 : i] + bits[i - up] + bits[i + down];
      ends[i] = sum === 4 * bits[i] ? 0 : 1;
    }
  }
  return ends;
}

const placesOf = bits => [...bits.keys()].filter(i => bits[i]);

class Veil {
  #layers = {};

  constructor(choice, canvas) {
    Object.assign(this, { choice, canvas, context: canvas.getContext("2d") });
    const [width, height] = choice.model.get("size"), zoom = Math.max(1, Math.round(SIDE / Math.max(width, height)));
    canvas.width = this.width = width * zoom;
    canvas.height = this.height = height * zoom;
    this.cell = this.width / choice.width;
    this.image = this.context.createImageData(this.width, this.height);
    this.out = new Uint32Array(this.image.data.buffer);
    this.drawn = new Uint8Array(choice.area);
    this.columns = between(this.width, choice.width);
    this.rows = between(this.height, choice.height);
  }

  load(bitmap) {
    const context = new OffscreenCanvas(this.width, this.height).getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = false;
    context.drawImage(bitmap, 0, 0, this.width, this.height);
    this.base = new Uint32Array(context.getImageData(0, 0, this.width, this.height).data.buffer);
  }

  draw() {
    const { choice } = this, { field, made, threshold, view, grid, doubt, outline, smooth, curtain } = choice;
    const ground = [this.base, view, smooth, outline, ...(view === "curtain" ? [made, curtain] : [])];
    const state = [...ground, field, threshold, grid, doubt];
    if (!this.base || same(state, this.state)) return;
    const fresh = !same(ground, this.ground);
    if (fresh) this.sides = this.#sides(view);
    Object.assign(this, { state, ground });
    const looks = this.#looks();
    if (smooth) this.#pixels(looks, fresh);
    else this.#cells(looks, fresh);
    this.drawn = looks;
    if (outline && choice.truth) for (const i of this.#layer("truth")) this.out[i] = TRUE;
    this.context.putImageData(this.image, 0, 0);
    if (grid) this.#grid();
  }

  // What each cell is: in the mask (1), in doubt (2), both, or neither.
  #looks() {
    const { choice } = this, looks = choice.mask.slice();
    if (!choice.doubt || !choice.deviation) return looks;
    const doubt = choice.doubtAt(choice.samples);
    for (let at = 0; at < looks.length; at++) looks[at] |= doubt[at] << 1;
    return looks;
  }

  // What the picture is of, outside the mask and inside it.
  #sides(view) {
    if (view === "curtain") return Array(2).fill(this.#parted());
    return [view === "cut-out" ? this.#layer("checks") : this.base, view === "overlay" ? this.#layer("tinted") : this.base];
  }

  // Pictures that a view is made of, each made when it is first asked for.
  #layer(name) {
    const { width, base, choice } = this;
    const make = {
      tinted: () => base.map(pixel => mixed(pixel, TINT, 0.55)),
      checks: () => base.map((_, i) => colour(Array(3).fill((i % width >> 3) + (Math.floor(i / width) >> 3) & 1 ? 214 : 240))),
      truth: () => placesOf(ending(this.#repeated(choice.truth, new Uint8Array(base.length)), width, this.height)),
    };
    return this.#layers[name] ??= make[name]();
  }

  // The picture to the left of the curtain, the map to its right.
  #parted() {
    const { choice, base, width, height } = this, { map } = choice.made, parted = base.slice();
    const values = choice.smooth ? this.#interpolated(map) : this.#repeated(map, new Float64Array(base.length));
    for (let y = 0; y < height; y++) {
      for (let x = Math.round(choice.curtain * width), i = y * width + x; x < width; x++, i++) parted[i] = heats[Math.round(values[i] * 255)];
    }
    return parted;
  }

  // Only the cells whose look has changed, or a neighbour's, to whom a line may lead.
  #cells(looks, fresh) {
    const { choice: { width, area }, drawn } = this, turned = at => (looks[at] ^ drawn[at]) & 1;
    for (let at = 0; at < area; at++) {
      const column = at % width;
      if (fresh || looks[at] !== drawn[at] || (column && turned(at - 1)) || (column + 1 < width && turned(at + 1))
        || (at >= width && turned(at - width)) || (at + width < area && turned(at + width))) this.#cell(looks, at);
    }
  }

  #cell(looks, at) {
    const { out, width, cell, choice } = this, columns = choice.width, bit = looks[at] & 1, side = this.sides[bit];
    const column = at % columns, left = column * cell, top = (at - column) / columns * cell;
    for (let y = top; y < top + cell; y++) {
      for (let i = y * width + left, end = i + cell; i < end; i++) out[i] = side[i];
    }
    const start = top * width + left, right = start + cell - 1, bottom = start + (cell - 1) * width, line = bit ? INNER : OUTER;
    if (column && (looks[at - 1] & 1) !== bit) this.#line(start, width, line);
    if (column + 1 < columns && (looks[at + 1] & 1) !== bit) this.#line(right, width, line);
    if (at >= columns && (looks[at - columns] & 1) !== bit) this.#line(start, 1, line);
    if (at + columns < looks.length && (looks[at + columns] & 1) !== bit) this.#line(bottom, 1, line);
    if (looks[at] & 2) this.#hatch(left, top);
  }

  #line(from, step, line) {
    for (let k = 0, i = from; k < this.cell; k++, i += step) this.out[i] = line;
  }

  // Interpolated, the mask's line goes its own way between the cells. Only the rows of cells are made anew in which
  // something has changed, or in the next pixels above and below, from where a line may lead.
  #pixels(looks, fresh) {
    const { choice: { field, width }, cell, height, drawn } = this;
    if (this.raised !== field) [this.values, this.raised] = [this.#interpolated(field, this.raised, this.values), field];
    const turned = this.#turned();
    for (let at = 0, top = 0; at < looks.length; at += width, top += cell) {
      let stale = fresh;
      for (let y = Math.max(0, top - 1); !stale && y < Math.min(height, top + cell + 1); y++) stale = turned[y] === 1;
      for (let i = at; !stale && i < at + width; i++) stale = ((looks[i] ^ drawn[i]) & 2) === 2;
      if (!stale) continue;
      for (let y = top; y < top + cell; y++) this.#row(y);
      for (let i = at; i < at + width; i++) if (looks[i] & 2) this.#hatch((i - at) * cell, top);
    }
  }

  // Which rows of pixels have one that is now on the threshold's other side.
  #turned() {
    const { values, width, height, choice: { threshold } } = this, turned = new Uint8Array(height);
    const bits = this.bits ??= new Uint8Array(values.length);
    for (let y = 0, i = 0; y < height; y++) {
      let any = 0;
      for (const end = i + width; i < end; i++) {
        const bit = values[i] > threshold ? 1 : 0;
        any |= bit ^ bits[i];
        bits[i] = bit;
      }
      turned[y] = any;
    }
    return turned;
  }

  // A row of pixels as they lie inside and outside, with a line on either side of the mask's end.
  #row(y) {
    const { out, bits, width, height, sides: [outside, inside] } = this, first = y * width, last = first + width - 1;
    const up = y ? width : 0, down = y + 1 < height ? width : 0;
    for (let i = first; i <= last; i++) {
      const bit = bits[i], sum = bits[i > first ? i - 1 : i] + bits[i < last ? i + 1 : i] + bits[i - up] + bits[i + down];
      if (sum === 4 * bit) out[i] = bit ? inside[i] : outside[i];
      else out[i] = bit ? INNER : OUTER;
    }
  }

  // Values by cell, written to `pixels` by pixel: a row of cells once, and then copied.
  #repeated(values, pixels) {
    const { width, height, cell } = this;
    for (let y = 0; y < height; y += cell) {
      const start = y * width, row = y / cell * this.choice.width;
      for (let x = 0; x < width; x++) pixels[start + x] = values[row + Math.floor(x / cell)];
      for (let next = 1; next < cell; next++) pixels.copyWithin(start + next * width, start, start + width);
    }
    return pixels;
  }

  // Of the pixels of other cells, `pixels`, only those are made anew whose rows of cells have changed.
  #interpolated(cells, others = [], pixels = new Float64Array(this.out.length)) {
    const { width, height, columns, rows, choice } = this, across = choice.width, line = new Float64Array(across);
    const changed = new Set();
    for (let at = 0; at < cells.length; at++) if (cells[at] !== others[at]) changed.add(Math.floor(at / across));
    for (let y = 0; y < height; y++) {
      if (!changed.has(rows.before[y]) && !changed.has(rows.after[y])) continue;
      const above = rows.before[y] * across, below = rows.after[y] * across, part = rows.part[y];
      for (let x = 0; x < across; x++) line[x] = cells[above + x] * (1 - part) + cells[below + x] * part;
      for (let x = 0, i = y * width; x < width; x++, i++) pixels[i] = line[columns.before[x]] * (1 - columns.part[x]) + line[columns.after[x]] * columns.part[x];
    }
    return pixels;
  }

  // Lines of two pixels, one pale and one dark, along every eighth diagonal.
  #hatch(left, top) {
    const { out, width, cell } = this;
    for (let y = top; y < top + cell; y++) {
      const start = y * width, end = left + cell;
      for (let x = left + (-(left + y) & 7) - 8; x < end; x += 8) {
        if (x >= left) out[start + x] = chalked(out[start + x]);
        if (x + 1 >= left && x + 1 < end) out[start + x + 1] = inked(out[start + x + 1]);
      }
    }
  }

  #grid() {
    const { context, width, height, cell } = this;
    context.beginPath();
    for (let x = cell; x < width; x += cell) { context.moveTo(x, 0); context.lineTo(x, height); }
    for (let y = cell; y < height; y += cell) { context.moveTo(0, y); context.lineTo(width, y); }
    context.strokeStyle = "rgb(255 255 255 / 0.35)";
    context.lineWidth = 1;
    context.stroke();
  }
}

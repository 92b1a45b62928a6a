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

class Veil {
  #layers = {};

  constructor(choice, canvas) {
    Object.assign(this, { choice, canvas, context: canvas.getContext("2d") });
    const [width, height] = choice.model.get("size"), zoom = Math.max(1, Math.round(SIDE / Math.max(width, height)));
    canvas.width = this.width = width * zoom;
    canvas.height = this.height = height * zoom;
    this.cell = this.width / choice.width;
    this.bits = new Uint8Array(this.width * this.height);
    this.image = this.context.createImageData(this.width, this.height);
    this.out = new Uint32Array(this.image.data.buffer);
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
    const { choice } = this, { field, threshold, view, grid, doubt, outline, smooth, curtain } = choice;
    const state = [this.base, field, threshold, view, grid, doubt, outline, smooth, curtain];
    if (!this.base || state.every((part, i) => part === this.state?.[i])) return;
    this.state = state;
    this.#fill();
    this.#edges(this.bits, INNER, OUTER);
    if (choice.doubt && choice.deviation) this.#hatch(choice.doubtAt(choice.samples));
    if (choice.outline && choice.truth) this.#edges(this.#layer("truth"), TRUE, TRUE);
    this.context.putImageData(this.image, 0, 0);
    if (choice.grid) this.#grid();
  }

  #fill() {
    const { choice, bits, out, width, height } = this, { view } = choice;
    this.#decide();
    const [inside, outside] = this.#sides(view);
    for (let i = 0; i < out.length; i++) out[i] = bits[i] ? inside[i] : outside[i];
    if (view !== "curtain") return;
    const map = choice.smooth ? this.#interpolated(choice.made.map) : this.#repeated(choice.made.map, new Float64Array(out.length));
    for (let y = 0; y < height; y++) {
      for (let x = Math.round(choice.curtain * width), i = y * width + x; x < width; x++, i++) out[i] = heats[Math.round(map[i] * 255)];
    }
  }

  // Which pixels are in the mask. The interpolated map is kept for the next threshold.
  #decide() {
    const { choice, bits } = this, { field, threshold } = choice;
    if (!choice.smooth) return this.#repeated(choice.mask, bits);
    if (this.raised !== field) [this.raised, this.pixels] = [field, this.#interpolated(field)];
    for (let i = 0; i < bits.length; i++) bits[i] = this.pixels[i] > threshold ? 1 : 0;
  }

  #sides(view) {
    if (view === "overlay") return [this.#layer("tinted"), this.base];
    return [this.base, view === "cut-out" ? this.#layer("checks") : this.base];
  }

  // Pictures that a view is made of, each made when it is first asked for.
  #layer(name) {
    const { width, base, choice } = this;
    const make = {
      tinted: () => base.map(pixel => mixed(pixel, TINT, 0.55)),
      checks: () => base.map((_, i) => colour(Array(3).fill((i % width >> 3) + (Math.floor(i / width) >> 3) & 1 ? 214 : 240))),
      truth: () => this.#repeated(choice.truth, new Uint8Array(base.length)),
    };
    return this.#layers[name] ??= make[name]();
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

  #interpolated(values) {
    const { width, height, columns, rows } = this, pixels = new Float64Array(width * height);
    const along = (row, x) => values[row + columns.before[x]] * (1 - columns.part[x]) + values[row + columns.after[x]] * columns.part[x];
    for (let y = 0, i = 0; y < height; y++) {
      const above = rows.before[y] * this.choice.width, below = rows.after[y] * this.choice.width, part = rows.part[y];
      for (let x = 0; x < width; x++, i++) pixels[i] = along(above, x) * (1 - part) + along(below, x) * part;
    }
    return pixels;
  }

  // A line of two pixels where a mask ends, one on either side of it.
  #edges(bits, inner, outer) {
    const { out, width, height } = this;
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const bit = bits[i];
        if ((x + 1 < width && bits[i + 1] !== bit) || (x && bits[i - 1] !== bit)
          || (y + 1 < height && bits[i + width] !== bit) || (y && bits[i - width] !== bit)) out[i] = bit ? inner : outer;
      }
    }
  }

  #hatch(doubt) {
    const { out, width, cell, choice } = this;
    doubt.forEach((found, at) => {
      if (!found) return;
      const left = at % choice.width * cell, top = Math.floor(at / choice.width) * cell;
      for (let y = top; y < top + cell; y++) {
        for (let x = left; x < left + cell; x++) {
          const i = y * width + x, band = x + y & 7;
          if (band < 2) out[i] = mixed(out[i], band ? [20, 20, 24] : [255, 255, 255], 0.75);
        }
      }
    });
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

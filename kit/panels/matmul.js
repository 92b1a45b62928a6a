// MatmulStepper: the rules of kit.arrays.einsum again, for the browser; the multiply-adds in nested blocks; the panel.

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", WANTED = "wanted for example 'ik,kj->ij'";
const MOST_OPERANDS = 2;
const MOST_STEPS = 10 ** 6, STAND_INS = [2, 3, 4], MOST_TERMS = 6;
const SIDES = [2, 3, 4, 8, 16, 32];  // of blocks, to choose from
const ORDERS = { rows: "row × column", outer: "outer products", blocks: "blocks" };

// --- the rules

class EinsumError extends Error {
  constructor(words, position) {
    super(words);
    this.position = position;
  }
}

// {operands, places, result, summed} of a text, as kit.arrays.einsum.Rule, or throws.
function parseEinsum(text) {
  const signs = [...text], arrow = signs.findIndex((sign, at) => sign === "-" && signs[at + 1] === ">");
  const inputs = arrow < 0 ? signs : signs.slice(0, arrow), output = arrow < 0 ? [] : signs.slice(arrow + 2);
  checkSigns(inputs, 0, `${LETTERS}, `);
  checkSigns(output, arrow + 2, `${LETTERS} `);
  const operands = [""], places = [[]];
  inputs.forEach((sign, at) => {
    if (sign === ",") {
      if (operands.length === MOST_OPERANDS) {
        throw new EinsumError(`begins operand ${MOST_OPERANDS + 1}; wanted at most ${MOST_OPERANDS}`, at);
      }
      operands.push("");
      places.push([]);
    } else if (sign !== " ") { operands[operands.length - 1] += sign; places.at(-1).push(at); }
  });
  const letters = [...new Set(operands.join(""))], once = letter => inputs.filter(sign => sign === letter).length === 1;
  const result = arrow < 0 ? letters.filter(once).sort().join("") : resultOf(output, arrow + 2, letters);
  return { operands, places, result, summed: letters.filter(letter => !result.includes(letter)).join("") };
}

function checkSigns(part, start, known) {
  part.forEach((sign, at) => {
    if (sign === ".") throw new EinsumError("an ellipsis is not taken here; name each axis by a letter", start + at);
    if (!known.includes(sign)) throw new EinsumError(`got '${sign}', ${WANTED}: letters, commas and one '->'`, start + at);
  });
}

function resultOf(output, start, letters) {
  let result = "";
  output.forEach((letter, at) => {
    if (letter === " ") return;
    if (result.includes(letter)) {
      throw new EinsumError(`${letter} stands twice in the result; wanted each letter once`, start + at);
    }
    if (!letters.includes(letter)) {
      throw new EinsumError(`${letter} is in the result but in no operand; wanted a letter of an operand`, start + at);
    }
    result += letter;
  });
  return result;
}

// Map of letter -> size for operands of these shapes, or throws.
function sizesOf({ operands, places }, shapes) {
  if (operands.length !== shapes.length) {
    throw new EinsumError(`names ${countText(operands.length, "operand")}, got ${shapes.length}`, 0);
  }
  const found = new Map();
  operands.forEach((letters, i) => {
    const own = ownSizes(letters, places[i], shapes[i], "ab"[i]);
    for (const [letter, size] of own) {
      const [known, name] = found.get(letter) ?? [1, ""];
      if (size !== 1 && known !== 1 && size !== known) {
        throw new EinsumError(`${letter} is ${known} in ${name}, but ${size} in ${"ab"[i]}; wanted one size`,
          places[i][letters.indexOf(letter)]);
      }
      if (!found.has(letter) || size !== 1) found.set(letter, [size, "ab"[i]]);
    }
  });
  return new Map([...found].map(([letter, [size]]) => [letter, size]));
}

function ownSizes(letters, places, shape, name) {
  const axes = count => count === 1 ? "1 axis" : `${count} axes`, own = new Map();
  if (letters.length !== shape.length) {
    throw new EinsumError(`'${letters}' names ${axes(letters.length)}, ${name} has ${axes(shape.length)}`, places[0] ?? 0);
  }
  [...letters].forEach((letter, axis) => {
    const known = own.get(letter) ?? shape[axis];
    if (known !== shape[axis]) {
      throw new EinsumError(`${letter} is ${known} and ${shape[axis]} in ${name}; wanted one size`, places[axis]);
    }
    own.set(letter, shape[axis]);
  });
  return own;
}

// --- the multiply-adds

// All indices of some letters, in row-major order of their blocks and within each block: {ranges, starts, sequence}, of
// each block [first, length] per letter and where it starts in the sequence; `starts` ends with the number of all.
function blocksOf(sizes, side) {
  const ranges = [], starts = [0], sequence = [];
  for (const block of indices(sizes.map(size => Math.ceil(size / Math.min(side, Math.max(1, size)))))) {
    const box = sizes.map((size, axis) => {
      const length = Math.min(side, size), first = block[axis] * length;
      return [first, Math.min(length, size - first)];
    });
    for (const index of indices(box.map(([, length]) => length))) sequence.push(index.map((i, axis) => i + box[axis][0]));
    ranges.push(box);
    starts.push(sequence.length);
  }
  return { ranges, starts, sequence };
}

// The last place of an ascending list whose number is not above the limit, but not the end.
function blockAt(starts, limit) {
  let low = 0, high = starts.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= limit) low = middle;
    else high = middle - 1;
  }
  return low;
}

// The multiply-adds of an einsum in nested blocks: for each block of the result, for each block of the sum, for each
// cell of the one, each term of the other. Rows times columns are blocks of one cell and the whole sum, outer products
// blocks of the whole result and one term.
class Tiling {
  constructor(resultSizes, summedSizes, order, block) {
    this.cells = blocksOf(resultSizes, { rows: 1, outer: Infinity, blocks: block }[order]);
    this.terms = blocksOf(summedSizes, { rows: Infinity, outer: 1, blocks: block }[order]);
    this.perCell = this.terms.sequence.length;
    this.length = this.cells.sequence.length * this.perCell;
    this.shape = resultSizes;
    this.places = new Int32Array(this.cells.sequence.length);
    this.cells.sequence.forEach((index, place) => { this.places[ravel(index, resultSizes)] = place; });
  }

  // Of a step, counted from 0: its blocks, and the places of its cell and its term in their sequences.
  at(step) {
    const { cells, terms, perCell } = this;
    const cellBlock = blockAt(cells.starts, Math.floor(step / perCell)), from = cells.starts[cellBlock];
    const wide = cells.starts[cellBlock + 1] - from, within = step - from * perCell;
    const termBlock = blockAt(terms.starts, Math.floor(within / wide)), start = terms.starts[termBlock];
    const deep = terms.starts[termBlock + 1] - start, inner = within - wide * start;
    return { cellBlock, termBlock, cell: from + Math.floor(inner / deep), term: start + inner % deep };
  }

  // How many terms each cell has after so many steps, as a function of its place.
  doneAfter(steps) {
    if (steps >= this.length) return () => this.perCell;
    const { cells, terms } = this, { cellBlock, termBlock, cell, term } = this.at(steps);
    const [from, end, start, next] = [cells.starts[cellBlock], cells.starts[cellBlock + 1],
      terms.starts[termBlock], terms.starts[termBlock + 1]];
    return place => {
      if (place < from) return this.perCell;
      if (place >= end) return 0;
      return place < cell ? next : place === cell ? term : start;
    };
  }

  finishedAfter(steps) {
    if (steps >= this.length) return this.cells.sequence.length;
    const { cells, terms, perCell } = this, { cellBlock, termBlock, cell } = this.at(steps), from = cells.starts[cellBlock];
    return terms.starts[termBlock + 1] === perCell ? cell : from;
  }

  // The steps done when the pair of blocks of a step is finished, and when it began.
  unit(step) {
    const { cells, terms } = this, { cellBlock, termBlock } = this.at(step);
    const [from, end] = [cells.starts[cellBlock], cells.starts[cellBlock + 1]];
    return [0, 1].map(by => from * this.perCell + (end - from) * terms.starts[termBlock + by]);
  }
}

// An operand as far as it is drawn: its number at letters' values, by strides that are 0 along stretched axes.
class Operand {
  constructor(name, letters, shape, values, stored) {
    Object.assign(this, { name, letters, shape, values });
    this.strides = packedStrides(stored).map((stride, axis) => shape[axis] === 1 ? 0 : stride);
  }

  // The place of the number by one letter's steps: 0 where the operand does not have it.
  stride(letter) {
    return [...this.letters].reduce((sum, own, axis) => own === letter ? sum + this.strides[axis] : sum, 0);
  }

  index(values) { return [...this.letters].map((letter, axis) => this.shape[axis] === 1 ? 0 : values.get(letter)); }

  number(index) { return this.values[index.reduce((place, i, axis) => place + i * this.strides[axis], 0)]; }
}

const packedStrides = shape => shape.map((_, axis) => product(shape.slice(axis + 1)));

// Of each cell, by its place, the sums after 0, 1, 2 ... terms, one after another.
function partialSums(tiling, operands, result, summed) {
  const { perCell } = tiling, sums = new Float64Array(tiling.cells.sequence.length * (perCell + 1));
  const placesOf = (letters, sequence) => operands.map(operand => {
    const strides = [...letters].map(letter => operand.stride(letter));
    return Int32Array.from(sequence, index => index.reduce((place, i, axis) => place + i * strides[axis], 0));
  });
  const cells = placesOf(result, tiling.cells.sequence), terms = placesOf(summed, tiling.terms.sequence);
  const [a, b] = operands, ones = new Float64Array(1).fill(1), none = new Int32Array(Math.max(perCell, cells[0].length));
  const left = a.values, right = b?.values ?? ones, [cellA, cellB = none] = cells, [termA, termB = none] = terms;
  for (let cell = 0, at = 0; cell < cellA.length; cell++, at++) {
    for (let term = 0; term < perCell; term++, at++) {
      sums[at + 1] = sums[at] + left[cellA[cell] + termA[term]] * right[cellB[cell] + termB[term]];
    }
  }
  return sums;
}

// --- the arrays behind a text

// Sizes of the letters as far as they are drawn: no operand or result of too many cells, nor too many steps.
function drawnSizes({ operands, result }, sizes, reach) {
  const drawn = new Map([...sizes].map(([letter, size]) => [letter, Math.min(size, LONGEST, reach.get(letter) ?? size)]));
  const count = letters => product([...new Set(letters)].map(letter => drawn.get(letter)));
  const tooMany = () => [...operands, result].some(letters => count(letters) > MOST_CELLS) ||
    product([...drawn.values()]) > MOST_STEPS;
  while (tooMany()) {
    const [longest] = [...drawn].reduce((one, other) => other[1] > one[1] ? other : one);
    drawn.set(longest, Math.ceil(drawn.get(longest) / 2));
  }
  return drawn;
}

// What a text makes of the given arrays: {rule, sizes, drawn, operands, refused}. Where they do not fit it, `refused`
// says why, and small arrays of counted numbers stand in for them.
function planOf(text, given) {
  const rule = parseEinsum(text), taken = given.slice(0, rule.operands.length);
  let sizes, refused = null;
  try {
    sizes = sizesOf(rule, taken.map(({ shape }) => shape));
  } catch (error) {
    refused = error;
    sizes = new Map([...new Set(rule.operands.join(""))].map((letter, i) => [letter, STAND_INS[i % STAND_INS.length]]));
  }
  const shapes = rule.operands.map((letters, i) => refused ? [...letters].map(letter => sizes.get(letter)) : taken[i].shape);
  const reach = new Map();
  if (!refused) rule.operands.forEach((letters, i) => [...letters].forEach((letter, axis) => {
    if (shapes[i][axis] !== sizes.get(letter)) return;
    reach.set(letter, Math.min(reach.get(letter) ?? Infinity, taken[i].shown[axis]));
  }));
  const drawn = drawnSizes(rule, sizes, reach);
  const operands = rule.operands.map((letters, i) => {
    const cut = [...letters].map((letter, axis) => shapes[i][axis] === 1 ? 1 : drawn.get(letter));
    const counted = () => Float64Array.from({ length: product(cut) }, (_, at) => at + 1);
    const [values, stored] = refused ? [counted(), cut] : [taken[i].values, taken[i].shown];
    return Object.assign(new Operand("ab"[i], letters, cut, values, stored), { whole: shapes[i] });
  });
  return { rule, sizes, drawn, operands, refused };
}

// --- the panel

// A number in a cell, of at most eight letters.
function cellText(number) {
  const text = numberText(Number.isInteger(number) ? number : Number(number.toPrecision(3)));
  return text.length <= 7 ? text : number.toExponential(1).replace("e+", "e").replaceAll("-", "−");
}

class MatmulView {
  hover = null;

  constructor(model, given, root, signal) {
    Object.assign(this, { model, given, root, signal });
    this.clock = new Clock();
    this.palette = new Palette(root, () => this.#draw(), signal);
    this.save = throttle(() => model.save_changes(), 200);
    this.player = new Player({ at: () => this.step, length: () => this.tiling.length, move: step => this.#go(step),
      rest: this.save }, signal);
    this.#build();
    this.paint = debounceFrame(() => this.#paint());
    this.#listen();
    this.#change();
  }

  get step() { return Math.min(this.model.get("step"), this.tiling.length); }

  #button(label, work, properties = {}) {
    const button = element("button", { type: "button", className: "kit-button", tabIndex: 0, ...properties }, label);
    button.addEventListener("click", work, { signal: this.signal });
    return button;
  }

  #build() {
    const { model, signal } = this;
    this.field = element("input", { type: "text", tabIndex: 0, spellcheck: false, autocomplete: "off",
      className: "kit-einsum", "aria-label": "einsum", title: "letters for the axes of a, of b, and of the result" });
    this.orders = Object.entries(ORDERS).map(([order, label]) =>
      this.#button(label, () => this.#restart({ order }), { value: order, "aria-pressed": "false" }));
    this.block = element("select", { tabIndex: 0, "aria-label": "Side of a block" });
    this.wrong = element("div", { className: "kit-error kit-wrong", role: "alert", hidden: true });
    this.note = element("p", { className: "kit-note", hidden: true });
    this.letters = element("div", { className: "kit-letters" });
    this.loops = element("code", { className: "kit-loop" });
    this.tiles = [0, 1, 2].map(i => new Tiles(this.palette, "", (index, event) => this.#point(i, index, event), signal));
    this.captions = this.tiles.map(() => element("figcaption", {}));
    this.figures = this.tiles.map((tiles, i) => element("figure", {}, this.captions[i], tiles.node));
    this.terms = element("div", { className: "kit-terms" }, ...this.figures);
    this.time = element("input", { type: "range", tabIndex: 0, min: 0, step: 1, "aria-label": "Multiply-adds done" });
    this.formula = element("p", { className: "kit-formula", role: "status", "aria-live": "polite" });
    this.count = element("span", {});
    this.finished = element("span", {});
    const jump = (sign, by, label, key) => this.#button(sign, () => this.#jump(by),
      { "aria-label": label, title: `${label}: a cell, an outer product or a block (${key})` });
    const one = (sign, by, label) => this.#button(sign, () => this.#to(this.step + by),
      { "aria-label": label, title: label });
    this.card = element("div", { className: "kit-card" },
      element("header", {}, element("span", { className: "kit-title" }, model.get("title") || "Matrix product"), this.field),
      this.wrong,
      element("div", { className: "kit-bar", role: "group", "aria-label": "Order" }, ...this.orders, this.block, this.loops),
      this.note, this.letters, this.terms,
      element("div", { className: "kit-player" }, this.player.button, this.player.speed,
        jump("«", -1, "Back by a unit", "Page Down"), one("‹", -1, "Back by one"), this.time,
        one("›", 1, "On by one"), jump("»", 1, "On by a unit", "Page Up")),
      this.formula,
      element("footer", {}, element("dl", { className: "kit-readings" },
        element("div", {}, element("dt", {}, "multiply-adds"), element("dd", {}, inPlace(this.count))),
        element("div", {}, element("dt", {}, "finished cells of c"), element("dd", {}, inPlace(this.finished))))));
    this.root.append(this.card);
  }

  #listen() {
    const { model, signal } = this;
    const on = (target, type, hear) => target.addEventListener(type, hear, { signal });
    on(this.field, "input", () => this.#typed());
    on(this.block, "change", () => this.#restart({ block: Number(this.block.value) }));
    on(this.time, "input", event => { this.clock.input(event); this.#slide(Number(this.time.value)); });
    on(this.time, "change", this.save);
    on(this.time, "keydown", event => this.#key(event));
    on(this.card, "pointerleave", () => this.#tell());
    const hears = { "change:einsum": () => this.#change(), "change:order": () => this.#change(),
      "change:block": () => this.#change(), "change:step": () => this.paint() };
    for (const [name, hear] of Object.entries(hears)) {
      model.on(name, hear);
      signal.addEventListener("abort", () => model.off(name, hear));
    }
    let before;
    const observer = new ResizeObserver(() => {
      const now = `${this.root.clientWidth} ${devicePixelRatio}`;
      if (now !== before) this.#draw();
      before = now;
    });
    observer.observe(this.root);
    signal.addEventListener("abort", () => {
      observer.disconnect();
      for (const each of [this.paint, this.save]) each.cancel();
      this.clock.close();
    });
  }

  #tell() {
    if (!this.clock.moves) return;
    this.model.set("_timing", this.clock.summary());
    this.model.save_changes();
  }

  // --- what the reader does

  #typed() {
    const text = this.field.value;
    try {
      parseEinsum(text);
    } catch (error) {
      return this.#refuse(text, error);
    }
    this.#refuse(text, this.refused);  // for a text that was typed back; of another the change says more
    this.#restart({ einsum: text });
  }

  // Words about a text, and the text with the place marked; none where there is nothing wrong.
  #refuse(text, error) {
    this.field.setAttribute("aria-invalid", String(Boolean(error)));
    this.wrong.hidden = !error;
    if (!error) return this.wrong.replaceChildren();
    const signs = [...text], at = error.position;
    this.wrong.replaceChildren(element("code", {}, signs.slice(0, at).join(""), element("mark", {}, signs[at] ?? " "),
      signs.slice(at + 1).join("")), " ", element("strong", {}, `${error.message}.`));
  }

  #restart(changes) {
    this.player.pause();
    for (const [name, value] of Object.entries({ ...changes, step: 0 })) this.model.set(name, value);
    this.model.save_changes();
  }

  #go(step) {
    this.hover = null;
    this.model.set("step", step);
    this.paint();
  }

  // Neither a hand that drags nor a play tells the kernel: to send, and what a notebook does with the answer, would take
  // from the next frame.
  #slide(step) {
    this.player.pause();
    this.save.cancel();
    this.#go(step);
  }

  #to(step) {
    this.player.pause();
    this.#go(Math.max(0, Math.min(this.tiling.length, step)));
    this.save();
  }

  // To where the next pair of blocks is finished, or the last one was.
  #jump(by) {
    const { step, tiling } = this;
    if (by > 0 && step < tiling.length) this.#to(tiling.unit(step)[1]);
    if (by < 0 && step > 0) this.#to(tiling.unit(step - 1)[0]);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const to = step => () => this.#to(step);
    const one = by => event.shiftKey ? () => this.#jump(by) : to(this.step + by);
    const act = { ArrowRight: one(1), ArrowUp: one(1), ArrowLeft: one(-1), ArrowDown: one(-1), Home: to(0),
      End: to(this.tiling.length), PageUp: () => this.#jump(1), PageDown: () => this.#jump(-1),
      " ": () => this.player.toggle() }[event.key];
    if (!act) return;
    event.preventDefault();
    this.clock.input(event);
    act();
  }

  #point(which, index, event) {
    this.clock.input(event);
    this.hover = index && { which, index };
    this.paint();
  }

  // --- what is shown

  #change() {
    const { model } = this, text = model.get("einsum"), order = model.get("order");
    this.hover = null;
    Object.assign(this, planOf(text, this.given));
    const sizesIn = letters => [...letters].map(letter => this.drawn.get(letter));
    this.tiling = new Tiling(sizesIn(this.rule.result), sizesIn(this.rule.summed), order, model.get("block"));
    this.sums = partialSums(this.tiling, this.operands, this.rule.result, this.rule.summed);
    if (this.field.value !== text) this.field.value = text;
    this.#refuse(text, this.refused);
    this.orders.forEach(button => button.setAttribute("aria-pressed", String(button.value === order)));
    const sides = [...new Set([...SIDES, model.get("block")])].sort((one, other) => one - other);
    this.block.replaceChildren(...sides.map(side => element("option", { value: side }, `side ${side}`)));
    this.block.hidden = order !== "blocks";
    this.block.value = model.get("block");
    this.time.max = this.tiling.length;
    this.#fit(this.count, this.tiling.length);
    this.#fit(this.finished, this.tiling.cells.sequence.length);
    this.time.disabled = !this.tiling.length;
    this.#explain();
    this.#spell();
    this.#caption();
    this.#draw();
  }

  // The letter's colour in every place: those of the result as of its axes, then those of the sum.
  #colour(letter) {
    const { result, summed } = this.rule, axis = result.indexOf(letter);
    return (axis < 0 ? result.length + summed.indexOf(letter) : result.length - 1 - axis) % AXIS_COLOURS;
  }

  #explain() {
    const { rule, refused, sizes, drawn } = this, order = this.model.get("order");
    const loop = (letters, mark = "") => [...letters].map(letter => `for ${letter}${mark}: `).join("");
    const { result, summed } = rule, inner = loop(result) + loop(summed);
    const body = `c${listOf(result)} += ${this.operands.map(({ name, letters }) => name + listOf(letters)).join(" · ")}`;
    this.loops.textContent = { rows: inner, outer: loop(summed) + loop(result),
      blocks: loop(result, "₀") + loop(summed, "₀") + inner }[order] + body;
    const cut = [...drawn].filter(([letter, size]) => size < sizes.get(letter))
      .map(([letter, size]) => `${size} of ${grouped.format(sizes.get(letter))} of ${letter}`);
    const notes = [];
    if (refused) {
      const shapes = this.operands.map(({ name, shape }) => `${name} ${shapeText(shape)}`).join(", ");
      notes.push(`Your arrays do not fit; counted numbers stand in for them: ${shapes}.`);
    }
    if (cut.length) notes.push(`Shown and summed: the first ${cut.join(", ")}.`);
    this.note.textContent = notes.join(" ");
    this.note.hidden = !notes.length;
  }

  // The text as letters, each above its value.
  #spell() {
    const { rule } = this, sign = text => element("span", { className: "kit-sign" }, text);
    this.chips = [];
    const chip = letter => {
      const value = element("i", {}), node = element("span", { className: `kit-letter kit-axis-${this.#colour(letter)}` },
        element("b", {}, letter), inPlace(value));
      value.parentNode.style.width = `${String(this.drawn.get(letter)).length}ch`;
      this.chips.push({ letter, node, value });
      return node;
    };
    const group = (name, letters) => element("span", { className: "kit-group" },
      element("code", {}, name), ...[...letters].map(chip));
    const groups = this.operands.flatMap(({ name, letters }, i) => [...(i ? [sign("·")] : []), group(name, letters)]);
    const sum = rule.summed ? [sign("Σ"), element("span", { className: "kit-group" }, ...[...rule.summed].map(chip))] : [];
    this.letters.replaceChildren(group("c", rule.result), sign("="), ...sum, ...groups);
  }

  #caption() {
    const { operands, rule, sizes } = this;
    const result = { name: "c", letters: rule.result, whole: [...rule.result].map(letter => sizes.get(letter)) };
    this.shown = [operands[0], operands[1] ?? null, result];
    this.shown.forEach((array, i) => {
      this.figures[i].hidden = !array;
      if (!array) return;
      const { name, whole } = array;
      this.captions[i].replaceChildren(element("code", {}, name), ` ${shapeText(whole)}`);
      this.tiles[i].over.setAttribute("aria-label",
        `${name}, shape ${whole.join(" by ") || "of one number"}; arrow keys go from cell to cell`);
    });
  }

  // --- drawing

  // Whether this is the product of two matrices, whose rows and columns can stand beside those of the result.
  get #aligned() {
    const { operands, result } = this.rule;
    return operands.length === 2 && operands.every(letters => letters.length === 2 && letters[0] !== letters[1]) &&
      operands[0][1] === operands[1][0] && result === operands[0][0] + operands[1][1];
  }

  #draw() {
    const room = this.root.clientWidth - 34;
    if (room <= 0 || !this.tiling) return;
    this.palette.ready();
    const widest = this.#widest();
    const shapes = this.shown.map(array => array && (array.shape ?? this.tiling.shape));
    const fitted = this.#aligned ? this.#fitBeside(shapes, room, widest) : undefined;
    this.terms.classList.toggle("kit-beside", Boolean(fitted));
    this.#reach();
    this.shown.forEach((array, i) => {
      if (!array) return;
      const { letters } = array, shape = shapes[i];
      const axes = [...letters].map((letter, axis) => ({ colour: this.#colour(letter),
        text: `${letter} = ${shape[axis]}${shape[axis] < array.whole[axis] ? " …" : ""}` }));
      const cellOf = i < 2 ? (index, written) => ({ text: written && cellText(array.number(index)) })
        : (index, written) => this.#cell(index, written);
      const colours = i < 2 ? undefined : into => this.#colours(into);
      this.tiles[i].show({ shape, room, widest, axes, fitted, cellOf, colours });
    });
    this.#paint();
  }

  // One size of cell for three matrices that stand beside each other; none where there is no room, or where the numbers
  // have room only in matrices one below the other.
  #fitBeside([[rows, depth], [, columns]], room, widest) {
    const across = room - 2 * MARGIN - 28, alone = shape => fitCell(shape, room - MARGIN - 1, widest).written;
    if (!rows || !depth || !columns) return undefined;
    const fitted = fitCell([depth + rows, depth + columns], across, widest);
    const roomy = (depth + columns) * fitted.cell[0] <= across;
    const apart = [[rows, depth], [depth, columns], [rows, columns]].every(alone);
    return roomy && (fitted.written || !apart) ? fitted : undefined;
  }

  // The room that a count of so many takes at most.
  #fit(count, most) { count.parentNode.style.width = `${` of ${grouped.format(most).repeat(2)}`.length}ch`; }

  // How far the cells of the result are at this step.
  #reach() {
    const { step, tiling } = this, number = count => grouped.format(count);
    this.drawnStep = step;
    this.done = tiling.doneAfter(step);
    say(this.count, `${number(step)} of ${number(tiling.length)}`);
    say(this.finished, `${number(tiling.finishedAfter(step))} of ${number(tiling.cells.sequence.length)}`);
  }

  // Letters of the longest number that will be seen.
  #widest() {
    const every = Math.ceil(this.sums.length / 2000), texts = this.sums.filter((_, at) => at % every === 0);
    const numbers = [...texts, ...this.operands.flatMap(({ values }) => [...values.slice(0, 400)])];
    return Math.max(1, ...numbers.map(number => cellText(number).length));
  }

  // A cell of the result: a ghost before its first term, pale until its last.
  #cell(index, written) {
    const { perCell } = this.tiling, place = this.tiling.places[ravel(index, this.tiling.shape)], done = this.done(place);
    if (!done && perCell) return { ghost: true };
    return { text: written && cellText(this.#sum(place, done)), fill: done < perCell ? this.palette.tint(0.1) : undefined };
  }

  // The colours of the result's cells as `#cell` has them; kept plain, for a slider waits for them.
  #colours(into) {
    const { palette, tiling: { perCell, places } } = this;
    const ghost = palette.pixel(palette.cell), pale = palette.pixel(palette.tint(0.1)), full = palette.pixel(palette.dense);
    for (let cell = 0; cell < into.length; cell++) {
      const done = this.done(places[cell]);
      into[cell] = done === perCell ? full : done ? pale : ghost;
    }
  }

  #sum(place, done) { return this.sums[place * (this.tiling.perCell + 1) + done]; }

  #paint() {
    if (!this.tiles[2].layout) return;
    const { step, hover, tiling } = this;
    if (step !== this.drawnStep) {
      this.#reach();
      this.tiles[2].draw();
    }
    this.time.value = step;
    place(this.time, { "aria-valuetext": `${step} of ${countText(tiling.length, "multiply-add")}` });
    place(this.formula, { "aria-live": this.player.playing ? "off" : "polite" });
    const current = step && !hover ? this.#current(tiling.at(step - 1)) : null;
    if (hover) this.#markHover();
    else if (current) this.#markStep(current);
    else this.tiles.forEach(tiles => tiles.layout && tiles.mark());
    this.#light(current ?? (hover ? this.#hovered() : {}));
    rewrite(this.formula, ...(hover ? this.#hoverText() : this.#stepText(current)));
    this.clock.painted();
  }

  // A step: its letters' values and, of its pair of blocks, their ranges.
  #current(at) {
    const { tiling, rule } = this, values = new Map(), ranges = new Map();
    const name = (letters, { sequence, ranges: blocks }, place, block) => [...letters].forEach((letter, axis) => {
      values.set(letter, sequence[place][axis]);
      ranges.set(letter, blocks[block][axis]);
    });
    name(rule.result, tiling.cells, at.cell, at.cellBlock);
    name(rule.summed, tiling.terms, at.term, at.termBlock);
    return { ...at, values, ranges };
  }

  #markStep({ values, ranges }) {
    this.shown.forEach((array, i) => {
      if (!array) return;
      const { letters, shape = this.tiling.shape } = array;
      this.tiles[i].mark([[[...letters].map((letter, axis) => shape[axis] === 1 ? 0 : values.get(letter))], true]);
      if (new Set(letters).size === letters.length) {
        this.tiles[i].shade([...letters].map((letter, axis) => shape[axis] === 1 ? [0, 1] : ranges.get(letter)));
      }
    });
  }

  // What is under the cursor: the letters' values, as far as its array has them; none off a diagonal.
  #hovered() {
    const { which, index } = this.hover, { letters } = this.shown[which], values = new Map();
    const { shape = this.tiling.shape } = this.shown[which];
    let met = true;
    [...letters].forEach((letter, axis) => {
      if (shape[axis] === 1 && this.drawn.get(letter) > 1) return;
      if (values.has(letter) && values.get(letter) !== index[axis]) met = false;
      values.set(letter, index[axis]);
    });
    return { values: met ? values : new Map(), met };
  }

  #markHover() {
    const { which, index } = this.hover, { values, met } = this.#hovered();
    this.shown.forEach((array, i) => {
      if (!array) return;
      if (i === which || !met) return this.tiles[i].mark([i === which ? [index] : [], true]);
      this.tiles[i].mark([this.#partners(array, values), i === 2 || which === 2]);
    });
  }

  // The cells of an array that go with some letters' values.
  #partners({ letters, shape = this.tiling.shape }, values) {
    const free = [...new Set(letters)].filter(letter => !values.has(letter));
    return [...indices(free.map(letter => this.drawn.get(letter)))].map(run => {
      const at = new Map([...values, ...free.map((letter, i) => [letter, run[i]])]);
      return [...letters].map((letter, axis) => shape[axis] === 1 ? 0 : at.get(letter));
    });
  }

  // The letters that have a value are lit, those that run within the pair of blocks more.
  #light({ values = new Map(), ranges }) {
    for (const { letter, node, value } of this.chips) {
      node.classList.toggle("kit-lit", values.has(letter));
      node.classList.toggle("kit-runs", ranges?.get(letter)[1] > 1);
      say(value, String(values.get(letter) ?? ":"));
    }
  }

  // --- the formula

  #named(name, letters, shown) {
    return [name, ...(letters ? ["[", ...[...letters].flatMap((letter, axis) => [...(axis ? [", "] : []),
      phrase("b", { className: `kit-axis kit-axis-${this.#colour(letter)}` }, String(shown[axis]))]), "]"] : [])];
  }

  #factors(term, place, first) {
    const values = new Map();
    [...this.rule.result].forEach((letter, axis) => values.set(letter, this.tiling.cells.sequence[place][axis]));
    [...this.rule.summed].forEach((letter, axis) => values.set(letter, this.tiling.terms.sequence[term][axis]));
    const texts = this.operands.map(operand => numberText(operand.number(operand.index(values))));
    return texts.map((text, i) => (i || !first) && text.startsWith("−") ? `(${text})` : text).join("·");
  }

  // c[1, 2] = 3·4 + 1·5 = 17 of a cell after some terms; the first are given as their sum if there are many.
  #sumText(place, done, current) {
    const { result } = this.rule, { perCell } = this.tiling, from = Math.max(0, done - MOST_TERMS);
    const head = from ? [`${numberText(this.#sum(place, from))} (${countText(from, "term")})`] : [];
    const terms = Array.from({ length: done - from }, (_, i) => {
      const text = this.#factors(from + i, place, !from && !i);
      return current && from + i === done - 1 ? phrase("strong", {}, text) : text;
    });
    const parts = [...head, ...terms].flatMap((part, i) => i ? [" + ", part] : [part]);
    const lone = parts.length === 1 && this.operands.length === 1;
    return [...this.#named("c", result, this.tiling.cells.sequence[place]), " = ", ...(lone ? [] : parts),
      ...(lone || !done ? [] : [" = "]), phrase("strong", {}, numberText(this.#sum(place, done))),
      ...(done < perCell ? [` after ${done} of ${countText(perCell, "term")}`] : [])];
  }

  #stepText(current) {
    if (current) return this.#sumText(current.cell, this.done(current.cell), true);
    const hint = this.tiling.length ? "Play, or step with the arrow keys; point at a cell to see what it is made of."
      : "No steps: an axis has size 0.";
    return [phrase("span", { className: "kit-hint" }, hint)];
  }

  #hoverText() {
    const { which, index } = this.hover, { tiling, rule } = this;
    if (which === 2) {
      const place = tiling.places[ravel(index, tiling.shape)], done = this.done(place), { perCell } = tiling;
      const far = `; so far ${numberText(this.#sum(place, done))}, ${done} of ${countText(perCell, "term")}`;
      return [...this.#sumText(place, perCell, false), ...(done < perCell ? [far] : [])];
    }
    const array = this.shown[which], { values, met } = this.#hovered();
    const own = [...this.#named(array.name, array.letters, index), " = ",
      phrase("strong", {}, numberText(array.number(index)))];
    if (!met) return [...own, " is not used: equal letters run together"];
    const fed = [...rule.result].map(letter => values.get(letter) ?? ":");
    const cells = product([...rule.result].map(letter => values.has(letter) ? 1 : this.drawn.get(letter)));
    return [...own, ` goes into ${countText(cells, "cell")}: `, ...this.#named("c", rule.result, fed)];
  }
}

const listOf = letters => letters ? `[${[...letters].join(", ")}]` : "";

// The arrays as they were sent: their numbers one after another in one block of bytes.
function givenArrays(model) {
  const { buffer, byteOffset, byteLength } = model.get("_values");
  const numbers = new Float64Array(buffer.slice(byteOffset, byteOffset + byteLength));
  let start = 0;
  return model.get("_operands").map(operand => {
    const values = numbers.subarray(start, start += product(operand.shown));
    return { ...operand, values };
  });
}

export default () => asWidget("kit-arrays kit-matmul",
  (model, root, signal, given) => new MatmulView(model, given, root, signal), givenArrays);

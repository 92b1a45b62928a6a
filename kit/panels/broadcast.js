// Broadcasting: the rules of kit.arrays.broadcast again, for the browser; the panel around them.

const MOST_MENDS = 4, MOST_AXES = 6;
const OPERATIONS = {
  "+": (x, y) => x + y, "-": (x, y) => x - y, "*": (x, y) => x * y, "/": (x, y) => x / y, "**": (x, y) => x ** y,
  "==": (x, y) => x === y, "<": (x, y) => x < y, ">": (x, y) => x > y,
};

// --- the rules

function alignedAxes(shapes) {
  const rank = Math.max(0, ...shapes.map(shape => shape.length));
  return Array.from({ length: rank }, (_, place) => {
    const sizes = shapes.map(shape => shape[place - rank + shape.length] ?? null);
    const wanted = new Set(sizes.filter(size => size !== null && size !== 1));
    const joint = wanted.size > 1 ? null : wanted.size ? [...wanted][0] : 1;
    return { axis: place - rank, sizes, joint, tags: sizes.map(size => tagOf(size, joint)) };
  });
}

function tagOf(size, joint) {
  if (size === null) return "new";
  if (size === joint) return "equal";
  return size === 1 ? "stretched" : "mismatch";
}

const joins = shapes => alignedAxes(shapes).every(axis => axis.joint !== null);

// The joint shape, or null.
const jointShape = shapes => joins(shapes) ? alignedAxes(shapes).map(axis => axis.joint) : null;

function whyNot(shapes) {
  const bad = alignedAxes(shapes).filter(axis => axis.joint === null).at(-1);
  if (!bad) return "";
  const got = bad.sizes.flatMap((size, i) => bad.tags[i] === "mismatch" ? [`${nameOf(i)} has ${size}`] : []);
  return `axis ${bad.axis}: ${got.join(", ")}; wanted equal sizes, or 1, or no such axis`;
}

const nameOf = operand => "abcdefghijklmnopqrstuvwxyz"[operand];

function mends(shapes) {
  if (joins(shapes)) return [];
  const without = i => shapes.filter((_, other) => other !== i);
  let found = shapes.flatMap((shape, i) => joins(without(i)) ? mendsOf(i, shape, jointShape(without(i))) : []);
  if (!found.length) {
    const broken = shapes.findIndex((_, i) => !joins(shapes.slice(0, i + 1)));
    found = mendsOf(broken, shapes[broken], jointShape(shapes.slice(0, broken)));
  }
  return found.sort((one, other) => one.joint.length - other.joint.length || product(one.joint) - product(other.joint))
    .slice(0, MOST_MENDS);
}

const mendsOf = (operand, shape, rest) => [...exchanges(operand, shape, rest), ...insertions(operand, shape, rest)];

function insertions(operand, shape, rest) {
  for (let rank = shape.length + 1; rank <= shape.length + rest.length; rank++) {
    const found = combinations(rank, shape.length).map(kept => {
      const spread = Array(rank).fill(1);
      kept.forEach((place, axis) => { spread[place] = shape[axis]; });
      return { kept, spread };
    }).filter(({ spread }) => joins([spread, rest]));
    if (found.length) return found.map(({ kept, spread }) => insertion(operand, spread, kept, jointShape([spread, rest])));
  }
  return [];
}

function insertion(operand, spread, kept, joint) {
  const name = nameOf(operand), places = spread.map((_, place) => place);
  const marks = places.map(place => kept.includes(place) ? ":" : "None");
  while (marks.at(-1) === ":") marks.pop();
  const code = `${name}[${marks.join(", ")}]`;
  const torch = name + places.filter(place => !kept.includes(place)).map(place => `.unsqueeze(${place})`).join("");
  return { operand, shape: spread, code, torch, expand: `${code}.expand(${joint.join(", ")})`, joint, order: null };
}

function exchanges(operand, shape, rest) {
  return combinations(shape.length, 2).flatMap(([one, other]) => {
    const order = shape.map((_, axis) => axis);
    [order[one], order[other]] = [other, one];
    const exchanged = order.map(axis => shape[axis]), joint = jointShape([exchanged, rest]);
    if (!joint) return [];
    const name = nameOf(operand), code = `${name}.swapaxes(${one}, ${other})`;
    return [{ operand, shape: exchanged, code, torch: `${name}.transpose(${one}, ${other})`,
      expand: `${code}.expand(${joint.join(", ")})`, joint, order }];
  });
}

// All choices of `count` numbers below `size`, in order.
function combinations(size, count, from = 0) {
  if (!count) return [[]];
  return Array.from({ length: Math.max(0, size - from - count + 1) }, (_, i) => from + i)
    .flatMap(first => combinations(size, count - 1, first + 1).map(rest => [first, ...rest]));
}

const sourceOf = (index, shape) => shape.map((size, axis) => size === 1 ? 0 : index[index.length - shape.length + axis]);

// The result's cells that read one cell of an operand, as [first, length] per axis of the result.
function feeds(index, shape, joint) {
  const added = joint.length - shape.length;
  return joint.map((size, axis) => axis < added || shape[axis - added] === 1 ? [0, size] : [index[axis - added], 1]);
}

const cellsIn = ranges => [...indices(ranges.map(([, length]) => length))]
  .map(index => index.map((i, axis) => i + ranges[axis][0]));

// --- the panel

const withoutOnes = shape => shape.filter(size => size !== 1).join();

// The numbers of the operands: those given, as long as the shape is that given up to axes of size 1, an exchange or an
// expand; counted numbers otherwise.
class Numbers {
  #known;
  #origins;

  constructor(operands) {
    this.operands = operands;
    this.forget();
  }

  // Only the shapes given are known.
  forget() {
    this.#known = this.operands.map(({ shape, values }, i) =>
      new Map([[withoutOnes(shape), flat => values ? values[flat] : countedText(flat, i)]]));
    this.#origins = this.operands.map(() => new Map());
  }

  // The operand is also known in another shape; `back` gives the index before of an index after.
  #also(operand, shape, changed, back) {
    const read = this.#read(operand, shape);
    this.#known[operand].set(withoutOnes(changed), flat => read(ravel(back(unravel(flat, changed)), shape)));
  }

  #read(operand, shape) { return this.#known[operand].get(withoutOnes(shape)) ?? (flat => countedText(flat, operand)); }

  exchanged(operand, shape, order) {
    this.#also(operand, shape, order.map(axis => shape[axis]), index => order.map((_, axis) => index[order.indexOf(axis)]));
  }

  expanded(operand, shape, changed) {
    this.#also(operand, shape, changed, index => sourceOf(index, shape));
    this.#origins[operand].set(String(changed), shape);
  }

  // The shape of what is stored: that before it was expanded, or its own.
  origin(operand, shape) { return this.#origins[operand].get(String(shape)) ?? shape; }

  // The number at an index as text; undefined where it was not sent.
  at(operand, shape, index) { return this.#read(operand, shape)(ravel(index, shape)); }
}

const countedText = (flat, operand) => String((flat + 1) * 10 ** operand);

class BroadcastView {
  hover = null;

  constructor(model, numbers, root, signal) {
    Object.assign(this, { model, numbers, root, signal });
    this.clock = new Clock();
    this.palette = new Palette(root, () => this.#draw(), signal);
    this.#build();
    this.paint = debounceFrame(() => this.#paint());
    this.#listen();
    this.#change();
  }

  get shapes() { return this.model.get("shapes"); }
  get op() { return this.model.get("op"); }
  get whole() { return this.shapes.map((_, i) => this.#called(i)).join(` ${this.op} `); }

  #called(operand) { return this.model.get("_operands")[operand].name; }

  #build() {
    const { model, signal } = this;
    const choices = this.shapes.length > 2 ? ["+", "-", "*", "/", "**"] : Object.keys(OPERATIONS);
    this.choice = element("select", { "aria-label": "Operation", tabIndex: 0 },
      ...choices.map(op => element("option", { value: op }, op)));
    this.reset = element("button", { type: "button", className: "kit-button", tabIndex: 0,
      title: "Back to the shapes given" }, "Reset");
    this.aligned = element("div", { className: "kit-aligned", role: "group", "aria-label": "Shapes, aligned" });
    this.fields = this.shapes.map((_, i) => element("input", { type: "text", tabIndex: 0, spellcheck: false,
      autocomplete: "off", "aria-label": `Shape of ${this.#called(i)}` }));
    this.why = element("div", { className: "kit-error kit-why", role: "alert", hidden: true });
    this.tiles = [...this.shapes, null].map((_, i) => new Tiles(this.palette, "", (index, event) =>
      this.#point(i, index, event), signal));
    this.captions = this.tiles.map(() => element("figcaption", {}));
    this.terms = element("div", { className: "kit-terms" }, ...this.tiles.map((tiles, i) =>
      element("figure", {}, this.captions[i], tiles.node)));
    this.formula = element("p", { className: "kit-formula", role: "status", "aria-live": "polite" });
    this.card = element("div", { className: "kit-card" },
      element("header", {}, element("span", { className: "kit-title" }, model.get("title") || "Broadcasting"),
        this.choice, this.reset),
      this.aligned, this.why, this.terms, this.formula);
    this.root.append(this.card);
  }

  #listen() {
    const { model, signal } = this;
    const on = (target, type, hear) => target.addEventListener(type, hear, { signal });
    on(this.choice, "change", () => this.#save({ op: this.choice.value }));
    on(this.reset, "click", () => {
      this.numbers.forget();
      this.#save({ shapes: model.get("_operands").map(({ shape }) => shape) });
    });
    this.fields.forEach((field, i) => on(field, "input", () => this.#typed(field, i)));
    on(this.terms, "pointerleave", () => this.#tell());
    for (const name of ["change:shapes", "change:op"]) {
      const hear = () => this.#change();
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
    signal.addEventListener("abort", () => { observer.disconnect(); this.paint.cancel(); this.clock.close(); });
  }

  #save(changes) {
    for (const [name, value] of Object.entries(changes)) this.model.set(name, value);
    this.model.save_changes();
  }

  #tell() {
    if (!this.clock.moves) return;
    this.#save({ _timing: this.clock.summary() });
  }

  #typed(field, operand) {
    const shape = parseShape(field.value), fits = shape && shape.length <= MOST_AXES;
    field.setAttribute("aria-invalid", String(!fits));
    field.title = fits ? "" : `wanted sizes such as 3, 1: whole numbers, at most ${MOST_AXES}`;
    if (fits) this.#save({ shapes: this.shapes.map((old, i) => i === operand ? shape : old) });
  }

  // A mend, and where its expand was chosen the stretching to the joint shape with it.
  #apply({ operand, order, shape, joint }, expand) {
    if (order) this.numbers.exchanged(operand, this.shapes[operand], order);
    if (expand) this.numbers.expanded(operand, shape, joint);
    this.#save({ shapes: this.shapes.map((old, i) => i !== operand ? old : expand ? joint : shape) });
    this.fields[operand].focus();
  }

  // --- what is shown

  #change() {
    this.hover = null;
    this.axes = alignedAxes(this.shapes);
    this.joint = jointShape(this.shapes);
    this.origins = this.shapes.map((shape, i) => this.numbers.origin(i, shape));
    this.choice.value = this.op;
    this.fields.forEach((field, i) => {
      if (String(parseShape(field.value)) !== String(this.shapes[i]) || !field.value) field.value = this.shapes[i].join(", ");
      field.setAttribute("aria-invalid", "false");
      field.title = "";
    });
    this.#align();
    this.#explain();
    this.#caption();
    this.#draw();
  }

  #align() {
    const { axes } = this, depth = place => (axes.length - 1 - place) % AXIS_COLOURS;
    const name = text => element("span", { className: "kit-name" }, element("code", {}, text));
    const chip = (place, tag, size, note) => element("div", { className: `kit-chip kit-axis-${depth(place)}`,
      "data-tag": tag }, element("b", {}, size), element("span", {}, note));
    const rows = this.shapes.flatMap((_, i) => [name(this.#called(i)), this.fields[i],
      ...axes.map(({ sizes, tags, joint }, place) => chip(place, tags[i], sizeText(sizes[i], tags[i], joint), tags[i]))]);
    const result = axes.map(({ joint }, place) => chip(place, joint === null ? "mismatch" : "equal",
      joint === null ? "✕" : String(joint), joint === null ? "no size" : "joint"));
    this.aligned.style.gridTemplateColumns = `auto auto repeat(${axes.length}, auto)`;
    const focused = this.fields.find(field => field.matches(":focus"));
    this.aligned.replaceChildren(
      element("span", {}), element("span", { className: "kit-corner" }, "shape"),
      ...axes.map(({ axis }, place) => element("span", { className: `kit-head kit-axis-${depth(place)}` },
        `axis ${axis}`.replace("-", "−"))),
      ...rows, element("div", { className: "kit-rule" }),
      name(this.whole), element("code", { className: "kit-joint" }, this.joint ? shapeText(this.joint) : "no joint shape"),
      ...result);
    focused?.focus();
  }

  #explain() {
    const { shapes } = this, reason = whyNot(shapes);
    this.why.hidden = !reason;
    if (!reason) return this.why.replaceChildren();
    const [, axis, rest] = /^(axis -\d+): (.*)$/.exec(reason);
    const groups = mends(shapes).map(mend => this.#mend(mend));
    this.why.replaceChildren(element("strong", {}, `${axis.replace("-", "−")} does not fit: ${rest}.`),
      element("div", { className: "kit-mends", role: "group", "aria-label": "Mends" }, ...groups));
  }

  // The ways to write a mend, each to be clicked. An expand that would stretch nothing is none.
  #mend(mend) {
    const way = (code, shape, expand = false) => {
      const button = element("button", { type: "button", className: "kit-button", tabIndex: 0 },
        element("code", {}, code), element("span", {}, shapeText(shape)));
      button.addEventListener("click", () => this.#apply(mend, expand), { signal: this.signal });
      return button;
    };
    const stretches = String(mend.joint) !== String(mend.shape);
    return element("div", { className: "kit-mend", role: "group", "aria-label": `Result ${shapeText(mend.joint)}` },
      way(mend.code, mend.shape), way(mend.torch, mend.shape), ...(stretches ? [way(mend.expand, mend.joint, true)] : []),
      element("span", {}, `result ${shapeText(mend.joint)}`));
  }

  #caption() {
    const { shapes, joint } = this;
    this.captions.forEach((caption, i) => {
      const result = i === shapes.length, shape = result ? joint : shapes[i];
      caption.parentElement.hidden = !shape;
      if (!shape) return;
      const called = result ? this.whole : this.#called(i);
      this.tiles[i].over.setAttribute("aria-label", `${called}, shape ${shape.join(" by ") || "of one number"}; arrow keys go from cell to cell`);
      caption.replaceChildren(element("code", {}, called), ` ${shapeText(shape)} `, this.#cost(i, shape));
    });
  }

  // The bytes stored against those of a real copy.
  #cost(operand, shape) {
    if (operand === this.shapes.length) {
      return element("dl", {}, element("dd", {}, countText(product(shape), "number"), this.#cut(shape)));
    }
    const { itemsize, dtype } = this.model.get("_operands")[operand];
    const stored = product(this.origins[operand]) * itemsize, copy = this.joint ? product(this.joint) * itemsize : stored;
    const more = copy === stored ? "" : `; a copy at ${shapeText(this.joint)}: ${bytesText(copy)}`;
    return element("dl", {}, element("dd", {}, `${dtype}, ${bytesText(stored)} stored${more}`, this.#cut(this.joint ?? shape)));
  }

  #cut(shape) {
    const shown = shownShape(shape);
    return product(shown) < product(shape) ? `; drawn up to ${shapeText(shown)}` : "";
  }

  #draw() {
    const room = this.root.clientWidth - 34, { shapes, joint } = this;
    if (room <= 0) return;
    this.palette.ready();
    const widest = Math.max(...this.tiles.map((_, i) => this.#widest(i, joint ?? shapes[i])));
    this.tiles.forEach((tiles, i) => {
      const shape = joint ?? shapes[i];
      if (!shape) return;
      const cellOf = i === shapes.length ? index => ({ text: this.#result(index) }) : index => this.#operandCell(i, index);
      tiles.show({ shape, room, cellOf, widest });
    });
    this.#paint();
  }

  // Letters of the longest number: all arrays have cells of one width, so that they can be compared.
  #widest(i, shape) {
    if (!shape) return 1;
    const texts = [];
    for (const index of indices(shownShape(shape, 400))) {
      texts.push((i === this.shapes.length ? this.#result(index) : this.#operandCell(i, index).text)?.length ?? 1);
    }
    return Math.max(1, ...texts);
  }

  #operandCell(i, index) {
    const shape = this.shapes[i], source = this.joint ? sourceOf(index, shape) : index;
    const text = this.numbers.at(i, shape, source);
    return { text: text === undefined ? undefined : numberText(text), ghost: this.joint && !this.#isOwn(i, index) };
  }

  // Whether a cell of the stretched operand is the stored one, not a copy of it.
  #isOwn(i, index) {
    const origin = this.origins[i], added = index.length - origin.length;
    return index.every((at, axis) => at === 0 || (axis >= added && origin[axis - added] !== 1));
  }

  #operands(index) {
    return this.shapes.map((shape, i) => {
      const source = sourceOf(index, shape);
      return { source, text: this.numbers.at(i, shape, source) };
    });
  }

  #result(index) {
    const texts = this.#operands(index).map(({ text }) => text);
    if (texts.some(text => text === undefined)) return undefined;
    const numbers = texts.map(text => ({ True: 1, False: 0 })[text] ?? Number(text.replace("inf", "Infinity")));
    const value = numbers.reduce(OPERATIONS[this.op]);
    return typeof value === "boolean" ? String(value) : numberText(value);
  }

  // --- the cursor

  #point(which, index, event) {
    this.clock.input(event);
    this.hover = index && { which, index };
    this.paint();
  }

  #paint() {
    const { hover, shapes, joint } = this;
    if (!hover || !joint) this.tiles.forEach(tiles => tiles.layout && tiles.mark());
    else if (hover.which === shapes.length) this.#markSources(hover.index);
    else this.#markFed(hover.which, sourceOf(hover.index, this.origins[hover.which]));
    this.#write();
    this.clock.painted();
  }

  #markSources(index) {
    this.tiles.at(-1).mark([[index], true]);
    this.origins.forEach((shape, i) => {
      const own = this.#own(sourceOf(index, shape), shape), same = String(own) === String(index);
      this.tiles[i].mark([same ? [] : [index], false], [[own], true]);
    });
  }

  #markFed(which, source) {
    const shape = this.origins[which], fed = cellsIn(feeds(source, shape, this.joint));
    this.tiles.forEach((tiles, i) => {
      if (i === which) tiles.mark([fed, false], [[this.#own(source, shape)], true]);
      else tiles.mark(...(i === this.shapes.length ? [[fed, true]] : []));
    });
  }

  // The place of a stored number in the stretched picture.
  #own(source, shape) { return [...Array(this.joint.length - shape.length).fill(0), ...source]; }

  #write() {
    const { hover, shapes, joint } = this, strong = text => phrase("strong", {}, text);
    if (!hover || !joint) {
      const hint = joint ? "Point at a cell, or focus an array and use the arrow keys." : "Choose a mend, or type another shape.";
      return rewrite(this.formula, phrase("span", { className: "kit-hint" }, hint));
    }
    const name = i => phrase("span", {}, this.#called(i));
    if (hover.which < shapes.length) {
      const shape = this.origins[hover.which], source = sourceOf(hover.index, shape), ranges = feeds(source, shape, joint);
      const marks = ranges.map(([first, length], axis) => length === joint[axis] && length !== 1 ? ":" : String(first));
      const count = product(ranges.map(([, length]) => length)), text = this.numbers.at(hover.which, shape, source);
      return rewrite(this.formula, name(hover.which), ...indexText(source),
        ...(text === undefined ? [] : [" = ", strong(numberText(text))]),
        ` feeds ${countText(count, "cell")}: `, `(${this.whole})`, ...indexText(marks));
    }
    const read = this.#operands(hover.index), between = ` ${this.op} `, result = this.#result(hover.index);
    const join = parts => parts.flatMap((part, i) => i ? [between, ...part] : part);
    rewrite(this.formula, `(${this.whole})`, ...indexText(hover.index), " = ",
      ...join(read.map(({ source }, i) => [name(i), ...indexText(source)])),
      ...(result === undefined ? [] : [" = ", ...join(read.map(({ text }) => [numberText(text)])), " = ", strong(result)]));
  }
}

function sizeText(size, tag, joint) {
  if (size === null) return joint === null ? "–" : `– → ${joint}`;
  return tag === "stretched" && joint !== null ? `1 → ${joint}` : String(size);
}

export default () => asWidget("kit-arrays kit-broadcast",
  (model, root, signal, numbers) => new BroadcastView(model, numbers, root, signal), model => new Numbers(model.get("_operands")));

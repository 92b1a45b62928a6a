// The APL pad: a prompt, a bar of glyphs, and what the kernel answered.

const PATIENCE = 3000;

// [glyph, key after the prefix, with one argument, with two, an example]; null between groups.
const GLYPHS = [
  ["←", "[", "", "give a name", "A←2 3⍴⍳6"],
  null,
  ["+", "", "itself", "plus", "1 2 3+10"],
  ["-", "", "negate", "minus", "5-3"],
  ["×", "-", "sign", "times", "2×⍳4"],
  ["÷", "=", "reciprocal", "divided by", "1÷4"],
  ["*", "p", "e to the power", "power", "2*10"],
  ["⍟", "*", "natural logarithm", "logarithm to a base", "2⍟1024"],
  ["⌈", "s", "round up", "larger of two", "⌈2.1"],
  ["⌊", "d", "round down", "smaller of two", "3⌊⍳5"],
  ["|", "m", "size without its sign", "remainder, right by left", "3|⍳6"],
  ["!", "_", "factorial", "how many ways to choose", "2!5"],
  ["?", "q", "a number by chance", "different numbers by chance", "3?6"],
  null,
  ["=", "5", "", "equal", "1 2 3=2"],
  ["≠", "8", "", "unequal; of Booleans: one of two", "1≠2"],
  ["<", "3", "", "less", "2<⍳4"],
  ["≤", "4", "", "at most", "2≤⍳4"],
  ["≥", "6", "", "at least", "2≥⍳4"],
  [">", "7", "", "greater", "2>⍳4"],
  ["∧", "0", "", "and; least common multiple", "12∧18"],
  ["∨", "9", "", "or; greatest common divisor", "12∨18"],
  ["⍲", ")", "", "not both", "1⍲1"],
  ["⍱", "(", "", "neither", "0⍱0"],
  ["~", "t", "not", "without", "1 2 3~2"],
  null,
  ["⍳", "i", "1, 2, … up to", "where it is first found", "⍳6"],
  ["⍴", "r", "shape", "reshape; repeats what is too short", "2 3⍴⍳6"],
  ["≢", "\"", "how many along the first axis", "does not match", "≢2 3⍴0"],
  ["≡", ":", "depth of nesting", "matches", "1 2≡1 2"],
  [",", "", "all cells as a vector", "side by side, along the last axis", "1 2,3"],
  ["⍪", "<", "as a table", "one above the other", "⍪⍳3"],
  ["⍉", "^", "axes in reverse order", "axes in another order", "⍉2 3⍴⍳6"],
  ["⌽", "%", "reverse along the last axis", "rotate along it", "⌽⍳5"],
  ["⊖", "&", "reverse along the first axis", "rotate along it", "1⊖3 2⍴⍳6"],
  ["↑", "y", "nested items as one array", "take", "2↑⍳5"],
  ["↓", "u", "rows as nested items", "drop", "2↓⍳5"],
  ["⌷", "L", "", "index", "2⌷10 20 30"],
  null,
  ["∊", "e", "all numbers within", "is among", "3∊⍳5"],
  ["⍋", "$", "the order that sorts upwards", "", "⍋3 1 2"],
  ["⍒", "#", "the order that sorts downwards", "", "⍒3 1 2"],
  ["⊂", "z", "enclose in one item", "", "⊂1 2 3"],
  ["⊃", "x", "first item", "pick", "⊃(1 2)3"],
  ["⊥", "b", "", "value of digits in a base", "10⊥1 2 3"],
  ["⊤", "n", "", "digits in a base", "2 2 2⊤5"],
  ["⊢", "\\", "itself", "right argument", "1⊢2"],
  ["⊣", "|", "itself", "left argument", "1⊣2"],
  null,
  ["/", "", "+/ folds the last axis, from the right", "1 0 1/ replicates", "+/⍳100"],
  ["⌿", "/", "+⌿ folds the first axis", "1 0⌿ replicates along it", "+⌿2 3⍴⍳6"],
  ["\\", "", "+\\ folds each start", "1 0 1\\ spreads", "+\\⍳5"],
  ["⍀", ".", "the same along the first axis", "", "+⍀2 3⍴⍳6"],
  [".", "", "", "inner product: +.× is the matrix product", "1 2 3+.×4 5 6"],
  ["∘", "j", "", "∘.× pairs every cell with every other", "(⍳3)∘.×⍳4"],
  ["¨", "1", "of each item", "of each pair of items", "≢¨(1 2)(3 4 5)"],
  ["⍨", "T", "both arguments the same", "arguments exchanged", "∘.×⍨⍳3"],
  ["⍤", "J", "of cells of this rank", "of pairs of such cells", "+/⍤1⊢2 3⍴⍳6"],
  ["⍣", "P", "again and again", "", "{2×⍵}⍣3⊢1"],
  null,
  ["⍺", "a", "left argument in { }", "", "2{⍺×⍵}3"],
  ["⍵", "w", "right argument in { }", "", "{⍵×⍵}5"],
  ["∇", "g", "the function itself, in { }", "", "{⍵≤1:1⋄⍵×∇⍵-1}5"],
  ["⋄", "`", "between statements", "", "a←2⋄a+1"],
  ["¯", "2", "the sign of a negative number", "", "¯3"],
  ["⍬", "}", "the empty vector", "", "⍴⍬"],
  ["⍝", ",", "a comment follows", "", "2+2 ⍝ four"],
];
const KEYS = Object.fromEntries(GLYPHS.filter(Boolean).map(([glyph, key]) => [key, glyph]));
delete KEYS[""];

class Bar {
  constructor(insert, help, signal) {
    this.node = element("div", { className: "kit-bar", role: "toolbar", "aria-label": "APL glyphs" });
    this.buttons = [];
    let group;
    for (const entry of [null, ...GLYPHS]) {
      if (!entry) this.node.append(group = element("div", { className: "kit-glyphs" }));
      else group.append(this.#button(entry, insert, help));
    }
    this.node.addEventListener("keydown", event => this.#key(event), { signal });
    this.node.addEventListener("mouseleave", () => help(null), { signal });
    this.node.addEventListener("focusout", () => help(null), { signal });
  }

  #button(entry, insert, help) {
    const [glyph, key, one, two] = entry, label = [glyph, one, two].filter(Boolean).join(", ");
    const made = element("button", { type: "button", className: "kit-glyph", tabIndex: this.buttons.length ? -1 : 0,
      "aria-label": label }, element("span", {}, glyph), element("kbd", {}, key));
    made.dataset.lmSuppressShortcuts = "true";
    // A press must not take the focus from the prompt: the help would go when it comes back.
    made.addEventListener("pointerdown", event => event.preventDefault());
    made.addEventListener("click", () => insert(glyph));
    for (const name of ["mouseenter", "focus"]) made.addEventListener(name, () => help(entry));
    this.buttons.push(made);
    return made;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.buttons.indexOf(event.target), last = this.buttons.length - 1;
    const next = { ArrowRight: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
    if (next === undefined || at < 0) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    this.buttons[next].tabIndex = 0;
    this.buttons[next].focus();
  }
}

// What was typed, what was answered, and the same in torch.
function entryNode({ text, shown, about, error, code, verdict }, edit) {
  const typed = element("button", { type: "button", className: "kit-typed", title: "Edit again", tabIndex: 0 }, text);
  typed.addEventListener("click", () => edit(text));
  const left = element("div", { className: "kit-apl-side" }, typed);
  if (error) {
    const [line, mark] = error.caret.split("\n");
    left.append(element("pre", { className: "kit-caret" }, line === text ? mark : `${line}\n${mark}`),
      element("p", { className: "kit-wrong" }, element("strong", {}, error.name), ` ${error.message}`));
  } else {
    if (about) left.append(element("pre", { className: "kit-value", tabIndex: 0, "aria-label": `Result of ${text}` }, shown || " "));
    left.append(element("p", { className: "kit-about" }, about || "named"));
  }
  const node = element("li", {}, left);
  if (verdict) node.append(torchNode(code, verdict));
  return node;
}

function torchNode(code, verdict) {
  const node = element("div", { className: "kit-torch" }), state = !code ? "none" : verdict === "same result" ? "same" : "other";
  if (code) {
    node.append(element("span", { className: "kit-label-torch" }, "torch"),
      element("pre", { tabIndex: 0, "aria-label": "The same in torch" }, code));
  }
  node.append(element("p", { className: "kit-verdict", "data-verdict": state }, verdict));
  return node;
}

class PadView {
  constructor(model, root, signal) {
    Object.assign(this, { model, signal, draft: "", back: 0, asked: 0 });
    this.#build(root);
    for (const name of ["_entries", "_names", "status", "title"]) {
      const hear = () => this.#show(name);
      model.on(`change:${name}`, hear);
      signal.addEventListener("abort", () => model.off(`change:${name}`, hear));
    }
    signal.addEventListener("abort", () => clearTimeout(this.timer));
    for (const name of ["title", "_names", "_entries", "status"]) this.#show(name);
    this.#help(null);
  }

  #build(root) {
    const { model, signal } = this, listen = { signal };
    const button = (text, className, act) => {
      const made = element("button", { type: "button", className: `kit-button ${className}`, tabIndex: 0 }, text);
      made.addEventListener("click", act, listen);
      return made;
    };
    this.title = element("span", { className: "kit-title" });
    this.state = element("span", { className: "kit-state", role: "status" });
    this.stop = button("Stop", "kit-stop", () => model.send({ kind: "stop" }));
    this.clear = button("Clear", "kit-clear", () => { model.send({ kind: "clear" }); this.input.focus(); });
    this.bar = new Bar(glyph => this.#insert(glyph), entry => this.#help(entry), signal);
    this.help = element("p", { className: "kit-help" });
    this.log = element("ol", { className: "kit-log", "aria-label": "Session", "aria-live": "polite" });
    this.input = element("input", { type: "text", className: "kit-input", spellcheck: false, autocomplete: "off",
      autocapitalize: "off", tabIndex: 0, "aria-label": "APL expression", placeholder: "an expression, then Enter" });
    this.input.addEventListener("keydown", event => this.#key(event), listen);
    this.input.addEventListener("input", () => this.#prefixed(), listen);
    this.names = element("dd", {});
    this.took = element("dd", {});
    const reading = (name, value) => element("div", {}, element("dt", {}, name), value);
    this.answer = reading("answered in", this.took);
    this.answer.hidden = true;
    this.card = element("div", { className: "kit-card" },
      element("header", {}, this.title, this.state, this.stop, this.clear), this.bar.node, this.help, this.log,
      element("div", { className: "kit-prompt" }, this.input, button("Run", "kit-run", () => this.#run())),
      element("footer", {}, element("dl", { className: "kit-readings" }, reading("names", this.names), this.answer)));
    root.append(this.card);
  }

  // --- the prompt

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      this.#run();
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      event.preventDefault();
      this.#recall(event.key === "ArrowUp" ? 1 : -1);
    }
  }

  // `i becomes ⍳ as soon as it stands before the cursor, whatever keyboard it comes from.
  #prefixed() {
    const at = this.input.selectionStart, typed = this.input.value.slice(at - 2, at), glyph = KEYS[typed[1]];
    if (typed[0] === "`" && glyph) this.input.setRangeText(glyph, at - 2, at, "end");
    this.back = 0;
  }

  #insert(glyph) {
    this.input.focus();
    this.input.setRangeText(glyph, this.input.selectionStart, this.input.selectionEnd, "end");
    this.back = 0;
  }

  #edit(text) {
    this.input.value = text;
    this.input.focus();
    this.back = 0;
  }

  #recall(by) {
    const texts = this.model.get("_entries").map(({ text }) => text);
    if (this.back === 0) this.draft = this.input.value;
    this.back = Math.max(0, Math.min(texts.length, this.back + by));
    this.input.value = this.back ? texts.at(-this.back) : this.draft;
    this.input.setSelectionRange(this.input.value.length, this.input.value.length);
  }

  #run() {
    const text = this.input.value;
    if (!text.trim()) return;
    this.asked = performance.now();
    this.sent = text;
    this.model.send({ kind: "run", text });
    this.input.value = "";
    this.back = 0;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#show("status"), PATIENCE);
    this.#show("status");
  }

  // --- what the kernel says

  #show(name) {
    const value = this.model.get(name);
    if (name === "title") this.title.textContent = value;
    else if (name === "_names") this.#showNames(value);
    else if (name === "_entries") this.#showEntries(value);
    else this.#showStatus(value);
  }

  #showStatus(status) {
    const running = status === "running", late = this.asked && performance.now() - this.asked >= PATIENCE - 10;
    if (running) this.started = true;
    this.card.dataset.status = status;
    this.stop.hidden = !running;
    this.state.textContent = running ? "running" : !this.asked ? "" :
      late ? "no answer: the kernel is busy, or there is none" : "asked";
  }

  #showNames(names) {
    const shown = Object.entries(names).map(([name, what]) => element("span", { title: what }, element("code", {}, name), ` ${what}`));
    this.names.replaceChildren(...(shown.length ? shown : ["none yet"]));
  }

  #showEntries(entries) {
    if (this.asked && entries.at(-1)?.text === this.sent) this.#answered();
    this.clear.hidden = !entries.length;
    this.log.hidden = !entries.length;
    this.log.replaceChildren(...entries.map(entry => entryNode(entry, text => this.#edit(text))));
    this.log.scrollTop = this.log.scrollHeight;
    this.#showStatus(this.model.get("status"));
  }

  #answered() {
    this.answer.hidden = false;
    this.took.textContent = `${Math.round(performance.now() - this.asked)} ms`;
    this.asked = 0;
    clearTimeout(this.timer);
  }

  // --- help

  #help(entry) {
    if (!entry) {
      return this.help.replaceChildren("Point at a glyph to see what it does, click to insert it, or type ",
        element("kbd", {}, "`"), " and the key below it.");
    }
    const [glyph, key, one, two, example] = entry, parts = [element("b", {}, glyph)];
    if (one) parts.push(element("span", {}, element("i", {}, two ? "one argument " : ""), one));
    if (two) parts.push(element("span", {}, element("i", {}, one ? "two " : ""), two));
    parts.push(element("code", {}, example));
    if (key) parts.push(element("span", {}, element("kbd", {}, "`"), element("kbd", {}, key)));
    this.help.replaceChildren(...parts);
  }
}

export default () => asWidget("kit-apl", (model, root, signal) => new PadView(model, root, signal));

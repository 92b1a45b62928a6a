// How often each value occurs in what is shown, against the standard normal density that x_T should have.

const BINS = 60, REACH = 4, PLOT = { width: 280, height: 110, foot: 18, top: 0.65 };

class Histogram {
  constructor(frames) {
    const { width, height, foot } = PLOT;
    this.frames = frames;
    this.counts = new Uint32Array(BINS);
    this.bars = shape("path", { class: "kit-bars" });
    const x = value => (value + REACH) / (2 * REACH) * width;
    const bell = Array.from({ length: 121 }, (_, i) => -REACH + i * 2 * REACH / 120)
      .map(value => `${x(value).toFixed(1)} ${this.#y(Math.exp(-value * value / 2) / Math.sqrt(2 * Math.PI)).toFixed(1)}`);
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height + foot}`, "aria-hidden": true }, this.bars,
      shape("path", { class: "kit-bell", d: "M" + bell.join("L") }),
      shape("path", { class: "kit-base", d: `M0 ${height}H${width}` }),
      ...[-3, -2, -1, 0, 1, 2, 3].map(value => shape("text", { x: x(value), y: height + 14 }, minus(value))));
    this.mean = element("dd", {});
    this.deviation = element("dd", {});
    this.root = element("figure", { className: "kit-histogram" }, svg, element("figcaption", {},
      element("span", { className: "kit-bars-key" }, "values"), element("span", { className: "kit-bell-key" }, "N(0, 1)"),
      element("dl", {}, element("div", {}, element("dt", {}, "mean"), this.mean),
        element("div", {}, element("dt", {}, "std"), this.deviation))));
  }

  // Denser than the plot is high is cut off at its top.
  #y(density) { return PLOT.height * (1 - Math.min(1, density / PLOT.top)); }

  // Of a x0 + b eps, given [a, b].
  draw([signal, noise]) {
    const [x0, eps] = this.frames.values, { counts } = this, scale = BINS / (2 * REACH);
    let sum = 0, squares = 0;
    counts.fill(0);
    for (let i = 0; i < x0.length; i++) {
      const value = signal * x0[i] + noise * eps[i], bin = Math.floor((value + REACH) * scale);
      sum += value;
      squares += value * value;
      if (bin >= 0 && bin < BINS) counts[bin] += 1;
    }
    const mean = sum / x0.length;
    this.#write(counts, x0.length);
    this.mean.textContent = minus(mean.toFixed(2)).replace("−0.00", "0.00");
    this.deviation.textContent = Math.sqrt(Math.max(0, squares / x0.length - mean * mean)).toFixed(2);
  }

  #write(counts, total) {
    const step = PLOT.width / BINS;
    let d = `M0 ${PLOT.height}`;
    counts.forEach((count, i) => {
      d += `L${(i * step).toFixed(1)} ${this.#y(count / total * BINS / (2 * REACH)).toFixed(1)}h${step.toFixed(1)}`;
    });
    this.bars.setAttribute("d", `${d}V${PLOT.height}Z`);
  }
}

// Guided predictions as numbers and pictures: every rescaling, the one-step x0-hat, its linear decoding.

const LENGTHS = ["t_norm", "full_norm"];  // their dial is g, the length of the update, in place of w

const total = (count, term) => {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += term(i);
  return sum;
};

// What every rescaling needs of u and d = c − u: their products, and the same about their means.
function products(u, c) {
  const n = u.length, d = i => c[i] - u[i];
  const meanU = total(n, i => u[i]) / n, meanD = total(n, d) / n;
  return {
    uu: total(n, i => u[i] * u[i]), ud: total(n, i => u[i] * d(i)), dd: total(n, i => d(i) * d(i)),
    cc: total(n, i => c[i] * c[i]), uc: total(n, i => u[i] * c[i]),
    vuu: total(n, i => (u[i] - meanU) ** 2), vud: total(n, i => (u[i] - meanU) * (d(i) - meanD)),
    vdd: total(n, i => (d(i) - meanD) ** 2),
  };
}

const norm = ({ uu, ud, dd }, v) => Math.sqrt(Math.max(0, uu + 2 * v * ud + v * v * dd));
const spread = ({ vuu, vud, vdd }, v) => Math.sqrt(Math.max(0, vuu + 2 * v * vud + v * v * vdd));
const ratio = (wanted, has) => has > 0 ? wanted / has : 1;

// Every guided prediction is k (u + v d): gives [k, v] of a rescaling.
function effect(variant, dial, phi, made) {
  const v = LENGTHS.includes(variant) ? dial * ratio(Math.sqrt(made.uu), Math.sqrt(made.dd)) : dial;
  if (variant === "pred_norm" || variant === "full_norm") return [ratio(Math.sqrt(made.uu), norm(made, v)), v];
  if (variant === "std") return [phi * ratio(spread(made, 1), spread(made, v)) + 1 - phi, v];
  return [1, v];
}

// x0-hat is linear in x, u and d, and so is the decoder: three pictures, of bytes' size, to be summed.
class Predictions {
  #stops = new Map();

  constructor(model) {
    const { names, blob } = model.get("_operands"), [n, channels, h, w] = model.get("shape");
    const floats = new Float32Array(blob.buffer.slice(blob.byteOffset, blob.byteOffset + blob.byteLength));
    const size = channels * h * w;
    Object.assign(this, { model, channels, w, h, names });
    this.of = (name, stop) => {
      const start = (names.indexOf(name) * n + stop) * size;
      return floats.subarray(start, start + size);
    };
  }

  at(stop) {
    if (!this.#stops.has(stop)) this.#stops.set(stop, this.#made(stop));
    return this.#stops.get(stop);
  }

  #made(stop) {
    const alphaBar = this.model.get("alpha_bar")[stop], [, bias] = this.model.get("rgb");
    const [x, c] = [this.of("x", stop), this.of("c", stop)];
    const sigma = Math.sqrt((1 - alphaBar) / alphaBar);
    const sides = this.names.filter(name => name === "u" || name === "negative").map(name => {
      const u = this.of(name, stop), d = u.map((value, i) => c[i] - value);
      return { ...products(u, c), U: this.#picture(u, -sigma), D: this.#picture(d, -sigma) };
    });
    return { base: this.#picture(x, 1 / Math.sqrt(alphaBar), bias), sides };
  }

  // 255 (factor matrix · values + bias), pixel by pixel.
  #picture(values, factor, bias = [0, 0, 0]) {
    const [matrix] = this.model.get("rgb"), pixels = this.w * this.h, made = new Float32Array(3 * pixels);
    for (let r = 0; r < 3; r++) {
      for (let p = 0; p < pixels; p++) made[3 * p + r] = 255 * bias[r];
      for (let channel = 0; channel < this.channels; channel++) {
        const weight = 255 * factor * matrix[r][channel], start = channel * pixels;
        for (let p = 0; p < pixels; p++) made[3 * p + r] += weight * values[start + p];
      }
    }
    return made;
  }
}

// base + k U, kept until k changes: without rescaling it is 1 at every w, and a drag only adds D.
function lifted(base, side, k) {
  if (side.lift?.k === k) return side.lift.made;
  const made = side.lift?.made ?? new Float32Array(base.length);
  for (let i = 0; i < made.length; i++) made[i] = base[i] + k * side.U[i];
  side.lift = { k, made };
  return made;
}

const within = value => value < 0 ? 0 : value > 255 ? 255 : value;

// Writes base + k U + k v D into an image, a pixel a word (red in its lowest byte, as in every browser's machine);
// gives the share of pixels outside the colours there are.
function compose({ data }, base, side, k, v) {
  const words = new Uint32Array(data.buffer), lift = lifted(base, side, k), { D } = side, kv = k * v;
  let clipped = 0;
  for (let p = 0, i = 0; p < words.length; p++, i += 3) {
    let r = lift[i] + kv * D[i], g = lift[i + 1] + kv * D[i + 1], b = lift[i + 2] + kv * D[i + 2];
    if (r < 0 || g < 0 || b < 0 || r > 255 || g > 255 || b > 255) {
      clipped++;
      r = within(r); g = within(g); b = within(b);
    }
    words[p] = 0xff000000 | (b + 0.5) << 16 | (g + 0.5) << 8 | (r + 0.5);
  }
  return clipped / words.length;
}

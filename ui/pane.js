// One view of one display set: which frame, in which window, from how near. Everything is drawn on one canvas.

const LENGTHS_MM = [1, 2, 5, 10, 20, 50, 100, 200];
const NEAREST = 20;
const CYAN = "#5fd4e6";

class Pane {
  constructor(host, words, changed) {
    Object.assign(this, { host, words, changed, set: null, frame: 0, outlines: [], draft: null, pointer: null });
    this.canvas = host.querySelector("canvas");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.find = (name) => host.querySelector(`.${name}`);
  }

  /** Show another display set, as it is meant to be seen. */
  take(set, frame = set.first) {
    this.set = set;
    this.frame = frame;
    this.picture = null;
    this.draft = null; // a region belongs to the frame on which it began
    this.reset();
  }

  /** Show the same with other pixels: where the pixels are as many, what was enlarged stays so. */
  replace(set, frame) {
    const { set: before, view, fitted } = this;
    this.take(set, frame);
    if (before.columns === set.columns && before.rows === set.rows && !fitted) Object.assign(this, { view, fitted });
  }

  reset() {
    this.inverted = this.set.inverted;
    this.inWindow(this.set.windows[this.set.window]);
    this.fit();
  }

  inWindow(window) {
    this.window = window && { ...window };
    this.redraw();
  }

  invert() {
    this.inverted = !this.inverted;
    this.redraw();
  }

  /** Change width and level as a drag of so many pixels does: right is wider, down is a higher level. */
  drag(right, down) {
    if (!this.window) return;
    const [middle, half] = [(this.window.low + this.window.high) / 2, (this.window.high - this.window.low) / 2];
    const level = middle + (down * half) / 200;
    const least = this.set.least / 2;
    const wide = Math.max(half * Math.exp(right / 200), least);
    Object.assign(this.window, { low: level - wide, high: level + wide, name: "" });
    this.redraw();
  }

  fit() {
    this.fitted = true;
    this.view = { x: this.set.columns / 2, y: this.set.rows / 2, zoom: this.whole() };
    this.moved();
  }

  whole() {
    const { columns, rows, ratio } = this.set;
    return Math.min(this.canvas.width / columns, this.canvas.height / (rows * ratio)) || 1;
  }

  /** Zoom by a factor so that the point under (x, y) of the canvas stays there. */
  zoomBy(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const held = this.at(x, y);
    const [least, most] = [Math.min(this.whole() / 4, 1), Math.max(this.whole() * 4, NEAREST)];
    this.view.zoom = Math.min(Math.max(this.view.zoom * factor, least), most);
    const now = this.at(x, y);
    this.view.x += held.x - now.x;
    this.view.y += held.y - now.y;
    this.fitted = false;
    this.moved();
  }

  pan(right, down) {
    this.view.x -= right / this.view.zoom;
    this.view.y -= down / (this.view.zoom * this.set.ratio);
    this.fitted = false;
    this.moved();
  }

  moved() {
    this.samples = null;
    this.redraw();
  }

  goTo(frame) {
    const there = Math.min(Math.max(frame, 0), this.set.frames - 1);
    if (there === this.frame) return;
    this.frame = there;
    this.picture = null;
    this.draft = null;
    this.moved();
  }

  /** Follow the size of the page. */
  resize() {
    const sharp = window.devicePixelRatio || 1;
    const size = [Math.round(this.host.clientWidth * sharp), Math.round(this.host.clientHeight * sharp)];
    if (!size[0] || (size[0] === this.canvas.width && size[1] === this.canvas.height)) return;
    [this.canvas.width, this.canvas.height] = size;
    if (this.set && this.fitted) this.fit();
    else if (this.set) this.moved();
  }

  /** From the canvas to the pixels of the picture, (0, 0) at the corner of the first one. */
  at(x, y) {
    const { x: middleX, y: middleY, zoom } = this.view;
    const { width, height } = this.canvas;
    return { x: (x - width / 2) / zoom + middleX, y: (y - height / 2) / (zoom * this.set.ratio) + middleY };
  }

  to(x, y) {
    const { x: middleX, y: middleY, zoom } = this.view;
    const { width, height } = this.canvas;
    return [(x - middleX) * zoom + width / 2, (y - middleY) * zoom * this.set.ratio + height / 2];
  }

  redraw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      if (this.set && this.canvas.width) this.draw();
    });
  }

  draw() {
    const { context, canvas } = this;
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    this.picture ??= this.changed.picture(this);
    if (this.picture) {
      if (this.set.colour) this.drawColour();
      else this.drawGrey();
      this.drawOverlay();
      this.drawOutlines();
    }
    this.write();
  }

  drawGrey() {
    const { zoom } = this.view;
    const { columns, rows, ratio } = this.set;
    const corners = [this.to(0, 0), this.to(columns, rows)];
    const left = Math.max(0, Math.floor(corners[0][0]));
    const top = Math.max(0, Math.floor(corners[0][1]));
    const width = Math.min(this.canvas.width, Math.ceil(corners[1][0])) - left;
    const height = Math.min(this.canvas.height, Math.ceil(corners[1][1])) - top;
    if (width < 1 || height < 1) return;
    if (!this.samples) {
      const { x, y } = this.at(left, top);
      this.samples = sampled(this.picture, width, height, x, y, 1 / zoom, 1 / (zoom * ratio));
      this.shown = new ImageData(width, height);
    }
    const { low, high, curve } = this.window;
    shade(this.samples, new Uint32Array(this.shown.data.buffer), low, high, ramp(curve, this.inverted));
    this.context.putImageData(this.shown, left, top);
  }

  drawColour() {
    const { context } = this;
    this.place((x, y, width, height) => {
      context.drawImage(this.picture, x, y, width, height);
      if (!this.inverted) return;
      context.globalCompositeOperation = "difference";
      context.fillStyle = "#fff";
      context.fillRect(x, y, width, height);
      context.globalCompositeOperation = "source-over";
    });
  }

  drawOverlay() {
    const { picture, opacity } = this.changed.overlay(this);
    if (!picture || !opacity) return;
    this.context.globalAlpha = opacity;
    this.place((...where) => this.context.drawImage(picture, ...where));
    this.context.globalAlpha = 1;
  }

  /** Draw what covers the whole picture. */
  place(drawn) {
    const [[left, top], [right, bottom]] = [this.to(0, 0), this.to(this.set.columns, this.set.rows)];
    this.context.imageSmoothingEnabled = true;
    this.context.imageSmoothingQuality = "high";
    drawn(left, top, right - left, bottom - top);
  }

  drawOutlines() {
    const { context } = this;
    context.strokeStyle = CYAN;
    context.lineWidth = 2 * (window.devicePixelRatio || 1);
    for (const points of [...this.changed.outlines(this), ...(this.draft ? [this.draft] : [])]) {
      context.beginPath();
      for (const point of points) context.lineTo(...this.to(...point));
      if (points !== this.draft) context.closePath();
      context.stroke();
    }
  }

  /** The words around the picture. */
  write() {
    const { set, words } = this;
    const [left, right, top, bottom] = set.edges ?? ["", "", "", ""];
    const write = (name, text) => {
      const part = this.find(name);
      if (part.textContent !== text) part.textContent = text;
    };
    write("edge-left", left);
    write("edge-right", right);
    write("edge-top", top);
    write("edge-bottom", bottom);
    write("title", set.title);
    const number = set.frames > 1 ? `${set.kind} ${this.frame + 1} / ${set.frames}` : "";
    const seen = set.frames > 1 && !(this.frame in set.seen) ? words.unseen : "";
    write("which", [number, seen].filter(Boolean).join(" · "));
    const inverted = this.inverted !== set.inverted ? words.inverted : "";
    const named = [this.window?.name, inverted].filter(Boolean).join(" · ");
    write("window", this.windowed());
    write("zoom", [named, `${Math.round(this.view.zoom * 100)} %`].filter(Boolean).join(" · "));
    write("value", this.picture ? this.reading() : this.changed.failure(this) || words.loading);
    this.canvas.setAttribute("aria-label", [set.title, number, named, this.windowed()].filter(Boolean).join(", "));
    this.writeScale();
  }

  /** Centre and width as DICOM counts them. */
  windowed() {
    if (!this.window) return "";
    const { low, high, exact } = this.window;
    const [width, centre] = exact ? [high - low, (low + high) / 2] : [high - low + 1, (low + high + 1) / 2];
    const digits = width < 20 ? 3 : 0;
    return `C ${centre.toFixed(digits)} W ${width.toFixed(digits)}`;
  }

  /** Where the pointer is, and the value there. */
  reading() {
    if (!this.pointer) return "";
    const { x, y } = this.at(...this.pointer);
    const [column, row] = [Math.floor(x), Math.floor(y)];
    const { columns, rows, colour, unit } = this.set;
    if (column < 0 || row < 0 || column >= columns || row >= rows) return "";
    const values = this.changed.values(this);
    const place = row * columns + column;
    const value = colour ? [...values.slice(3 * place, 3 * place + 3)].join(" ") : values[place];
    const said = Number.isNaN(value) ? this.words.padding : colour || Number.isInteger(value) ? value : value.toPrecision(5);
    return `x ${column}, y ${row}: ${said}${unit && !Number.isNaN(value) ? ` ${unit}` : ""}`;
  }

  writeScale() {
    const bar = this.find("scale");
    bar.hidden = !this.set.spacing;
    if (bar.hidden) return;
    const pixels = this.view.zoom / (window.devicePixelRatio || 1) / this.set.spacing[1];
    const most = this.host.clientWidth / 4;
    const length = LENGTHS_MM.findLast((mm) => mm * pixels <= most) ?? LENGTHS_MM[0];
    bar.firstElementChild.style.width = `${length * pixels}px`;
    bar.lastElementChild.textContent = `${length} mm ${this.set.detector ? this.words.detector : this.words.patient}`;
  }
}

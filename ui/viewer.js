// The film viewer. The server says what there is; the page asks for the pixels it lacks, and does the rest by itself.

const AHEAD = 32;
const MOST_BYTES = 2 ** 28;
const PATIENCE_MS = 1000;
const HASTE_MS = 100;
const MOST_DOUBLINGS = 4;
const OPEN = "[data-testid=stPopoverBody]";
const TOOLS = { w: "level", p: "pan", z: "magnify", d: "region" };
const kept = { opacity: 0.55, shown: true, tool: "level", fps: 15 };

class Viewer {
  constructor(root) {
    this.root = root;
    this.find = (name) => root.querySelector(`.${name}`);
    this.box = this.find("viewer");
    this.values = new Map();
    this.overlays = new Map();
    this.own = null;
    this.number = 0;
    this.tries = 0;
    this.updates = 0;
    this.observer = new ResizeObserver(() => this.panes?.forEach((pane) => pane.resize()));
  }

  /** Take what the server sent: words and sets each time, and the parts that were asked for. */
  update(said, parts, setState) {
    this.updates++;
    const { opened, answered } = this.said ?? said;
    if (said.opened < opened || said.answered < answered) return; // for a case that was left, or overtaken
    Object.assign(this, { said, setState });
    this.own ??= said.own;
    said.parts.forEach((part) => this.receive(part, parts.slice(part.at, part.at + part.length)));
    if (!this.panes) this.begin();
    this.panes.forEach((pane) => this.renew(pane));
    this.panes.forEach((pane) => this.observer.observe(pane.host));
    if (this.playing) this.play(true);
    this.refresh();
    this.panes.forEach((pane) => pane.redraw());
    this.ask();
  }

  receive(part, bytes) {
    if (part.type === "png") {
      this.overlays.set(part.id, null);
      createImageBitmap(new Blob([bytes], { type: "image/png" })).then((picture) => {
        this.overlays.set(part.id, picture);
        this.panes.forEach((pane) => pane.redraw());
      });
      return;
    }
    this.values.set(part.id, new ARRAYS[part.type](bytes.buffer));
    let held = [...this.values.values()].reduce((sum, values) => sum + values.byteLength, 0);
    for (const [id, values] of this.values) {
      if (held <= MOST_BYTES) break;
      if (this.panes?.some((pane) => idOf(pane) === id) || id === part.id) continue;
      this.values.delete(id);
      held -= values.byteLength;
    }
  }

  readied(set) {
    const windows = set.windows.map((one) => ({ ...one, curve: one.curve && bytesOf(one.curve) }));
    return { ...set, windows };
  }

  /** What is said of a set may change; its windows are known once its pixels are; files take the place of pictures,
   *  but not before their pixels are here. */
  renew(pane) {
    const { sets, begin, failures } = this.said;
    pane.coming = null;
    const waited = pane.set && !pane.window && !pane.picture;
    const same = sets.find((set) => set.id === pane.set?.id);
    if (same) {
      pane.set = this.readied(same);
      if (waited && (pane.window ?? same.windows.length + same.colour)) pane.reset();
    } else if (pane.set) {
      const film = pane.set.seen[pane.frame];
      const holds = (set) => Object.keys(set.seen).find((frame) => set.seen[frame] === film);
      const set = sets.find((set) => holds(set) !== undefined) ?? sets[begin];
      const frame = Number(holds(set) ?? set.first);
      if (pane.picture && !this.values.has(idOf({ set, frame })) && !failures[set.id]) pane.coming = { set, frame };
      else pane.replace(this.readied(set), frame);
    } else if (pane === this.active && sets.length) pane.take(this.readied(sets[begin]));
  }

  begin() {
    const changed = {
      picture: (pane) => this.picture(pane),
      values: (pane) => this.values.get(idOf(pane)),
      overlay: (pane) => ({ picture: this.overlays.get(this.overlayOf(pane)), opacity: kept.shown ? kept.opacity : 0 }),
      outlines: (pane) => this.outlinesOn(pane),
      failure: (pane) => this.said.failures[pane.set.id],
    };
    this.panes = [...this.root.querySelectorAll(".pane")].map((host) => new Pane(host, this.said.words, changed));
    this.active = this.panes[0];
    this.panes.forEach((pane) => {
      pane.resize();
      listen(this, pane);
    });
    this.compared = false;
    this.bind();
  }

  picture(pane) {
    const values = this.values.get(idOf(pane));
    if (!values) return null;
    const { colour, columns, rows } = pane.set;
    return colour ? painted(values, columns, rows) : new Pyramid(values, columns, rows);
  }

  overlayOf(pane) {
    const place = pane.set.seen[pane.frame];
    return place < this.said.overlays ? `${this.said.label}/${place}` : "";
  }

  /** The region of the finding on a frame: the one that was just drawn, else the one that was kept. */
  outlinesOn({ set, frame }) {
    const region = this.own[this.said.label] ?? this.said.kept;
    return region && set.outlined && region.film === set.seen[frame] ? [region.points] : [];
  }

  /** Whether a region can be drawn here: on a picture that the model was given, in the pixels of its file. */
  get outlined() {
    const { set, frame } = this.active;
    return set.outlined && frame in set.seen;
  }

  get open() {
    return this.compared ? this.panes : [this.panes[0]];
  }

  /** Ask for what is lacking: at once where the last answer brought what was asked for or the reader has moved on;
   *  after a while, then ever later, where it brought nothing (it was lost, or a file is being read) or did not come. */
  ask() {
    clearTimeout(this.retry);
    const wanted = this.lacking();
    if (!wanted.length) return;
    const answered = this.number <= this.said.answered;
    if (answered && String(wanted) !== String(this.wanted)) this.tries = 0;
    if (document.querySelector(OPEN)) {
      this.retry = setTimeout(() => this.ask(), HASTE_MS); // a page that is drawn anew takes away the file being saved
      return;
    }
    const due = this.asked + (answered ? HASTE_MS : PATIENCE_MS) * 2 ** Math.min(this.tries, MOST_DOUBLINGS);
    const now = performance.now();
    if (this.tries && now < due) {
      this.retry = setTimeout(() => this.ask(), due - now);
      return;
    }
    this.number = Math.max(this.number, this.said.answered) + 1;
    Object.assign(this, { wanted, asked: now, tries: this.tries + 1 });
    this.setState("want", { opened: this.said.opened, number: this.number, parts: wanted });
    this.ask();
  }

  /** The nearest frames and overlays that are not here; if there are none, the files behind the kept pictures. */
  lacking() {
    const wanted = [];
    const shown = this.open.map((pane) => pane.coming ?? pane);
    const panes = shown.filter(({ set }) => set && !this.said.failures[set.id]);
    for (let away = 0; away <= (this.said.whole ? AHEAD : 0); away++)
      for (const { set, frame: middle } of panes)
        for (const frame of away ? [middle + away, middle - away] : [middle]) {
          if (frame < 0 || frame >= set.frames) continue;
          if (!this.values.has(idOf({ set, frame }))) wanted.push(idOf({ set, frame }));
          const overlay = this.overlayOf({ set, frame });
          if (overlay && !this.overlays.has(overlay)) wanted.push(overlay);
        }
    if (!wanted.length && !this.said.whole) wanted.push("study");
    return [...new Set(wanted)];
  }

  show(pane, set) {
    pane.take(this.readied(set));
    this.activate(pane);
    this.hold();
    this.ask();
  }

  goTo(frame) {
    const { active } = this;
    active.goTo(frame);
    if (this.linked && this.compared) {
      const other = this.panes.find((pane) => pane !== active);
      const steps = (active.frame - this.held.get(active)) * ((active.set.step || 1) / (other.set.step || 1));
      other.goTo(this.held.get(other) + Math.round(steps));
    }
    this.refresh();
    this.ask();
  }

  /** Remember which frames belong together from now on. */
  hold() {
    this.held = new Map(this.panes.map((pane) => [pane, pane.frame]));
  }

  scroll(frames) {
    this.goTo(this.active.frame + frames);
  }

  /** The next frame that the model was given, around the end. */
  nextSeen() {
    const seen = Object.keys(this.active.set.seen).map(Number).sort((one, other) => one - other);
    this.goTo(seen.find((frame) => frame > this.active.frame) ?? seen[0] ?? this.active.frame);
  }

  nextSet(step) {
    const { sets } = this.said;
    const place = sets.findIndex((set) => set.id === this.active.set.id);
    this.show(this.active, sets[(place + step + sets.length) % sets.length]);
  }

  activate(pane) {
    this.active = pane;
    this.refresh();
  }

  other() {
    if (this.compared) this.activate(this.panes.find((pane) => pane !== this.active));
  }

  compare() {
    if (this.said.sets.length < 2) return;
    this.compared = !this.compared;
    const [left, right] = this.panes;
    right.host.hidden = !this.compared;
    if (this.compared && !right.set) {
      const set = this.counterpart(left.set);
      const share = left.frame / Math.max(left.set.frames - 1, 1);
      right.take(this.readied(set), Math.round(share * (set.frames - 1)));
      this.linked = true;
    }
    if (!this.compared) this.active = left;
    this.hold();
    this.panes.forEach((pane) => pane.resize());
    this.refresh();
    this.ask();
  }

  /** What another set is best compared with: the same view or modality of the other study, else the next set. */
  counterpart(set) {
    const { sets } = this.said;
    const rank = (other) =>
      4 * (other.prior !== set.prior) + 2 * (other.modality === set.modality) + (other.view === set.view);
    return sets.filter((other) => other.id !== set.id).reduce((best, other) => (rank(other) > rank(best) ? other : best));
  }

  link() {
    this.linked = !this.linked;
    this.hold();
    this.refresh();
  }

  use(tool) {
    kept.tool = tool;
    this.refresh();
  }

  fade(by) {
    kept.opacity = Math.min(Math.max(kept.opacity + by, 0), 1);
    this.faded();
  }

  faded() {
    this.refresh();
    this.panes.forEach((pane) => pane.redraw());
  }

  toggleOverlay() {
    kept.shown = !kept.shown;
    this.faded();
  }

  play(playing = !this.playing) {
    clearInterval(this.timer);
    this.playing = playing && this.active.set.frames > 1;
    if (this.playing)
      this.timer = setInterval(() => {
        const next = (this.active.frame + 1) % this.active.set.frames;
        if (this.values.has(idOf({ set: this.active.set, frame: next }))) this.goTo(next);
        else this.ask();
      }, 1000 / kept.fps);
    this.refresh();
  }

  /** A region that was drawn: points in pixels of the original, (0, 0) at the corner of the first one. */
  outline(pane, drawn) {
    if (drawn.length < 3) return;
    const points = drawn.map((point) => point.map((at) => Math.round(at * 10) / 10));
    this.draw({ ...this.own, [this.said.label]: { film: pane.set.seen[pane.frame], points } });
  }

  erase() {
    const { [this.said.label]: gone, ...left } = this.own;
    if (gone) this.draw(left);
  }

  draw(own) {
    this.own = own;
    this.setState("outlines", own);
    this.panes.forEach((pane) => pane.redraw());
    this.refresh();
  }

  /** The viewer alone on the screen, or back. */
  fill() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.box.requestFullscreen();
  }

  help() {
    const help = this.find("help");
    if (help.open) help.close();
    else help.showModal();
  }

  /** End what goes on by itself. */
  stop() {
    this.observer.disconnect();
    clearInterval(this.timer);
    clearTimeout(this.retry);
  }

  /** Give the canvases to another case. */
  leave() {
    this.stop();
    this.panes.forEach((pane) => (pane.set = null));
  }
}

const idOf = ({ set, frame }) => `${set.id}/${frame}`;
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const viewers = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  const size = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
  const said = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + size)));
  let viewer = viewers.get(parentElement);
  if (!viewer || viewer.said.opened < said.opened) {
    viewer?.leave();
    viewer = new Viewer(parentElement);
    viewers.set(parentElement, viewer);
  }
  viewer.update(said, data.subarray(4 + size), setStateValue);
  const { updates } = viewer;
  return () => viewer.updates === updates && viewer.stop(); // Streamlit may call it late, when there was an update since
}

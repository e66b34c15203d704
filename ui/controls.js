// Hands on the viewer: mouse, fingers, keys and buttons, with the keys of the OHIF viewer where it has one.

const WHEEL = 0.0015;
const NEAR = 3;

/** What a key does; a name in capitals is a key of the keyboard. */
const KEYS = {
  i: (viewer) => viewer.active.invert(),
  "+": (viewer) => viewer.active.zoomBy(1.25),
  "-": (viewer) => viewer.active.zoomBy(0.8),
  "=": (viewer) => viewer.active.fit(),
  0: (viewer) => viewer.active.zoomBy(1 / viewer.active.view.zoom),
  " ": (viewer) => viewer.active.reset(),
  ArrowDown: (viewer) => viewer.scroll(1),
  ArrowUp: (viewer) => viewer.scroll(-1),
  ArrowRight: (viewer) => viewer.other(),
  ArrowLeft: (viewer) => viewer.other(),
  Home: (viewer) => viewer.goTo(0),
  End: (viewer) => viewer.goTo(viewer.active.set.frames - 1),
  PageDown: (viewer) => viewer.nextSet(1),
  PageUp: (viewer) => viewer.nextSet(-1),
  n: (viewer) => viewer.nextSeen(),
  c: (viewer) => viewer.play(),
  o: (viewer) => viewer.toggleOverlay(),
  "[": (viewer) => viewer.fade(-0.1),
  "]": (viewer) => viewer.fade(0.1),
  s: (viewer) => viewer.compare(),
  f: (viewer) => viewer.fill(),
  y: (viewer) => viewer.link(),
  Backspace: (viewer) => viewer.erase(),
  "?": (viewer) => viewer.help(),
};

/** Mouse and fingers on one pane. */
function listen(viewer, pane) {
  const { canvas } = pane;
  const pointers = new Map();
  const where = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
  };
  const tool = (event) => ({ 1: "pan", 2: "magnify" })[event.button] ?? kept.tool;

  canvas.onpointerdown = (event) => {
    viewer.activate(pane);
    viewer.find("panes").focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { at: where(event), began: where(event), tool: tool(event) });
    if (tool(event) === "region" && pointers.size === 1 && viewer.outlined) pane.draft = [pointOn(pane, where(event))];
    event.preventDefault();
  };
  canvas.onpointermove = (event) => {
    const held = pointers.get(event.pointerId);
    const now = where(event);
    pane.pointer = now;
    if (!held) return pane.write();
    if (pointers.size === 2) pinch(pane, [...pointers.values()], held, now);
    else drag(pane, held, now);
    held.at = now;
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    pointers.delete(event.pointerId);
    viewer.refresh();
    if (!pane.draft) return;
    const points = pane.draft;
    pane.draft = null;
    pane.redraw();
    if (event.type === "pointerup") viewer.outline(pane, points);
  };
  canvas.onpointerleave = () => {
    pane.pointer = null;
    if (pane.set) pane.write();
  };
  canvas.oncontextmenu = (event) => event.preventDefault();
  canvas.onwheel = (event) => {
    event.preventDefault();
    viewer.activate(pane);
    if (pane.set.frames > 1 && !event.ctrlKey) viewer.scroll(Math.sign(event.deltaY));
    else pane.zoomBy(Math.exp(-event.deltaY * WHEEL * (event.ctrlKey ? 4 : 1)), ...where(event));
  };
}

function drag(pane, held, now) {
  const sharp = window.devicePixelRatio || 1;
  const [right, down] = [now[0] - held.at[0], now[1] - held.at[1]];
  if (held.tool === "level") pane.drag(right / sharp, down / sharp);
  if (held.tool === "pan") pane.pan(right, down);
  if (held.tool === "magnify") pane.zoomBy(Math.exp(-down / (150 * sharp)), ...held.began);
  if (held.tool === "region" && pane.draft) {
    const last = pane.to(...pane.draft.at(-1));
    if (Math.hypot(now[0] - last[0], now[1] - last[1]) < NEAR * sharp) return;
    pane.draft.push(pointOn(pane, now));
    pane.redraw();
  }
}

/** Two fingers: what is between them stays there, as wide as they are. */
function pinch(pane, fingers, held, now) {
  pane.draft = null;
  const other = fingers.find((finger) => finger !== held).at;
  const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
  pane.zoomBy(apart(now) / apart(held.at), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  pane.pan((now[0] - held.at[0]) / 2, (now[1] - held.at[1]) / 2);
}

function pointOn(pane, at) {
  const { x, y } = pane.at(...at);
  const inside = (value, most) => Math.min(Math.max(value, 0), most);
  return [inside(x, pane.set.columns), inside(y, pane.set.rows)];
}

Object.assign(Viewer.prototype, {
  /** Tie buttons and keys to what they do, once. */
  bind() {
    for (const button of this.root.querySelectorAll("[data-key]"))
      button.onclick = () => this.press(button.dataset.key);
    for (const [name, act] of Object.entries({
      opacity: (value) => {
        kept.opacity = value / 100;
        this.faded();
      },
      slice: (value) => this.goTo(Number(value)),
      fps: (value) => {
        kept.fps = Number(value);
        if (this.playing) this.play(true);
      },
      presets: (value) => value !== "" && this.active.inWindow(this.active.set.windows[value]),
    }))
      this.find(name).oninput = (event) => {
        act(event.target.value);
        this.refresh();
      };
    this.find("panes").onkeydown = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.press(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
    };
  },

  /** Do what a key does; whether it does anything. */
  press(key) {
    if (!this.active.set) return false;
    const name = key.length === 1 ? key.toLowerCase() : key;
    const preset = this.active.set.windows[Number(name) - 1];
    if (TOOLS[name]) this.use(TOOLS[name]);
    else if (KEYS[name]) KEYS[name](this);
    else if (preset) this.active.inWindow(preset);
    else return false;
    this.refresh();
    return true;
  },

  /** Make the controls say what holds. */
  refresh() {
    if (!this.active.set) return;
    const { set, frame, window: shown } = this.active;
    this.panes.forEach((pane) => pane.host.classList.toggle("active", this.compared && pane === this.active));
    const press = (key, pressed) => this.root.querySelector(`[data-key="${key}"]`).setAttribute("aria-pressed", pressed);
    for (const [key, tool] of Object.entries(TOOLS)) press(key, kept.tool === tool);
    press("i", this.active.inverted !== set.inverted);
    press("o", kept.shown);
    press("s", this.compared);
    press("y", Boolean(this.linked));
    press("c", Boolean(this.playing));
    this.find("panes").dataset.tool = kept.tool;
    for (const [name, gone] of Object.entries({
      slices: set.frames < 2,
      compare: this.said.sets.length < 2,
      link: !this.compared,
      draw: !set.outlined,
      erase: !(this.said.label in this.own),
      series: this.said.sets.length < 2,
      shade: !this.said.overlays,
      method: !this.said.overlays,
    }))
      this.find(name).hidden = gone;
    this.listSets();
    this.listWindows(set, shown);
    this.find("opacity").value = Math.round(kept.opacity * 100);
    this.find("opacity").setAttribute("aria-valuetext", `${Math.round(kept.opacity * 100)} %`);
    const slice = this.find("slice");
    Object.assign(slice, { max: set.frames - 1, value: frame });
    slice.setAttribute("aria-valuetext", `${set.kind} ${frame + 1} / ${set.frames}`);
    const ticks = Object.keys(this.said.overlays ? set.seen : {}).map((seen) => tick(seen / Math.max(set.frames - 1, 1)));
    this.find("ticks").replaceChildren(...(set.frames > 1 ? ticks : []));
    for (const name of ["low", "high", "method"]) this.find(name).textContent = this.said.legend[name];
    this.find("note").textContent = set.note;
    this.find("note").hidden = !set.note;
  },

  listSets() {
    const buttons = this.said.sets.map((set) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: set.title, onclick: () => this.show(this.active, set) });
      button.setAttribute("aria-pressed", this.active.set.id === set.id);
      return button;
    });
    const strip = this.find("series");
    const focused = [...strip.children].indexOf(this.root.activeElement);
    strip.replaceChildren(...buttons);
    if (focused >= 0) buttons[focused].focus();
  },

  listWindows(set, shown) {
    const list = this.find("presets");
    const place = set.windows.findIndex((one) => shown && one.low === shown.low && one.high === shown.high);
    const names = set.windows.map((one, number) => (number < 9 ? `${one.name} (${number + 1})` : one.name));
    const options = [new Option(this.said.words.own, ""), ...names.map((name, number) => new Option(name, number))];
    options[0].hidden = true;
    if ([...list.options].map((option) => option.text).join() !== options.map((option) => option.text).join())
      list.replaceChildren(...options);
    list.disabled = !set.windows.length;
    list.value = place < 0 ? "" : place;
  },
});

function tick(share) {
  const mark = document.createElement("i");
  mark.style.left = `${100 * share}%`;
  return mark;
}

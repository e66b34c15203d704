// Keys of the page: each presses a button or goes to a field. Whoever types, or has keys of its own, is left alone.

const FIELDS = "input:not([type=radio], [type=checkbox], [type=range], [type=button]), textarea, select, [contenteditable=true]";
const OPEN = "[role=dialog], [data-testid=stPopoverBody]";
const PATIENCE_MS = 3000;
const LOOK_AGAIN_MS = 20;
let said = null;
let struck = [];
let timer = 0;
let met = null;

/** The element that a key is meant for, in a shadow tree too. */
const target = (event) => event.composedPath()[0];

const chord = (event) => event.ctrlKey || event.metaKey || event.altKey;

/** A key by its name in `said.keys`. */
const named = (event) => (event.key.length === 1 ? event.key.toLowerCase() : event.key);

/** What the reader looks at: which screen or case, and which finding. */
const seen = () => [...document.querySelectorAll("h1, .mm-sentence b")].map((part) => part.textContent).join("\n");

/** Do what was struck, in turn: now, or once the page is drawn, unless it shows something else by then. */
function act() {
  clearTimeout(timer);
  while (struck.length) {
    const { name, on, until } = struck[0];
    const toField = said.fields.includes(name);
    const widget = document.querySelector(`.st-key-${said.keys[name]} :is(button, input, textarea)`);
    if (performance.now() > until) struck = [];
    else if (!toField && (seen() !== on || !(name in said.keys))) struck.shift();
    else if (!widget || said.seen !== seen() || (toField && !known(widget))) return (timer = setTimeout(act, LOOK_AGAIN_MS));
    else {
      struck.shift();
      if (toField) write(widget);
      else widget.click();
    }
  }
}

/** Whether a field was there at the last look: one that was drawn just now still empties itself once. */
function known(field) {
  const was = met;
  met = field;
  return was === field;
}

/** Go to a field, with what was struck on the way there. */
function write(field) {
  field.focus();
  const left = struck.findIndex((key) => key.name === "Escape");
  const here = struck.splice(0, left < 0 ? struck.length : left);
  const text = here.map((key) => key.text).filter((text) => text.length === 1).join("");
  if (text) document.execCommand("insertText", false, text);
  if (struck.shift()) leave();
}

function strike(event) {
  event.preventDefault();
  event.stopPropagation();
  struck.push({ name: named(event), text: event.key, on: seen(), until: performance.now() + PATIENCE_MS });
  act();
}

/** What is struck on the way to a field is meant for it, and for nobody else. */
function held(event) {
  if (!chord(event) && struck.some((key) => said.fields.includes(key.name))) strike(event);
}

function pressed(event) {
  if (chord(event)) return;
  if (event.key === "Escape") return leave();
  if (target(event).matches?.(FIELDS)) return;
  if (!(named(event) in said.keys) || (document.querySelector(OPEN) && event.key !== "?")) return;
  if (event.repeat) event.preventDefault();
  else strike(event);
}

export default function ({ data }) {
  said = data;
  document.addEventListener("keydown", held, true);
  document.body.addEventListener("keydown", pressed);
  return () => {
    document.removeEventListener("keydown", held, true);
    document.body.removeEventListener("keydown", pressed);
  };
}

/** Out of a field or of the film. */
function leave() {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  at?.blur();
}

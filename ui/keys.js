// Keys of the page: each presses a button or goes to a field. Whoever types, or has keys of its own, is left alone.

const FIELDS = "input:not([type=radio], [type=checkbox], [type=range], [type=button]), textarea, select, [contenteditable=true]";
const OPEN = "[role=dialog], [data-testid=stPopoverBody]";
const PATIENCE_MS = 3000;
const SETTLED_MS = 600;
let waiting = 0;
let unsettled = 0;
let said = null;
let again = null;

/** The element that a key is meant for, in a shadow tree too. */
const target = (event) => event.composedPath()[0];

/** What the reader looks at: which screen or case, and which finding. */
const seen = () => [...document.querySelectorAll("h1, .mm-sentence b")].map((part) => part.textContent).join("\n");

/** Press now, or once the page is drawn, unless it shows something else by then: a key acts on what was seen. */
function press(name, on, until) {
  clearTimeout(waiting);
  if (seen() !== on || performance.now() > until) return;
  const widget = document.querySelector(`.st-key-${said.keys[name]} :is(button, input, textarea)`);
  if (!widget || said.seen !== on) waiting = setTimeout(() => press(name, on, until), 20);
  else if (widget.matches(FIELDS)) widget.focus();
  else {
    widget.click();
    clearTimeout(unsettled);
    unsettled = setTimeout(redraw, SETTLED_MS);
  }
}

/** What is pressed in the moment in which the film asks for something may be done without the page being drawn anew. */
function redraw() {
  if (document.querySelector("[data-test-script-state=running]")) unsettled = setTimeout(redraw, SETTLED_MS);
  else again();
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return leave();
  if (target(event).matches?.(FIELDS)) return;
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!(name in said.keys) || (document.querySelector(OPEN) && name !== "?")) return;
  event.preventDefault();
  event.stopPropagation();
  if (!event.repeat) press(name, seen(), performance.now() + PATIENCE_MS);
}

export default function ({ data, setTriggerValue }) {
  if (said?.run !== data.run) clearTimeout(unsettled);
  [said, again] = [data, () => setTriggerValue("again", true)];
  document.body.addEventListener("keydown", pressed);
  return () => document.body.removeEventListener("keydown", pressed);
}

/** Out of a field or of the film. */
function leave() {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  at?.blur();
}

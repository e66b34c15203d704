// Keys of the page: each presses a button or goes to a field. Whoever types, or has keys of its own, is left alone.

const FIELDS = "input:not([type=radio], [type=checkbox], [type=range], [type=button]), textarea, select, [contenteditable=true]";
const OPEN = "[role=dialog], [data-testid=stPopoverBody]";
let stop = () => {};

/** The element that a key is meant for, in a shadow tree too. */
const target = (event) => event.composedPath()[0];

export default function ({ data }) {
  stop();
  const pressed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return leave();
    if (target(event).matches?.(FIELDS)) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const widget = data[name];
    if (!widget || (document.querySelector(OPEN) && name !== "?")) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) press(document.querySelector(`.st-key-${widget} :is(button, input, textarea)`));
  };
  document.body.addEventListener("keydown", pressed);
  stop = () => document.body.removeEventListener("keydown", pressed);
  return stop;
}

function press(widget) {
  if (!widget) return;
  if (widget.matches(FIELDS)) widget.focus();
  else widget.click();
}

/** Out of a field or of the film. */
function leave() {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  at?.blur();
}

// Rows of the worklist: j and k move, Enter or a click opens, c claims. The server is asked when a case is wanted.

const TYPING = "input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable=true]";
const MENU = "[role=dialog], [data-testid=stPopoverBody], [role=listbox]";
const MOVES = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
const lists = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".mm-rows");
  const list = lists.get(box) ?? { html: "", at: 0 };
  lists.set(box, list);
  const buttons = () => [...box.querySelectorAll("tbody button")];
  const named = () => buttons()[list.at]?.textContent;
  const mark = (at) => {
    list.at = Math.min(Math.max(at, 0), buttons().length - 1);
    box.querySelectorAll("tbody tr").forEach((row, place) => row.toggleAttribute("data-at", place === list.at));
  };
  const move = (at) => {
    mark(at);
    buttons()[list.at]?.focus();
    buttons()[list.at]?.closest("tr").scrollIntoView({ block: "nearest" });
  };

  if (list.html !== data.html) {
    const free = document.activeElement === document.body || box.contains(document.activeElement);
    box.innerHTML = list.html = data.html;
    if (free) move(data.at);
    else mark(data.at);
  }
  box.onclick = (event) => {
    const row = event.target.closest("tbody tr");
    if (!row) return;
    mark([...row.parentElement.children].indexOf(row));
    setTriggerValue("open", named());
  };
  box.onfocusin = (event) => {
    const at = buttons().indexOf(event.target);
    if (at >= 0) mark(at);
  };
  const pressed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches(TYPING) || document.querySelector(MENU)) return;
    if (event.key in MOVES && !event.target.matches("[role=radio], [role=combobox]")) move(list.at + MOVES[event.key]);
    else if (event.key === "Enter" && event.target === document.body) setTriggerValue("open", named());
    else if (event.key === "c" && !event.repeat) setTriggerValue("claim", named());
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  list.stop?.();
  document.body.addEventListener("keydown", pressed);
  list.stop = () => document.body.removeEventListener("keydown", pressed);
  return list.stop;
}

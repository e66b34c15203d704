// Figures that we drew ourselves, or a report that runs no script, asks for nothing and sees nothing of the screen.

const CONFINED = "<!DOCTYPE html><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">";

export default function ({ data, parentElement }) {
  const place = parentElement.querySelector(".place");
  if (data.figures !== undefined) place.innerHTML = data.figures;
  if (data.report === undefined || place.dataset.name === data.name) return;
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "");
  frame.title = data.name;
  frame.srcdoc = CONFINED + data.report;
  place.dataset.name = data.name;
  place.replaceChildren(frame);
}

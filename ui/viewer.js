// Draws what it is given: a film, an overlay of the same proportions, and the words of the legend.

export default function ({ parentElement, data }) {
  const find = (name) => parentElement.querySelector(`.${name}`);
  const [box, sheet, picture, overlay] = ["film", "sheet", "picture", "overlay"].map(find);
  const [opacity, zoom] = ["opacity", "zoom"].map(find);

  const fade = () => {
    overlay.style.opacity = opacity.value / 100;
    opacity.setAttribute("aria-valuetext", `${opacity.value} %`);
  };
  const fit = () => {
    if (!picture.naturalWidth) return;
    const middle = [
      (box.scrollLeft + box.clientWidth / 2) / box.scrollWidth,
      (box.scrollTop + box.clientHeight / 2) / box.scrollHeight,
    ];
    const whole = Math.min(box.clientWidth / picture.naturalWidth, box.clientHeight / picture.naturalHeight);
    sheet.style.width = `${Math.floor(picture.naturalWidth * whole * zoom.value)}px`;
    box.scrollLeft = middle[0] * box.scrollWidth - box.clientWidth / 2;
    box.scrollTop = middle[1] * box.scrollHeight - box.clientHeight / 2;
  };

  opacity.oninput = fade;
  zoom.oninput = fit;
  box.onpointermove = (event) => {
    if (event.buttons === 1) box.scrollBy(-event.movementX, -event.movementY);
  };
  picture.onload = fit;
  if (picture.getAttribute("src") !== data.film) {
    zoom.value = 1;
    picture.src = data.film;
  }
  picture.alt = data.title;
  overlay.src = data.overlay;
  for (const name of ["low", "high", "method"]) find(name).textContent = data[name];
  fade();
  fit();

  const watcher = new ResizeObserver(fit);
  watcher.observe(box);
  return () => watcher.disconnect();
}

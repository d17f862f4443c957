// Showing images: a grid for each class, a slide with a handle, an own image and what became of it.

const address = (image) => `data:image/png;base64,${image.png}`;
const NAMES = { sample: "sample", step: "step", input: "as the model takes it", enhanced: "enhanced", variation: "variation" };

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function describe(image) {
  const parts = [image.class ?? "", image.position === null ? "" : `${Math.round(image.position * 100)} %`];
  parts.push(image.kind === "sample" || image.kind === "step" ? "" : NAMES[image.kind]);
  parts.push(image.seed === null ? "" : `seed ${image.seed}`);
  return parts.filter(Boolean).join(", ");
}

function picture(image) {
  return element("img", { src: address(image), alt: describe(image), loading: "lazy" });
}

function tiles(images, onPick) {
  const items = images.map((image) => {
    const button = element("button", { type: "button", title: describe(image) }, picture(image));
    button.addEventListener("click", () => onPick(image));
    return element("li", {}, button);
  });
  return element("ul", { className: "tiles" }, ...items);
}

export function showSamples(images, onPick) {
  return [...grouped(images)].map(([name, own]) => {
    const section = element("section", {});
    if (name !== null) section.append(element("h2", { textContent: name }));
    section.append(tiles(own, onPick));
    return section;
  });
}

function grouped(images) {
  const groups = new Map();
  for (const image of images) groups.set(image.class, [...(groups.get(image.class) ?? []), image]);
  return groups;
}

export function showSlide(images, onPick) {
  const shown = element("img", { id: "way-image" });
  const text = element("p", {});
  const last = images.length - 1;
  const handle = element("input", { type: "range", id: "way", min: 0, max: last, step: 1, value: 0 });
  handle.setAttribute("aria-label", "Position between the two ends");
  const move = () => {
    const image = images[handle.value];
    shown.src = address(image);
    shown.alt = describe(image);
    text.textContent = `${Math.round(image.position * 100)} % of the way`;
    handle.setAttribute("aria-valuetext", text.textContent);
  };
  handle.addEventListener("input", move);
  move();
  return [element("div", { className: "way" }, shown, handle, text), tiles(images, onPick)];
}

export function showEnhanced(images, onPick) {
  const figure = (image, caption) =>
    element("figure", {}, picture(image), element("span", { className: "caption", textContent: caption }));
  const [input, enhanced, ...variations] = images;
  const arrow = element("span", { className: "arrow", textContent: "→" });
  arrow.setAttribute("aria-hidden", "true");
  const pair = element("div", { className: "pair" }, figure(input, "as the model takes it"), arrow, figure(enhanced, "enhanced"));
  if (!variations.length) return [pair];
  return [pair, element("h2", { textContent: "Variations" }), tiles(variations, onPick)];
}

// One image, large, with what can be done with it.
export class Closer {
  constructor({ onEnd }) {
    this.dialog = document.getElementById("closer");
    for (const end of ["from", "to"]) {
      document.getElementById(`as-${end}`).addEventListener("click", () => {
        this.dialog.close();
        onEnd(end, this.image);
      });
    }
    document.getElementById("closer-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  show(image) {
    this.image = image;
    const shown = document.getElementById("closer-image");
    shown.src = address(image);
    shown.alt = describe(image);
    document.getElementById("closer-title").textContent = describe(image);
    const save = document.getElementById("closer-save");
    save.href = address(image);
    save.download = `ctfgan-${image.kind}-${image.seed ?? Math.round(image.position * 100)}.png`;
    // Only a sample is given again by its class and seed; a variation also needs the own image.
    const isEnd = image.seed !== null && (image.kind === "sample" || image.position === 0 || image.position === 1);
    for (const end of ["from", "to"]) document.getElementById(`as-${end}`).hidden = !isEnd;
    this.dialog.showModal();
  }
}

// What is chosen lives in the address behind the #, so that a link shows the same images.

export function read() {
  return new URLSearchParams(location.hash.slice(1));
}

export function write(values) {
  const state = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== "" && one !== undefined) state.append(name, one);
  }
  history.replaceState(null, "", `#${state}`);
}

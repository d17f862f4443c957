// A combobox that finds classes on the server, after the pattern of the ARIA authoring guide.

import { get } from "/static/api.js";

const WAIT = 120; // ms after the last key

export class Picker {
  constructor(root, { many, onChange }) {
    this.many = many;
    this.onChange = onChange;
    this.chosen = [];
    this.input = root.querySelector("input");
    this.list = root.querySelector(".options");
    this.chips = root.querySelector(".chips");
    this.active = -1;
    this.isSearching = false;
    this.takesFirst = false; // Enter came before the hits did
    this.input.addEventListener("input", () => this.search(WAIT));
    this.input.addEventListener("focus", () => this.search(0));
    this.input.addEventListener("click", () => this.list.hidden && this.search(0));
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("blur", () => this.close());
    this.list.addEventListener("pointerdown", (event) => event.preventDefault()); // keeps the focus where it is
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option && option.dataset.name !== undefined) this.add(option.dataset.name);
    });
  }

  set(names) {
    this.chosen = this.many ? [...new Set(names)] : names.slice(0, 1);
    this.draw();
  }

  add(name) {
    this.set(this.many ? [...this.chosen, name] : [name]);
    this.input.value = "";
    this.close();
    this.input.setAttribute("aria-invalid", "false");
    this.onChange();
  }

  remove(name) {
    this.set(this.chosen.filter((other) => other !== name));
    this.input.focus();
    this.onChange();
  }

  draw() {
    this.chips.replaceChildren(
      ...this.chosen.map((name) => {
        const chip = document.createElement("li");
        const button = document.createElement("button");
        const text = document.createElement("span");
        button.type = "button";
        text.textContent = name;
        button.setAttribute("aria-label", `Remove ${name}`);
        button.append(text, "×");
        button.addEventListener("click", () => this.remove(name));
        chip.append(button);
        return chip;
      }),
    );
  }

  search(wait) {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.isSearching = true;
    this.timer = setTimeout(async () => {
      this.asking = new AbortController();
      try {
        const query = new URLSearchParams({ search: this.input.value, limit: 50 });
        this.open(await get(`/api/classes?${query}`, this.asking.signal));
      } catch (error) {
        if (error.name !== "AbortError") this.open({ classes: [], more: false }, error.message);
      }
    }, wait);
  }

  open({ classes, more }, problem) {
    if (document.activeElement !== this.input) return;
    this.isSearching = false;
    if (this.takesFirst && classes.length) {
      this.add(classes[0]);
      return;
    }
    this.takesFirst = false;
    const options = classes.map((name, index) => this.option(name, index));
    if (problem || !classes.length) options.push(this.remark(problem ?? "No class has that in its name."));
    if (more) options.push(this.remark("There are more; type on."));
    this.list.replaceChildren(...options);
    this.list.hidden = false;
    this.list.scrollTop = 0;
    this.input.setAttribute("aria-expanded", "true");
    this.mark(this.input.value && classes.length ? 0 : -1);
  }

  option(name, index) {
    const option = document.createElement("li");
    option.id = `${this.list.id}-${index}`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    option.dataset.name = name;
    option.textContent = this.chosen.includes(name) ? `${name} ✓` : name;
    return option;
  }

  remark(text) {
    const option = document.createElement("li");
    option.setAttribute("role", "option");
    option.setAttribute("aria-disabled", "true");
    option.textContent = text;
    return option;
  }

  close() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.isSearching = this.takesFirst = false;
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  mark(index) {
    const options = this.list.querySelectorAll("[data-name]");
    options[this.active]?.setAttribute("aria-selected", "false");
    this.active = index;
    const option = options[index];
    if (!option) {
      this.input.removeAttribute("aria-activedescendant");
      return;
    }
    option.setAttribute("aria-selected", "true");
    this.input.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  }

  key(event) {
    const options = this.list.querySelectorAll("[data-name]");
    const last = options.length - 1;
    if (event.key === "Backspace" && !this.input.value && this.chosen.length) {
      this.set(this.chosen.slice(0, -1));
      this.onChange();
      return;
    }
    if (event.key === "Enter" && this.isSearching && this.input.value) {
      event.preventDefault();
      this.takesFirst = true;
      return;
    }
    if (this.list.hidden) {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        this.search(0);
      }
      return;
    }
    const moves = {
      ArrowDown: () => this.mark(this.active >= last ? 0 : this.active + 1),
      ArrowUp: () => this.mark(this.active <= 0 ? last : this.active - 1),
      Escape: () => this.close(),
      Enter: () => options[this.active] && this.add(options[this.active].dataset.name),
    };
    if (moves[event.key]) {
      event.preventDefault();
      moves[event.key]();
    }
  }
}

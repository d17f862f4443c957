// An own image: chosen, dropped or pasted; looked at before it is sent.

export class OwnImage {
  constructor({ maxBytes, onProblem, onChange }) {
    this.file = null;
    Object.assign(this, { maxBytes, onProblem, onChange });
    this.input = document.getElementById("own");
    this.name = document.getElementById("own-name");
    this.preview = document.getElementById("own-preview");
    this.preview.addEventListener("error", () => (this.preview.hidden = true));
    const drop = document.getElementById("drop");
    this.input.addEventListener("change", () => this.input.files.length && this.take(this.input.files[0]));
    for (const kind of ["dragenter", "dragover"]) {
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.add("over");
      });
    }
    for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) this.take(event.dataTransfer.files[0]);
      else this.onProblem("That was no file; drop an image file.");
    });
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
      if (file && !document.getElementById("panel-enhance").hidden) this.take(file);
    });
  }

  take(file) {
    if (file.size > this.maxBytes) {
      this.forget();
      const mib = (bytes) => (bytes / 1048576).toFixed(1);
      this.onProblem(`The file ${file.name} has ${mib(file.size)} MiB; at most ${mib(this.maxBytes)} MiB are taken, shrink it first.`);
      return;
    }
    this.file = file;
    this.name.textContent = file.name;
    URL.revokeObjectURL(this.preview.src);
    this.preview.src = URL.createObjectURL(file);
    this.preview.hidden = false;
    this.onChange();
  }

  forget() {
    this.file = null;
    this.input.value = "";
    this.name.textContent = "";
    this.preview.hidden = true;
  }
}

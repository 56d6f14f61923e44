// Exports: texts to the clipboard, samples to a file.

function startCopying() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const label = button.textContent;
    button.addEventListener("click", async () => {
      const done = await copy(document.getElementById(button.dataset.copy));
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      setTimeout(() => (button.textContent = label), 1500);
    });
  }
}

// Copies the text of an element, or selects it if the browser does not allow copying.
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

// The samples {points, sizes, digits, columns, setColumn} as a table, a row a point.
function csvOf({ points, sizes, digits, columns, setColumn }) {
  const { shape, values } = unpack(points, Float64Array);
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [[setColumn, ...columns].map(quoted).join(",")];
  sizes.forEach((size, set) => {
    for (let n = 0; n < size; n++) {
      const at = (set * shape[1] + n) * shape[2];
      lines.push(
        [
          set,
          ...Array.from(values.subarray(at, at + shape[2]), (x) => Number(x.toPrecision(digits))),
        ].join(","),
      );
    }
  });
  return lines.join("\n") + "\n";
}

function save(name, text, type = "text/csv") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

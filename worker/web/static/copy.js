// Puts a button beside each id marked `data-copy` that copies it whole.

const SHOWN_MS = 1500;
const ICON =
  '<svg aria-hidden="true" width="14" height="14" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5">' +
  '<rect x="5.5" y="5.5" width="8" height="8" rx="1.5"/><path d="M10.5 3.5v-1h-8v8h1"/></svg>';

const status = document.createElement("p");
status.className = "unseen";
status.setAttribute("role", "status");
document.body.append(status);

function add(root) {
  for (const id of root.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.dataset.text = id.textContent;
    button.setAttribute("aria-label", `Copy ${id.textContent}`);
    button.title = "Copy";
    button.innerHTML = ICON;
    id.after(button);
  }
}

async function copy(text) {
  // only a page of a loopback address or over TLS has a clipboard
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  if (!isDone) throw new Error("the browser does not let a page copy");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("button.copy");
  if (!button) return;
  try {
    await copy(button.dataset.text);
    status.textContent = `Copied ${button.dataset.text}`;
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), SHOWN_MS);
  } catch {
    status.textContent = "Not copied: the browser does not allow it.";
  }
  button.focus({ preventScroll: true });
});

add(document);
document.addEventListener("swapped", (event) => add(event.detail));

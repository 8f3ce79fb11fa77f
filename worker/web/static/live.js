// Keeps a page's figures live: asks for the same address every few seconds and swaps the parts marked `data-live`,
// each named by its id. What is shown stays until something newer is there, whatever fails meanwhile.

const INTERVAL_MS = 4000;

const served = new Map(); // part id -> its HTML as it came from the server, before other scripts added to it
let tag = null;
let timer = 0;
let isPaused = false;
let isAsking = false;

const parts = (root) => [...root.querySelectorAll("[data-live][id]")];
const note = (root) => parts(root).forEach((part) => served.set(part.id, part.outerHTML));

note(document);
if (served.size) start();

function start() {
  const bar = document.createElement("p");
  bar.className = "live";
  bar.innerHTML = '<span role="status"></span> <button type="button"></button>';
  document.querySelector("footer").before(bar);
  const [status, button] = bar.children;

  function say(text, isFailed = false) {
    if (status.textContent !== text) status.textContent = text;
    bar.classList.toggle("failed", isFailed);
    button.textContent = isPaused ? "Resume" : "Pause";
  }

  function schedule() {
    clearTimeout(timer);
    if (!isPaused && !document.hidden) timer = setTimeout(ask, INTERVAL_MS);
  }

  async function ask() {
    if (isAsking) return;
    isAsking = true;
    try {
      const answer = await fetch(location.href, {
        headers: tag ? { "If-None-Match": tag } : {},
        cache: "no-store", // the browser's own cache would answer 200 for a 304
        signal: AbortSignal.timeout(15000),
      });
      if (isPaused) return;
      // what was shown may be gone by now, as a reject that is stored: its page says so
      const isPage = answer.status === 200 || answer.status === 404;
      if (isPage) {
        const isWhole = show(new DOMParser().parseFromString(await answer.text(), "text/html"));
        // with a part left out, for the sake of a selection, the page is asked for as a whole again
        tag = isWhole ? answer.headers.get("ETag") : null;
      }
      if (isPage || answer.status === 304) say("Live updates are on.");
      else say(`The last refresh failed (${answer.status}); what you see is older. Trying again.`, true);
    } catch {
      if (!isPaused) say("The last refresh failed, as the worker did not answer; what you see is older. Trying again.", true);
    } finally {
      isAsking = false;
      schedule();
    }
  }

  button.addEventListener("click", () => {
    isPaused = !isPaused;
    say(isPaused ? "Paused: what you see is not refreshed." : "Live updates are on.");
    if (isPaused) clearTimeout(timer);
    else ask();
  });
  document.addEventListener("visibilitychange", () => (document.hidden || isPaused ? clearTimeout(timer) : ask()));
  say("Live updates are on.");
  schedule();
}

/** Put the parts of a newer page in place of those shown; return whether all of them are shown now. */
function show(newer) {
  document.title = newer.title;
  const wanted = parts(newer);
  const ids = wanted.map((part) => part.id).join();
  if (ids !== parts(document).map((part) => part.id).join()) {
    // another state of the page, such as the first usage ever, or the end of an outage
    const main = document.querySelector("main");
    if (isSelected(main)) return false;
    served.clear();
    note(newer);
    swap(main, newer.querySelector("main"));
    return true;
  }
  let isWhole = true;
  for (const part of wanted) {
    if (served.get(part.id) === part.outerHTML) continue;
    const shown = document.getElementById(part.id);
    if (isSelected(shown)) {
      isWhole = false;
      continue;
    }
    served.set(part.id, part.outerHTML);
    swap(shown, part);
  }
  return isWhole;
}

function swap(shown, part) {
  const focused = shown.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  const open = new Set([...shown.querySelectorAll("details[open][id]")].map((details) => details.id));
  const scrolled = [...shown.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
  part.querySelectorAll("details[id]").forEach((details) => details.toggleAttribute("open", open.has(details.id)));
  const copy = document.importNode(part, true);
  shown.replaceWith(copy);
  copy.querySelectorAll(".scroll").forEach((box, number) => {
    if (scrolled[number]) [box.scrollLeft, box.scrollTop] = scrolled[number];
  });
  document.dispatchEvent(new CustomEvent("swapped", { detail: copy }));
  if (focused) find(copy, focused)?.focus({ preventScroll: true });
}

/** What tells an element apart within its part: how it is written, and which one of those written so it is. */
function keyOf(element) {
  const selector = element.id
    ? `#${CSS.escape(element.id)}`
    : element.getAttribute("href") !== null
      ? `${element.localName}[href="${CSS.escape(element.getAttribute("href"))}"]`
      : element.getAttribute("aria-label") !== null
        ? `${element.localName}[aria-label="${CSS.escape(element.getAttribute("aria-label"))}"]`
        : element.localName;
  const part = element.closest("[data-live], main");
  return { selector, number: [...part.querySelectorAll(selector)].indexOf(element) };
}

function find(part, { selector, number }) {
  const same = part.querySelectorAll(selector);
  return same[number] ?? same[0];
}

function isSelected(part) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(part, true);
}

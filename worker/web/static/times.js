// Adds to the times of a page, which are UTC: the reader's own time as a title, and "3 minutes ago" where it helps.

const EVERY_MS = 10_000;
const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];
const LONG_AGO_S = 30 * 86_400;

const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });

function ago(date) {
  const seconds = Math.round((Date.now() - date) / 1000);
  if (seconds < 5) return seconds < -60 ? "" : "just now";
  if (seconds > LONG_AGO_S) return "";
  const [unit, length] = UNITS.find(([, length]) => seconds >= length);
  return relative.format(-Math.floor(seconds / length), unit);
}

function add(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime);
    time.title = `${local.format(date)} (your time)`;
    if (!("ago" in time.dataset)) continue;
    let beside = time.nextElementSibling;
    if (!beside?.classList.contains("ago")) {
      beside = document.createElement("span");
      beside.className = "ago";
      time.after(" ", beside);
    }
    const text = ago(date);
    if (beside.textContent !== text) beside.textContent = text;
  }
}

add(document);
document.addEventListener("swapped", (event) => add(event.detail));
setInterval(() => document.hidden || add(document), EVERY_MS);
document.addEventListener("visibilitychange", () => document.hidden || add(document));

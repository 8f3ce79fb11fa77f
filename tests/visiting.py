"""What visitors of the pages do and see, as people would say it."""

from urllib.parse import urljoin

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

PATIENCE_MS = 30_000
PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
CONTRAST_MIN = 4.5  # WCAG 2, AA, for text of any size
_SERIOUS = {"serious", "critical"}

# the contrast of each element that has text of its own with the ground it stands on, the least first
READ_CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.body.querySelectorAll("*")]
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((element) => {
      const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 80)];
    })
    .sort((a, b) => a[0] - b[0]);
}"""
# what is cut off, or comes to sight only by scrolling sideways; an input scrolls by itself
FIND_OVERFLOWS = """() => [...document.querySelectorAll("body :not(input)")]
  .filter((element) => element.scrollWidth > element.clientWidth && element.clientWidth > 1
    && getComputedStyle(element).display !== "inline")
  .map((element) => `${element.outerHTML.slice(0, 80)}: ${element.scrollWidth} in ${element.clientWidth}`)"""

# as the server wrote it: scripts add buttons and "3 minutes ago"
_READ_TEXT = """(elements) => elements.map((element) => {
  const copy = element.cloneNode(true);
  copy.querySelectorAll(".ago, button").forEach((added) => added.remove());
  return copy.textContent.trim();
})"""


def figure(page: Page, name: str) -> list[str]:
    """Return what the page shows under this name."""
    return page.locator("dl > div").filter(has=page.get_by_text(name)).locator("dd").evaluate_all(_READ_TEXT)


def search(page: Page, text: str) -> None:
    """Look for a code or a user as a person does."""
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("button", name="Show").click()


def follow(page: Page, link: Locator) -> None:
    """Click on a link and wait until the page that it leads to is there."""
    target = urljoin(page.url, link.get_attribute("href"))
    link.click()
    page.wait_for_url(lambda reached: reached == target)


def shown_usages(page: Page) -> list[tuple[str, ...]]:
    """Return time, user and kind of use of each row of the code page's table."""
    cells = page.locator(".usages tbody td").evaluate_all(_READ_TEXT)
    return list(zip(*[iter(cells)] * 3, strict=True))


def serious_barriers(page: Page) -> list[tuple[str, list[str]]]:
    """Return what an axe check finds serious: each rule, and the elements that break it."""
    found = Axe().run(page).response["violations"]
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found if each["impact"] in _SERIOUS
    ]

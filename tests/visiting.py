"""What visitors of the pages do and see, as people would say it."""

from urllib.parse import urljoin

from playwright.sync_api import Locator, Page

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

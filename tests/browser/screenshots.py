"""
The screenshots of docs/screenshots: `pytest tests/browser/screenshots.py` takes them anew, no run of the tests does.

Sample events of the demo, with the undated ones spread over the last days, through a real worker.
"""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from oracle import recount
from waiting import wait_until

from sandbox.events import samples
from schemas import UsageEvent

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
SIZES = {
    "": {"viewport": {"width": 1200, "height": 1000}},
    "-phone": {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True},
}
EVENTS = 6000
AGE_MEAN = timedelta(hours=60)


@pytest.fixture
def shown(system):
    """A worker that has stored the samples, and the code, the user and the reject that pages are shown of."""
    worker = system.start_worker()
    worker.wait_ready()
    choices = random.Random(EVENTS)
    events = []
    for sample in samples(EVENTS, run="screenshots"):
        if sample.reason:
            system.publisher.publish_raw(sample.value, sample.key)
            continue
        event = UsageEvent.model_validate_json(sample.value)
        age = AGE_MEAN * choices.expovariate(1)
        events.append(event.model_copy(update={"date_used": event.date_used or datetime.now(UTC) - age}))
    system.publisher.publish(sorted(events, key=lambda event: event.date_used))
    system.wait_drained()
    code, counted = max(recount(system.conn).items(), key=lambda item: item[1].total_uses)
    wait_until("the worker shows all uses", lambda: worker.get("/api/v1/overview")[1]["lag"] == 0)
    # one with its bytes worth a look
    statement = "select id from referral_rejections order by reason <> 'invalid_uuid', rejected_at limit 1"
    ((reject,),) = system.conn.execute(statement).fetchall()
    return f"http://127.0.0.1:{worker.port}", code, counted.recent_users[0], reject


def test_screenshots(shown, new_visitor):
    """Every page of readers is shown, light and dark, on a desk and on a phone."""
    url, code, user, reject = shown
    FOLDER.mkdir(exist_ok=True)
    paths = {
        "overview": "/",
        "code": f"/codes/{code}",
        "user": f"/users/{user}",
        "rejections": "/rejections",
        "rejection": f"/rejections/{reject}",
        "workers": "/workers",
    }
    for scheme in ("light", "dark"):
        for size, options in SIZES.items():
            visitor = new_visitor(url, color_scheme=scheme, **options)
            for name, path in paths.items():
                page = visitor.open(path)
                page.wait_for_load_state("networkidle")
                page.screenshot(path=FOLDER / f"{name}-{scheme}{size}.png")
                page.close()

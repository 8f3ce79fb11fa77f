"""Who may: tokens, other sites' pages and other names, before every route there is."""

import base64

import pytest

from worker.web.auth import OPEN_PATHS, Access
from worker.web.headers import SECURITY_HEADERS

PATH = "/api/v1/rejections"
READER = "a-token-that-reads"
ADMIN = "a-token-that-changes"
BOTH = Access(reader_token=READER.encode(), admin_token=ADMIN.encode())


def basic(token, user="anybody"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(params=[BOTH], ids=["both"])
def access(request) -> Access:
    """Both tokens, unless a test says otherwise."""
    return request.param


async def all_paths(web):
    """Return a path for each route, whatever adds it, and what no route is at."""
    paths = (await web.get("/openapi.json", headers=bearer(READER))).json()["paths"]
    uuid = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
    found = {path.replace("{", "").replace("}", "") for path in paths}
    return sorted(
        found
        | {
            "/",
            "/docs",
            "/search",
            "/rejections",
            "/workers",
            f"/codes/{uuid}",
            "/static/style.css",
            "/nothing",
            "/api/v1/nothing",
        }
    )


async def test_nothing_but_probes_is_open_without_a_token(web):
    """Every path there is, whatever route it has or lacks, asks for a token in the way of its kind."""
    paths = await all_paths(web)
    assert len(paths) > 12
    for path in paths:
        for method in ("GET", "HEAD", "POST", "DELETE"):
            answer = await web.request(method, path)
            if path in OPEN_PATHS and method in {"GET", "HEAD"}:
                assert answer.status_code == 200
                continue
            assert answer.status_code == 401, (method, path)
            assert 'Basic realm="' in answer.headers["www-authenticate"]
            is_api = path.startswith("/api/") or path in {"/openapi.json", "/metrics", *OPEN_PATHS}
            assert ("Bearer" in answer.headers["www-authenticate"]) == is_api
            kind = "application/problem+json" if is_api else "text/html; charset=utf-8"
            assert answer.headers["content-type"] == kind
            assert (answer.content == b"") == (method == "HEAD")


@pytest.mark.parametrize("credentials", [basic, bearer])
async def test_reader_reads_and_changes_nothing(web, rows, topic, credentials):
    """The reader's token opens what is read, as the password of any user or as a bearer token; no change is made."""
    id_ = rows.reject()
    for path in ("/", PATH, f"{PATH}/{id_}", "/openapi.json"):
        assert (await web.get(path, headers=credentials(READER))).status_code == 200
    answer = await web.post(f"{PATH}/{id_}/retry", headers=credentials(READER))
    # a browser asks for another password when it is told 401, and only then
    assert answer.status_code == (401 if credentials is basic else 403)
    assert "REFERRALS_WEB_ADMIN_TOKEN" in answer.json()["detail"]
    assert topic.messages == []


@pytest.mark.parametrize("credentials", [basic, bearer])
async def test_admin_reads_and_changes(web, rows, topic, credentials):
    """The admin's token opens both."""
    id_ = rows.reject()
    assert (await web.get("/", headers=credentials(ADMIN))).status_code == 200
    assert (await web.post(f"{PATH}/{id_}/retry", headers=credentials(ADMIN))).status_code == 202
    assert len(topic.messages) == 1


@pytest.mark.parametrize(
    "headers",
    [
        bearer(READER + "x"),
        bearer(READER[:-1]),
        bearer(""),
        bearer(f"{READER} {READER}"),
        basic("wrong", user=READER),
        basic("", user=""),
        basic(READER.upper()),
        {"Authorization": "Basic " + base64.b64encode(READER.encode()).decode()},
        {"Authorization": f"Basic {READER}"},
        {"Authorization": "Basic \u00e9=="},
        {"Authorization": "Bearer \u00e9"},
        {"Authorization": READER},
        {"Authorization": f"Digest {READER}"},
        {"Authorization": ""},
        {"Cookie": f"token={READER}"},
    ],
    ids=str,
)
async def test_wrong_credentials_are_refused(web, headers):
    """Anything that is not exactly a token in one of the two forms is refused, and never fails otherwise."""
    for method in ("GET", "POST"):
        answer = await web.request(
            method, "/api/v1/rejections", headers={name: value.encode("latin-1") for name, value in headers.items()}
        )
        assert answer.status_code == 401
        assert READER not in answer.text


async def test_token_in_the_address_is_not_taken(web):
    """Addresses end up in logs and histories: a token in one opens nothing."""
    assert (await web.get(f"/?token={READER}&access_token={READER}")).status_code == 401


async def test_scheme_is_taken_in_any_case(web):
    """`bearer`, `BEARER` and `basic` are the same schemes."""
    for headers in (bearer(READER), basic(READER)):
        scheme, _, rest = headers["Authorization"].partition(" ")
        for spelling in (scheme.lower(), scheme.upper()):
            assert (await web.get("/", headers={"Authorization": f"{spelling} {rest}"})).status_code == 200


@pytest.mark.parametrize("access", [Access(reader_token=READER.encode())], ids=["reader"], indirect=True)
async def test_changes_are_off_without_an_admin_token(web, rows, topic):
    """Where only readers have a token, nobody changes anything."""
    id_ = rows.reject()
    for headers in (basic(READER), bearer(READER)):
        answer = await web.post(f"{PATH}/{id_}/retry", headers=headers)
        assert answer.status_code == 403
        assert "changes are off" in answer.json()["detail"]
    assert (await web.post(f"{PATH}/{id_}/retry")).status_code == 401
    assert topic.messages == []


@pytest.mark.parametrize("access", [Access(admin_token=ADMIN.encode())], ids=["admin"], indirect=True)
async def test_admin_token_alone_guards_reading_too(web):
    """Where only an admin's token is set, nobody reads without it."""
    assert (await web.get("/")).status_code == 401
    assert (await web.get("/", headers=basic(ADMIN))).status_code == 200


@pytest.mark.parametrize(
    "access", [Access(admin_token=ADMIN.encode(), is_reading_open=True)], ids=["open"], indirect=True
)
async def test_everybody_reads_and_the_admin_changes(web, rows, topic):
    """Reading may be open to everybody while changes need the token."""
    id_ = rows.reject()
    assert (await web.get("/")).status_code == 200
    assert (await web.get("/", headers=bearer("wrong"))).status_code == 200
    assert (await web.post(f"{PATH}/{id_}/retry")).status_code == 401
    assert (await web.post(f"{PATH}/{id_}/retry", headers=bearer(ADMIN))).status_code == 202
    assert len(topic.messages) == 1


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "anything"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://worker"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://worker.evil.example"},
    {"Origin": "http://worker:81"},
    {"Origin": "//worker:x"},
]
OWN = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://worker"},
    {"Origin": "HTTPS://Worker"},
    {"Origin": "https://referrals.example"},
]


@pytest.mark.parametrize(
    "access",
    [Access(own_origin="https://referrals.example"), Access(BOTH.reader_token, BOTH.admin_token)],
    ids=["open", "tokens"],
    indirect=True,
)
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_page_of_another_site_changes_nothing(web, rows, topic, headers):
    """A browser that another site's page sends here is refused with the admin's password too; reading is as before."""
    id_ = rows.reject()
    answer = await web.post(f"{PATH}/{id_}/retry", headers={**basic(ADMIN), **headers})
    assert answer.status_code == 403
    assert "another site" in answer.json()["detail"]
    assert topic.messages == []
    assert (await web.get(PATH, headers={**basic(ADMIN), **headers})).status_code == 200


@pytest.mark.parametrize("access", [Access(own_origin="https://referrals.example")], ids=["open"], indirect=True)
@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_own_pages_and_programs_change(web, rows, headers):
    """Programs send neither header, own pages say so; behind a proxy the origin is that of the URL people use."""
    id_ = rows.reject()
    assert (await web.post(f"{PATH}/{id_}/retry", headers=headers)).status_code == 202


@pytest.mark.parametrize("access", [Access(hosts=frozenset({"referrals.example"}))], ids=["loopback"], indirect=True)
async def test_other_names_are_refused_on_loopback(web, rows, topic):
    """A name that was bent to this machine's own address neither reads nor changes anything; own names do."""
    id_ = rows.reject()
    own = ["localhost", "localhost:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:8080", "referrals.example", "LOCALHOST"]
    for host in own:
        assert (await web.get("/", headers={"Host": host})).status_code == 200, host
    foreign = [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "",
        "[",
    ]
    for host in foreign:
        answer = await web.post(f"{PATH}/{id_}/retry", headers={"Host": host, "Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 421, host
        page = await web.get("/", headers={"Host": host})
        assert page.status_code == 421, host
        assert "REFERRALS_WEB_URL" in page.text
    hostile = await web.get("/", headers={"Host": "<script>"})
    assert (hostile.status_code, "<script>" in hostile.text) == (421, False)
    assert (await web.get("/readyz", headers={"Host": "10.1.2.3:8080"})).status_code == 200
    assert topic.messages == []


async def test_headers_are_on_every_answer(web, health):
    """Whatever is answered, and however, the headers that keep a browser from doing more with it are there."""
    health.reasons = ["not yet"]
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        for path in await all_paths(web):
            for headers in ({}, bearer(ADMIN), {**bearer(ADMIN), "Sec-Fetch-Site": "cross-site"}):
                answer = await web.request(method, path, headers=headers)
                for name, value in SECURITY_HEADERS.items():
                    assert answer.headers[name] == value, (method, path)
                assert "cache-control" in answer.headers


def test_tokens_are_not_in_the_text_of_access():
    """What is logged or shown of it holds no token."""
    assert READER not in repr(BOTH)
    assert ADMIN not in repr(BOTH)

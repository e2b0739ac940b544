"""Who may do what in the console: every route without, with a viewer's, a reviewer's and an admin's rights; sessions, CSRF, limits, headers."""

from __future__ import annotations

import re
import stat

import pytest
from command import passerby
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import build, crop_of

from pipeline.errors import OutputError, UsageError
from pipeline.web import app as console_app
from pipeline.web.access import RateLimit, Role, Sessions, Tokens
from pipeline.web.app import Console, create_app
from pipeline.web.guard import COOKIE, MAX_BODY, Guard
from pipeline.web.login import here
from pipeline.web.serve import Address, guard_for, listening

VIEWER, REVIEWER, ADMIN, NOBODY = Role.VIEWER, Role.REVIEWER, Role.ADMIN, None
RIGHTS = {
    ("GET", "/login"): NOBODY, ("POST", "/login"): NOBODY, ("GET", "/healthz"): NOBODY,
    ("POST", "/logout"): VIEWER, ("GET", "/"): VIEWER, ("GET", "/people"): VIEWER, ("GET", "/people/{identity}"): VIEWER,
    ("GET", "/people/{identity}/similar"): VIEWER, ("GET", "/cameras"): VIEWER, ("GET", "/search"): VIEWER, ("POST", "/search"): VIEWER,
    ("GET", "/reports"): VIEWER, ("GET", "/reports/{table}.{kind}"): VIEWER, ("GET", "/now"): VIEWER,
    ("GET", "/media/crop/{sighting}"): VIEWER, ("GET", "/media/video/{source}/{camera}"): VIEWER, ("GET", "/media/still/{camera}"): VIEWER,
    ("POST", "/people/{identity}/name"): REVIEWER, ("POST", "/people/{identity}/tag"): REVIEWER,
    ("POST", "/people/{identity}/split"): REVIEWER, ("POST", "/people/{identity}/merge"): REVIEWER,
    ("GET", "/review"): REVIEWER, ("POST", "/review"): REVIEWER, ("POST", "/review/undo"): REVIEWER, ("GET", "/review/training.zip"): REVIEWER,
    ("GET", "/settings"): ADMIN, ("POST", "/settings/count"): ADMIN, ("GET", "/settings/count"): ADMIN, ("POST", "/settings/count/stop"): ADMIN,
    ("GET", "/audit"): ADMIN, ("POST", "/people/{identity}/forget"): ADMIN, ("GET", "/erasures"): ADMIN,
    ("PUT", "/api/site/cameras/{camera:path}"): ADMIN, ("PUT", "/api/site/links"): ADMIN,
    ("GET", "/api/openapi.json"): VIEWER, ("GET", "/api/cameras"): VIEWER, ("GET", "/api/status"): VIEWER, ("GET", "/api/people"): VIEWER,
    ("GET", "/api/people/{identity}"): VIEWER, ("GET", "/api/people/{identity}/sightings"): VIEWER,
    ("GET", "/api/people/{identity}/similar"): VIEWER, ("GET", "/api/sightings"): VIEWER, ("GET", "/api/sightings/{sighting}/visits"): VIEWER,
    ("GET", "/api/boxes/{source}/{camera}"): VIEWER, ("GET", "/api/search"): VIEWER, ("POST", "/api/search"): VIEWER,
    ("GET", "/api/reports/{table}"): VIEWER, ("GET", "/api/review"): REVIEWER, ("POST", "/api/review"): REVIEWER,
    ("POST", "/api/review/undo/{correction}"): REVIEWER,
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with build(tmp_path_factory.mktemp("run"), videos=False) as opened:
        yield opened


@pytest.fixture
def tokens(tmp_path):
    return Tokens(tmp_path / "tokens.json")


def client(store, tokens, **values) -> TestClient:
    app = create_app(Console(store), Guard(tokens))
    return TestClient(app, base_url="http://localhost", follow_redirects=False, **values)


def routes() -> set[tuple[str, str]]:
    found = set()
    for part in console_app.PARTS:
        for route in part.router.routes:
            for method in getattr(route, "methods", None) or ():
                if method not in ("HEAD", "OPTIONS"):
                    found.add((method, route.path))
    return found


def address(path: str, store) -> str:
    sighting = str(store.sightings.query(limit=1)[0].id)
    values = {"identity": "1", "sighting": sighting, "source": "1", "camera": "1", "table": "visitors", "kind": "csv", "correction": "99"}
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: values[found[1]], path)


def test_every_route_is_in_the_table_of_rights():
    assert routes() == set(RIGHTS)


@pytest.mark.parametrize("role", [None, *Role], ids=lambda role: "nobody" if role is None else role.name.lower())
def test_every_route_with_these_rights(store, tokens, role):
    tokens.add("somebody-else", ADMIN)
    headers = {} if role is None else {"Authorization": f"Bearer {tokens.add('me', role)}"}
    app = client(store, tokens, raise_server_exceptions=False)
    for (method, path), needed in sorted(RIGHTS.items()):
        answer = app.request(method, address(path, store), headers=headers)
        said = f"{method} {path}: {answer.status_code}"
        assert answer.status_code < 500, said
        if needed is None:
            assert answer.status_code not in (401, 403) or path == "/login", said
        elif role is None:
            to_login = answer.status_code == 303 and answer.headers["location"].startswith("/login")
            assert answer.status_code == 401 or to_login, said
            assert "Person" not in answer.text
        elif role < needed:
            assert answer.status_code == 403, said
        else:
            assert answer.status_code not in (401, 403), said


def test_a_wall_needs_rights_and_the_same_origin(store, tokens):
    from starlette.websockets import WebSocketDisconnect

    token = tokens.add("me", VIEWER)
    app = client(store, tokens)
    for headers in ({}, {"Authorization": "Bearer me.wrong"}, {"Authorization": f"Bearer {token}", "Origin": "http://evil.example"}):
        with pytest.raises(WebSocketDisconnect) as ended, app.websocket_connect("ws://localhost/ws/now", headers=headers) as socket:
            socket.receive_text()
        assert ended.value.code == 1008
    with (
        pytest.raises(WebSocketDisconnect) as ended,
        app.websocket_connect("ws://localhost/ws/now", headers={"Authorization": f"Bearer {token}"}) as socket,
    ):
        socket.receive_text()
    assert ended.value.code == 1000  # no live cameras here


def log_in(app: TestClient, token: str) -> str:
    """Log in; returns the CSRF token of the session."""
    answer = app.post("/login", data={"token": token, "next": "/people"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/people")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    return re.search(r'"X-CSRF-Token": "([^"]+)"', app.get("/people").text)[1]


def test_a_session_needs_its_csrf_token_and_the_same_origin(store, tokens):
    app = client(store, tokens)
    csrf = log_in(app, tokens.add("ann", REVIEWER))
    change = {"url": "/people/2/name", "data": {"name": "Visitor"}}
    assert app.post(**change).status_code == 403
    assert app.post(**change, headers={"X-CSRF-Token": csrf + "x"}).status_code == 403
    assert app.post(**change, headers={"X-CSRF-Token": csrf, "Origin": "http://evil.example"}).status_code == 403
    assert app.post(**change, headers={"X-CSRF-Token": csrf, "Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert store.people.get(2).name is None
    assert app.post(**change, headers={"X-CSRF-Token": csrf, "Origin": "http://localhost"}).status_code == 303
    assert app.post("/people/2/name", data={"name": "  Visitor  two ", "csrf": csrf}).status_code == 303
    assert store.people.get(2).name == "Visitor two"
    assert store.audit.query(action="named")[0].actor == "ann"
    assert app.post("/logout", data={"csrf": csrf}).status_code == 303
    assert app.get("/people").headers["location"] == "/login?next=/people"
    app.post("/people/2/name", data={"name": ""}, headers={"Authorization": f"Bearer {tokens.add('bob', REVIEWER)}"})
    assert store.people.get(2).name is None


def test_a_removed_token_and_another_role_end_sessions(store, tokens):
    app = client(store, tokens)
    tokens.add("root", ADMIN)
    log_in(app, tokens.add("ann", ADMIN))
    assert app.get("/audit").status_code == 200
    tokens.add("ann", VIEWER)
    assert app.get("/audit").status_code == 303
    log_in(app, tokens.add("ann", ADMIN))
    tokens.remove("ann")
    assert app.get("/people").status_code == 303


def test_wrong_tokens_are_refused_and_limited(store, tokens):
    right = tokens.add("ann", VIEWER)
    app = client(store, tokens)
    for wrong in ("", "ann", "ann.", "bob.secret", right + "x", right.replace("ann", "bob"), "\udcff", "é.ü"):
        assert tokens.check(wrong) is None, wrong
    codes = [app.post("/login", data={"token": f"ann.{at}"}).status_code for at in range(12)]
    assert codes == [401] * 10 + [429] * 2
    assert app.post("/login", data={"token": right}).headers["retry-after"]


def test_searches_are_limited(store, tokens):
    app = client(store, tokens)
    app.app.state.guard.searches = RateLimit(2, 60)
    sighting = store.sightings.query(limit=1)[0].id
    assert [app.get(f"/api/search?sighting={sighting}").status_code for _ in range(3)] == [200, 200, 429]


def test_the_file_of_tokens_holds_hashes_and_is_private(tokens):
    token = tokens.add("ann", ADMIN)
    text = tokens.path.read_text()
    assert token.split(".")[1] not in text and "$argon2id$" in text
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    assert tokens.check(token).role == ADMIN and tokens.check(token).name == "ann"
    assert Tokens(tokens.path).check(token) is not None
    tokens.path.write_text("{")
    with pytest.raises(UsageError, match="not a file of console tokens"):
        tokens.check(token)


def test_headers_of_every_kind_of_answer(store, tokens):
    app = client(store, tokens)
    for path in (
        "/people",
        "/static/console.css",
        "/nothing",
        "/api/people",
        "/login",
        f"/media/crop/{store.sightings.query(limit=1)[0].id}",
    ):
        headers = app.get(path).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self';" in policy and "unsafe" not in policy and "default-src 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and "server" not in headers
        assert "no-store" in headers["cache-control"] or "private" in headers["cache-control"] or path.startswith("/static")


def test_no_page_has_inline_script_or_style(store, tokens):
    app = client(store, tokens)
    for path in ("/people", "/people/1", "/review", "/search", "/cameras", "/reports", "/settings", "/now", "/audit", "/nothing"):
        text = app.get(path).text
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", text), path
        assert not re.search(r'(?:src|href)="(?:https?:)?//', text), path


def test_without_tokens_only_this_machine_is_answered(store, tokens):
    app = client(store, tokens)
    assert app.get("/people").status_code == 200
    assert app.get("/people", headers={"Host": "127.0.0.1:8080"}).status_code == 200
    assert app.get("/people", headers={"Host": "evil.example"}).status_code == 421
    csrf = re.search(r'"X-CSRF-Token": "([^"]+)"', app.get("/people").text)[1]
    assert app.post("/people/1/name", data={"name": "x"}).status_code == 403
    assert app.post("/people/1/name", data={"name": ""}, headers={"X-CSRF-Token": csrf}).status_code == 303
    tokens.add("ann", VIEWER)
    assert app.get("/people").status_code == 303  # the session of before is of nobody now


def test_the_console_is_not_opened_to_others_without_tokens(tmp_path):
    for where in (Address("0.0.0.0"), Address("192.168.1.5"), Address("::"), Address("console.example"), Address(proxies="127.0.0.1")):
        with pytest.raises(UsageError, match="needs tokens"):
            guard_for(where, tmp_path / "tokens.json")
    for where in (Address(), Address("::1"), Address("localhost"), Address("127.0.0.5")):
        assert guard_for(where, tmp_path / "tokens.json").open
    Tokens(tmp_path / "tokens.json").add("ann", VIEWER)
    assert not guard_for(Address("0.0.0.0"), tmp_path / "tokens.json").open
    with listening(Address(port=0)) as held, pytest.raises(OutputError, match="cannot listen"):
        listening(Address(port=held.getsockname()[1])).close()


def test_large_bodies_are_refused(store, tokens):
    app = client(store, tokens)
    app.get("/people")
    assert app.post("/api/search", content=b"x", headers={"Content-Length": str(MAX_BODY + 1)}).status_code == 413

    def endless():
        for _ in range(MAX_BODY // 1_000_000 + 2):
            yield b"x" * 1_000_000

    assert app.post("/api/search", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=b"}).status_code in (400, 413)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/media/video/1/..%2f..%2fstore.db",
        "/media/crop/../../etc/passwd",
    ],
)
def test_no_path_leads_out(store, tokens, path):
    answer = client(store, tokens).get(path)
    assert answer.status_code in (404, 422), answer.text[:200]


def test_a_video_outside_of_its_folder_is_not_served(tmp_path, tokens):
    with build(tmp_path / "run", videos=False) as store:
        (tmp_path / "secret.mp4").write_bytes(b"secret")
        store.sightings.feed(1, "gate", 0.0, video="../secret.mp4")
        store.sightings.feed(1, "yard", 0.0, video="store.db")
        app = client(store, tokens)
        numbers = {camera.name: camera.id for camera in store.sightings.cameras()}
        for name in ("gate", "yard"):
            answer = app.get(f"/media/video/1/{numbers[name]}")
            assert answer.status_code == 404 and "secret" not in answer.text
        (tmp_path / "run/gate/link.mp4").symlink_to(tmp_path / "secret.mp4")
        store.sightings.feed(1, "gate", 0.0, video="gate/link.mp4")
        assert app.get(f"/media/video/1/{numbers['gate']}").status_code == 404


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=30)
    | st.sampled_from(["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil", "/people?q=1", "javascript:alert(1)"])
)
def test_a_login_leads_nowhere_else(text):
    found = here(text)
    assert found.startswith("/") and not found.startswith(("//", "/\\")) and "\n" not in found and "\t" not in found


def test_sessions_end():
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    from pipeline.web.access import IDLE, LOCAL, LONGEST

    name = sessions.begin(LOCAL)
    for _ in range(int(LONGEST // (IDLE - 1))):
        now[0] += IDLE - 1
        assert sessions.get(name) is not None
    now[0] += IDLE - 1
    assert sessions.get(name) is None
    other = sessions.begin(LOCAL)
    now[0] += IDLE
    assert sessions.get(other) is None and sessions.get(None) is None and sessions.get("x") is None


def test_a_cookie_is_secure_behind_https(store, tokens):
    tokens.add("ann", VIEWER)
    app = TestClient(create_app(Console(store), Guard(tokens)), base_url="https://console.example", follow_redirects=False)
    answer = app.post("/login", data={"token": tokens.add("ann", VIEWER)})
    assert COOKIE in answer.headers["set-cookie"] and "secure" in answer.headers["set-cookie"].lower()


def test_tokens_from_the_command_line(tmp_path):
    done = passerby("tokens", "add", "ann", "--role", "reviewer", "--file", tmp_path)
    assert done.returncode == 0
    assert Tokens(tmp_path / "console-tokens.json").check(done.stdout.strip()).role == REVIEWER
    assert passerby("tokens", "list", "--file", tmp_path).stdout == "ann: reviewer\n"
    assert passerby("tokens", "add", "ann", "--role", "king", "--file", tmp_path).returncode == 2
    assert passerby("tokens", "remove", "bob", "--file", tmp_path).returncode == 2
    assert passerby("tokens", "remove", "ann", "--file", tmp_path).returncode == 0
    assert passerby("serve", tmp_path / "none").returncode == 2


def test_pictures_of_people_need_no_file_name(store, tokens):
    """What is uploaded is never written: the name that comes with it does not matter."""
    app = client(store, tokens)
    csrf = re.search(r'"X-CSRF-Token": "([^"]+)"', app.get("/people").text)[1]
    answer = app.post("/search", files={"picture": ("../../x.jpg", b"no picture", "image/jpeg")}, headers={"X-CSRF-Token": csrf})
    assert answer.status_code == 422 and "not a picture" in answer.text
    assert crop_of(0).startswith(b"\xff\xd8")

"""What holds for every test: the owner's own data is out of reach, so is the network, and CI skips nothing."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator

import pytest

# Before any test module imports a library that reads them.
os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the owner's settings or conversations. Prepared weights (LUCID_CACHE) are shared: they are big."""
    for name in [n for n in os.environ if n.startswith("LUCID_") and n != "LUCID_CACHE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LUCID_DATA_DIR", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Like an unplugged machine; and a test whose code tried to reach another one fails, even if it coped."""
    tried: list[str] = []

    def refuse_unless_local(host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
        try:
            local = (
                name == "localhost" or ipaddress.ip_address(name.split("%")[0]).is_loopback or name in ("0.0.0.0", "::")
            )
        except ValueError:
            local = name == socket.gethostname()
        if not local:
            tried.append(name)
            raise OSError(101, f"Network is unreachable (a test asked for {name})")

    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def guarded_look_up(host: object, *rest: object, **named: object) -> object:
        refuse_unless_local(host)
        return look_up(host, *rest, **named)  # type: ignore[arg-type]

    def guarded_connect(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            refuse_unless_local(address[0])
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    yield
    assert not tried, f"tried to reach {', '.join(sorted(set(tried)))}: nothing may be contacted"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """In CI a skipped test is a failed one: what it needs must be installed there. A GPU cannot be."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and in_ci() and not hasattr(report, "wasxfail") and not item.get_closest_marker("gpu"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr[2]}"


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """The same for a whole module that skips itself."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and in_ci():
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"

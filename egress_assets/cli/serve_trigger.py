"""`egress serve-trigger`: a POST starts what the catalog's `triggers` name, in a running Dagster.

For callers that know nothing of Dagster: old CronJobs, other teams' pipelines. A run of the same work that is queued or
at work is answered instead of a second one, also when two requests come at the same moment. Two such servers, or a
server and a schedule, may still both start one; the queue's limit by `egress/work` and the engine see to that.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.cli._http import Answer, Request
    from egress_assets.engine.catalog.models import Catalog
    from egress_assets.engine.endpoints import CatalogProvider

logger = logging.getLogger(__name__)

LOCATION = {"repositoryLocationName": "egress", "repositoryName": "__repository__"}  # as in workspace.yaml
SHORTEST_TOKEN = 16  # characters
DAGSTER_SECONDS = 20.0  # a code location of hundreds of assets that has just been loaded takes some
RUNS = """query($filter: RunsFilter!) {runsOrError(filter: $filter, limit: 100) {
  __typename ... on Runs {results {runId assetSelection {path}}}}}"""
LAUNCH = """mutation($params: ExecutionParams!) {launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess {run {runId}}}}"""
AT_WORK = ("QUEUED", "STARTING", "STARTED")


@click.command("serve-trigger")
@click.option("--port", default=8099, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--bind", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen on.")
@click.option(
    "--dagster", default="http://127.0.0.1:3000", show_default=True, metavar="URL", help="Dagster's webserver."
)
@click.pass_obj
def command(state: State, port: int, bind: str, dagster: str) -> int:
    """Start mirrors and datasets by POST with a token, as the catalog's `triggers` say; runs until it is ended."""
    from egress_assets.cli import _http

    triggers = Triggers(state.load_catalog(), Dagster(dagster))
    logging.getLogger("egress_assets.cli").setLevel(logging.INFO)
    return _http.serve(bind, port, triggers)


@dataclass(frozen=True, slots=True)
class Work:
    """What a request starts: a dataset's whole chain, or one of its mirrors, for a date."""

    dataset: str
    mirror: str
    date: str

    @property
    def tag(self) -> str:
        """The value of `egress/work`, by which the queue takes one at a time."""
        return f"{self.dataset}:{self.date}"

    @property
    def assets(self) -> list[str] | None:
        """Path of the one asset; None for all of the dataset's."""
        from egress_assets.engine.layout import asset_key, mirror_unit

        return list(asset_key(mirror_unit(self.mirror))) if self.mirror else None

    def covers(self, selection: list[Mapping[str, Any]] | None) -> bool:
        """Whether a run of these assets (None or empty: the whole job) does this work too."""
        return not selection or self.assets in [each["path"] for each in selection]

    def told(self, run: str, state: str) -> dict[str, str]:
        return {
            "run_id": run, **({"mirror": self.mirror} if self.mirror else {"dataset": self.dataset}),
            "date": self.date, "state": state,
        }  # fmt: skip


class Unavailable(Exception):
    """Dagster was not reached, or gave no answer that helps; another try may."""


class Dagster:
    """The GraphQL of a running webserver. Blocking; used from many threads."""

    def __init__(self, url: str) -> None:
        """Raises click.UsageError for what is no address of a webserver."""
        from urllib.parse import urlsplit

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise click.UsageError(f"--dagster {url!r} is not like http://dagster.example:3000")
        self._url = f"{url.rstrip('/')}/graphql"

    def running(self, work: Work) -> str | None:
        """A run, queued or at work, that does it. Raises Unavailable."""
        tags = [{"key": "egress/work", "value": work.tag}]
        found = self._ask(RUNS, filter={"tags": tags, "statuses": AT_WORK})["runsOrError"]
        if found["__typename"] != "Runs":
            raise Unavailable(f"Dagster did not list its runs: {found['__typename']}")
        return next((run["runId"] for run in found["results"] if work.covers(run["assetSelection"])), None)

    def start(self, work: Work, path: str) -> str:
        """The new run's id. Raises Unavailable."""
        tags = {"dagster/partition": work.date, "egress/work": work.tag, "egress/trigger": path}
        selector = {**LOCATION, "jobName": "__ASSET_JOB" if work.assets else work.dataset}
        params = {
            "selector": selector | ({"assetSelection": [{"path": work.assets}]} if work.assets else {}),
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        found = self._ask(LAUNCH, params=params)["launchRun"]
        if found["__typename"] != "LaunchRunSuccess":
            raise Unavailable(f"Dagster did not start a run: {found['__typename']}")
        return found["run"]["runId"]

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        from http.client import HTTPException
        from urllib.request import ProxyHandler, Request, build_opener

        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(self._url, body, {"Content-Type": "application/json"})  # noqa: S310 - http or https
        try:
            # Never by a proxy of the environment: those lead out of the network that Dagster is in.
            with build_opener(ProxyHandler({})).open(request, timeout=DAGSTER_SECONDS) as answer:
                said = json.loads(answer.read(2**22))
            if said.get("errors") or not said.get("data"):
                raise Unavailable("Dagster refused the query: it may be of another version")
        except (OSError, HTTPException, ValueError, AttributeError) as error:
            raise Unavailable(f"Dagster does not answer at {self._url}: {type(error).__name__}") from error
        return said["data"]


class Triggers:
    """Answers one request. Safe to call from many threads."""

    def __init__(self, catalog: Catalog, dagster: Dagster) -> None:
        """Resolves every token once, so that a missing one shows at the start. Raises CatalogError."""
        from egress_assets.engine.endpoints import CatalogProvider
        from egress_assets.engine.errors import CatalogError

        self._catalog, self._dagster = catalog, dagster
        self._provider, self._paths = CatalogProvider(catalog), catalog.endpoints.triggers
        self._lock = threading.Lock()
        self._asked: dict[Work, Future[tuple[str, str]]] = {}
        if not self._paths:
            raise CatalogError("the catalog has no `triggers`", hint="endpoints.yaml says them; see docs/catalog.md.")
        for path in self._paths:
            token(self._provider, path)

    def __call__(self, request: Request) -> Answer:
        from egress_assets.cli._http import Answer, refusal, unavailable
        from egress_assets.engine.errors import EgressError

        if request.path == "/healthz" and request.method in ("GET", "HEAD"):
            return Answer(200, {"state": "serving"})
        if request.path not in self._paths:
            return refusal(404, "nothing is started by this path", "The catalog's `triggers` say what is.")
        if request.method != "POST":
            return refusal(405, f"{request.method} starts nothing", "Send a POST.", Allow="POST")
        try:
            if refused := self._refused(request):
                return refused
        except EgressError as error:
            logger.warning("a token can't be read: %s", error.message)
            return unavailable("a token of this server can't be read")
        try:
            work = self._work(request)
        except EgressError as error:
            return Answer(400, {"error": {"code": error.code, "message": error.message, "hint": error.hint}})
        return self._started(work, request.path)

    def _refused(self, request: Request) -> Answer | None:
        """None when the request may start what its path says. Raises CatalogError."""
        from egress_assets.cli._http import refusal

        if self._paths[request.path].open:
            return None
        scheme, _, said = request.headers.get("authorization", b"").partition(b" ")
        shown = said.strip() if scheme.lower() == b"bearer" else b""
        if same(shown, token(self._provider, request.path)):
            return None
        if any(same(shown, other) for other in self._others(request.path)):
            return refusal(403, "this token is for another path", "Each path has its own in the catalog's `triggers`.")
        how = 'Send the header "Authorization: Bearer <token>".'
        return refusal(401, "no token, or none that is known", how, WWW_Authenticate='Bearer realm="egress"')

    def _others(self, path: str) -> Iterator[str]:
        """Tokens of all other paths, as far as they can be read."""
        from egress_assets.engine.errors import CatalogError

        for other in self._paths.keys() - {path}:
            with suppress(CatalogError):
                yield token(self._provider, other)

    def _work(self, request: Request) -> Work:
        """Raises CatalogError for a body or a date that is none."""
        from egress_assets.engine.catalog.units import dataset_of
        from egress_assets.engine.layout import mirror_unit
        from egress_assets.engine.partition import now

        kind, _, mirror = self._paths[request.path].start.partition("/")
        dataset = dataset_of(self._catalog, mirror_unit(mirror)) if mirror else kind
        calendar = self._catalog.calendar(dataset)
        date = _date(request.body) or calendar.last_complete(now())
        calendar.require_known(date, now())
        return Work(dataset, mirror, date)

    def _started(self, work: Work, path: str) -> Answer:
        """Asks Dagster once for all requests of the same work that come while it is asked."""
        from egress_assets.cli._http import Answer, unavailable

        with self._lock:
            found = self._asked.get(work)
            asked = self._asked.setdefault(work, Future())
        if found is None:
            _settle(asked, partial(self._ask, work, path))
            with self._lock:
                del self._asked[work]
        try:
            run, state = asked.result()
        except Unavailable as error:
            return unavailable(str(error), "Nothing may have started; a second request finds it if it has.")
        return Answer(202, work.told(run, state if found is None else "running"))

    def _ask(self, work: Work, path: str) -> tuple[str, str]:
        if run := self._dagster.running(work):
            return run, "running"
        return self._dagster.start(work, path), "started"


def _settle(future: Future[tuple[str, str]], ask: partial[tuple[str, str]]) -> None:
    try:
        future.set_result(ask())
    except BaseException as error:  # noqa: BLE001 - every waiter gets it, the one who asked too
        future.set_exception(error)


def token(provider: CatalogProvider, path: str) -> str:
    """The token of a path, resolved now; '' for an open path. Raises CatalogError, also for one that can be guessed."""
    from egress_assets.engine.errors import CatalogError

    found = provider.token(path)
    if found and len(found) < SHORTEST_TOKEN:
        text = f"the token of trigger {path} has {len(found)} characters, {SHORTEST_TOKEN} are needed"
        raise CatalogError(text, hint="Take a random one, for example of `openssl rand -hex 24`.")
    return found


def same(shown: bytes, kept: str) -> bool:
    """Compared in constant time, by digests, so that not even the length shows; nothing is the same as no token."""
    from hashlib import sha256
    from hmac import compare_digest

    return compare_digest(sha256(shown).digest(), sha256(kept.encode()).digest()) and bool(kept)


def _date(body: bytes) -> str | None:
    """The date that a body asks for, if any. `{}` and nothing at all ask for none. Raises CatalogError."""
    from egress_assets.engine.errors import CatalogError

    hint = 'Send nothing, {} or {"date": "YYYY-MM-DD"}.'
    if not body.strip():
        return None
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise CatalogError("the body is not JSON", hint=hint) from None
    if not isinstance(said, dict) or said.keys() - {"date"}:
        raise CatalogError("the body is not an object with `date` alone", hint=hint)
    date = said.get("date")
    if date is not None and not isinstance(date, str):
        raise CatalogError("`date` in the body is not text", hint=hint)
    return date

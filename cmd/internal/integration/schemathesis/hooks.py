"""What schemathesis must know to ask a sluice: how to sign in, what the formats
of the description mean, and which requests it calls good and no schema can
call bad."""

import ipaddress
import itertools
import os

import requests
import schemathesis
from hypothesis import strategies as st

BASE = os.environ["SLUICE_API"]
numbers = itertools.count(1)

# The addresses that the test has decided on, one for each remedy.
DECIDED = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]


def address():
    """Another address each time: those who fail to sign in too often from one are kept out."""
    return str(ipaddress.ip_address("10.0.0.0") + next(numbers))


def networks(version, bits):
    pairs = st.tuples(st.ip_addresses(v=version), st.integers(0, bits))
    return pairs.map(lambda p: str(ipaddress.ip_network(p, strict=False)))


addresses = st.one_of(st.sampled_from(DECIDED), st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
ranges = st.one_of(st.just("192.0.2.0/24"), networks(4, 32), networks(6, 128))
durations = st.one_of(
    st.integers(1, 99).map("{}h".format),
    st.integers(1, 99).map("{}d".format),
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: f"{p[0]}m{p[1]}s"),
)
times = st.datetimes().map(lambda t: t.isoformat(timespec="seconds") + "Z")

schemathesis.openapi.format("ip", addresses)
schemathesis.openapi.format("ip-or-range", st.one_of(addresses, ranges))
schemathesis.openapi.format("duration-of-go", durations)
schemathesis.openapi.format("time-or-duration", st.one_of(durations, times))


def post(path, **body):
    r = requests.post(BASE + path, json=body, headers={"X-Forwarded-For": address()}, timeout=10)
    r.raise_for_status()
    return r


def token(machine, password):
    return post("/v1/watchers/login", machine_id=machine, password=password).json()["token"]


@schemathesis.auth(cache_by_key=lambda case, ctx: next(numbers) if leaves(case) else "agent")
class SignedIn:
    """Every request has the key of a bouncer and the token of a machine; one
    that deletes its machine has one of its own."""

    def get(self, case, ctx):
        if not leaves(case):
            return token("agent", os.environ["SLUICE_PASSWORD"])
        name = f"leaving-{next(numbers)}"
        post("/v1/watchers", machine_id=name, password=name, registration_token=os.environ["SLUICE_REGISTRATION"])
        return token(name, name)

    def set(self, case, data, ctx):
        case.headers = case.headers or {}
        case.headers["Authorization"] = "Bearer " + data
        case.headers["X-Api-Key"] = os.environ["SLUICE_KEY"]


def leaves(case):
    return case.operation.path.endswith("/watchers/self")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Where nothing is decided CrowdSec's server answers null, which its bouncer
    in nginx waits for; the published specification knows a list alone."""
    published = raw_schema.get("definitions", {}).get("GetDecisionsResponse")
    if published:
        published["x-nullable"] = True


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Asks for alerts, decisions and lists that there are, too."""
    for name in ("alert_id", "decision_id"):
        value = (path_parameters or {}).get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            path_parameters[name] = str(int(value) % 20)
    return path_parameters


@schemathesis.hook
def before_call(context, case, kwargs):
    if "/verdict" not in case.operation.path:
        case.headers["X-Forwarded-For"] = address()
    elif not (case.query or {}).get("ip"):
        case.headers["X-Forwarded-For"] = DECIDED[next(numbers) % len(DECIDED)]


@schemathesis.hook
def filter_query(context, query):
    """An address and a range are not asked for together; nor can a schema say
    that the value of an address is an address."""
    query = query or {}
    return not ("ip" in query and "range" in query) and not (query.get("value") and str(query.get("scope")).lower() in ("ip", "range"))

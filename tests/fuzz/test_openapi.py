"""Every route, as its OpenAPI document says and as it forbids, against the whole running service (schemathesis)."""

from collections import Counter
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import reject
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from tests.api.api_support import DATA_URL, PNG
from tests.fuzz.fuzz_support import ADMINISTRATOR, examples, explore
from tests.support.polling import wait_until
from tests.support.service import Service

load_all_checks()
# Not asked for: positive_data_acceptance (whether a size suits a model is more than a schema can say), what needs
# several requests in a row (schemathesis' stateful phase), and keys (tests/api/http/test_keys.py).
CONFORMANCE = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "allow_header_conformance",
    ]
)
REJECTION = CHECKS.get_by_names(["negative_data_rejection"])
JOB = "/v3/images/jobs/{job_id}"
OWNER_EVENTS = "/v3/images/jobs/events"
ROUTES = [
    ("POST", "/v3/images/generations"),
    ("POST", "/v3/images/edits"),
    ("POST", "/v3/images/variations"),
    ("POST", "/v3/images/jobs"),
    ("GET", "/v3/images/jobs"),
    ("GET", OWNER_EVENTS),
    ("PUT", JOB),
    ("GET", JOB),
    ("GET", f"{JOB}/result"),
    ("GET", f"{JOB}/content"),
    ("GET", f"{JOB}/events"),
    ("POST", f"{JOB}/cancel"),
    ("DELETE", JOB),
    ("GET", "/v3/images/queue"),
    ("GET", "/v3/images/queue/owners"),
    ("GET", "/v3/images/queue/workers"),
    ("GET", "/v3/images/queue/jobs"),
    ("GET", "/v3/images/queue/errors"),
    ("POST", f"{JOB}/front"),
    ("POST", "/v3/images/queue/pause"),
    ("POST", "/v3/images/queue/resume"),
    ("POST", "/v3/images/jobs/cancel"),
    ("GET", "/v3/me"),
    ("GET", "/v3/images/files/{token}.{suffix}"),
    ("GET", "/v3/models"),
    ("GET", "/v3/models/{name}"),
    ("GET", "/v1/config"),
    ("POST", "/v1/config/reload"),
    ("POST", "/v3/lora_adapters"),
    ("POST", "/v3/lora_adapters/refresh"),
    ("DELETE", "/v3/lora_adapters/{alias}"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    ("GET", "/metrics"),
    ("GET", "/v2"),
    ("GET", "/v2/models/{name}"),
    ("GET", "/v2/models/{name}/ready"),
]
# What random values of lead to a refusal nearly always.
PARTICULAR = [
    *("model", "width", "height", "size", "n", "num_images_per_prompt", "num_inference_steps", "guidance_scale"),
    *(
        "strength",
        "rng_seed",
        "seed",
        "max_sequence_length",
        "lora_alphas",
        "adapters",
        "background",
        "webhook",
        "prompt_2",
    ),
    *("prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3", "mask", "images"),
]


@pytest.fixture(scope="session")
def document(service: Service) -> Any:
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json")


def test_no_route_is_forgotten(service: Service) -> None:
    paths = service.http.get("/openapi.json").json()["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    # What is at /v1 is at /v3 as well, but for Model Server's routes of its configuration.
    is_other = {route: route[1].startswith("/v1/") and not route[1].startswith("/v1/config") for route in found}
    assert {route for route in found if not is_other[route]} == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: part.replace("/", "_"))
@examples(10, 40)
def test_a_route_does_what_its_document_says(
    service: Service, document: Any, method: str, path: str, count: int
) -> None:
    operation = document[path][method]
    jobs = [_completed_job(service) for _ in range(3)] if "job_id" in path else []
    statuses: Counter[int] = Counter()
    with requests.Session() as session:

        def check(drawn: tuple[str, Any]) -> None:
            kind, case = drawn
            response = case.call(session=session, headers=ADMINISTRATOR, timeout=30)
            statuses[response.status_code] += 1
            case.validate_response(response, checks=CONFORMANCE + (REJECTION if kind == "forbidden" else []))

        explore(check, count, drawn=_cases(operation, jobs))
    print(f"{method} {path}: {sum(statuses.values())} requests, {dict(sorted(statuses.items()))}")


@st.composite
def _cases(draw: st.DrawFn, operation: Any, jobs: list[str]) -> tuple[str, Any]:
    """What the document allows, what it forbids, and what it allows and is likely to be accepted as well."""
    kinds = ["allowed"]
    if operation.body:
        kinds += ["likely", "forbidden"]
    elif operation.query:
        kinds += ["forbidden"]
    kind = draw(st.sampled_from(kinds))
    mode = GenerationMode.NEGATIVE if kind == "forbidden" else GenerationMode.POSITIVE
    job_id = draw(st.sampled_from([None, *jobs]))
    known = {"path_parameters": {"job_id": job_id}} if job_id else {}
    case = draw(operation.as_strategy(mode, **known))
    if case.path == OWNER_EVENTS and (kind == "allowed" or "timeout_s" not in (case.query or {})):
        case.query = {**(case.query or {}), "timeout_s": 0}  # such a stream does not end by itself
    if kind == "forbidden" and _is_allowed_as_sent(case):
        reject()
    if kind == "likely" and isinstance(case.body, dict):
        kept = draw(st.sets(st.sampled_from(PARTICULAR), max_size=1))
        case.body = {name: value for name, value in case.body.items() if name not in PARTICULAR or name in kept}
        if case.media_type == "multipart/form-data":
            case.body["image"] = PNG
        elif "/edits" in case.path or "/variations" in case.path:
            case.body["images"] = [{"image_url": DATA_URL}]
    return kind, case


def _is_allowed_as_sent(case: Any) -> bool:
    """Return whether HTTP makes something else of a value: the last of a repeated name, a header without its edges."""
    repeated = any(isinstance(value, list) for value in (case.query or {}).values())
    key = str((case.headers or {}).get("Idempotency-Key", ""))
    return repeated or len(key) > 256 >= len(key.strip())


def _completed_job(service: Service) -> str:
    body = {"prompt": "a red circle", "size": "32x32"}
    made = service.http.post("/v3/images/jobs", json=body).json()["id"]
    home = f"/v3/images/jobs/{made}"
    wait_until(lambda: service.http.get(home).json()["status"] == "completed", "a job is drawn")
    return str(made)

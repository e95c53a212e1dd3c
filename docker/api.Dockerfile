# The HTTP API. It needs a Redis (REDIS_URL) and workers; it holds no OpenVINO.
#   docker build -f docker/api.Dockerfile -t imagegen-api .
# The digest was that of the tag when it was written here: `docker buildx imagetools inspect python:3.12-slim`.
FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea

ENV PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

COPY docker/api.lock /tmp/api.lock
RUN pip install --no-cache-dir --require-hashes -r /tmp/api.lock

COPY config config
COPY graphs graphs
COPY workers workers
COPY api api
COPY cli cli

RUN useradd --system --uid 10001 --create-home imagegen
# A number: Kubernetes cannot see of a name that it is not root.
USER 10001
EXPOSE 8000

# Alive, not ready: an API without workers is to be kept, it says 503 until they are there.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/live', timeout=4)"]

ENTRYPOINT ["python", "-m", "cli"]
CMD ["api", "--rest_bind_address", "0.0.0.0", "--rest_port", "8000"]

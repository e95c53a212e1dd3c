# A worker: one graph on one device. It holds OpenVINO, and no HTTP server.
#   docker build -f docker/worker.Dockerfile -t imagegen-worker .
#
# As it is, the image runs on CPU. For other devices the user-space drivers must be in the image, and the device
# nodes in the container:
#   GPU  install intel-opencl-icd (Intel's compute runtime, github.com/intel/compute-runtime), and run with
#        --device /dev/dri --group-add <the number of the host's group "render">
#   NPU  install intel-driver-compiler-npu, intel-fw-npu and intel-level-zero-npu
#        (github.com/intel/linux-npu-driver) and level-zero, and run with --device /dev/accel and the same group
# The digest was that of the tag when it was written here: `docker buildx imagetools inspect python:3.12-slim`.
FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea

ENV PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

COPY docker/worker.lock /tmp/worker.lock
RUN pip install --no-cache-dir --require-hashes -r /tmp/worker.lock

COPY config config
COPY graphs graphs
COPY workers workers
COPY cli cli

RUN useradd --system --uid 10001 --create-home imagegen \
    && install --directory --owner imagegen /cache
# A number: Kubernetes cannot see of a name that it is not root.
USER 10001

# Whether a worker has loaded its model is told by the API (/v2/health/ready), which reads the heartbeats; a
# worker that cannot go on exits, and is restarted.
HEALTHCHECK NONE

ENTRYPOINT ["python", "-m", "cli"]
CMD ["worker", "--cache_dir", "/cache"]

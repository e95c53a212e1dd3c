# Everything in one container: the API, workers with OpenVINO, and Redis, as `imagegen serve` starts them on one machine.
#   docker build -f docker/imagegen.Dockerfile -t imagegen .
# The words after the image are those of the command line, Model Server's too:
#   docker run --rm --user $(id -u):$(id -g) -p 8000:8000 -v $(pwd)/models:/models -v imagegen-data:/data imagegen \
#     --rest_port 8000 --model_repository_path /models --source_model OpenVINO/NAME
#
# For other devices than the CPU, see docker/worker.Dockerfile. compose.yaml has the parts in containers of their own.
# The digest was that of the tag when it was written here: `docker buildx imagetools inspect python:3.12-slim`.
FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea

# The data folder: Redis keeps its jobs there. Libraries put small files into HOME.
ENV PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    IMAGEGEN_DATA_DIR=/data \
    HOME=/tmp
WORKDIR /app

COPY requirements.lock /tmp/requirements.lock
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.lock

COPY docker/imagegen /usr/local/bin/imagegen
COPY config config
COPY graphs graphs
COPY workers workers
COPY api api
COPY cli cli

# Any user of `docker run --user` may write there, as the folders are of a single service.
RUN chmod 755 /usr/local/bin/imagegen \
    && useradd --system --uid 10001 imagegen \
    && install --directory --owner imagegen --mode 1777 /data /models
# A number: Kubernetes cannot see of a name that it is not root.
USER 10001
VOLUME /data
EXPOSE 8000

# The port is one of the words after the image, so nothing here can ask it: use /v2/health/ready.
HEALTHCHECK NONE

ENTRYPOINT ["imagegen"]
CMD ["serve", "--rest_bind_address", "0.0.0.0", "--rest_port", "8000"]

# syntax=docker/dockerfile:1
#
#   docker build -t lorad:0.1.0 .
#   docker run --gpus all -p 8000:8000 -v lorad:/data -e LORAD_API_KEYS=default=KEY lorad:0.1.0
#
# LORAD_API_KEYS is not optional here: without keys `lorad serve` binds loopback only, and refuses the 0.0.0.0 of CMD.
# No weights are in the image; the base is fetched into /data on first use. To carry the default base instead:
#
#   docker build --build-arg BAKE_BASE=smollm2-135m-instruct -t lorad:0.1.0-smollm2 .

# torch 2.13.0 from PyPI is built for CUDA 13.0 and brings its CUDA libraries as wheels; constraints.txt pins it.
FROM nvidia/cuda:13.0.2-runtime-ubuntu24.04 AS cuda

FROM cuda AS builder
# Ubuntu drops old package versions from its archive, so a pinned one would stop building; the image tag is the pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
# Dependencies first and alone: a change to the code then leaves their layer, by far the largest, in place.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print('\n'.join(project['dependencies'] + [each for extra in ('postgresql', 's3') for each in project['optional-dependencies'][extra]]))" \
        > requirements.txt \
    && pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt
COPY LICENSE README.md ./
COPY storage storage
COPY base base
COPY corpus corpus
COPY adapters adapters
COPY training training
COPY evaluation evaluation
COPY service service
RUN pip install --no-cache-dir --no-deps .
ARG BAKE_BASE=""
RUN mkdir -p /opt/lorad/bases \
    && if [ -n "${BAKE_BASE}" ]; then LORAD_BASE_HOME=/opt/lorad/bases lorad base fetch "${BAKE_BASE}"; fi

FROM cuda AS runtime
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="lorad" \
      org.opencontainers.image.description="Parameter-efficient finetuning service with REST inference" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# gcc and the headers: Triton compiles a small launcher the first time one of its kernels runs on a GPU.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes gcc libc6-dev python3 python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 lorad \
    && useradd --uid 65532 --gid 65532 --no-log-init --no-create-home --home-dir /tmp --shell /usr/sbin/nologin lorad \
    && install --directory --owner=65532 --group=65532 /data
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /opt/lorad/bases /opt/lorad/bases
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    HF_HOME=/data/huggingface \
    NUMBA_CACHE_DIR=/tmp/numba \
    TRITON_CACHE_DIR=/tmp/triton \
    LORAD_HOME=/data
# Bases live on the volume, unless one was baked in. In two steps, because a default cannot stand inside a `:+`.
ARG BAKE_BASE=""
ENV LORAD_BASE_HOME=${BAKE_BASE:+/opt/lorad/bases}
ENV LORAD_BASE_HOME=${LORAD_BASE_HOME:-/data/bases}
# A number, not the name: Kubernetes can then tell that the user is not root.
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8000
# Python, since the image has no curl. Loading a large base may take minutes, which the start period forgives.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/live', timeout=4)"]
ENTRYPOINT ["lorad"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

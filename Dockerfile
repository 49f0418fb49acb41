# Images of the server with the zoo, and of what trains. They are built with BuildKit.
#
#   docker build .                                    the GPU image: ONNX Runtime for CUDA, torch
#   docker build --target cpu -t ntm-serve:cpu .      ONNX Runtime alone, no torch
#   docker build --target train -t ntm-serve:train .  ntm train, eval, export, plot
#
# Where the base must not change under its tag, name it by digest:
#   --build-arg BASE=python:3.11.13-slim-bookworm@sha256:...
ARG BASE=python:3.11.13-slim-bookworm

FROM ${BASE} AS base

# Packages: an environment each, into which the base's pip installs. They change with a lock alone.
FROM base AS environment
RUN python3 -m venv --without-pip /opt/ntm
WORKDIR /locks
COPY requirements-image.lock ./

FROM environment AS cpu-packages
COPY requirements-cpu.lock ./
RUN pip --python /opt/ntm/bin/python install --no-cache-dir \
    -r requirements-cpu.lock -r requirements-image.lock \
    && find /opt/ntm -type d -name tests -prune -exec rm -r {} +

# torch brings CUDA as packages of its own, and ONNX Runtime loads the same.
FROM environment AS gpu-packages
COPY requirements-gpu.lock ./
RUN pip --python /opt/ntm/bin/python install --no-cache-dir \
    -r requirements-gpu.lock -r requirements-image.lock

# ONNX Runtime is no part of the train profile, and `ntm export` proves its bundles with it.
FROM environment AS train-packages
COPY requirements-train.lock requirements-cpu.lock ./
RUN pip --python /opt/ntm/bin/python install --no-cache-dir \
    -r requirements-train.lock -r requirements-cpu.lock

# Our own code, as a wheel: the only thing that changes with it.
FROM base AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY model model
COPY export export
COPY service service
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

# What all images have: a user without rights, who may write to /data and /tmp alone.
FROM base AS ntm
ENV PATH=/opt/ntm/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ntm-serve" \
      org.opencontainers.image.description="Networks with memory behind a URL" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /data ntm \
    && install -d -o ntm -g ntm /data
ENTRYPOINT ["/opt/ntm/bin/ntm"]

# Of those that serve: bundles in /models, where the zoo lies until another folder is mounted there,
# and sessions in /data. PID 1 is ntm itself, so it hears SIGTERM, and drains.
FROM ntm AS server
ENV NTM_HOST=0.0.0.0 NTM_PORT=8000 NTM_MODELS=/models NTM_STORE=sqlite:///data/sessions.db
COPY model/zoo /models
VOLUME ["/data", "/models"]
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=6s --start-period=60s --retries=3 CMD ["/opt/ntm/bin/ntm", "ready"]
CMD ["serve"]

FROM server AS cpu
COPY --from=cpu-packages /opt/ntm /opt/ntm
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip --python /opt/ntm/bin/python install --no-cache-dir --no-deps /wheel/*.whl
USER 10001:10001

FROM ntm AS train
COPY --from=train-packages /opt/ntm /opt/ntm
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip --python /opt/ntm/bin/python install --no-cache-dir --no-deps /wheel/*.whl
USER 10001:10001
WORKDIR /data
VOLUME /data
CMD ["train", "--help"]

# The last one is what a plain `docker build .` gives.
FROM server AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=gpu-packages /opt/ntm /opt/ntm
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip --python /opt/ntm/bin/python install --no-cache-dir --no-deps /wheel/*.whl
USER 10001:10001

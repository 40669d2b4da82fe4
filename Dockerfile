# syntax=docker/dockerfile:1

FROM python:3.11-slim AS build

# Name the index of PyTorch's CPU-only builds here for an image several GB smaller, or that of another CUDA release.
# Empty: torch as the standard package index has it, which runs on both CPU and NVIDIA GPUs.
ARG TORCH_INDEX_URL=""

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

WORKDIR /src
COPY constraints.txt ./
# By far the largest layer: on its own, so that a change of the code does not fetch it again.
RUN pip install -c constraints.txt ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY model model
COPY backend backend
RUN pip install -c constraints.txt '.[s3]'


FROM python:3.11-slim

RUN useradd --create-home --uid 1000 anomaly && install -d -o anomaly -g anomaly /data
COPY --from=build /opt/venv /opt/venv

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MODEL_DIR=/data/models \
    DATA_DIR=/data/state \
    CACHE_DIR=/data/cache

USER anomaly
WORKDIR /home/anomaly
VOLUME /data
EXPOSE 9090

HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + (os.getenv('PORT') or '9090') + '/health', timeout=4)"]

CMD ["label-studio-anomaly", "serve"]

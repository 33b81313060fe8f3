# syntax=docker/dockerfile:1

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /app
ENV PATH=/app/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.lock .
RUN pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY service service
COPY migrations migrations
RUN pip install --no-deps --no-build-isolation .

FROM python:3.13-slim
# An ordinary user with a fixed id, so that a shared volume has one owner; it owns nothing but the data.
RUN groupadd --gid 10001 collapse \
 && useradd --uid 10001 --gid collapse --home-dir /data --no-create-home --shell /usr/sbin/nologin collapse \
 && install -d -o collapse -g collapse /data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data \
    HOST=0.0.0.0 \
    PORT=8000 \
    MPLCONFIGDIR=/tmp \
    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 \
    MALLOC_TRIM_THRESHOLD_=8000000 MALLOC_MMAP_THRESHOLD_=4000000
USER collapse
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["collapse", "api"]

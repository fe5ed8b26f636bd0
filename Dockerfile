# docker build -t caption-factory .                                       CPU
# docker build -t caption-factory:gpu --build-arg BUILD=gpu .             GPU; run with --gpus all
# docker run --rm -v "$PWD:/work" caption-factory run recipes/quickstart.yaml
ARG PYTHON=3.12
FROM python:${PYTHON}-slim
ARG BUILD=cpu
ARG EXTRAS=s3,gcs,heic,ocr,train
# The GPU build compiles kernels when it first runs; the CPU build's OpenMP and allocator are those of its own wheels.
RUN apt-get update && apt-get install --no-install-recommends -y build-essential libnuma1 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/caption-factory
COPY pyproject.toml constraints.txt README.md LICENSE CHANGELOG.md ./
COPY factory factory
COPY filters filters
COPY exports exports
COPY recipes recipes
RUN pip install --no-cache-dir uv \
    && case "$BUILD" in \
         cpu) uv pip install --system --no-cache --torch-backend cpu -c constraints.txt ".[cpu,$EXTRAS]" ;; \
         gpu) uv pip install --system --no-cache ".[gpu,$EXTRAS]" ;; \
         *) echo "BUILD is cpu or gpu, not $BUILD" >&2; exit 1 ;; \
       esac
RUN useradd --create-home factory
USER factory
WORKDIR /work
ENTRYPOINT ["factory"]
CMD ["--help"]

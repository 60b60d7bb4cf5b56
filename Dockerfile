# The gateway and, by another command, the sandbox. Locked packages, no compiler, no package manager of ours, not root.
FROM python:3.13.7-slim-bookworm AS build
# The same uv as tools/setup.sh; a test holds the two together.
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.8
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /app
# Packages first: they change less often than the code.
COPY pyproject.toml uv.lock README.md ./
RUN uv sync --frozen --no-dev --extra vault --extra aws --extra gcp --extra otel --no-install-project
COPY gateway gateway
COPY buf buf
RUN uv sync --frozen --no-dev --extra vault --extra aws --extra gcp --extra otel --no-editable

FROM python:3.13.7-slim-bookworm
# The root file system is read-only in compose: nothing may be written beside the code, and a home is needed nowhere.
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
COPY --from=build /app/.venv /app/.venv
COPY deploy/healthz.py deploy/healthz.py
USER 1000:1000
EXPOSE 50051
ENTRYPOINT []
CMD ["phoenix-gateway", "serve"]

# The server with the zoo, on the CPU, as a user without rights.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/ntm
COPY requirements-cpu.lock ./
RUN /opt/ntm/bin/pip install --no-cache-dir -r requirements-cpu.lock
COPY pyproject.toml README.md LICENSE ./
COPY model model
COPY export export
COPY service service
RUN /opt/ntm/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home ntm
COPY --from=build /opt/ntm /opt/ntm
USER ntm
ENV NTM_HOST=0.0.0.0 NTM_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["/opt/ntm/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["/opt/ntm/bin/ntm"]
CMD ["serve"]

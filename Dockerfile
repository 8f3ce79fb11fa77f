FROM python:3.13.9-slim-trixie AS build
WORKDIR /build
RUN python -m venv /opt/referrals
COPY requirements.build.lock requirements.runtime.lock ./
# the build backend stays in this stage
RUN python -m pip install --no-cache-dir --require-hashes --requirement requirements.build.lock
RUN /opt/referrals/bin/python -m pip install --no-cache-dir --require-hashes --requirement requirements.runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY worker worker
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/referrals/bin/python -m pip install --no-cache-dir --no-index --no-deps dist/*.whl

FROM python:3.13.9-slim-trixie
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin referrals
COPY --from=build /opt/referrals /opt/referrals
ENV PATH=/opt/referrals/bin:$PATH
USER referrals
EXPOSE 8080
STOPSIGNAL SIGTERM
# only of a worker: the other commands end before it is first asked
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('REFERRALS_WEB_PORT', '8080')}/livez\", timeout=3)"]
ENTRYPOINT ["referrals"]
CMD ["worker"]

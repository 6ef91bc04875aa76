# The gateway: docker build -t tuneport . ; compose.yaml beside it starts it with a PostgreSQL.
# It trains at providers. Local training needs a GPU image and the extra local.
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
# What TUNEPORT_FILES_URL needs, such as s3fs.
ARG PACKAGES=""
COPY pyproject.toml README.md LICENSE ./
COPY .ci/constraints.txt .ci/constraints.txt
COPY src src
COPY providers providers
COPY fixtures/datasets fixtures/datasets
RUN python -m venv /opt/tuneport \
 && /opt/tuneport/bin/pip install --no-cache-dir --constraint .ci/constraints.txt ".[openai,together,litellm,serve]" ${PACKAGES:+"${PACKAGES}"}

FROM python:3.11-slim-bookworm
# The number is fixed, so that a volume's owner stays the same from image to image.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/tuneport --create-home --shell /usr/sbin/nologin tuneport
COPY --from=build /opt/tuneport /opt/tuneport
ENV PATH=/opt/tuneport/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TUNEPORT_HOME=/var/lib/tuneport
USER 10001:10001
WORKDIR /var/lib/tuneport
VOLUME /var/lib/tuneport
EXPOSE 8321
# SIGTERM: what is under way is finished, for 20 seconds at most, and jobs run on at their providers.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8321/readyz', timeout=4)"]
ENTRYPOINT ["tuneport"]
CMD ["serve", "--host", "0.0.0.0"]

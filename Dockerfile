# An image of the command itnio-voice with the extras cli and dlt, for scheduled syncs. docs/deployment.md shows its use.
FROM python:3.13-slim AS build
COPY . /source
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir '/source[cli,dlt]'

FROM python:3.13-slim
COPY --from=build /venv /venv
# The working folder, which is in the volume, holds the database.
RUN useradd --uid 10001 --create-home --home-dir /data itnio
USER 10001
WORKDIR /data
VOLUME /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["itnio-voice"]
CMD ["--help"]

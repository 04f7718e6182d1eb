# syntax=docker/dockerfile:1

# ---- the binary ----
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# The dependencies alone, so that a change to our own code does not build them
# again. The manifest names the benches: without them cargo refuses it.
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches benches
COPY proto proto
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin videogen

COPY src src
# Newer than the stand-ins above, whatever times the files were copied with.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin videogen \
    && install -D target/release/videogen /out/usr/local/bin/videogen \
    && install -d /out/data

# ---- the image ----
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="VideoGen" \
      org.opencontainers.image.description="Buys a video from a slow, paid provider once, follows it, and keeps the file" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

# Providers are verified against the system's certificate authorities.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /data videogen

COPY --from=build /out/usr/local/bin/videogen /usr/local/bin/videogen
COPY --from=build --chown=10001:10001 /out/data /data

ENV VIDEOGEN_SERVER__GRPC_LISTEN=0.0.0.0:50051 \
    VIDEOGEN_SERVER__CALLBACK_LISTEN=0.0.0.0:8080 \
    VIDEOGEN_SERVER__ADMIN_LISTEN=0.0.0.0:9464 \
    VIDEOGEN_STORE__PATH=/data/store \
    VIDEOGEN_ARCHIVE__URL=file:/data/videos

USER 10001:10001
WORKDIR /data
VOLUME /data
# gRPC; callbacks of providers; metrics and health pages.
EXPOSE 50051 8080 9464
# A drain takes up to server.shutdown_grace, 30 s: stop with a longer time than that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["/usr/local/bin/videogen", "health"]
ENTRYPOINT ["/usr/local/bin/videogen"]
CMD ["serve"]

# The gateway in a container: docker build -t gateway .
# docs/install.md has how to run it with a read-only root file system.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches keep what was compiled from one build to the next; the program has to leave them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --features redis,otlp,top --bin gateway \
    && install -D target/dist/gateway /image/usr/bin/gateway
# An empty folder of the user's own, because there is no shell later to make one.
RUN install -d -m 0700 -o 65532 -g 65532 /image/var/cache/gateway

# glibc, root certificates, time zones, and no shell: what a gateway needs, and nothing to log into.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/usr/bin/gateway /usr/bin/gateway
COPY --from=build --chown=65532:65532 /image/var/cache/gateway /var/cache/gateway
COPY packaging/container/gateway.yaml /etc/gateway/gateway.yaml
COPY plugins/prebuilt /usr/share/gateway/filters

# Where `wasm.cache: auto` keeps compiled filters.
ENV CACHE_DIRECTORY=/var/cache/gateway
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
# The address, and not the configuration: an error in the file must not make a gateway unhealthy that serves the version before it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/bin/gateway", "health", "--admin", "127.0.0.1:9901"]
ENTRYPOINT ["/usr/bin/gateway"]
CMD ["--config", "/etc/gateway/gateway.yaml"]

# docker build -t slipway .
#
# The image runs `slipway serve` as a user without rights, listens on port 8080 and keeps its database
# in /data. See compose.yaml for one that runs with an emulated AWS, and docs/deploy.md for EC2, ECS and Kubernetes.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# The dependencies alone: this layer is built again only when they change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/suite \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs tests/suite/main.rs \
    && cargo build --release --locked --bin slipway \
    && rm -r src

COPY migrations migrations
COPY src src
COPY templates templates
COPY openapi.yaml ./
COPY docs/http-status-codes.md docs/
COPY docs/api/examples.json docs/api/
# Cargo goes by times, and the sources may be older than their stand-ins were.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin slipway \
    && install -D target/release/slipway /out/usr/local/bin/slipway \
    && install -d -o 65532 -g 65532 /out/data

# glibc, libgcc and CA certificates; no shell. Debian 12 as above, so that the glibc is the same.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/usr/ /usr/
COPY --from=build --chown=65532:65532 /out/data /data

ENV SLIPWAY_LISTEN=0.0.0.0:8080 \
    SLIPWAY_DATABASE_URL=sqlite:///data/slipway.db
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/local/bin/slipway", "health"]
ENTRYPOINT ["/usr/local/bin/slipway"]
CMD ["serve"]

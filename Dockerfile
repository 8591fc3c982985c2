# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
# jemalloc is built by configure and make.
RUN apt-get update \
    && apt-get install -qy --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
# What collects the licences of the crates in the program; kept as long as the line is the same.
RUN cargo install --locked --features cli cargo-about@0.9.3
WORKDIR /src
COPY . .
# What cargo fetches and builds stays in caches of the builder, so a change of the source rebuilds
# little. They are no part of the image, hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo fetch --locked \
    && cargo build --release --locked --offline \
    && cp target/release/restante /usr/local/bin/restante \
    && cargo about generate --locked --offline --fail --output-file /THIRD-PARTY-LICENSES.txt about.hbs \
    && mkdir /empty

# glibc, the roots of certificates, and nothing else: no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/restante /usr/local/bin/restante
COPY --from=build /src/LICENSE /THIRD-PARTY-LICENSES.txt /usr/share/doc/restante/
# A volume begins as this folder, with its owner.
COPY --from=build --chown=65532:65532 --chmod=700 /empty /var/lib/restante
# Where the token of the admin endpoint is kept, if the database is elsewhere.
ENV STATE_DIRECTORY=/var/lib/restante
# The default database is data/restante.db in here.
WORKDIR /var/lib/restante
VOLUME /var/lib/restante
USER 65532:65532
EXPOSE 110 995
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --start-interval=1s \
    CMD ["/usr/local/bin/restante", "health"]
ENTRYPOINT ["/usr/local/bin/restante"]
CMD ["serve"]

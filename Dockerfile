FROM rust:1-slim-bookworm AS build
# ring and jemalloc compile some C.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /pkdns
COPY . .
# Pages of memory have 4, 16 or 64 KiB on these processors, and jemalloc wants to know the largest.
RUN if [ "$(uname -m)" = aarch64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi; \
    cargo build --release --locked --workspace

FROM debian:bookworm-slim
RUN useradd --system --uid 5353 --home-dir /pkdns --create-home pkdns \
    && install --directory --owner=pkdns --mode=0700 /run/pkdns
COPY --from=build /pkdns/target/release/pkdns /pkdns/target/release/pkdns-cli /usr/local/bin/
USER pkdns
# The socket of `pkdns status` is there, and not in a volume that may be read-only.
ENV RUNTIME_DIRECTORY=/run/pkdns
# pkdns.toml is read from here, if it is mounted, and what outlives a restart is kept here.
VOLUME /pkdns
# DNS; HTTPS and DNS over TLS, where pkdns.toml switches them on.
EXPOSE 5300/udp 5300/tcp 443/tcp 853/tcp
# The server is well when it answers this, whatever the network does. Its last words are in `docker inspect`.
HEALTHCHECK CMD ["pkdns", "--pkdns-dir", "/pkdns", "status"]
ENTRYPOINT ["pkdns", "--pkdns-dir", "/pkdns"]
# Wins over `listen` in pkdns.toml, which the log says. Give flags of your own, or none, and the file decides: loopback, which it
# has by default, is reached from nowhere else.
CMD ["--listen", "0.0.0.0:5300"]

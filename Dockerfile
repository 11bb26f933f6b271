# The programs alone: no shell, no libraries, nothing to update. With programs that have been built before (.ci/release/build),
# `--build-context build=DIRECTORY` takes the place of the first stage; .ci/image does that.
FROM rust:1-slim-bookworm AS build
# ring and jemalloc compile some C.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# Static, so that they need nothing beside them. Pages of memory have 4, 16 or 64 KiB on arm64, and jemalloc wants to know the
# largest.
RUN target=$(uname -m)-unknown-linux-gnu \
    && if [ "$(uname -m)" = aarch64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi \
    && RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --workspace --target "$target" \
    && mkdir /programs /empty && cp "target/$target/release/pkdns" "target/$target/release/pkdns-cli" /programs/

FROM scratch
COPY --from=build /programs/pkdns /programs/pkdns-cli /usr/local/bin/
# Names for the user, and the directories that it writes to.
COPY contrib/container/passwd contrib/container/group /etc/
COPY --from=build --chown=5353:5353 /empty /pkdns
COPY --from=build --chown=5353:5353 /empty /run/pkdns
ENV PATH=/usr/local/bin HOME=/pkdns
USER 5353:5353
# The socket of `pkdns status` is there, and not in a volume that may be read-only.
ENV RUNTIME_DIRECTORY=/run/pkdns
# pkdns.toml is read from here, if it is mounted, and what outlives a restart is kept here.
VOLUME /pkdns
# DNS; HTTPS and DNS over TLS, where pkdns.toml switches them on.
EXPOSE 5300/udp 5300/tcp 443/tcp 853/tcp
# The server is well when it answers this, whatever the network does and whomever [access] serves. Its last words are in
# `docker inspect`.
HEALTHCHECK CMD ["pkdns", "--pkdns-dir", "/pkdns", "status"]
ENTRYPOINT ["pkdns", "--pkdns-dir", "/pkdns"]
# Wins over `listen` in pkdns.toml, which the log says. Give flags of your own, or none, and the file decides: loopback, which it
# has by default, is reached from nowhere else.
CMD ["--listen", "0.0.0.0:5300"]

# The image contains only the programs: no shell and no libraries, so nothing in it needs updates. To use programs that
# .ci/release/build has already built, replace the first stage by `--build-context build=DIRECTORY`, as .ci/release/image does.
FROM rust:1-slim-bookworm AS build
# ring and jemalloc contain C code, and static programs link some.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# Static programs need no other files.
RUN .ci/release/programs \
    && mkdir /programs /empty && cp target/*-unknown-linux-gnu/release/pkdns target/*-unknown-linux-gnu/release/pkdns-cli /programs/

FROM scratch
COPY --from=build /programs/pkdns /programs/pkdns-cli /usr/local/bin/
# The name of the user, and the directories to which it writes.
COPY contrib/container/passwd contrib/container/group /etc/
COPY --from=build --chown=5353:5353 /empty /pkdns
COPY --from=build --chown=5353:5353 /empty /run/pkdns
ENV PATH=/usr/local/bin HOME=/pkdns
USER 5353:5353
# The socket of `pkdns status` is in this directory, because the volume may be read-only.
ENV RUNTIME_DIRECTORY=/run/pkdns
# pkdns reads pkdns.toml from this directory, if it exists, and keeps its state there.
VOLUME /pkdns
# DNS, and HTTPS and DNS over TLS if pkdns.toml enables them.
EXPOSE 5300/udp 5300/tcp 443/tcp 853/tcp
# The server is healthy if it answers this command, regardless of the network and of [access]. `docker inspect` shows the last
# output.
HEALTHCHECK CMD ["pkdns", "--pkdns-dir", "/pkdns", "status"]
ENTRYPOINT ["pkdns", "--pkdns-dir", "/pkdns"]
# This overrides `listen` in pkdns.toml; the log says so if the two differ. Flags that you pass replace it. Without it, the file
# decides, and its default is port 53 of every address.
CMD ["--listen", "0.0.0.0:5300"]

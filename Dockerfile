# sluice, and the demo's stream of logs, as static programs in an image with
# nothing else: no shell, no packages, not root.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/ ./cmd/sluice ./cmd/demo && mkdir /out/state

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build /out/sluice /out/demo /usr/bin/
COPY --from=build --chown=65532:65532 /out/state /var/lib/sluice
COPY configs /etc/sluice
USER 65532:65532
VOLUME /var/lib/sluice
ENTRYPOINT ["/usr/bin/sluice"]
CMD ["run", "-c", "/etc/sluice/compose.yaml"]

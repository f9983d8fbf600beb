# The agent's image: Node, the agent, the libraries that it loads and the tools that it asks; no shell. See docs/image.md.
ARG NODE=docker.io/library/node:24-trixie-slim
ARG DEBIAN=docker.io/library/debian:trixie-slim

FROM ${DEBIAN} AS rootfs
# --build-arg BPFTRACE=1: bpftrace, and the shell by which it asks for a compiler; without one it crashes.
ARG BPFTRACE=
COPY image/rootfs.sh /
# Node's libraries, the agent's, setpriv's, and the tools.
RUN /rootfs.sh /rootfs libstdc++6 libatomic1 libbpf1 libpcap0.8 libcap-ng0 iptables nftables ${BPFTRACE:+bpftrace dash}

FROM ${NODE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make python3 libpcap-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm_package_config_node_gyp_nodedir="$(node -p 'require("node:path").resolve(process.execPath, "../..")')" npm ci
COPY tsconfig.json ./
COPY agent agent
COPY parsers parsers
COPY docs docs
RUN npm run build && npm prune --omit=dev
# Only what Node loads, and licences: no sources of addons, types and manuals, and no koffi for another C library.
RUN rm -rf node_modules/.bin node_modules/pcap/build/Release/obj.target \
  && find node_modules -type f ! -regex '.*\.\([cm]?js\|json\|node\)' ! -iregex '.*/\(licen[cs]e\|copying\|notice\)[^/]*' -delete \
  && for addon in $(find node_modules/@koromix -name '*.node'); do node -e "require('./$addon')" 2>/dev/null || rm "$addon"; done \
  && find node_modules dist -name '*.map' -delete && find node_modules -depth -type d -empty -delete
COPY --from=rootfs /rootfs/var/lib/dpkg/status.d status.d
COPY --from=rootfs /rootfs/etc/os-release ./
COPY image/sbom.mjs ./
RUN node sbom.mjs status.d os-release >sbom.cdx.json

FROM scratch
COPY --from=rootfs /rootfs /
COPY --from=build /usr/local/bin/node /usr/local/bin/
COPY --from=build /usr/local/LICENSE /usr/share/doc/node/copyright
WORKDIR /opt/netvitals
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
COPY package.json ./
COPY --from=build /build/sbom.cdx.json /usr/share/doc/netvitals/
COPY LICENSE /usr/share/doc/netvitals/copyright
ENV NODE_ENV=production PATH=/usr/local/bin:/usr/sbin:/usr/bin
EXPOSE 10477
ENTRYPOINT ["/opt/netvitals/dist/agent/main.js"]
CMD ["serve", "--web.listen-address=[::]:10477"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="netvitals" \
      org.opencontainers.image.description="Network health agent for Linux and Kubernetes nodes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.url="https://github.com/netvitals/netvitals" \
      org.opencontainers.image.source="https://github.com/netvitals/netvitals" \
      org.opencontainers.image.documentation="https://github.com/netvitals/netvitals/blob/main/README.md" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

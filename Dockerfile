# syntax=docker/dockerfile:1
# The agent's image. Build stage: compiler and headers for npm pcap. Runtime: Node, libbpf, libpcap, nothing to build with.
ARG BASE=node:24-trixie-slim

FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make python3 libpcap-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm_package_config_node_gyp_nodedir="$(node -p 'require("node:path").resolve(process.execPath, "../..")')" npm ci
COPY tsconfig.json ./
COPY agent agent
COPY parsers parsers
COPY docs docs
RUN npm run build && npm prune --omit=dev

FROM ${BASE}
LABEL org.opencontainers.image.title="netvitals" \
      org.opencontainers.image.description="Network health agent for Linux and Kubernetes nodes" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update && apt-get install -y --no-install-recommends libbpf1 libpcap0.8 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/netvitals
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
ENV NODE_ENV=production
EXPOSE 10477
ENTRYPOINT ["/opt/netvitals/dist/agent/main.js"]
CMD ["serve", "--web.listen-address=[::]:10477"]

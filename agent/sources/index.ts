import type { Host } from '../host/host.ts'
import type { ToolSignal } from '../host/tools.ts'
import { type MapName, mapNames } from '../host/traced-maps.ts'
import { catalogue, type MetricName } from '../metrics/catalogue.ts'
import { createBpftraceScripts, type UserScript } from './bpftrace-scripts.ts'
import { createNetlinkConntrack } from './netlink-conntrack.ts'
import { createNetlinkConntrackEntries } from './netlink-conntrack-entries.ts'
import { createNetlinkDevices } from './netlink-devices.ts'
import { createNetlinkNeighbours } from './netlink-neighbours.ts'
import { createNetlinkQdisc } from './netlink-qdisc.ts'
import { createNetlinkSockets } from './netlink-sockets.ts'
import { createPcapCapture } from './pcap-capture.ts'
import { createPcapDns } from './pcap-dns.ts'
import { createPcapHttp } from './pcap-http.ts'
import { createPcapIcmp } from './pcap-icmp.ts'
import { createProcSnmp } from './proc-snmp.ts'
import { createProcSockstat } from './proc-sockstat.ts'
import { createProcSoftnet } from './proc-softnet.ts'
import type { Source } from './source.ts'
import { createToolHealth } from './tool-health.ts'
import { createTraceConnects } from './trace-connects.ts'
import { createTraceDrops } from './trace-drops.ts'
import { createTraceEdges } from './trace-edges.ts'
import { createTraceEvents } from './trace-events.ts'
import { createTraceIcmp } from './trace-icmp.ts'
import { createTraceResets } from './trace-resets.ts'
import { createTraceRetransmits } from './trace-retransmits.ts'

/** The sources there are, in the order people read them. */
export function createSources(host: Host, scripts: readonly UserScript[] = []): readonly Source[] {
  return [
    createTraceDrops(host),
    createTraceResets(host),
    createTraceRetransmits(host),
    createTraceConnects(host),
    createTraceIcmp(host),
    createTraceEdges(host),
    createTraceEvents(host),
    createNetlinkSockets(host),
    createProcSnmp(host),
    createProcSockstat(host),
    createNetlinkConntrack(host),
    createNetlinkConntrackEntries(host),
    createNetlinkDevices(host),
    createNetlinkQdisc(host),
    createNetlinkNeighbours(host),
    createProcSoftnet(host),
    createPcapDns(host),
    createPcapHttp(host),
    createPcapIcmp(host),
    createPcapCapture(host),
    ...(scripts.length > 0 ? [createBpftraceScripts(host, scripts)] : []),
    ...(host.tools.all().length + scripts.length > 0 ? [createToolHealth(host)] : []),
  ]
}

/** What a tool tells instead of the tracer. */
export const sourcesOfTools: Readonly<Record<ToolSignal, string>> = {
  retransmits: 'trace-retransmits',
  drops: 'trace-drops',
  connects: 'trace-connects',
  opens: 'proc-snmp',
}

/** The tracer's maps that these sources read: a map bears its metric's name without the prefix. */
export function mapsReadBy(sources: readonly string[]): readonly MapName[] {
  return mapNames.filter((map) => sources.includes(catalogue[`netvitals_${map}` satisfies MetricName].source))
}

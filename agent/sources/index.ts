import type { Host } from '../host/host.ts'
import { type MapName, mapNames } from '../host/tracer.ts'
import { catalogue, type MetricName } from '../metrics/catalogue.ts'
import { createNetlinkConntrack } from './netlink-conntrack.ts'
import { createNetlinkDevices } from './netlink-devices.ts'
import { createNetlinkNeighbours } from './netlink-neighbours.ts'
import { createNetlinkQdisc } from './netlink-qdisc.ts'
import { createNetlinkSockets } from './netlink-sockets.ts'
import { createProcSnmp } from './proc-snmp.ts'
import { createProcSockstat } from './proc-sockstat.ts'
import { createProcSoftnet } from './proc-softnet.ts'
import type { Source } from './source.ts'
import { createTraceConnects } from './trace-connects.ts'
import { createTraceDrops } from './trace-drops.ts'
import { createTraceIcmp } from './trace-icmp.ts'
import { createTraceResets } from './trace-resets.ts'
import { createTraceRetransmits } from './trace-retransmits.ts'

/** The sources there are, in the order people read them. */
export function createSources(host: Host): readonly Source[] {
  return [
    createTraceDrops(host),
    createTraceResets(host),
    createTraceRetransmits(host),
    createTraceConnects(host),
    createTraceIcmp(host),
    createNetlinkSockets(host),
    createProcSnmp(host),
    createProcSockstat(host),
    createNetlinkConntrack(host),
    createNetlinkDevices(host),
    createNetlinkQdisc(host),
    createNetlinkNeighbours(host),
    createProcSoftnet(host),
  ]
}

/** The tracer's maps that these sources read: a map bears its metric's name without the prefix. */
export function mapsReadBy(sources: readonly string[]): readonly MapName[] {
  return mapNames.filter((map) => sources.includes(catalogue[`netvitals_${map}` satisfies MetricName].source))
}

import type { Host } from '../host/host.ts'
import { createNetlinkConntrack } from './netlink-conntrack.ts'
import { createNetlinkDevices } from './netlink-devices.ts'
import { createNetlinkNeighbours } from './netlink-neighbours.ts'
import { createNetlinkQdisc } from './netlink-qdisc.ts'
import { createNetlinkSockets } from './netlink-sockets.ts'
import { createProcSnmp } from './proc-snmp.ts'
import { createProcSockstat } from './proc-sockstat.ts'
import { createProcSoftnet } from './proc-softnet.ts'
import type { Source } from './source.ts'
import { createTraceDrops } from './trace-drops.ts'

/** The sources there are, in the order people read them. */
export function createSources(host: Host): readonly Source[] {
  return [
    createTraceDrops(host),
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

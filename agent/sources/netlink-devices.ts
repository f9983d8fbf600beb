import { type NetworkDevice, parseProcNetDev } from '../../parsers/proc-net-dev.ts'
import { parseProcNetIpv6RouteDefaults, parseProcNetRouteDefaults } from '../../parsers/proc-net-route.ts'
import { linksRequest, readLink } from '../../parsers/rtnetlink.ts'
import { NotFound } from '../host/errors.ts'
import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { isNetlinkUnavailable } from '../host/netlink.ts'
import { type MetricsOf, metricsOf } from '../metrics/catalogue.ts'
import { eachNamespace } from './each-namespace.ts'
import type { Source } from './source.ts'

type Metric = MetricsOf<'netlink-devices'>

interface Device extends NetworkDevice {
  /** Its other end is in another namespace: a pod's, most likely. */
  readonly isVirtualEnd: boolean
}

const perDevice = [
  ['netvitals_device_received_bytes_total', 'receiveBytes'],
  ['netvitals_device_transmitted_bytes_total', 'transmitBytes'],
  ['netvitals_device_received_packets_total', 'receivePackets'],
  ['netvitals_device_transmitted_packets_total', 'transmitPackets'],
  ['netvitals_device_receive_drops_total', 'receiveDrops'],
  ['netvitals_device_transmit_drops_total', 'transmitDrops'],
  ['netvitals_device_receive_errors_total', 'receiveErrors'],
  ['netvitals_device_transmit_errors_total', 'transmitErrors'],
] as const
const perSubject = [
  ['netvitals_received_bytes_total', 'receiveBytes'],
  ['netvitals_transmitted_bytes_total', 'transmitBytes'],
  ['netvitals_received_packets_total', 'receivePackets'],
  ['netvitals_transmitted_packets_total', 'transmitPackets'],
] as const

/** How container networks name the host's end of a pod's device, for where only the name is known. */
const virtualEndName = /^(veth|cali|lxc)/

/** Devices of the host, and the traffic of every namespace. */
export function createNetlinkDevices(host: Host): Source<Metric> {
  function readFromProc(netns: NetworkNamespace): Device[] {
    return parseProcNetDev(host.files.readNet(netns, 'dev'), '/proc/net/dev').map((device) => ({
      ...device,
      isVirtualEnd: virtualEndName.test(device.name),
    }))
  }

  async function readByNetlink(signal: AbortSignal): Promise<Device[]> {
    const devices: Device[] = []
    await host.netlink.dump(
      host.namespaces.host,
      linksRequest(),
      {
        restart: () => void devices.splice(0),
        message: (bytes, from, to) => {
          const { name, kind, linkNetnsId, stats } = readLink(bytes, from, to)
          if (stats === undefined) return
          devices.push({
            name,
            isVirtualEnd: kind === 'veth' && linkNetnsId !== undefined,
            receiveBytes: stats.rxBytes ?? 0,
            receivePackets: stats.rxPackets ?? 0,
            receiveErrors: stats.rxErrors ?? 0,
            receiveDrops: (stats.rxDropped ?? 0) + (stats.rxMissedErrors ?? 0),
            transmitBytes: stats.txBytes ?? 0,
            transmitPackets: stats.txPackets ?? 0,
            transmitErrors: stats.txErrors ?? 0,
            transmitDrops: stats.txDropped ?? 0,
          })
        },
      },
      signal,
    )
    return devices
  }

  /** Devices that have, or had, a default route: when it goes for a moment, the host's totals must not change what they add. */
  const uplinks = new Set<string>()

  /** A node that is itself a container reaches the world through a veth: the devices with a default route are its own. */
  function findUplinks(): void {
    for (const [file, parse] of [
      ['route', parseProcNetRouteDefaults],
      ['ipv6_route', parseProcNetIpv6RouteDefaults],
    ] as const) {
      try {
        for (const device of parse(host.files.readNet(host.namespaces.host, file), `/proc/net/${file}`)) uplinks.add(device)
      } catch (error) {
        if (!(error instanceof NotFound)) throw error
      }
    }
  }

  async function readHostDevices(signal: AbortSignal): Promise<Device[]> {
    let devices: Device[]
    try {
      devices = await readByNetlink(signal)
    } catch (error) {
      if (!isNetlinkUnavailable(error)) throw error
      devices = readFromProc(host.namespaces.host)
    }
    findUplinks()
    for (const uplink of uplinks) if (!devices.some(({ name }) => name === uplink)) uplinks.delete(uplink)
    return uplinks.size === 0 ? devices : devices.filter(({ name, isVirtualEnd }) => !isVirtualEnd || uplinks.has(name))
  }

  return {
    name: 'netlink-devices',
    writes: metricsOf('netlink-devices'),
    needs: [{ file: '/proc/net/dev' }, { library: 'koffi' }],
    async collect(sink, signal) {
      await eachNamespace(host, sink, signal, async (netns, isHost) => {
        const devices = isHost ? await readHostDevices(signal) : readFromProc(netns)
        if (isHost) {
          for (const device of devices) {
            for (const [metric, field] of perDevice)
              sink.emit(metric, { of: 'node', labels: { device: device.name }, value: device[field] })
          }
        }
        const own = devices.filter(({ name }) => name !== 'lo')
        for (const [metric, field] of perSubject)
          sink.emit(metric, { of: { netns }, labels: {}, value: own.reduce((sum, device) => sum + device[field], 0) })
      })
    },
  }
}

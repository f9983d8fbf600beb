import { counter, gauge, type Scene, type Series, type Stretch, scaled, scraped, throughout, toScene } from './story.ts'

const device = (name: string) => ({ ...scraped('node-1'), device: name })
/** 5,000 packets a second each way, and a share of them with a fault, more of it in one direction. */
const faulty =
  (fault: 'drops' | 'errors') =>
  (name: string, ...stretches: readonly Stretch[]): readonly Series[] => [
    counter('netvitals_device_received_packets_total', device(name), throughout(stretches, 5000)),
    counter('netvitals_device_transmitted_packets_total', device(name), throughout(stretches, 5000)),
    counter(`netvitals_device_receive_${fault}_total`, device(name), ...scaled(stretches, (ratio) => 9000 * ratio)),
    counter(`netvitals_device_transmit_${fault}_total`, device(name), ...scaled(stretches, (ratio) => 1000 * ratio)),
  ]
/** One of five packets, but of few. */
const idle = (fault: 'drops' | 'errors'): readonly Series[] => [
  counter('netvitals_device_received_packets_total', device('idle'), [100, 4]),
  counter('netvitals_device_transmitted_packets_total', device('idle'), [100, 0.5]),
  counter(`netvitals_device_receive_${fault}_total`, device('idle'), [100, 0.9]),
  counter(`netvitals_device_transmit_${fault}_total`, device('idle'), [100, 0]),
  counter('netvitals_device_received_packets_total', device('unused'), [100, 0]),
  counter('netvitals_device_transmitted_packets_total', device('unused'), [100, 0]),
  counter(`netvitals_device_receive_${fault}_total`, device('unused'), [100, 0]),
  counter(`netvitals_device_transmit_${fault}_total`, device('unused'), [100, 0]),
]
const neighbours = (node: string, family: 'ipv4' | 'ipv6') => ({ ...scraped(node), family })

export const deviceScenes: readonly Scene[] = [
  toScene({
    alert: 'NetvitalsSoftnetDrops',
    series: (node, ...stretches) => [counter('netvitals_softnet_drops_total', scraped(node), ...stretches)],
    normal: 0,
    below: 0.9,
    fault: 1.1,
    burst: [4, 3],
    lag: 5,
    pending: 10,
    labels: scraped('fault'),
    description:
      'On fault 1.1 received packets a second are dropped because the backlog of a CPU is full: it gets more packets than it can handle. The board Node shows it; spread the packets over more CPUs.',
  }),
  toScene({
    alert: 'NetvitalsQdiscDrops',
    series: (name, ...stretches) => [
      counter('netvitals_qdisc_drops_total', device(name), ...scaled(stretches, (ratio) => 1000 * ratio)),
      counter('netvitals_device_transmitted_packets_total', device(name), ...scaled(stretches, (ratio) => 1000 * (1 - ratio))),
    ],
    normal: 0,
    below: 0.009,
    fault: 0.011,
    burst: [4, 0.5],
    lag: 5,
    pending: 15,
    also: [
      counter('netvitals_qdisc_drops_total', device('idle'), [100, 0.9]),
      counter('netvitals_device_transmitted_packets_total', device('idle'), [100, 4]),
      // A pod's end, of which only its own namespace tells what it sent.
      counter('netvitals_qdisc_drops_total', device('veth1'), [100, 50]),
    ],
    labels: device('fault'),
    description:
      'On node-1 the queueing discipline of fault drops 1.1% of the packets it should send: more is sent than the link, or a limit set for it, lets through.',
  }),
  toScene({
    alert: 'NetvitalsDeviceErrors',
    series: faulty('errors'),
    normal: 0,
    below: 0.0009,
    fault: 0.0011,
    burst: [4, 0.1],
    lag: 5,
    pending: 15,
    also: [...idle('errors'), ...faulty('drops')('dropping', [100, 0.1])],
    labels: device('fault'),
    description:
      'On node-1 0.11% of the packets of fault are errors: cable, transceiver, duplex or driver. `ip -s -s link show fault` on the node tells which kind.',
  }),
  toScene({
    alert: 'NetvitalsDeviceDrops',
    series: faulty('drops'),
    normal: 0,
    below: 0.0009,
    fault: 0.0011,
    burst: [4, 0.1],
    lag: 5,
    pending: 15,
    also: [...idle('drops'), ...faulty('errors')('broken', [100, 0.1])],
    labels: device('fault'),
    description:
      'On node-1 fault drops 0.11% of its packets: its ring is too small, or nobody takes them. `ethtool -S fault` on the node tells more.',
  }),
  toScene({
    alert: 'NetvitalsNeighbourTableNearlyFull',
    series: (node, ...stretches) => [
      gauge('netvitals_neighbour_entries', neighbours(node, 'ipv4'), ...stretches),
      gauge('netvitals_neighbour_entries_limit', neighbours(node, 'ipv4'), throughout(stretches, 1024)),
      // Two tables: the sum of both says nothing.
      gauge('netvitals_neighbour_entries', neighbours(node, 'ipv6'), throughout(stretches, 3)),
      gauge('netvitals_neighbour_entries_limit', neighbours(node, 'ipv6'), throughout(stretches, 1024)),
    ],
    normal: 50,
    below: 737,
    fault: 901.12,
    burst: [4, 1024],
    lag: 0,
    pending: 5,
    labels: neighbours('fault', 'ipv4'),
    description:
      'On fault the ipv4 neighbour table is 88% full. When it is full, whoever is not in it cannot be reached. Raise net.ipv4.neigh.default.gc_thresh3.',
  }),
  toScene({
    alert: 'NetvitalsNeighbourTableFull',
    series: (node, ...stretches) => [
      counter('netvitals_neighbour_table_full_total', neighbours(node, 'ipv6'), ...stretches),
      counter('netvitals_neighbour_table_full_total', neighbours(node, 'ipv4'), throughout(stretches, 0)),
    ],
    normal: 0,
    below: 0.09,
    fault: 0.11,
    burst: [1, 20],
    lag: 5,
    pending: 5,
    labels: neighbours('fault', 'ipv6'),
    description:
      'On fault the ipv6 neighbour table is full and refuses 110m entries a second: their addresses cannot be reached. Raise net.ipv6.neigh.default.gc_thresh3 now.',
  }),
]

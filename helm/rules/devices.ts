import { thresholds } from '../../agent/metrics/thresholds.ts'
import { above, add, and, rate, value } from '../promql.ts'
import { type AlertGroup, node, ratio, window } from './rule.ts'

/** A device that is nearly idle drops a frame of an unknown protocol every few seconds: a large share of little. */
const lossFloor = 1

const sent = rate('netvitals_device_transmitted_packets_total', {}, window)
const packets = add(rate('netvitals_device_received_packets_total', {}, window), sent)
const errors = add(
  rate('netvitals_device_receive_errors_total', {}, window),
  rate('netvitals_device_transmit_errors_total', {}, window),
)
const drops = add(
  rate('netvitals_device_receive_drops_total', {}, window),
  rate('netvitals_device_transmit_drops_total', {}, window),
)
const qdiscDrops = rate('netvitals_qdisc_drops_total', {}, window)

export const deviceAlerts: AlertGroup = {
  topic: 'devices',
  alerts: [
    {
      name: 'NetvitalsSoftnetDrops',
      summary: 'A CPU drops received packets because its backlog is full',
      description: `On ${node} {{ $value | humanize }} received packets a second are dropped because the backlog of a CPU is full: it gets more packets than it can handle. The board Node shows it; spread the packets over more CPUs.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.softnetDropsPerSecond.warning,
      query: above(rate('netvitals_softnet_drops_total', {}, window), thresholds.softnetDropsPerSecond.warning),
    },
    {
      name: 'NetvitalsQdiscDrops',
      summary: 'A device drops packets that it should send',
      description: `On ${node} the queueing discipline of {{ $labels.device }} drops {{ $value | humanizePercentage }} of the packets it should send: more is sent than the link, or a limit set for it, lets through.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.qdiscDropRatio.warning,
      query: and(
        above(ratio(qdiscDrops, add(sent, qdiscDrops)), thresholds.qdiscDropRatio.warning),
        above(qdiscDrops, lossFloor),
      ),
    },
    {
      name: 'NetvitalsDeviceErrors',
      summary: 'A device receives or sends broken packets',
      description: `On ${node} {{ $value | humanizePercentage }} of the packets of {{ $labels.device }} are errors: cable, transceiver, duplex or driver. \`ip -s -s link show {{ $labels.device }}\` on the node tells which kind.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.deviceErrorRatio.warning,
      query: and(above(ratio(errors, packets), thresholds.deviceErrorRatio.warning), above(errors, lossFloor)),
    },
    {
      name: 'NetvitalsDeviceDrops',
      summary: 'A device drops packets',
      description: `On ${node} {{ $labels.device }} drops {{ $value | humanizePercentage }} of its packets: its ring is too small, or nobody takes them. \`ethtool -S {{ $labels.device }}\` on the node tells more.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.deviceDropRatio.warning,
      query: and(above(ratio(drops, packets), thresholds.deviceDropRatio.warning), above(drops, lossFloor)),
    },
    {
      name: 'NetvitalsNeighbourTableNearlyFull',
      summary: 'Neighbour table is nearly full',
      description: `On ${node} the {{ $labels.family }} neighbour table is {{ $value | humanizePercentage }} full. When it is full, whoever is not in it cannot be reached. Raise net.{{ $labels.family }}.neigh.default.gc_thresh3.`,
      severity: 'warning',
      for: '5m',
      threshold: thresholds.neighbourRatio.warning,
      query: above(
        ratio(value('netvitals_neighbour_entries', {}), value('netvitals_neighbour_entries_limit', {})),
        thresholds.neighbourRatio.warning,
      ),
    },
    {
      name: 'NetvitalsNeighbourTableFull',
      summary: 'Neighbour table is full',
      description: `On ${node} the {{ $labels.family }} neighbour table is full and refuses {{ $value | humanize }} entries a second: their addresses cannot be reached. Raise net.{{ $labels.family }}.neigh.default.gc_thresh3 now.`,
      severity: 'critical',
      for: '5m',
      threshold: thresholds.neighbourRefusalsPerSecond.fault,
      query: above(rate('netvitals_neighbour_table_full_total', {}, window), thresholds.neighbourRefusalsPerSecond.fault),
    },
  ],
}

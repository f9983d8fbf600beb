import type { DropCategory } from '../../agent/metrics/drop-category.ts'
import { thresholds } from '../../agent/metrics/thresholds.ts'
import { above, labelled, or, rate, sumWithout } from '../promql.ts'
import { type AlertGroup, node, owner, suddenly, window } from './rule.ts'

const drops = 'netvitals_dropped_packets_total'
const dropsOf =
  (...categories: readonly DropCategory[]) =>
  (ago?: string) =>
    sumWithout(rate(drops, { category: { anyOf: categories } }, window, ago), 'reason', 'category', 'protocol', 'direction')

/** Each kernel and privilege shows some of these; none of them can be added to another. */
const tooLarge = or(
  or(
    labelled(rate('netvitals_icmp_sent_fragmentation_needed_total', {}, window), 'sign', 'fragmentation_needed_sent'),
    labelled(rate('netvitals_icmp_received_fragmentation_needed_total', {}, window), 'sign', 'fragmentation_needed_received'),
  ),
  or(
    labelled(rate('netvitals_icmp_received_packet_too_big_total', {}, window), 'sign', 'packet_too_big_received'),
    labelled(
      sumWithout(rate(drops, { reason: 'pkt_too_big' }, window), 'reason', 'category', 'protocol', 'direction'),
      'sign',
      'packet_too_big_dropped',
    ),
  ),
)

export const dropAlerts: AlertGroup = {
  topic: 'drops',
  alerts: [
    {
      name: 'NetvitalsNetfilterDropsBegan',
      summary: 'Firewall or policy suddenly drops packets',
      description: `On ${node} {{ $value | humanize }} packets a second of ${owner} are dropped by netfilter rules, over ${thresholds.suddenTimes.warning} times as many as an hour before: a firewall or network policy has changed, or somebody does what it forbids. \`netvitals observe --category netfilter\` on the node shows who and where to.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.dropsPerSecond.warning,
      query: suddenly(dropsOf('netfilter'), thresholds.dropsPerSecond.warning, thresholds.suddenTimes.warning),
    },
    {
      name: 'NetvitalsSocketBufferDrops',
      summary: 'Packets are dropped because an application reads too slowly',
      description: `On ${node} {{ $value | humanize }} packets a second for ${owner} are dropped because the receiving socket has no room: the application does not keep up, or its buffer is too small. \`netvitals observe --category socket_buffer\` on the node shows the port.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.dropsPerSecond.warning,
      query: above(dropsOf('socket_buffer')(), thresholds.dropsPerSecond.warning),
    },
    {
      name: 'NetvitalsUnreachableDrops',
      summary: 'Packets are dropped because there is no way to their destination',
      description: `On ${node} {{ $value | humanize }} packets a second of ${owner} are dropped because there is no route for them or no neighbour answers. \`netvitals observe --category routing,neighbour\` on the node shows where they should go.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.dropsPerSecond.warning,
      query: above(dropsOf('routing', 'neighbour')(), thresholds.dropsPerSecond.warning),
    },
    {
      name: 'NetvitalsQueueDrops',
      summary: 'Packets are dropped because a queue is full',
      description: `On ${node} {{ $value | humanize }} packets a second of ${owner} are dropped because a queue of the machine is full: of a device, or of a CPU. The board Node shows which.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.dropsPerSecond.warning,
      query: above(dropsOf('queue')(), thresholds.dropsPerSecond.warning),
    },
    {
      name: 'NetvitalsMemoryDrops',
      summary: 'Packets are dropped because the kernel has no memory for them',
      description: `On ${node} {{ $value | humanize }} packets a second of ${owner} are dropped because the kernel has no memory for them. Look at the memory of the node, and at how much TCP and UDP may have.`,
      severity: 'warning',
      for: '10m',
      threshold: thresholds.memoryDropsPerSecond.warning,
      query: above(dropsOf('memory')(), thresholds.memoryDropsPerSecond.warning),
    },
    {
      name: 'NetvitalsPathMtu',
      summary: 'Packets are too large for a link on their way',
      description: `On ${node} {{ $value | humanize }} packets a second of ${owner} are too large for a link on their way ({{ $labels.sign }}), and it does not stop: the senders do not learn. Small requests work, large ones hang.`,
      severity: 'warning',
      for: '15m',
      threshold: thresholds.tooLargePacketsPerSecond.warning,
      query: above(tooLarge, thresholds.tooLargePacketsPerSecond.warning),
    },
  ],
}

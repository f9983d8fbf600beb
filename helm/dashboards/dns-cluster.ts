import { above, increase, type LabelOf, like, type Query, rate, shownWindow, sum, topk } from '../promql.ts'
import type { Board } from './board.ts'
import { captureLosses, lostByCapture } from './capture-panels.ts'
import { dnsPanels } from './dns-panels.ts'
import { here } from './variables.ts'

const panels = dnsPanels('cluster')
const notCaptured = panels.requests.empty

/** What the capture loses, of all that the agent may lose. */
const lost = { ...here, kind: { anyOf: captureLosses } } as const
const byNode = (of: Query<LabelOf<'netvitals_lost_events_total'>>) => topk(20, above(sum(of, 'node'), 0))

export const dnsClusterBoard: Board = {
  uid: 'netvitals-dns-cluster',
  title: 'DNS (Cluster)',
  description:
    'Whether names are resolved, for all pods and nodes: what fails with which code (NXDOMAIN, SERVFAIL), what is not answered, how long it takes, who is hit and which servers answer. Read from packets, which takes the tier capture of the chart or CAP_NET_RAW.',
  variables: ['cluster', 'job', 'node'],
  rows: [
    {
      title: 'Overview',
      panels: [
        panels.requestsNow,
        panels.missingNow,
        panels.errorsNow,
        panels.unknownNamesNow,
        panels.latencyNow,
        panels.searchFailuresNow,
        panels.requests,
        panels.failures,
      ],
    },
    { title: 'How bad, how slow', panels: [panels.shares, panels.latency, panels.latencyBuckets, panels.slowest] },
    { title: 'Who is hit', panels: [panels.podsWithErrors, panels.podsWithMissing, panels.podTable] },
    {
      title: 'DNS servers',
      panels: [panels.served, panels.servers, panels.failingServers].map((panel) => ({ ...panel, width: 8 })),
    },
    {
      title: 'Requests',
      panels: [
        { ...panels.byType, width: 8 },
        {
          kind: 'graph',
          title: 'DNS requests by node',
          description:
            'Which nodes ask most, with all pods on them. One node far above the others: look for the pod, below or with `netvitals observe --dns -f` on it. One that falls to nothing while its pods live: its packets are not captured, see the last row.',
          unit: 'reqps',
          width: 8,
          empty: notCaptured,
          targets: [{ query: topk(20, sum(rate('netvitals_dns_queries_total', here), 'node')), legend: '{{node}}' }],
        },
        {
          kind: 'graph',
          title: 'DNS requests by namespace',
          description:
            'Whose pods ask most; `host` is the nodes themselves, with the pods that have their network. One that rises alone asks in a loop or has lost its cache. DNS (Workload) shows its pods.',
          unit: 'reqps',
          width: 8,
          empty: notCaptured,
          targets: [
            {
              query: topk(19, sum(rate('netvitals_dns_queries_total', { ...here, namespace: like('.+') }), 'namespace')),
              legend: '{{namespace}}',
            },
            { query: sum(rate('netvitals_dns_queries_total', { ...here, namespace: '' })), legend: 'host' },
          ],
        },
        ...[panels.podsWithSearchFailures, panels.addresses, panels.truncated].map((panel) => ({ ...panel, width: 8 })),
      ],
    },
    {
      title: 'What the capture could not see',
      isCollapsed: true,
      panels: [
        lostByCapture(...captureLosses),
        {
          kind: 'graph',
          title: 'Packets that could not be read as DNS',
          description:
            'Packets captured without all that was needed (cut) or with broken headers (unreadable), messages on the DNS ports that are no DNS (malformed), and responses nobody was seen to have asked for (unmatched). Unmatched ones are late, forged, or their query was lost. Much of the others: something else uses the port.',
          unit: 'pps',
          empty: notCaptured,
          targets: [
            { query: sum(rate('netvitals_captured_packets_cut_total', here)), legend: 'cut' },
            { query: sum(rate('netvitals_captured_packets_unreadable_total', here)), legend: 'unreadable' },
            { query: sum(rate('netvitals_dns_malformed_total', here)), legend: 'malformed' },
            { query: sum(rate('netvitals_dns_unmatched_responses_total', here)), legend: 'unmatched' },
          ],
        },
        {
          kind: 'table',
          title: 'Capture by node',
          description:
            'In the whole time shown, for each node: what was captured, what of it could not be read, what was lost, and how often the process that captures began. An empty cell is 0, or not among the twenty highest. A node that is missing captures nothing: `netvitals check` there says what it needs.',
          empty: notCaptured,
          labels: { node: 'Node' },
          sortBy: 'Lost',
          columns: [
            {
              heading: 'Lost',
              unit: 'short',
              query: byNode(increase('netvitals_lost_events_total', lost, shownWindow)),
              levels: { warning: 1 },
            },
            { heading: 'Packets', unit: 'short', query: byNode(increase('netvitals_captured_packets_total', here, shownWindow)) },
            { heading: 'Cut', unit: 'short', query: byNode(increase('netvitals_captured_packets_cut_total', here, shownWindow)) },
            {
              heading: 'Unreadable',
              unit: 'short',
              query: byNode(increase('netvitals_captured_packets_unreadable_total', here, shownWindow)),
            },
            { heading: 'Malformed', unit: 'short', query: byNode(increase('netvitals_dns_malformed_total', here, shownWindow)) },
            {
              heading: 'Unmatched',
              unit: 'short',
              query: byNode(increase('netvitals_dns_unmatched_responses_total', here, shownWindow)),
            },
            { heading: 'Starts', unit: 'short', query: byNode(increase('netvitals_capture_starts_total', here, shownWindow)) },
          ],
        },
      ],
    },
  ],
}

import { above, divideByOne, function_, increase, rate, shownWindow, sum, topk, withWorkload } from '../promql.ts'
import type { Board } from './board.ts'
import { dnsPanels } from './dns-panels.ts'
import { inPods, inWorkloads } from './variables.ts'

const panels = dnsPanels('workload')
const requested = sum(withWorkload(increase('netvitals_dns_queries_total', inPods, shownWindow), inWorkloads), 'qtype')
const responded = sum(withWorkload(increase('netvitals_dns_responses_total', inPods, shownWindow), inWorkloads), 'rcode')

export const dnsWorkloadBoard: Board = {
  uid: 'netvitals-dns-workload',
  title: 'DNS (Workload)',
  description:
    "Whether names are resolved for a workload's pods: what they ask, what fails with which code (NXDOMAIN, SERVFAIL), what is not answered, how long it takes, and for which pods. Read from packets, which takes the tier capture of the chart or CAP_NET_RAW. Pods that have the network of the host are in the host's numbers, on DNS (Cluster).",
  variables: ['cluster', 'job', 'node', 'namespace', 'workload_type', 'workload', 'pod'],
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
    {
      title: 'Pods',
      panels: [
        panels.podsWithErrors,
        panels.podsWithMissing,
        panels.podsWithSearchFailures,
        {
          kind: 'heatmap',
          rows: 'series',
          title: 'DNS requests heat map by pod',
          description:
            'How much each pod asks: a row is a pod, a dark cell many queries. Pods of one workload should be alike; one that is darker asks in a loop or gets more of the traffic. Compare with Pod Flows (Workload).',
          unit: 'reqps',
          empty: panels.requests.empty,
          target: {
            query: topk(10, sum(withWorkload(rate('netvitals_dns_queries_total', inPods), inWorkloads), 'namespace', 'pod')),
            legend: '{{namespace}}/{{pod}}',
          },
        },
        panels.podTable,
      ],
    },
    {
      title: 'Response table',
      panels: [
        {
          kind: 'table',
          title: 'DNS requests by type, in the time shown',
          description:
            'How many queries of each type there were in the whole time shown. As many AAAA as A: programs ask for both addresses. Where nothing uses IPv6, that half is for nothing.',
          empty: panels.requests.empty,
          width: 12,
          labels: { qtype: 'Type' },
          sortBy: 'Requests',
          columns: [
            { heading: 'Requests', unit: 'short', query: function_('round', requested) },
            { heading: 'Share', unit: 'percentunit', query: divideByOne(requested, above(sum(requested), 0)) },
          ],
        },
        {
          kind: 'table',
          title: 'DNS responses by code, in the time shown',
          description:
            'How many responses of each code there were in the whole time shown. NXDOMAIN of as many as the search-list failures is what `ndots` makes; SERVFAIL and REFUSED are faults of the servers. `netvitals observe --rcode SERVFAIL` shows the names.',
          empty: 'No response',
          width: 12,
          labels: { rcode: 'Code' },
          sortBy: 'Responses',
          columns: [
            { heading: 'Responses', unit: 'short', query: function_('round', responded) },
            { heading: 'Share', unit: 'percentunit', query: divideByOne(responded, above(sum(responded), 0)) },
          ],
        },
      ],
    },
    {
      title: 'Requests',
      panels: [panels.byType, panels.addresses, panels.truncated].map((panel) => ({ ...panel, width: 8 })),
    },
    {
      title: 'Where these pods are DNS servers themselves',
      isCollapsed: true,
      panels: [panels.served, panels.servers, panels.failingServers].map((panel) => ({ ...panel, width: 8 })),
    },
  ],
}

import { like, unlike } from '../promql.ts'

/** What a board is narrowed to, in the order in which they stand above it. Each looks at those before it. */
export const variables = {
  cluster: { label: 'Cluster', metric: 'netvitals_node_info', of: [] },
  job: { label: 'Job', metric: 'netvitals_node_info', of: ['cluster'] },
  node: { label: 'Node', metric: 'netvitals_node_info', of: ['cluster', 'job'] },
  namespace: { label: 'Namespace', metric: 'netvitals_tcp_sent_segments_total', of: ['cluster', 'job', 'node'] },
  workload_type: { label: 'Workload type', metric: 'netvitals_pod_info', of: ['cluster', 'job', 'node', 'namespace'] },
  workload: { label: 'Workload', metric: 'netvitals_pod_info', of: ['cluster', 'job', 'node', 'namespace', 'workload_type'] },
  pod: { label: 'Pod', metric: 'netvitals_tcp_sent_segments_total', of: ['cluster', 'job', 'node', 'namespace'] },
  server_namespace: { label: 'Server namespace', metric: 'netvitals_edge_connects_total', of: ['cluster', 'job', 'node'] },
  server_workload: {
    label: 'Server',
    metric: 'netvitals_edge_connects_total',
    of: ['cluster', 'job', 'node', 'server_namespace'],
  },
  client_namespace: {
    label: 'Client namespace',
    metric: 'netvitals_edge_connects_total',
    of: ['cluster', 'job', 'node', 'server_namespace', 'server_workload'],
  },
  client_workload: {
    label: 'Client',
    metric: 'netvitals_edge_connects_total',
    of: ['cluster', 'job', 'node', 'server_namespace', 'server_workload', 'client_namespace'],
  },
} as const
export type VariableName = keyof typeof variables

/** Of every metric. */
export const here = { cluster: like('$cluster'), job: like('$job'), node: like('$node') } as const
/** Of those that each network namespace has. */
export const inNamespaces = { ...here, namespace: like('$namespace') } as const
export const inPods = { ...inNamespaces, pod: like('$pod') } as const
/** Of netvitals_pod_info. */
export const inWorkloads = { ...inNamespaces, workload_type: like('$workload_type'), workload: like('$workload') } as const
/** Of edges. */
export const inEdges = {
  ...here,
  server_namespace: like('$server_namespace'),
  server_workload: like('$server_workload'),
  client_namespace: like('$client_namespace'),
  client_workload: like('$client_workload'),
} as const

/** Of dropped packets, all categories but clean-up that harms nobody. */
export const harmfulCategories = { noneOf: ['normal'] } as const

/** What bridges, bonds, VLANs and tunnels carry crosses another device of the node too. */
const carriedAgain = [
  ...['bond', 'team', 'br', 'virbr', 'vmbr', 'docker', 'cni', 'cbr', 'ovs', 'vlan', 'macvlan', 'ipvlan', 'ifb', 'dummy'],
  ...['vxlan', 'geneve', 'flannel', 'cilium', 'antrea', 'weave', 'kube', 'nodelocaldns'],
  ...['tun', 'tap', 'wg', 'gre', 'ip6gre', 'ip6tnl', 'ipip', 'sit'],
]
/** Of the host's devices those that reach the world, so that a sum has each packet once. */
export const onWire = { ...here, device: unlike(`lo|(${carriedAgain.join('|')})[-_0-9a-z]*|.+[.].+`) } as const

import type { Board } from './board.ts'
import { clustersBoard } from './clusters.ts'
import { conntrackBoard } from './conntrack.ts'
import { dnsClusterBoard } from './dns-cluster.ts'
import { dnsWorkloadBoard } from './dns-workload.ts'
import { dropsBoard } from './drops.ts'
import { edgesBoard } from './edges.ts'
import { httpBoard } from './http.ts'
import { nodeBoard } from './node.ts'
import { podFlowsNamespaceBoard } from './pod-flows-namespace.ts'
import { podFlowsWorkloadBoard } from './pod-flows-workload.ts'
import { tcpHealthBoard } from './tcp-health.ts'

/** Every dashboard, in the order of Grafana's list of links. */
export const boards: readonly Board[] = [
  clustersBoard,
  nodeBoard,
  dropsBoard,
  podFlowsNamespaceBoard,
  podFlowsWorkloadBoard,
  dnsClusterBoard,
  dnsWorkloadBoard,
  tcpHealthBoard,
  conntrackBoard,
  edgesBoard,
  httpBoard,
]

import { labelJoin, labelReplace, type Query, sum } from '../promql.ts'

// What legends call the rows of metrics. Named last, once few are left: each name is made anew at every point of a graph.

/** What tells a network namespace apart from every other; of the host's own the node does. */
const row = ['namespace', 'pod', 'node', 'instance'] as const
export type RowLabel = (typeof row)[number]
/** A query that has kept these labels, beside others. */
export type With<Needed extends string, L extends string> = Query<L> & ([Needed] extends [L] ? unknown : never)

/** Added up to one value for each network namespace, or for each value of further labels in it. */
export const byRow = <L extends string, B extends L = never>(of: With<RowLabel, L>, ...by: readonly B[]): Query<RowLabel | B> =>
  sum<L | RowLabel, RowLabel | B>(of, ...row, ...by)

/** Calls a pod by `namespace/pod`, and the host by its node, or without one by the address it is scraped at. */
export function nameRows<L extends string>(of: With<RowLabel, L>): Query<L | 'whose'> {
  const joined = labelJoin<L | RowLabel, 'whose'>(of, 'whose', '/', ...row)
  const pods = labelReplace(joined, 'whose', '$1', 'whose', '([^/]+/[^/]+)/.*')
  const hostsOfNodes = labelReplace(pods, 'whose', '$1 (host)', 'whose', '//([^/]+)/.*')
  return labelReplace(hostsOfNodes, 'whose', '$1 (host)', 'whose', '///(.+)') as Query<L | 'whose'>
}

/** Calls an agent by its node, or without one by the address it is scraped at. */
export function nameNodes<L extends string>(of: With<'node' | 'instance', L>): Query<L | 'whose'> {
  const addresses = labelReplace<L | 'instance', 'whose'>(of, 'whose', '$1', 'instance', '(.*)')
  return labelReplace<L | 'node' | 'instance' | 'whose', 'whose'>(addresses, 'whose', '$1', 'node', '(.+)') as Query<L | 'whose'>
}

export type Side = 'client' | 'server'
export type EndOf<S extends Side> = `${S}_namespace` | `${S}_workload`
/** Of an edge, who called and who was called. */
export const ends = ['client_namespace', 'client_workload', 'server_namespace', 'server_workload'] as const
export type EndLabel = (typeof ends)[number]

/** Calls one end of an edge by `namespace/workload`; the host and what is outside have no namespace. */
export function nameEnd<S extends Side, L extends string, N extends string>(
  side: S,
  of: With<EndOf<S>, L>,
  name: N,
): Query<L | N> {
  const labels: readonly EndOf<S>[] = [`${side}_namespace`, `${side}_workload`]
  const joined = labelJoin<L | EndOf<S>, N>(of, name, '/', ...labels)
  return labelReplace<L | EndOf<S> | N, N>(joined, name, '$1', name as never, '/(.*)') as Query<L | N>
}

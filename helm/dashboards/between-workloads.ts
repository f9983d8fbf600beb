import { like, type Matcher, or, type Query } from '../promql.ts'
import type { EndLabel } from './names.ts'
import { here } from './variables.ts'

export const edgeLegend = '{{client_namespace}}/{{client_workload}} → {{server_namespace}}/{{server_workload}}'
export const edgeHeadings = {
  client_namespace: 'Client namespace',
  client_workload: 'Client',
  server_namespace: 'Server namespace',
  server_workload: 'Server',
} as const

/** Of those edges of which at least one end is in what the board is narrowed to. */
export function ofEitherEnd<L extends string>(
  narrowedBy: readonly ('namespace' | 'workload')[],
  query: (match: typeof here & { readonly [E in EndLabel]?: Matcher }) => Query<L>,
): Query<L> {
  const of = (end: 'client' | 'server') =>
    query({ ...here, ...Object.fromEntries(narrowedBy.map((variable) => [`${end}_${variable}`, like(`$${variable}`)])) })
  return or(of('client'), of('server'))
}

import { type Query, topk } from '../promql.ts'
import type { Target } from './board.ts'
import { nameNodes } from './names.ts'

/** What tells nodes apart, also where the scrape gives them no name. */
export const byNode = ['cluster', 'node', 'instance'] as const
export type OfNode = (typeof byNode)[number]

/** A line for each node, those with the most. */
export const mostOnNodes = (of: Query<OfNode>): Target[] => [{ query: nameNodes(topk(20, of)), legend: '{{whose}}' }]

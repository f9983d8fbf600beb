import { type Query, topk } from '../promql.ts'
import type { Graph, HeatMap } from './board.ts'

/** So many lines and rows can be told apart. */
const mostLines = 20
const mostHeatRows = 10

type OfPods = Query<'namespace' | 'pod'>
const legend = '{{namespace}}/{{pod}}'

/** A line for each of the pods that have the most. */
export const podGraph = ({ of, ...panel }: Omit<Graph, 'kind' | 'targets'> & { readonly of: OfPods }): Graph => ({
  kind: 'graph',
  ...panel,
  targets: [{ query: topk(mostLines, of), legend }],
})
/** A row for each of the pods that have the most. */
export const podHeatMap = ({ of, ...panel }: Omit<HeatMap, 'kind' | 'rows' | 'target'> & { readonly of: OfPods }): HeatMap => ({
  kind: 'heatmap',
  rows: 'series',
  ...panel,
  target: { query: topk(mostHeatRows, of), legend },
})

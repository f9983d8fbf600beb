import { catalogue, type MetricName } from '../../agent/metrics/catalogue.ts'
import { above, below, count, orZero, type Query, sum, type TargetLabel, value } from '../promql.ts'
import { here } from './variables.ts'

/**
 * With 0 where nothing was counted, as long as the metric's source is read: a node without drops is not one without a
 * tracer. The labels are those of the query.
 */
export const zeroWhereRead = <L extends TargetLabel = never>(of: Query<L>, metric: MetricName, ...by: readonly L[]): Query<L> => {
  const read = above(value('netvitals_source_available', { ...here, source: catalogue[metric].source }), 0)
  return orZero(of, sum(read, ...by))
}

/** How many sources could not be read in the last sweep; 0 where all could. */
export const failingSources = <L extends TargetLabel = never>(...by: readonly L[]): Query<L> => {
  const success = value('netvitals_source_success', here)
  return orZero(count(below(success, 1), ...by), count(success, ...by))
}

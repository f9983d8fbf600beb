import type { Query } from '../promql.ts'
import type { VariableName } from './variables.ts'

/** A dashboard as data; grafana.ts makes Grafana's JSON of it. */
export interface Board {
  /** Its file's name; never changes, because links hold it. */
  readonly uid: string
  /** Behind `Netvitals / `. */
  readonly title: string
  /** What it is for, in a sentence. */
  readonly description: string
  readonly variables: readonly VariableName[]
  /** One node is chosen at a time, the first unless another is. */
  readonly isOfOneNode?: boolean
  readonly rows: readonly Row[]
}

export interface Row {
  readonly title: string
  readonly panels: readonly Panel[]
  /** Folded until somebody wants it. */
  readonly isCollapsed?: boolean
}

/** Grafana's names of units. */
export type Unit = 'short' | 'none' | 'pps' | 'Bps' | 'bytes' | 's' | 'percentunit' | 'reqps' | 'ops' | 'cps'

interface Common {
  /** Words that people search for. */
  readonly title: string
  /** What it shows, what high means, and what to do then. */
  readonly description: string
  readonly unit: Unit
  /** Instead of `No data`: what it means that there is nothing. */
  readonly empty: string
  /** From these values on, or below them, it is coloured as a warning, and as a fault. */
  readonly levels?: { readonly warning?: number; readonly fault?: number; readonly isLowBad?: boolean }
  /** Of the 24 columns. */
  readonly width?: number
  readonly height?: number
}

export interface Target {
  readonly query: Query
  /** Of each series: words and {{labels}}. */
  readonly legend: string
}

/** Lines over time. */
export interface Graph extends Common {
  readonly kind: 'graph'
  readonly targets: readonly Target[]
  /** Laid on each other: their sum means something. */
  readonly isStacked?: boolean
  readonly max?: number
  /** Of series whose names mean good or bad; the others have those that Grafana gives. */
  readonly colours?: Readonly<Record<string, 'green' | 'blue' | 'orange' | 'red' | 'purple'>>
}
/** One number, or a few. */
export interface Stat extends Common {
  readonly kind: 'stat'
  readonly targets: readonly Target[]
}
interface ValueColumn {
  readonly heading: string
  readonly unit: Unit
  readonly query: Query
  readonly levels?: Common['levels']
}
/** Shows not what its query says but a label that it alone has. */
interface LabelColumn {
  readonly heading: string
  readonly label: string
  readonly query: Query
}
/** Rows of labels with a column for each query, now or over the whole time shown. */
export interface Table extends Omit<Common, 'unit'> {
  readonly kind: 'table'
  /** The labels that are columns, with their headings; all of them are in each query. */
  readonly labels: Readonly<Record<string, string>>
  readonly columns: readonly (ValueColumn | LabelColumn)[]
  /** A label whose cells open another board, narrowed to what the cell says. */
  readonly opens?: { readonly label: VariableName; readonly uid: string }
  /** A column's heading, or several, each for what is equal in those before: the largest first. */
  readonly sortBy?: string | readonly string[]
}
/** Colours over time: a row for each series, or for each bucket of a histogram (its legend is {{le}}). */
export interface HeatMap extends Common {
  readonly kind: 'heatmap'
  readonly rows: 'series' | 'buckets'
  readonly target: Target
}
/** Who talks to whom: an arrow for each series, with its value. `color` is Grafana's name of one. */
export interface NodeGraph extends Common {
  readonly kind: 'nodegraph'
  readonly query: Query<'id' | 'source' | 'target' | 'color'>
}
export type Panel = Graph | Stat | Table | HeatMap | NodeGraph

export const targetsOf = (panel: Panel): readonly Pick<Target, 'query'>[] => {
  if (panel.kind === 'table') return panel.columns
  if (panel.kind === 'heatmap') return [panel.target]
  return panel.kind === 'nodegraph' ? [panel] : panel.targets
}

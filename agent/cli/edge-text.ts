import {
  describeFailures,
  dropsOf,
  type Edge,
  type EdgeEnd,
  edgeEndId,
  failuresOf,
  formatBytes,
  formatRtt,
  retransmitsOf,
  rttOf,
} from '../edge-graph.ts'
import { quote } from './end-text.ts'
import type { Looks } from './report-text.ts'
import { type TableColumn, tableOf } from './table-text.ts'

/** A line for each, with titles. */
export function edgeTableOf(edges: readonly Edge[], looks: Looks): string {
  return tableOf(edges, columnsOf(looks), looks)
}

const endCharacters = 48
const nameOf = (end: EdgeEnd): string => quote(edgeEndId(end))
/** Nothing where there is nothing: what is there stands out. */
const countOf = (number: number): string => (number === 0 ? '' : Math.round(number).toLocaleString('en'))
const rateOf = (bytes: number | undefined): string => (bytes === undefined ? '' : `${formatBytes(bytes)}/s`)

function rttTextOf(edge: Edge, unicode: boolean): string {
  const seconds = rttOf(edge)
  return seconds === undefined ? '' : formatRtt(seconds, unicode ? 'µ' : 'u')
}

const isFailing = (edge: Edge): boolean => failuresOf(edge) > 0

const columnsOf = ({ unicode }: Looks): TableColumn<Edge>[] => [
  { title: 'CLIENT', most: endCharacters, cellOf: ({ client }) => nameOf(client) },
  { title: '', cellOf: () => (unicode ? '→' : '->') },
  {
    title: 'SERVER',
    most: endCharacters,
    colourOf: (edge) => (isFailing(edge) ? 'red' : undefined),
    cellOf: ({ server }) => nameOf(server),
  },
  { title: 'CONNECTIONS', align: 'right', cellOf: ({ connections }) => connections.toLocaleString('en') },
  { title: 'SENT', align: 'right', cellOf: ({ sentBytesPerSecond }) => rateOf(sentBytesPerSecond) },
  { title: 'RECEIVED', align: 'right', cellOf: ({ receivedBytesPerSecond }) => rateOf(receivedBytesPerSecond) },
  { title: 'CONNECTS', align: 'right', cellOf: ({ connects }) => countOf(connects) },
  { title: 'RESETS', align: 'right', cellOf: ({ resets }) => countOf(resets) },
  { title: 'RETRANSMITS', align: 'right', cellOf: (edge) => countOf(retransmitsOf(edge)) },
  { title: 'DROPS', align: 'right', cellOf: (edge) => countOf(dropsOf(edge)) },
  { title: 'RTT', align: 'right', cellOf: (edge) => rttTextOf(edge, unicode) },
  { title: 'FAILED CONNECTS', colourOf: () => 'red', cellOf: describeFailures },
]

import { dropsOf, type Edge, type EdgeEnd, edgeEndId, failuresOf, formatBytes, retransmitsOf } from '../edge-graph.ts'
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
  { title: 'RTT', align: 'right', cellOf: ({ rttSeconds, rttMaxSeconds }) => formatRtt(rttMaxSeconds || rttSeconds, unicode) },
  { title: 'FAILED CONNECTS', colourOf: () => 'red', cellOf: describeFailures },
]

function describeFailures({ failedConnects }: Edge): string {
  return Object.entries(failedConnects)
    .sort(([, a], [, b]) => b - a)
    .map(([outcome, number]) => `${countOf(number)} ${outcome}`)
    .join(', ')
}

function formatRtt(seconds: number | undefined, unicode: boolean): string {
  if (seconds === undefined) return ''
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} ${unicode ? 'µs' : 'us'}`
  return seconds < 1 ? `${(seconds * 1000).toPrecision(3)} ms` : `${seconds.toPrecision(3)} s`
}

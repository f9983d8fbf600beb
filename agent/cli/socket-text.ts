import type { EventEnd } from '../events.ts'
import { limits } from '../limits.ts'
import { idleSecondsOf, type SocketGroup } from '../socket-groups.ts'
import type { ListedSocket, SocketAnswer, SocketProcess, TcpState } from '../socket-list.ts'
import { findName, nameOf, quote, socketOf } from './end-text.ts'
import type { Looks } from './report-text.ts'
import { formatAge, type TableColumn, tableOf } from './table-text.ts'
import type { paint } from './terminal.ts'

type Described = Pick<ListedSocket, 'state' | 'process' | 'receiveQueue' | 'sendQueue'>
type Colour = Parameters<typeof paint>[1]

/** As long as docker and crictl show it. */
const containerIdCharacters = 12
const cellCharacters = 60

/** The answer as people read it. */
export function socketTableOf({ groups, each = [] }: SocketAnswer, looks: Looks & { readonly isWide: boolean }): string {
  return groups === undefined
    ? tableOf(each, eachColumns(looks).concat(looks.isWide ? wideColumns : []), looks)
    : tableOf(groups, groupColumns(looks).concat(looks.isWide ? wideColumns : []), looks)
}

/** What the table leaves out, in a line; empty if that is nothing. */
export function restOf({ groups, each = [], notShown }: SocketAnswer, { unicode }: Looks): string {
  if (notShown.sockets === 0) return ''
  const rest = `${notShown.sockets.toLocaleString('en')} more`
  const lines = notShown.groups ?? 0
  const inGroups = groups === undefined ? '' : ` in ${lines.toLocaleString('en')} line${lines === 1 ? '' : 's'}`
  const isAll = (groups ?? each).length >= limits.socketsShown
  return `${unicode ? '…' : '...'} ${rest}${inGroups}: ${isAll ? 'filters narrow it down' : '--top all shows more'}\n`
}

const groupColumns = ({ unicode }: Looks): TableColumn<SocketGroup>[] => [
  { title: 'SOCKETS', align: 'right', cellOf: ({ sockets }) => sockets.toLocaleString('en') },
  ...commonColumns<SocketGroup>(({ local }) => local),
  { title: 'IDLE', align: 'right', cellOf: ({ idle }) => (idle === undefined ? '' : formatAges(idle.least, idle.most, unicode)) },
  { title: 'PORT', align: 'right', cellOf: ({ local }) => (local.port === undefined ? '' : `:${local.port}`) },
  arrow(unicode),
  { title: 'PEER', most: cellCharacters, cellOf: describePeers },
]

const eachColumns = ({ unicode }: Looks): TableColumn<ListedSocket>[] => [
  ...commonColumns<ListedSocket>(({ local }) => local),
  {
    title: 'IDLE',
    align: 'right',
    cellOf: (socket) => {
      const seconds = idleSecondsOf(socket)
      return seconds === undefined ? '' : formatAge(seconds)
    },
  },
  { title: 'LOCAL', most: cellCharacters, cellOf: ({ local }) => socketOf(local) },
  arrow(unicode),
  { title: 'PEER', most: cellCharacters, cellOf: ({ peer }) => (peer === undefined ? '' : nameOf(peer)) },
]

/** Who called whom. */
function arrow(unicode: boolean): TableColumn<Pick<ListedSocket, 'direction'>> {
  const signs = unicode ? { in: '←', out: '→' } : { in: '<-', out: '->' }
  return { title: '', cellOf: ({ direction }) => (direction === undefined ? '' : signs[direction]) }
}

function commonColumns<T extends Described>(localOf: (row: T) => EventEnd): TableColumn<T>[] {
  return [
    { title: 'STATE', colourOf: ({ state }) => colours[state], cellOf: ({ state }) => state },
    { title: 'POD', most: cellCharacters, cellOf: (row) => findName(localOf(row)) ?? '?' },
    { title: 'PROCESS', cellOf: ({ process }) => describeProcess(process) },
    { title: 'RECV-Q', align: 'right', cellOf: ({ receiveQueue }) => receiveQueue.toLocaleString('en') },
    { title: 'SEND-Q', align: 'right', cellOf: ({ sendQueue }) => sendQueue?.toLocaleString('en') ?? '' },
  ]
}

const wideColumns: readonly TableColumn<Described>[] = [
  { title: 'CONTAINER', cellOf: ({ process }) => process?.containerId?.slice(0, containerIdCharacters) ?? process?.unit ?? '' },
  { title: 'COMMAND LINE', cellOf: ({ process }) => process?.commandLine ?? '' },
]

const colours: Readonly<Partial<Record<TcpState, Colour>>> = {
  close_wait: 'red',
  syn_sent: 'yellow',
  syn_recv: 'yellow',
  last_ack: 'yellow',
  time_wait: 'dim',
  listen: 'dim',
}

function describeProcess(process: SocketProcess | undefined): string {
  if (process === undefined) return '-'
  const { command, pid, others } = process
  return `${quote(command)} ${pid}${others === undefined ? '' : ` +${others}`}`
}

/** The busiest, with how many it has unless that is all, and how many others there are. */
function describePeers({ peers, peerCount, sockets }: SocketGroup): string {
  const [first] = peers
  if (first === undefined) return ''
  const its = first.sockets === sockets ? nameOf(first) : `${nameOf(first)} (${first.sockets.toLocaleString('en')})`
  return peerCount === 1 ? its : `${its} and ${(peerCount - 1).toLocaleString('en')} more`
}

function formatAges(least: number, most: number, unicode: boolean): string {
  const [from, to] = [formatAge(least), formatAge(most)]
  return from === to ? to : `${from}${unicode ? '–' : '-'}${to}`
}

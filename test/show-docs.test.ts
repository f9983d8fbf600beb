import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { EdgeGraph, GraphEdge, GraphNode } from '../agent/edge-graph.ts'
import { limits } from '../agent/limits.ts'
import { tcpStates } from '../agent/metrics/labels.ts'
import type { SocketGroup } from '../agent/socket-groups.ts'
import type { ListedSocket, SocketAnswer, SocketProcess } from '../agent/socket-list.ts'

const text = fs.readFileSync(path.resolve(import.meta.dirname, '../docs/show.md'), 'utf8')

/** The names in the first column of the table whose head begins so, of rows that have `of` in the second. */
function fieldsOf(head: string, of = /./): string[] {
  const table = text.slice(text.indexOf(`\n| ${head} |`)).split('\n\n', 1)[0] ?? ''
  const rows = table.trim().split('\n').slice(2)
  return rows.flatMap((row) => {
    const [, names = '', second = ''] = row.split('|')
    return of.test(second) ? [...names.matchAll(/`(\w+)`/g)].map(([, name = '']) => name) : []
  })
}

/** A field that the type has and this list has not, or the other way round, does not compile. */
const answer = { schemaVersion: 1, node: 1, sockets: 1, groups: 1, each: 1, notShown: 1, notes: 1 } satisfies Record<
  keyof SocketAnswer,
  1
>
const socket = {
  ...{ state: 1, direction: 1, local: 1, peer: 1, process: 1, receiveQueue: 1, sendQueue: 1 },
  ...{ sentAgoSeconds: 1, receivedAgoSeconds: 1 },
} satisfies Record<keyof ListedSocket, 1>
const group = {
  ...{ state: 1, direction: 1, local: 1, peers: 1, peerCount: 1, process: 1, sockets: 1, receiveQueue: 1, sendQueue: 1 },
  idle: 1,
} satisfies Record<keyof SocketGroup, 1>
const process = { pid: 1, command: 1, commandLine: 1, containerId: 1, unit: 1, others: 1 } satisfies Record<
  keyof SocketProcess,
  1
>
const graph = { schemaVersion: 1, node: 1, seconds: 1, nodes: 1, edges: 1 } satisfies Record<keyof EdgeGraph, 1>
const node = {
  ...{ id: 1, title: 1, subtitle: 1, mainstat: 1, secondarystat: 1, arc__connected: 1, arc__failed: 1 },
} satisfies Record<keyof GraphNode, 1>
const edge = {
  ...{ id: 1, source: 1, target: 1, mainstat: 1, secondarystat: 1, thickness: 1, color: 1, client: 1, server: 1 },
  ...{ connections: 1, sentBytesPerSecond: 1, receivedBytesPerSecond: 1, connects: 1, failedConnects: 1, resets: 1, loss: 1 },
  ...{ rttSeconds: 1, rttMaxSeconds: 1 },
} satisfies Record<keyof GraphEdge, 1>

describe('docs/show.md', () => {
  it('has the fields of sockets, and no others', () => {
    expect(fieldsOf('field | type')).toEqual(Object.keys(answer))
    expect(fieldsOf('field | of', /both|socket/)).toEqual(Object.keys(socket))
    expect(fieldsOf('field | of', /both|group/)).toEqual(Object.keys(group))
    const ofProcess = text.split('\n').find((line) => line.startsWith('| `process` |')) ?? ''
    for (const name of Object.keys(process)) expect(ofProcess).toContain(`\`${name}\``)
  })

  it('has the fields of the graph, and no others', () => {
    expect(fieldsOf('field of a node')).toEqual(Object.keys(node))
    expect(fieldsOf('field of an edge')).toEqual(Object.keys(edge))
    const ofGraph = text.split('\n').find((line) => line.startsWith('The graph is')) ?? ''
    for (const name of Object.keys(graph)) expect(ofGraph).toContain(`\`${name}\``)
  })

  it('has the words and numbers there are', () => {
    for (const state of tcpStates) expect(text).toContain(`\`${state}\``)
    expect(text).toContain(`the limit of ${limits.socketsShown.toLocaleString('en')} in one answer`)
    expect(text).toContain(`the first ${limits.labelCharacters} characters`)
    expect(limits.socketQuestions).toBe(2) // a third gets 503
  })
})

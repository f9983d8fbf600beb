import { describe, expect, it, vi } from 'vitest'
import { createEdges } from '../../agent/edges.ts'
import type { NetworkNamespace } from '../../agent/host/namespaces.ts'
import { limits } from '../../agent/limits.ts'
import type { EdgeEnds, Subject } from '../../agent/sources/source.ts'

const sent = 'netvitals_edge_sent_bytes_total'
const connects = 'netvitals_edge_connects_total'
const netnsOf = (name: string): NetworkNamespace => ({ name }) as NetworkNamespace

function build(names: Record<string, string> = {}) {
  const edges = createEdges({
    endOf({ address, netns }: Subject) {
      const workload = names[address ?? netns?.name ?? '']
      return workload === undefined ? undefined : { namespace: 'shop', workload, pod: `${workload}-1` }
    },
  })
  const read = (nowMs = 0): Record<string, unknown> => {
    const all: Record<string, unknown> = {}
    edges.each(nowMs, ({ client, server, reporter }, { name, labels, value }) => {
      const label = Object.values(labels).join()
      all[`${client.workload} → ${server.workload} ${reporter} ${name.slice(15)} ${label}`.trim()] = value
    })
    return all
  }
  return { edges, read }
}
const between = (client: Subject, server: Subject, reporter: EdgeEnds['reporter'] = 'client'): EdgeEnds => ({
  client,
  server,
  reporter,
})

describe('sums', () => {
  it('are of the workloads, whichever of their pods it was', () => {
    const { edges, read } = build({ a1: 'a', a2: 'a', b: 'b' })
    const first = edges.find(between({ netns: netnsOf('a1') }, { address: 'b' }), 0)!
    const second = edges.find(between({ netns: netnsOf('a2') }, { address: 'b' }), 0)!
    expect(second).toBe(first)
    edges.add(first, sent, {}, 10)
    edges.add(second, sent, {}, 5)
    edges.add(first, connects, { outcome: 'connected' }, 1)
    edges.add(first, connects, { outcome: 'refused' }, 2)
    edges.add(first, connects, { outcome: 'connected' }, 3)
    edges.add(first, 'netvitals_edge_rtt_seconds', {}, { sum: 0.5, count: 1 })
    edges.add(first, 'netvitals_edge_rtt_seconds', {}, { sum: 0.25, count: 2 })
    expect(read()).toEqual({
      'a → b client sent_bytes_total': 15,
      'a → b client connects_total connected': 4,
      'a → b client connects_total refused': 2,
      'a → b client rtt_seconds': { sum: 0.75, count: 3 },
    })
    expect(read()).toEqual(read()) // they are kept
  })

  it('are apart by who reports', () => {
    const { edges, read } = build({ a: 'a', b: 'b' })
    const ends = [{ netns: netnsOf('a') }, { netns: netnsOf('b') }] as const
    edges.add(edges.find(between(...ends, 'client'), 0)!, sent, {}, 7)
    edges.add(edges.find(between(...ends, 'server'), 0)!, sent, {}, 6)
    expect(read()).toEqual({ 'a → b client sent_bytes_total': 7, 'a → b server sent_bytes_total': 6 })
  })

  it('of addresses that nobody knows are of one, external; a namespace that nobody knows is none', () => {
    const { edges, read } = build({ a: 'a' })
    for (const address of ['::', '203.0.113.1'])
      edges.add(edges.find(between({ netns: netnsOf('a') }, { address }), 0)!, sent, {}, 1)
    expect(read()).toEqual({ 'a → external client sent_bytes_total': 2 })
    expect(edges.find(between({ netns: netnsOf('new') }, { address: '::' }), 0)).toBeUndefined()
  })

  it('neutralise hostile names', () => {
    const { edges } = build({ a: '\u001b[2J', b: 'b' })
    expect(edges.find(between({ netns: netnsOf('a') }, { address: 'b' }), 0)!.client.workload).toBe('\ufffd[2J')
  })
})

describe('rows', () => {
  it('beyond the limit are one, exactly, and those before go on', () => {
    vi.spyOn(limits as { edges: number }, 'edges', 'get').mockReturnValue(2)
    const names = Object.fromEntries(['a', 'b', 'c', 'd', 'e'].map((name) => [name, name]))
    const { edges, read } = build(names)
    for (const [i, name] of ['b', 'c', 'd', 'e', 'b'].entries())
      edges.add(edges.find(between({ netns: netnsOf('a') }, { address: name }), 0)!, sent, {}, 10 ** i)
    vi.restoreAllMocks()
    expect(read()).toEqual({
      'a → b client sent_bytes_total': 10_001,
      'a → c client sent_bytes_total': 10,
      'other → other client sent_bytes_total': 1100,
    })
  })

  it('that nobody told of for long go, and begin anew', () => {
    const { edges, read } = build({ a: 'a', b: 'b', c: 'c' })
    const ends = (name: string): EdgeEnds => between({ netns: netnsOf('a') }, { address: name })
    edges.add(edges.find(ends('b'), 0)!, sent, {}, 1)
    edges.add(edges.find(ends('c'), 0)!, sent, {}, 2)
    edges.find(ends('c'), 1000)
    expect(Object.keys(read(limits.edgeIdleMs))).toHaveLength(2)
    expect(read(limits.edgeIdleMs + 1)).toEqual({ 'a → c client sent_bytes_total': 2 })
    edges.add(edges.find(ends('b'), limits.edgeIdleMs + 2)!, sent, {}, 3)
    expect(read(limits.edgeIdleMs + 2)).toEqual({ 'a → c client sent_bytes_total': 2, 'a → b client sent_bytes_total': 3 })
  })
})

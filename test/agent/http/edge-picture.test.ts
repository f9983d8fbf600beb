import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Edge, EdgeEnd } from '../../../agent/edge-graph.ts'
import { drawEdges } from '../../../agent/http/edge-picture.ts'
import { limits } from '../../../agent/limits.ts'

const end = (workload: string, namespace = 'shop'): EdgeEnd => ({ namespace, workload })
const edge = (client: EdgeEnd, server: EdgeEnd, more: Partial<Edge> = {}): Edge => ({
  client,
  server,
  connections: 3,
  sentBytesPerSecond: 1500,
  receivedBytesPerSecond: 0,
  connects: 10,
  failedConnects: {},
  resets: 0,
  loss: {},
  ...more,
})
const draw = (...edges: Edge[]): string => drawEdges(edges).markup
const classesOf = (picture: string): string[] => [...picture.matchAll(/<g class="edge (\w+)">/g)].map(([, level = '']) => level)
const widthsOf = (picture: string): number[] => [...picture.matchAll(/stroke-width="(\d+)"/g)].map(([, width]) => Number(width))
const nodesOf = (picture: string): number => picture.match(/<rect /g)?.length ?? 0

describe('the picture', () => {
  it('has both ends of an edge by name, and says what goes on', () => {
    const picture = draw(edge(end('web'), end('db')))
    expect(picture).toContain('>web</text><text class="namespace" x="10" y="30">shop</text>')
    expect(picture).toContain('>db</text>')
    expect(picture).toContain('<title>shop/web → shop/db: 1.50 kB/s sent, 0 B/s received; 3 connections</title>')
  })

  it('colours what is in trouble, and draws it last', () => {
    const picture = draw(
      edge(end('a'), end('x'), { failedConnects: { refused: 2 } }),
      edge(end('b'), end('x'), { resets: 2 }),
      edge(end('c'), end('x')),
    )
    expect(classesOf(picture)).toEqual(['fine', 'odd', 'bad'])
    expect(picture.match(/class="node bad"/g)).toHaveLength(1)
  })

  it('is thicker where more goes', () => {
    const widths = [0, 1500, 1_500_000].map(
      (bytes) => widthsOf(draw(edge(end('a'), end('b'), { sentBytesPerSecond: bytes })))[0]!,
    )
    expect(widths).toEqual(widths.toSorted((a, b) => a - b))
    expect(new Set(widths).size).toBe(3)
  })

  it('cuts a long name in its middle, and has it whole beside', () => {
    const picture = draw(edge(end('batch-import-of-orders-nightly'), end('😀'.repeat(30))))
    expect(picture).toContain('>batch-impor…ers-nightly</text>')
    expect(picture).toContain(`>${'😀'.repeat(11)}…${'😀'.repeat(11)}</text>`)
    expect(picture).toContain('<title>shop/batch-import-of-orders-nightly: ')
  })

  it('has a bounded number of workloads; the others are one', () => {
    const many = Array.from({ length: 500 }, (_, i) => edge(end(`client-${i}`), end('server')))
    const picture = draw(...many)
    expect(nodesOf(picture)).toBe(limits.pictureNodes)
    expect(picture).toContain('>other</text>')
    expect(draw(...many.slice(0, limits.pictureNodes - 1))).not.toContain('>other</text>')
  })

  it('does not move when only the numbers change', () => {
    const places = (picture: string): string[] => picture.match(/<svg class="node[^>]*>/g)!.sort()
    const [one, two, three] = [edge(end('a'), end('b')), edge(end('b'), end('c')), edge(end('d'), end('c'))]
    expect(places(draw(three, { ...two, sentBytesPerSecond: 9e9 }, one))).toEqual(places(draw(one, two, three)))
  })

  it('has whole numbers only, and no markup of others, whatever the names are', () => {
    const name = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 30 }),
      fc.constantFrom('<script>', '"><img src=x onerror=x>', "'", '&'),
    )
    const ends = fc.record({ namespace: name, workload: name })
    const edges = fc.array(fc.record({ client: ends, server: ends }), { minLength: 1, maxLength: 40 })
    fc.assert(
      fc.property(edges, (given) => {
        const picture = draw(...given.map(({ client, server }) => edge(client, server)))
        expect(picture).not.toMatch(/NaN|Infinity|undefined/.test(JSON.stringify(given)) ? /NaN NaN/ : /NaN|Infinity|undefined/)
        const elements = new Set([...picture.matchAll(/<\/?([^\s/>]+)/g)].map(([, element]) => element))
        expect(
          [...elements].filter((element) => !['svg', 'g', 'title', 'path', 'rect', 'text'].includes(String(element))),
        ).toEqual([])
        expect(picture.replaceAll(/"[^"]*"/g, '').replaceAll(/>[^<]*</g, '><')).not.toMatch(/[&']/)
      }),
      { numRuns: 100 },
    )
  })
})

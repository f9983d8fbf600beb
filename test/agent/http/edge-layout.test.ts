import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Layout, type Link, layOut, nodeSize } from '../../../agent/http/edge-layout.ts'

/** `a>b b>c`. */
const linksOf = (text: string): Link[] =>
  text.split(' ').map((pair) => {
    const [source = '', target = ''] = pair.split('>')
    return { source, target }
  })
/** The nodes of each column, from above. */
function columnsOf({ nodes }: Layout<Link>): string[][] {
  const columns = new Map<number, [string, number][]>()
  for (const [id, { x, y }] of nodes) columns.set(x, [...(columns.get(x) ?? []), [id, y]])
  const byX = [...columns].sort(([a], [b]) => a - b)
  return byX.map(([, column]) => column.sort(([, a], [, b]) => a - b).map(([id]) => id))
}
const routeOf = (layout: Layout<Link>, source: string, target: string) =>
  layout.routes.find(({ link }) => link.source === source && link.target === target)!

describe('columns', () => {
  it.each<[string, string[][]]>([
    ['a>b', [['a'], ['b']]],
    ['a>b b>c', [['a'], ['b'], ['c']]],
    ['a>b b>c a>c', [['a'], ['b'], ['c']]],
    ['a>b b>a', [['a'], ['b']]],
    ['a>a', [['a']]],
    ['c>b b>a', [['c'], ['b'], ['a']]],
    ['a>b b>c c>d d>e', [['a'], ['b'], ['c'], ['d', 'e']]],
  ])('%s: clients to the left, servers to the right', (text, expected) => {
    expect(columnsOf(layOut(linksOf(text)))).toEqual(expected)
  })

  it('have each node beside what it is linked to', () => {
    const [clients, servers] = columnsOf(layOut(linksOf('a>z b>y c>x d>w')))
    expect(clients).toEqual(['a', 'b', 'c', 'd'])
    expect(servers).toEqual(['z', 'y', 'x', 'w'])
  })
})

describe('routes', () => {
  it('start at the right side of the client and end at the left side of the server', () => {
    const layout = layOut(linksOf('a>b'))
    const [from, to] = [layout.nodes.get('a')!, layout.nodes.get('b')!]
    expect(routeOf(layout, 'a', 'b')).toMatchObject({
      isLoop: false,
      points: [
        { x: from.x + nodeSize.width, y: from.y + nodeSize.height / 2 },
        { x: to.x, y: to.y + nodeSize.height / 2 },
      ],
    })
  })

  it('go backwards beside those that go forwards', () => {
    const layout = layOut(linksOf('a>b b>a'))
    const there = routeOf(layout, 'a', 'b').points
    const back = routeOf(layout, 'b', 'a').points
    expect(back.map(({ x }) => x)).toEqual(there.map(({ x }) => x).reverse())
    expect(back.at(-1)!.y).not.toBe(there[0]!.y)
  })

  it('pass a column in a place of their own', () => {
    const layout = layOut(linksOf('a>b b>c a>c'))
    const [, comes, leaves] = routeOf(layout, 'a', 'c').points
    const { x, y } = layout.nodes.get('b')!
    expect([comes!.x, leaves!.x, leaves!.y]).toEqual([x, x + nodeSize.width, comes!.y])
    expect(comes!.y < y || comes!.y > y + nodeSize.height).toBe(true)
  })

  it('to themselves are loops that have room', () => {
    const layout = layOut(linksOf('a>a'))
    expect(routeOf(layout, 'a', 'a')).toMatchObject({ isLoop: true, points: [{ x: nodeSize.width }, { x: nodeSize.width }] })
    expect(layout.width).toBeGreaterThan(nodeSize.width)
  })
})

describe('any graph', () => {
  const id = fc.constantFrom(...'abcdefghijklmnopqrstuvwx')
  const links = fc.uniqueArray(fc.record({ source: id, target: id }), {
    minLength: 1,
    maxLength: 576,
    selector: ({ source, target }) => `${source}>${target}`,
  })

  it('has all nodes apart, within the picture, with a route for each link', () => {
    fc.assert(
      fc.property(links, (given) => {
        const layout = layOut(given)
        expect(layout.routes.map(({ link }) => link)).toEqual(expect.arrayContaining(given))
        expect(layout.routes).toHaveLength(given.length)
        expect(new Set(layout.nodes.keys())).toEqual(new Set(given.flatMap(({ source, target }) => [source, target])))
        const corners = [...layout.nodes.values()]
        const points = layout.routes.flatMap((route) => route.points)
        for (const { x, y } of [...corners, ...points]) {
          expect(x).toBeGreaterThanOrEqual(0)
          expect(x).toBeLessThanOrEqual(layout.width)
          expect(y).toBeGreaterThanOrEqual(0)
          expect(y).toBeLessThanOrEqual(layout.height)
        }
        corners.forEach((one, i) => {
          for (const other of corners.slice(i + 1))
            expect(
              Math.abs(one.x - other.x) >= nodeSize.width || Math.abs(one.y - other.y) >= nodeSize.height,
              'two nodes overlap',
            ).toBe(true)
        })
      }),
      { numRuns: 50 },
    )
  })

  it('looks the same in whatever order it is given', () => {
    fc.assert(
      fc.property(
        links.chain((given) => fc.tuple(fc.constant(given), fc.shuffledSubarray(given, { minLength: given.length }))),
        ([given, shuffled]) => {
          expect(layOut(shuffled)).toEqual(layOut(given))
        },
      ),
      { numRuns: 30 },
    )
  })
})

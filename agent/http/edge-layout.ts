/** Who connects to whom; both ends are IDs. */
export interface Link {
  readonly source: string
  readonly target: string
}

export interface Point {
  readonly x: number
  readonly y: number
}

/** Where everything is, in pixels. */
export interface Layout<L extends Link> {
  readonly width: number
  readonly height: number
  /** The upper left corner of each node. */
  readonly nodes: ReadonlyMap<string, Point>
  readonly routes: readonly Route<L>[]
}

/** Goes from point to point, through each of them level. */
export interface Route<L extends Link> {
  readonly link: L
  readonly points: readonly Point[]
  /** It leaves and comes back at the right side: of one node, or of two in the same column. */
  readonly isLoop: boolean
}

export const nodeSize = { width: 180, height: 38 }
const columnsMax = 4
const rowGap = 10
/** What a line takes that only passes a column. */
const passHeight = 12
const gapMax = 240
/** As the page has it. */
const fullWidth = 1044
const loopWidth = 44
const sweeps = 6

/** What stands in a column: a node, or a line that passes between nodes. */
interface Item {
  readonly id: string | undefined
  readonly column: number
  readonly before: Item[]
  readonly after: Item[]
  y: number
}

const heightOf = ({ id }: Item): number => (id === undefined ? passHeight : nodeSize.height)

/** Clients to the left, servers to the right. The same workloads are at the same places, whatever goes on between them. */
export function layOut<L extends Link>(given: readonly L[]): Layout<L> {
  const links = given.toSorted((a, b) => compare(a.source, b.source) || compare(a.target, b.target))
  const columnOf = findColumns(links)
  const columns: Item[][] = Array.from({ length: Math.max(0, ...columnOf.values()) + 1 }, () => [])
  const place = (id: string | undefined, column: number): Item => {
    const item: Item = { id, column, before: [], after: [], y: 0 }
    columns[column]?.push(item)
    return item
  }
  const itemOf = new Map([...columnOf].map(([id, column]) => [id, place(id, column)]))
  const chains = links.map(({ source, target }) => chainOf(itemOf.get(source), itemOf.get(target), place))
  order(columns)

  const gap = Math.min(gapMax, (fullWidth - columns.length * nodeSize.width) / Math.max(1, columns.length - 1))
  const xOf = ({ column }: Item): number => column * (nodeSize.width + gap)
  const portOf = findPorts(chains)
  const routes = links.map((link, i) => {
    const chain = chains[i] ?? []
    const [first, last] = [chain[0], chain.at(-1)]
    const isLoop = first?.column === last?.column
    const isLeftward = (first?.column ?? 0) > (last?.column ?? 0)
    const points = chain.flatMap((item, at): Point[] => {
      const [left, right] = [xOf(item), xOf(item) + nodeSize.width]
      const y = item.id === undefined ? item.y + passHeight / 2 : (portOf(i, at) ?? item.y)
      if (isLoop) return [{ x: right, y }]
      const leaves = { x: isLeftward ? left : right, y }
      const comes = { x: isLeftward ? right : left, y }
      return at === 0 ? [leaves] : at === chain.length - 1 ? [comes] : [comes, leaves]
    })
    return { link, points, isLoop }
  })
  const isWider = routes.some(({ isLoop }, i) => isLoop && chains[i]?.[0]?.column === columns.length - 1)
  return {
    width: (columns.length - 1) * gap + columns.length * nodeSize.width + (isWider ? loopWidth : 0),
    height: Math.max(...columns.map(heightOfColumn)),
    nodes: new Map([...itemOf].map(([id, item]) => [id, { x: xOf(item), y: item.y }])),
    routes,
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** Each to the right of its clients, as far as there are columns; who is both client and server of another is on either side. */
function findColumns(links: readonly Link[]): Map<string, number> {
  const columnOf = new Map(links.flatMap(({ source, target }) => [source, target]).map((id) => [id, 0]))
  const targetsOf = new Map<string, string[]>([...columnOf.keys()].map((id) => [id, []]))
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
    from === to || (!seen.has(from) && (targetsOf.get(from) ?? []).some((next) => reaches(next, to, seen.add(from))))
  for (const { source, target } of links) if (!reaches(target, source)) targetsOf.get(source)?.push(target)
  const push = (id: string, column: number): void => {
    if (column > 0 && (columnOf.get(id) ?? 0) >= column) return
    columnOf.set(id, column)
    for (const target of targetsOf.get(id) ?? []) push(target, Math.min(column + 1, columnsMax - 1))
  }
  for (const id of columnOf.keys()) if (columnOf.get(id) === 0) push(id, 0)
  return columnOf
}

/** From the source to the target, with what is passed between. */
function chainOf(
  source: Item | undefined,
  target: Item | undefined,
  place: (id: undefined, column: number) => Item,
): readonly Item[] {
  if (source === undefined || target === undefined) return []
  const [left, right] = source.column <= target.column ? [source, target] : [target, source]
  const passed = Array.from({ length: Math.max(0, right.column - left.column - 1) }, (_, i) =>
    place(undefined, left.column + 1 + i),
  )
  const chain = [left, ...passed, right]
  if (left.column !== right.column)
    chain.slice(1).forEach((item, i) => {
      chain[i]?.after.push(item)
      item.before.push(chain[i] as Item)
    })
  return left === source ? chain : chain.reverse()
}

const heightOfColumn = (items: readonly Item[]): number => items.reduce((sum, item) => sum + heightOf(item) + rowGap, -rowGap)

/** Each beside what it is linked to, so that few lines cross. */
function order(columns: readonly Item[][]): void {
  const height = Math.max(...columns.map(heightOfColumn))
  const stack = (items: readonly Item[]): void => {
    let y = (height - heightOfColumn(items)) / 2
    for (const item of items) {
      item.y = y
      y += heightOf(item) + rowGap
    }
  }
  for (const items of columns) stack(items)
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const isForward = sweep % 2 === 0
    for (const items of isForward ? columns : columns.toReversed()) {
      const wanted = new Map(items.map((item) => [item, middleOf(isForward ? item.before : item.after) ?? centreOf(item)]))
      items.sort((a, b) => (wanted.get(a) ?? 0) - (wanted.get(b) ?? 0))
      stack(items)
    }
  }
}

const centreOf = (item: Item): number => item.y + heightOf(item) / 2
const middleOf = (items: readonly Item[]): number | undefined =>
  items.length === 0 ? undefined : items.reduce((sum, item) => sum + centreOf(item), 0) / items.length

/** Lines that meet at one side of a node are beside each other there. */
function findPorts(chains: readonly (readonly Item[])[]): (chain: number, at: number) => number | undefined {
  const sides = new Map<Item, Record<'left' | 'right', { key: string; towards: number; isEnd: boolean }[]>>()
  chains.forEach((chain, i) => {
    for (const [at, next] of [
      [0, 1],
      [chain.length - 1, chain.length - 2],
    ] as const) {
      const [item, other] = [chain[at], chain[next]]
      if (item === undefined || other === undefined) continue
      const side = sides.get(item) ?? { left: [], right: [] }
      sides.set(item, side)
      side[other.column < item.column ? 'left' : 'right'].push({ key: `${i} ${at}`, towards: centreOf(other), isEnd: at > 0 })
    }
  })
  const ports = new Map<string, number>()
  for (const [item, both] of sides)
    for (const side of [both.left, both.right]) {
      side.sort((a, b) => a.towards - b.towards || Number(a.isEnd) - Number(b.isEnd))
      side.forEach(({ key }, i) => void ports.set(key, item.y + (nodeSize.height * (i + 1)) / (side.length + 1)))
    }
  return (chain, at) => ports.get(`${chain} ${at}`)
}

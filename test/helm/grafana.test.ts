import { expect, it } from 'vitest'
import type { Board, Panel } from '../../helm/dashboards/board.ts'
import { toGrafana } from '../../helm/dashboards/grafana.ts'
import { max, sum, value } from '../../helm/promql.ts'

const text = { title: 'Title', description: 'What it is.', empty: 'Nothing' } as const
const entries = value('netvitals_conntrack_entries', {})
const boardOf = (panel: Panel, rest: Partial<Board> = {}): Board => ({
  uid: 'netvitals-test',
  title: 'Test',
  description: 'A board.',
  variables: ['cluster', 'job', 'node'],
  rows: [{ title: 'Row', panels: [panel] }],
  ...rest,
})
/** The panel, after its row, as Grafana reads it. */
// biome-ignore lint/suspicious/noExplicitAny: Grafana's JSON differs from panel to panel
const panelOf = (panel: Panel): any => toGrafana(boardOf(panel)).panels?.[1]

it.each([
  { levels: { warning: 2, fault: 5 }, steps: { green: null, orange: 2, red: 5 } },
  { levels: { fault: 5 }, steps: { green: null, red: 5 } },
  { levels: { warning: 5, fault: 2, isLowBad: true }, steps: { red: null, orange: 2, green: 5 } },
  { levels: { warning: 5, isLowBad: true }, steps: { orange: null, green: 5 } },
  { levels: { fault: 1, isLowBad: true }, steps: { red: null, green: 1 } },
])('colours each value by $levels', ({ levels, steps }) => {
  const { fieldConfig } = panelOf({ kind: 'stat', ...text, unit: 'short', levels, targets: [{ query: entries, legend: '' }] })
  // In Grafana the last step whose value is not above wins, so their order counts.
  expect(fieldConfig.defaults.thresholds.steps).toEqual(Object.entries(steps).map(([color, from]) => ({ color, value: from })))
})

it('gives a stat that has nothing to show no colour of a level', () => {
  const { fieldConfig } = panelOf({
    kind: 'stat',
    ...text,
    unit: 's',
    levels: { fault: 5, isLowBad: true },
    targets: [{ query: entries, legend: '' }],
  })
  const nothing = { match: 'null+nan', result: { text: 'Nothing', color: 'text' } }
  expect(fieldConfig.defaults.mappings).toEqual([{ type: 'special', options: nothing }])
})

it('lets one node be chosen on a board of one node, and any number on others', () => {
  const panel: Panel = { kind: 'stat', ...text, unit: 'short', targets: [{ query: entries, legend: '' }] }
  const variablesOf = (board: Board) =>
    Object.fromEntries(
      (toGrafana(board).templating?.list ?? []).map(({ name, multi, includeAll }) => [name, { multi, includeAll }]),
    )
  const many = { multi: true, includeAll: true }
  expect(variablesOf(boardOf(panel))).toMatchObject({ cluster: many, job: many, node: many })
  const one = { multi: false, includeAll: false }
  expect(variablesOf(boardOf(panel, { isOfOneNode: true }))).toMatchObject({ cluster: many, job: many, node: one })
})

it('shows in a table what a label says instead of the value beside it, and opens a board of it', () => {
  const { transformations, fieldConfig } = panelOf({
    kind: 'table',
    ...text,
    labels: { node: 'Node' },
    opens: { label: 'node', uid: 'netvitals-node' },
    columns: [
      { heading: 'Entries', unit: 'short', query: sum(entries, 'node') },
      { heading: 'Kernel', label: 'kernel', query: max(value('netvitals_node_info', {}), 'node', 'kernel') },
    ],
  })
  expect(transformations[1].options).toEqual({
    excludeByName: { Time: true, 'Value #B': true },
    indexByName: { node: 0, 'Value #A': 1, kernel: 2 },
    renameByName: { node: 'Node', 'Value #A': 'Entries', kernel: 'Kernel' },
  })
  const links = fieldConfig.overrides.find(
    (one: { matcher: { options: string }; properties: readonly { id: string }[] }) =>
      one.matcher.options === 'Node' && one.properties[0]?.id === 'links',
  )
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the variable is Grafana's
  expect(links.properties[0].value[0].url).toContain('/d/netvitals-node?var-node=${__value.raw:percentencode}&')
})

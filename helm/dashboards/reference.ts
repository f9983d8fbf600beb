import { shownWindow, stepWindow } from '../promql.ts'
import { type Board, type Panel, targetsOf } from './board.ts'
import type { Story } from './stories.ts'
import { variables } from './variables.ts'

/** A heading's address on the page, as GitHub makes it. */
const anchorOf = (heading: string): string =>
  `#${heading
    .toLowerCase()
    .replaceAll(/[^\w -]/g, '')
    .replaceAll(' ', '-')}`

const kinds = { graph: 'graph', stat: 'number', table: 'table', heatmap: 'heat map', nodegraph: 'node graph' } as const

function renderStory({ says, boards: places }: Story, boards: readonly Board[]): string {
  const lines = places.map(({ uid, panels, sees }) => {
    const title = boards.find((board) => board.uid === uid)?.title ?? uid
    return `1. [${title}](${anchorOf(title)}): ${panels.map((panel) => `**${panel}**`).join(', ')}. ${sees}`
  })
  return `### “${says}”\n\n${lines.join('\n')}\n`
}

const [step, shown] = ['5m', '1h']
/** As Prometheus takes it: of everything, with windows as they are by default. */
const withoutVariables = (query: string): string =>
  query
    .replaceAll(/\w+=~"\$\w+"(, )?/g, '')
    .replaceAll(/(, )?\}/g, '}')
    .replaceAll('{}', '')
    .replaceAll(stepWindow, step)
    .replaceAll(shownWindow, shown)

function renderPanel(panel: Panel): string {
  const headings = panel.kind === 'table' ? panel.columns.map(({ heading }) => `# ${heading}\n`) : []
  const queries = targetsOf(panel).map(({ query }, index) => `${headings[index] ?? ''}${withoutVariables(query.text)}`)
  return `**${panel.title}** (${kinds[panel.kind]}). ${panel.description} If there is nothing: “${panel.empty}”.

\`\`\`promql
${queries.join('\n\n')}
\`\`\`
`
}

function renderBoard({ uid, title, description, variables: names, rows }: Board): string {
  const sections = rows.map(
    (row) => `#### ${row.title}${row.isCollapsed ? ' (folded)' : ''}\n\n${row.panels.map(renderPanel).join('\n')}`,
  )
  return `### ${title}

${description} It is narrowed by ${names.map((name) => variables[name].label).join(', ')}; \`${uid}\` in links.

${sections.join('\n')}`
}

/** docs/dashboards.md: where to look with which trouble, and every panel with its queries. */
export function renderDashboards(boards: readonly Board[], stories: readonly Story[]): string {
  return `# Dashboards

Written from helm/dashboards/; a test compares. First what people come with, the most urgent first, and on which board and panel the answer is; then every board with its panels and what they ask Prometheus.

The queries can be given to Prometheus as they stand: without what the board is narrowed to, with ${step} for what is a step of a graph there, and ${shown} for all the time shown.

## What people come with

${stories.map((story) => renderStory(story, boards)).join('\n')}
## Boards

${boards.map(renderBoard).join('\n')}`
}

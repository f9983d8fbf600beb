import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { readConfig } from '../../agent/config.ts'
import { boards } from '../../helm/dashboards/index.ts'
import { renderDashboards } from '../../helm/dashboards/reference.ts'
import { stories } from '../../helm/dashboards/stories.ts'

const places = stories.flatMap(({ says, boards: of }) => of.map(({ uid, panels }) => ({ says, uid, panels })))
const described = boards.flatMap((board) =>
  [board, ...board.rows.flatMap((row) => row.panels)].map(({ description }) => description),
)

describe('docs/dashboards.md', () => {
  it('is what boards and stories say', async () => {
    const file = path.resolve(import.meta.dirname, '../../docs/dashboards.md')
    await expect(renderDashboards(boards, stories)).toMatchFileSnapshot(file)
  })

  it.each(places)('has the panels of $uid for “$says”', ({ uid, panels }) => {
    const rows = boards.find((board) => board.uid === uid)?.rows ?? []
    const titles = rows.flatMap((row) => row.panels.map(({ title }) => title))
    expect(panels).not.toEqual([])
    expect(panels.filter((panel) => !titles.includes(panel))).toEqual([])
  })

  it.each(boards.map(({ title, rows }) => ({ title, rows })))('has one panel of each title on $title', ({ rows }) => {
    const titles = rows.flatMap((row) => row.panels.map(({ title }) => title))
    expect(titles.filter((title, index) => titles.indexOf(title) !== index)).toEqual([])
  })

  it('has queries without variables, and with labels that are no variable', () => {
    const text = renderDashboards(boards, stories)
    expect(text).not.toMatch(/\$[a-z_]|\{\}|, \}|\{, /)
    expect(text).toContain('netvitals_tcp_sockets{state="close_wait"}')
  })

  it('tells each story once', () => {
    const sentences = stories.map(({ says }) => says)
    expect(new Set(sentences).size).toBe(sentences.length)
  })

  it('names only commands that netvitals takes', () => {
    const texts = [...described, ...stories.flatMap(({ boards: of }) => of.map(({ sees }) => sees))]
    const commands = new Set(
      texts.flatMap((text) => [...text.matchAll(/`netvitals ([^`]+)`/g)].map(([, command = '']) => command)),
    )
    expect(commands.size).toBeGreaterThan(5)
    for (const command of commands) expect(() => readConfig(command.split(' '), {}), command).not.toThrow()
  })
})

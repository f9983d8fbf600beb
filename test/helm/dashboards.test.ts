import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { toGrafana } from '../../helm/dashboards/grafana.ts'
import { boards } from '../../helm/dashboards/index.ts'

const folder = path.resolve(import.meta.dirname, '../../helm/netvitals/dashboards')

describe('helm/netvitals/dashboards', () => {
  it.each(boards.map((board) => ({ uid: board.uid, board })))('$uid.json is what its board says', async ({ uid, board }) => {
    await expect(`${JSON.stringify(toGrafana(board), undefined, 2)}\n`).toMatchFileSnapshot(path.join(folder, `${uid}.json`))
  })

  it('holds no other file', () => {
    const files = new Set(boards.map(({ uid }) => `${uid}.json`))
    expect(fs.readdirSync(folder).filter((file) => !files.has(file))).toEqual([])
  })
})

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { createPods, expectChanges, type Pod, readMetrics, remove, removeAgent, root, upgrade, type Values } from './cluster.ts'

const namespace = 'nvh-scripts'
const file = 'connect-errors.bt'
/** With bpftrace. */
const { repository, tag }: { repository: string; tag: string } = JSON.parse(process.env.BPFTRACE_IMAGE ?? '{}')

describe('scripts of bpftrace', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nvh-scripts-'))
  let a: Pod

  beforeAll(async () => {
    ;({ a } = await createPods(namespace, { a: 'Pod' }))
  })
  afterAll(() => {
    fs.rmSync(folder, { recursive: true })
    remove('namespace', namespace)
    removeAgent()
  })

  it.each(['events', 'full'])('with the tier %s', async (tier) => {
    const maps = { connect_errors: { type: 'counter', help: 'Failed connect() calls.', labels: ['errno', 'program'] } }
    const values = {
      tier,
      scripts: { [file]: fs.readFileSync(path.join(root, 'agent/bpf', file), 'utf8') },
      config: { scripts: [{ file: `/etc/netvitals/scripts/${file}`, maps }] },
    }
    const given = path.join(folder, 'values.json')
    fs.writeFileSync(given, JSON.stringify(values))
    upgrade('--values', given, `--set=image.repository=${repository}`, `--set-string=image.tag=${tag}`)
    const read = async (): Promise<Values> => {
      const lines = (await readMetrics()).filter(({ metric }) => metric === 'user_connect_errors_total')
      return Object.fromEntries(
        lines.map(({ labels, value }) => [labels, value]).filter(([labels]) => `${labels}`.includes('"node"')),
      )
    }
    await expectChanges(read, async () => {
      await a.run('tcp-storm', { address: '127.0.0.1', port: 7000, count: 9, end: 'refused' })
      return { 'errno="111",program="node"': 9 }
    })
  })
})

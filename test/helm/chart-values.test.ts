import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { readConfig } from '../../agent/config.ts'
import { chart, helms, type Rendering, renderEach, resourcesOf } from './chart.ts'
import { allVersions, findFaults, kubeconformMissing, readDefinitions } from './kubeconform.ts'

const values = parse(fs.readFileSync(path.join(chart, 'values.yaml'), 'utf8'))

interface Value {
  readonly keys: readonly string[]
  readonly value: unknown
}
/** Whose keys are the user's or Kubernetes'. */
const freeForms = [
  ...['web.config', 'config', 'scripts', 'serviceAccount.annotations', 'service.annotations', 'monitor.labels', 'monitor.auth'],
  ...['dashboards.annotations', 'prometheusRule.labels', 'prometheusRule.alerts', 'podAnnotations', 'podLabels', 'nodeSelector'],
  ...['affinity', 'tests.nodeSelector', 'resources.requests', 'resources.limits'],
]
const isSection = ({ keys, value }: Value): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !freeForms.includes(keys.join('.'))
const below = (section: object, above: readonly string[]): Value[] =>
  Object.entries(section).flatMap(([key, value]) => {
    const one = { keys: [...above, key], value }
    return [one, ...(isSection(one) ? below(value, one.keys) : [])]
  })
const all = below(values, [])
const sections = all.filter(isSection)
const leaves = all.filter((one) => !isSection(one))

const set = ({ keys }: Value, value: unknown): string => `--set-json=${keys.join('.')}=${JSON.stringify(value)}`
/** What helm says of the value at the place. */
const said = (refusal: string, keys: readonly string[]): string =>
  [...refusal.matchAll(/^ *- at '(.*?)': (.*)$/gm)]
    .flatMap(([, at, what]) => (at === ['', ...keys].join('/') ? [what] : []))
    .join('\n')

describe.each(helms)('helm $version', (helm) => {
  const refuse = async (...flags: readonly string[]): Promise<string> => (await renderEach(helm, [flags]))[0]!.refusal

  it('refuses a misspelt name beside each name', async () => {
    const misspelt = (name: string): string => `${name}${name.at(-1)}`
    const refusal = await refuse(
      ...all.map(({ keys, value }) => set({ keys: [...keys.slice(0, -1), misspelt(keys.at(-1)!)], value }, value)),
    )
    for (const { keys } of all) expect(said(refusal, keys.slice(0, -1)), keys.join('.')).toContain(`'${misspelt(keys.at(-1)!)}'`)
  })

  it('refuses each value that is another kind of thing', async () => {
    const wrong = (value: unknown): unknown => (['string', 'number'].includes(typeof value) ? true : 'text')
    const refusal = await refuse(...leaves.map((leaf) => set(leaf, wrong(leaf.value))))
    for (const { keys } of leaves) expect(said(refusal, keys), keys.join('.')).not.toBe('')
    for (const one of sections)
      expect(said(await refuse(set(one, 'text')), one.keys), one.keys.join('.')).toMatch(/got string, want .*object/)
  })

  describe('takes null for nothing, or says what is missing', () => {
    let renderings: readonly Rendering[] = []
    beforeAll(async () => {
      const shown = (top: string): string[] => (['dashboards', 'prometheusRule'].includes(top) ? [`${top}.enabled=true`] : [])
      renderings = await renderEach(
        helm,
        all.map((one) => [...(one.keys.length > 1 ? shown(one.keys[0]!) : []), set(one, null)]),
      )
    })

    it('never in the words of a template', () => {
      for (const [index, { yaml, refusal }] of renderings.entries()) {
        const keys = all[index]!.keys
        if (refusal !== '') expect(said(refusal, keys.slice(0, -1)), refusal).toContain(`missing property '${keys.at(-1)}'`)
        expect(yaml, keys.join('.')).not.toMatch(/<nil>|<no value>/)
      }
    })

    it.skipIf(kubeconformMissing)('in what Kubernetes takes', () => {
      const rendered = renderings.flatMap(({ yaml }, index) => (yaml === '' ? [] : [{ name: all[index]!.keys.join('.'), yaml }]))
      const texts = rendered.map(({ yaml }) => yaml)
      const faults = findFaults(...readDefinitions(allVersions[0]), texts)
      expect([...faults].map(([index, fault]) => `${rendered[Number(index)]!.name}: ${fault}`)).toEqual([])
      expect(rendered.map(({ name }) => name)).toEqual(expect.arrayContaining(['resources', 'config', 'web.config', 'affinity']))
    })
  })
})

describe.skipIf(helms.length === 0)('config', () => {
  /** What the agent's file may have, in the agent's own words. */
  function settingsOfFile(): string[] {
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-settings-')), 'netvitals.yaml')
    try {
      fs.writeFileSync(file, 'nonsense: 1\n')
      readConfig(['serve', `--config.file=${file}`], {})
      throw new Error('the agent has taken nonsense')
    } catch (error) {
      return /there are (.*)$/.exec((error as Error).message)![1]!.split(', ')
    } finally {
      fs.rmSync(path.dirname(file), { recursive: true })
    }
  }

  it('may have what the agent takes, and nothing that a value of its own gives: a flag would go before it', async () => {
    const [rendering] = await renderEach(helms[0]!, [['identity.pods=kubelet']])
    const { containers } = resourcesOf(rendering!.yaml).find(({ kind }) => kind === 'DaemonSet').spec.template.spec
    const { args, env }: { args: string[]; env: { name: string }[] } = containers[0]
    const given = [...args.map((flag) => flag.replace(/^--|=.*/g, '')), 'web.config.file']
    const variables = env.map(({ name }) => name)
    const isGiven = (name: string): boolean =>
      given.includes(name) || variables.includes(`NETVITALS_${name.toUpperCase().replace(/[.-]/g, '_')}`)
    const names = settingsOfFile()
    const refusals = await renderEach(
      helms[0]!,
      names.map((name) => [set({ keys: ['config', ...name.split('.')], value: '' }, 'x')]),
    )
    expect(names.filter((_, index) => refusals[index]!.refusal !== '').sort()).toEqual(names.filter(isGiven).sort())
    for (const typo of ['config={"identity":{"network":[]}}', 'config={"source":{}}', 'config={"tools":{"drops":{"cmd":"x"}}}'])
      expect((await renderEach(helms[0]!, [[typo]]))[0]!.refusal).toMatch(
        /additional properties '(network|source|cmd)' not allowed/,
      )
  })
})

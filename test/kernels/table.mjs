// docs/kernels.md from docs/kernels.json.
import fs from 'node:fs'
import path from 'node:path'
import { mapNames } from '../../dist/agent/host/traced-maps.js'

const truth = path.resolve(import.meta.dirname, '../truth')
const shortOf = (file) => path.basename(file).replace('.test.ts', '')

/** The tests that read a metric, by its name or its map's: all of each such file have to pass for it to be called exact. */
function findProofs() {
  const files = fs.readdirSync(truth).filter((name) => name.endsWith('.test.ts'))
  const texts = files.map((name) => [shortOf(name), fs.readFileSync(path.join(truth, name), 'utf8')])
  return new Map(
    mapNames.map((map) => {
      const name = new RegExp(`(netvitals_|')${map}\\b`)
      return [map, texts.filter(([, text]) => name.test(text)).map(([file]) => file)]
    }),
  )
}

/** All tests of a kernel. */
export function count({ files }) {
  const sum = (key) => files.reduce((total, one) => total + one[key], 0)
  return { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped'), leftOut: sum('leftOut') }
}

export function describeKernels(results) {
  const kernels = Object.entries(results)
  const proofs = findProofs()
  const reasons = []
  const row = (title, cell) => `| ${title} | ${kernels.map(([, result]) => cell(result)).join(' | ')} |`
  const head = [row('', ({ release }) => release), row('---', () => '---')]
  const fileOf = (result, file) => result.files.find((one) => shortOf(one.file) === file)

  const describeFile = (one) => {
    if (one === undefined) return 'not run'
    return one.failed + one.skipped === 0 ? `${one.passed} passed` : `**${one.failed} failed, ${one.skipped} skipped**`
  }
  const describeMap = (result, map) => {
    const files = proofs.get(map).map((file) => fileOf(result, file))
    const bad = files.filter((one) => one === undefined || one.failed + one.skipped > 0)
    if (bad.length > 0) return `**${describeFile(bad[0]).replaceAll('*', '')}**`
    const absent = result.sources.flatMap((source) => source.absent).find(({ name }) => name === `netvitals_${map}`)
    if (absent === undefined) return 'exact'
    if (!reasons.includes(absent.reason)) reasons.push(absent.reason)
    return `absent (${reasons.indexOf(absent.reason) + 1})`
  }
  const describeSurroundings = ({ cgroup, problems }) =>
    problems.length === 0 ? `${cgroup} only; none` : `**${problems.join('; ')}**`

  const metrics = mapNames.map((map) => row(`\`netvitals_${map}\``, (result) => describeMap(result, map)))
  const files = [...new Set(kernels.flatMap(([, result]) => result.files.map(({ file }) => file)))].sort()
  const leftOut = Math.max(0, ...kernels.map(([, result]) => count(result).leftOut))

  return `# Kernels

Written by \`make test-kernels\` from kernels.json beside it. The tests in test/truth/ cause exactly N of something on a real kernel and read N; here on kernels of several versions, in software emulation, which tells nothing of speed.

${[...head, ...metrics].join('\n')}

\`exact\`: all tests of all the files that read the metric passed. \`absent\`: this kernel cannot tell. There is no series, \`netvitals check\` gives the reason, and the tests assert both (test/truth/expected-absences.ts):

${reasons.map((reason, i) => `${i + 1}. ${reason}`).join('\n')}

${describeNotes(kernels)}## Tests

${[
  ...head,
  ...files.map((file) => row(file.replace('test/', ''), (result) => describeFile(fileOf(result, shortOf(file))))),
  row('passed', (result) => count(result).passed),
  row('failed, skipped', (result) => `${count(result).failed}, ${count(result).skipped}`),
  row('control groups; clang and LLVM', describeSurroundings),
  row('Node.js', ({ node }) => node ?? ''),
  row('libbpf, koffi', ({ libbpf, koffi }) => `${libbpf}, ${koffi}`),
  row('date', (result) => [...new Set(result.files.map(({ date }) => date))].sort().join(', ')),
].join('\n')}

${leftOut} tests of the tracer are not among them: they compile its programs anew, with a fault, and there is no compiler. \`make test\` has them.

| metric | test/truth/ |
|---|---|
${[...proofs].map(([map, names]) => `| \`netvitals_${map}\` | ${names.join(', ')} |`).join('\n')}
`
}

/** What `check` notes of numbers that are there, and what else it says is absent, by kernel. */
function describeNotes(kernels) {
  const said = new Map()
  const say = (text, version) => said.set(text, [...(said.get(text) ?? []), version])
  for (const [version, { sources }] of kernels) {
    for (const text of new Set(sources.flatMap(({ caveats }) => caveats))) say(text, version)
    for (const { absent } of sources.filter(({ name }) => !name.startsWith('trace-'))) {
      for (const { name, reason } of absent) say(`\`${name}\` is absent: ${reason}`, version)
    }
  }
  if (said.size === 0) return ''
  const lines = [...said].map(([text, versions]) => `- ${versions.join(', ')}: ${text}`)
  return `\`check\` says besides:\n\n${lines.join('\n')}\n\n`
}

// Run by run.mjs on another kernel: guest.mjs DIRECTORY PATTERN FILE…. Takes away what must not be needed, asserts what
// surrounds the agent there, runs the tests of the files but for those that fit the pattern, and leaves surroundings.json
// and tests.json in the directory.
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../..')
const [directory, leftOut, ...files] = process.argv.slice(2)
const run = (command, ...parameters) => execFileSync(command, parameters, { cwd: root, encoding: 'utf8' })
const versionOf = (name) => JSON.parse(fs.readFileSync(path.join(root, `node_modules/${name}/package.json`), 'utf8')).version

/** The emulator is some 10 times slower. No test passes or fails by the clock, but each has to end. */
const slowness = '10'
const limitMs = 400_000

const problems = []

hideCompilers()
const runnable = listCompilers().filter((file) => spawnSync(file, ['--version']).error === undefined)
if (runnable.length > 0) problems.push(`a compiler can still be run: ${runnable.join(', ')}`)
if (spawnSync('clang-14', ['--version']).error === undefined) problems.push('clang-14 can still be run')

const hierarchies = [...new Set(readMounts().map(({ type }) => type))].filter((type) => type.startsWith('cgroup'))
if (hierarchies.join() !== 'cgroup2') problems.push(`control groups are not v2 only: ${hierarchies.join(', ') || 'none mounted'}`)

const checked = spawnSync(process.execPath, ['dist/agent/main.js', 'check', '-o', 'json', '--web.socket='], { cwd: root })
const report = JSON.parse(checked.stdout)
if (report.node.cgroup !== 'v2') problems.push(`the agent takes the control groups for ${report.node.cgroup}`)
if (report.outcome === 'failed') problems.push('a source failed')

const [, libbpf] = /libbpf\.so\.1 .*=> (\S+)/.exec(run('ldconfig', '-p'))
const surroundings = {
  release: report.node.kernel,
  node: process.versions.node,
  libbpf: path.basename(fs.realpathSync(libbpf)).replace('libbpf.so.', ''),
  koffi: versionOf('koffi'),
  cgroup: report.node.cgroup,
  problems,
  sources: report.sources.map(({ name, metrics, caveats }) => ({
    name,
    caveats,
    absent: metrics.filter(({ outcome }) => outcome !== 'ok').map((metric) => ({ name: metric.name, reason: metric.reason })),
  })),
}
fs.writeFileSync(path.join(directory, 'surroundings.json'), JSON.stringify(surroundings))
console.log(`Linux ${surroundings.release}, control groups ${surroundings.cgroup}; ${problems.join('; ') || 'no compiler'}\n`)

const { status } = spawnSync(
  process.execPath,
  [
    'node_modules/vitest/vitest.mjs',
    'run',
    ...files,
    `--testNamePattern=^(?!.*(${leftOut}))`,
    '--no-isolate', // every module is loaded once, which takes half a minute in the emulator
    `--testTimeout=${limitMs}`,
    `--hookTimeout=${limitMs}`,
    `--expect.poll.timeout=${limitMs / 10}`,
    '--hideSkippedTests',
    '--reporter=verbose',
    '--reporter=json',
    `--outputFile.json=${path.join(directory, 'tests.json')}`,
  ],
  { cwd: root, stdio: 'inherit', env: { ...process.env, CI: 'true', NO_COLOR: '1', TEST_SLOWNESS: slowness } },
)
process.exit(problems.length > 0 ? 1 : (status ?? 1))

/** An empty folder over each version of LLVM, to whose programs those in the PATH lead; an empty file over others. */
function hideCompilers() {
  for (const folder of fs.readdirSync('/usr/lib').filter((name) => /^llvm/.test(name))) {
    run('mount', '-t', 'tmpfs', 'none', `/usr/lib/${folder}`)
  }
  for (const file of listCompilers().filter((name) => fs.existsSync(name))) {
    run('mount', '--bind', '/dev/null', fs.realpathSync(file))
  }
}

function listCompilers() {
  const folders = (process.env.PATH ?? '').split(':').filter((folder) => fs.existsSync(folder))
  return folders.flatMap((folder) =>
    fs
      .readdirSync(folder)
      .filter((name) => /^(clang|llc|llvm-)/.test(name))
      .map((name) => path.join(folder, name)),
  )
}

function readMounts() {
  const lines = fs.readFileSync('/proc/mounts', 'utf8').trimEnd().split('\n')
  return lines.map((line) => line.split(' ')).map(([, at, type]) => ({ at, type }))
}

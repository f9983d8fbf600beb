// The truth tests on other kernels, in turn: run.mjs COMMAND [VERSION…] [-- FILE…]. COMMAND VERSION … runs something on a
// kernel, as in `COMMAND 6.12 --out DIRECTORY -- uname -r`. The result is in docs/kernels.json, and for people in
// docs/kernels.md; a run of some versions, or some files, replaces only theirs.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { count, describeKernels } from './table.mjs'

const root = path.resolve(import.meta.dirname, '../..')
const allVersions = ['5.10', '6.1', '6.12', '6.18', '7.2']
const allFiles = ['test/truth', 'test/agent/host/tracer.test.ts']
const limitSeconds = 3600
/** Tests of the tracer that compile its programs anew, with a fault: there must be no compiler. `make test` has them. */
const leftOut = 'verifier refuses|object of another version'
const resultFile = path.join(root, 'docs/kernels.json')

const [command, ...rest] = process.argv.slice(2)
const end = rest.includes('--') ? rest.indexOf('--') : rest.length
const [versions, files] = [rest.slice(0, end), rest.slice(end + 1)]
if (!fs.existsSync(command)) {
  console.log(`skipped: there is no ${command}, which runs a command on another kernel`)
  process.exit(0)
}
const unknown = versions.filter((version) => !allVersions.includes(version))
if (unknown.length > 0) throw new Error(`no version ${unknown.join(', ')}; there are ${allVersions.join(', ')}`)

for (const version of versions.length > 0 ? versions : allVersions) {
  console.log(`\n== Linux ${version}, ${new Date().toISOString()}\n`)
  const result = test(version)
  const { passed, failed, skipped, leftOut } = count(result)
  console.log(`\nLinux ${version}: ${passed} passed, ${failed} failed, ${skipped} skipped; ${leftOut} compile and were left out`)
  for (const problem of result.problems) console.log(`Linux ${version}: ${problem}`)
  if (failed > 0 || skipped > 0 || result.problems.length > 0) process.exitCode = 1
  save(version, result)
}

function test(version) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-kernels-'))
  const startedAt = Date.now()
  try {
    // In a mount namespace of its own: what guest.mjs hides stays there, wherever it is run.
    const guest = ['unshare', '-m', process.execPath, path.join(import.meta.dirname, 'guest.mjs'), directory, leftOut]
    const options = ['--out', directory, '--memory', '3G', '--timeout', String(limitSeconds)]
    const chosen = files.length > 0 ? files : allFiles
    const { status } = spawnSync(command, [version, ...options, '--', ...guest, ...chosen], { cwd: root, stdio: 'inherit' })
    const read = (name) => JSON.parse(fs.readFileSync(path.join(directory, name), 'utf8'))
    const result = { ...read('surroundings.json'), files: read('tests.json').testResults.map(summarize) }
    const { passed, failed } = count(result)
    if (status !== 0 && failed === 0 && result.problems.length === 0)
      result.problems.push(`the tests ended with status ${status}`)
    if (passed === 0) result.problems.push('no test passed')
    return { ...result, minutes: Math.ceil((Date.now() - startedAt) / 60_000) }
  } catch (error) {
    return { release: version, problems: [`no result: ${error.message}`], sources: [], files: [] }
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
}

/** Of a file in vitest's report: how many tests passed. Those left out on purpose are counted apart from skipped ones. */
function summarize({ name, status, message, assertionResults }) {
  const date = new Date().toISOString().slice(0, 10)
  const one = { file: path.relative(root, name), date, passed: 0, failed: 0, skipped: 0, leftOut: 0, failures: [] }
  for (const { status: outcome, fullName } of assertionResults) {
    if (outcome === 'passed') one.passed++
    else if (outcome === 'failed') one.failed = one.failures.push(fullName)
    else if (new RegExp(leftOut).test(fullName)) one.leftOut++
    else one.skipped++
  }
  // A file that cannot even be loaded, or whose hook fails, is a failure without a test.
  if (status === 'failed' && one.failed === 0) one.failed = one.failures.push(message || 'could not be run')
  return one
}

function save(version, result) {
  const results = fs.existsSync(resultFile) ? JSON.parse(fs.readFileSync(resultFile, 'utf8')) : {}
  results[version] = files.length > 0 ? addTo(results[version], result) : result
  const sorted = Object.fromEntries(allVersions.flatMap((one) => (results[one] ? [[one, results[one]]] : [])))
  fs.writeFileSync(resultFile, `${JSON.stringify(sorted, undefined, 2)}\n`)
  fs.writeFileSync(path.join(root, 'docs/kernels.md'), describeKernels(sorted))
}

/** What some files gave, and the others before, if it is the same kernel. */
function addTo(before, result) {
  if (before !== undefined && result.files.length === 0) return { ...before, problems: result.problems }
  if (before?.release !== result.release) return result
  const others = before.files.filter(({ file }) => !result.files.some((one) => one.file === file))
  return { ...result, files: [...others, ...result.files], minutes: before.minutes }
}

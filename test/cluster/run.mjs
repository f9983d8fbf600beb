// The tests on a real cluster: run.mjs CLUSTER HELM [FILE…]. CLUSTER is a command: `CLUSTER up` starts a node of
// Kubernetes on this machine, unless it is up, and prints the path of its kubeconfig; `CLUSTER down` stops it;
// `CLUSTER load-image FILE` gives it an image; `CLUSTER kubectl …` is kubectl.
// A cluster that is up already is used and left up.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { buildImage, run } from '../../image/build.mjs'
import { buildOperator } from './operator.mjs'

const [cluster, helm, ...files] = process.argv.slice(2)
const missing = [
  [!fs.existsSync(cluster), `${cluster}, which starts a cluster: make cluster-test CLUSTER=…`],
  [!fs.existsSync(helm), `${helm}, which make builds where there is Go`],
  [process.getuid() !== 0, 'root'],
].flatMap(([isMissing, what]) => (isMissing ? [what] : []))
if (missing.length > 0) {
  console.error(`The cluster tests need:\n${missing.map((what) => `  ${what}`).join('\n')}`)
  process.exit(1)
}

// What runs below gets the signal too and ends; then this cleans up and ends.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {})

const isAsked = (name) => files.length === 0 || files.some((file) => file.includes(name))
const image = buildImage()
const bpftrace = isAsked('scripts') && buildImage(['--build-arg', 'BPFTRACE=1'], 'netvitals-bpftrace')
const operator = isAsked('prometheus') && spawnSync('go', ['version']).status === 0 && buildOperator()
const wasUp = spawnSync(cluster, ['kubectl', 'get', '--raw', '/readyz']).status === 0
try {
  const kubeconfig = run(cluster, 'up').split('\n').at(-1)
  const images = [image, ...(bpftrace ? [bpftrace] : []), ...(operator ? operator.images : [])]
  for (const { file } of images) run(cluster, 'load-image', file)
  const settings = {
    CLUSTER: path.resolve(cluster),
    HELM: path.resolve(helm),
    IMAGE: image.repository,
    IMAGE_TAG: image.tag,
    IMAGE_FILE: image.file,
    KUBECONFIG: kubeconfig,
    ...(bpftrace && { BPFTRACE_IMAGE: JSON.stringify(bpftrace) }),
    ...(operator && { OPERATOR: JSON.stringify(operator) }),
  }
  const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/cluster/vitest.config.ts', ...files]
  const { status } = spawnSync(process.execPath, vitest, { stdio: 'inherit', env: { ...process.env, ...settings } })
  process.exitCode = status ?? 1
} finally {
  if (!wasUp) run(cluster, 'down')
}

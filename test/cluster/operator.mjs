// Prometheus and its operator for the cluster tests, built from their Go modules: Debian's Prometheus cannot find pods.
import fs from 'node:fs'
import path from 'node:path'
import { archive, buildah, commit, run } from '../../image/build.mjs'

const cache = path.resolve(import.meta.dirname, '../../.cache/operator')

const operator = {
  module: 'github.com/prometheus-operator/prometheus-operator',
  version: 'v0.85.0',
  parts: ['pkg/apis/monitoring', 'pkg/client'],
  programs: { 'prometheus-operator': './cmd/operator', 'prometheus-config-reloader': './cmd/prometheus-config-reloader' },
}
const prometheus = {
  module: 'github.com/prometheus/prometheus',
  version: 'v0.305.0', // 3.5.0
  parts: [],
  programs: { prometheus: './cmd/prometheus' },
}

/**
 * Builds what is missing, some ten minutes the first time.
 * @returns the operator's manifest as its project ships it, and the images
 */
export function buildOperator() {
  const images = [operator, prometheus].flatMap(buildPrograms).map(buildProgramImage)
  return { manifest: path.join(download(operator), 'bundle.yaml'), images }
}

const download = ({ module, version }) => JSON.parse(run('go', 'mod', 'download', '-json', `${module}@${version}`)).Dir

/** `go install` takes no module that replaces others: parts of its own by folders, which are published too, or one by an older. */
function buildPrograms({ module, version, parts, programs }) {
  const files = Object.keys(programs).map((name) => path.join(cache, `${name}-${version}`))
  if (files.every((file) => fs.existsSync(file))) return files
  fs.mkdirSync(cache, { recursive: true })
  const copy = fs.mkdtempSync(`${cache}/source-`)
  try {
    fs.cpSync(download({ module, version }), copy, { recursive: true })
    run('chmod', '-R', 'u+w', copy)
    const go = (...parameters) => run('env', 'CGO_ENABLED=0', 'go', '-C', copy, ...parameters)
    for (const { Old } of JSON.parse(go('mod', 'edit', '-json')).Replace ?? [])
      go('mod', 'edit', `-dropreplace=${Old.Path}${Old.Version ? `@${Old.Version}` : ''}`)
    for (const part of parts) go('mod', 'edit', `-require=${module}/${part}@${version}`)
    for (const [index, folder] of Object.values(programs).entries())
      go('build', '-mod=mod', '-buildvcs=false', '-o', files[index], folder)
    return files
  } finally {
    fs.rmSync(copy, { recursive: true })
  }
}

function buildProgramImage(file) {
  const name = path.basename(file).replace(/-v[\d.]+$/, '')
  const container = buildah('from', 'scratch')
  buildah('copy', '--quiet', container, file, `/bin/${name}`)
  buildah('config', '--entrypoint', JSON.stringify([`/bin/${name}`]), '--user', '65534', container)
  commit(container, name)
  return archive(name)
}

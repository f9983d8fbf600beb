// The agent's image for the cluster tests, built without a registry: on a base made of Debian's packages and of the Node.js that
// this runs in, by the Dockerfile.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../..')
const cache = path.join(root, '.cache/cluster')
const certificates = '/etc/ssl/certs/ca-certificates.crt'
const policy = path.join(cache, 'policy.json')
const built = 'localhost/netvitals'
const base = `localhost/netvitals-base:node-${process.versions.node}`

/** Runs a command and returns what it printed. Throws if it fails. */
export function run(command, ...parameters) {
  const { status, stdout, stderr, error } = spawnSync(command, parameters, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 })
  if (status === 0) return stdout.trim()
  throw new Error(
    `${[command, ...parameters].join(' ')}: ${error?.message ?? `status ${status}\n${(stdout + stderr).slice(-4000)}`}`,
  )
}

const buildah = (command, ...parameters) =>
  run('buildah', `--root=${cache}/storage`, `--runroot=${cache}/run`, '--storage-driver=overlay', command, ...parameters)

/** Builds what has changed. The name ends in the image's ID, so that what has changed has another. */
export function buildImage() {
  fs.mkdirSync(cache, { recursive: true })
  fs.writeFileSync(policy, '{"default":[{"type":"insecureAcceptAnything"}]}')
  if (buildah('images', '--quiet', '--filter', `reference=${base}`) === '') buildBase()
  const how = ['--layers', '--pull-never', '--isolation=chroot', '--network=host', '--signature-policy', policy]
  buildah('build', ...how, '--build-arg', `BASE=${base}`, '--tag', built, '.')
  const tag = buildah('images', '--quiet', built).slice(0, 12)
  const image = { repository: 'docker.io/local/netvitals', tag, file: `${cache}/netvitals-${tag}.tar` }
  if (!fs.existsSync(image.file)) {
    for (const old of fs.readdirSync(cache).filter((file) => file.endsWith('.tar'))) fs.rmSync(path.join(cache, old))
    const to = `docker-archive:${image.file}:${image.repository}:${tag}`
    buildah('push', '--quiet', '--signature-policy', policy, built, to)
  }
  return image
}

function buildBase() {
  const tree = fs.mkdtempSync(`${cache}/base-`)
  try {
    const [, suite] = /^VERSION_CODENAME=(\w+)/m.exec(fs.readFileSync('/etc/os-release', 'utf8')) ?? []
    run('debootstrap', '--variant=minbase', suite ?? 'stable', tree)
    const prefix = path.resolve(process.execPath, '../..')
    for (const part of ['bin/node', 'include/node', 'lib/node_modules/npm'])
      fs.cpSync(path.join(prefix, part), path.join(tree, 'usr/local', part), { recursive: true, dereference: true })
    fs.symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', path.join(tree, 'usr/local/bin/npm'))
    if (fs.existsSync(certificates)) {
      fs.mkdirSync(path.join(tree, path.dirname(certificates)), { recursive: true })
      fs.copyFileSync(certificates, path.join(tree, certificates))
    }
    const container = buildah('from', 'scratch')
    buildah('copy', '--quiet', container, tree, '/')
    if (fs.existsSync(certificates)) buildah('config', '--env', `npm_config_cafile=${certificates}`, container)
    buildah('commit', '--quiet', '--rm', '--signature-policy', policy, container, base)
  } finally {
    fs.rmSync(tree, { recursive: true })
  }
}

// build.mjs [OPTION…]: the agent's image by `buildah build OPTION…`, as an OCI archive with its SBOM beside it, and how large its
// parts are. Where no registry gives the bases that the Dockerfile names, others stand in for them, made of Debian's packages
// and of the Node.js that this runs in.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '..')
const cache = path.join(root, '.cache/image')
const certificates = '/etc/ssl/certs/ca-certificates.crt'
const policy = path.join(cache, 'policy.json')

/** Runs a command and returns what it printed. Throws if it fails. */
export function run(command, ...parameters) {
  const { status, stdout, stderr, error } = spawnSync(command, parameters, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 })
  if (status === 0) return stdout.trim()
  throw new Error(
    `${[command, ...parameters].join(' ')}: ${error?.message ?? `status ${status}\n${(stdout + stderr).slice(-4000)}`}`,
  )
}

export const buildah = (command, ...parameters) =>
  run('buildah', `--root=${cache}/storage`, `--runroot=${cache}/run`, '--storage-driver=overlay', command, ...parameters)
const push = (...parameters) => buildah('push', '--quiet', '--signature-policy', policy, ...parameters)
/** Makes an image of a container that buildah has. */
export const commit = (container, name) =>
  buildah('commit', '--quiet', '--rm', '--signature-policy', policy, container, `localhost/${name}`)

/** Builds what has changed and returns where it is. Options are of `buildah build`; the name is of the image. */
export function buildImage(options = [], name = 'netvitals') {
  fs.mkdirSync(cache, { recursive: true })
  fs.writeFileSync(policy, '{"default":[{"type":"insecureAcceptAnything"}]}')
  const seconds = run('git', 'log', '-1', '--format=%ct')
  const labels = {
    version: JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8')).version,
    revision: run('git', 'describe', '--always', '--exclude=*', '--abbrev=40', '--dirty'),
    created: new Date(seconds * 1000).toISOString(),
  }
  // Not by the Dockerfile's arguments: buildah takes LABEL from its cache although they have changed.
  const labelled = Object.entries(labels).flatMap(([name, value]) => ['--label', `org.opencontainers.image.${name}=${value}`])
  const bases = findBases().flatMap((base) => ['--build-arg', base])
  const how = ['--layers', '--pull-never', '--isolation=chroot', '--network=host', '--signature-policy', policy]
  // Who builds the same commit of the same packages gets the same image, whatever came from a cache: one time for all files,
  // which only a single layer has, and nothing of the images in between.
  const base = '--annotation=org.opencontainers.image.base.digest='
  const same = ['--timestamp', seconds, '--squash', '--omit-history', '--identity-label=false', base]
  buildah('build', ...how, ...same, ...bases, ...labelled, ...options, '--tag', `localhost/${name}`, '.')
  return archive(name)
}

/**
 * Writes an image of buildah's into an archive in place of the one before. The tag is the image's ID.
 * @returns `file` is as `docker load` and containerd import it
 */
export function archive(name) {
  const repository = `docker.io/local/${name}`
  const tag = buildah('images', '--quiet', `localhost/${name}`).slice(0, 12)
  const file = `${cache}/${name}-${tag}.tar`
  if (!fs.existsSync(file)) {
    const isOld = new RegExp(`^${name}-[0-9a-f]{12}\\.tar$`)
    for (const old of fs.readdirSync(cache).filter((each) => isOld.test(each))) fs.rmSync(path.join(cache, old))
    push(`localhost/${name}`, `docker-archive:${file}:${repository}:${tag}`)
  }
  return { repository, tag, file }
}

/** The Dockerfile's own where they are here or a registry gives them, else a stand-in of the same Debian, or of SUITE. */
function findBases() {
  const bases = [...fs.readFileSync(path.join(root, 'Dockerfile'), 'utf8').matchAll(/^ARG (NODE|DEBIAN)=(\S+)$/gm)]
  const isHere = (name) => buildah('images', '--quiet', '--filter', `reference=${name}`) !== ''
  try {
    for (const [, , name] of bases) if (!isHere(name)) buildah('pull', '--quiet', '--retry=0', '--signature-policy', policy, name)
    return []
  } catch {
    const suite = process.env.SUITE ?? /debian:(\w+)/.exec(bases.join())[1]
    const base = `netvitals-base:${suite}-node-${process.versions.node}`
    if (!isHere(`localhost/${base}`)) buildBase(base, suite)
    return bases.map(([, arg]) => `${arg}=localhost/${base}`)
  }
}

function buildBase(name, suite) {
  const tree = fs.mkdtempSync(`${cache}/base-`)
  try {
    run('debootstrap', '--variant=minbase', suite, tree)
    const sources = [`debian ${suite}`, `debian ${suite}-updates`, `debian-security ${suite}-security`]
    const lines = sources.map((source) => `deb http://deb.debian.org/${source} main\n`)
    fs.writeFileSync(path.join(tree, 'etc/apt/sources.list'), lines.join(''))
    const prefix = path.resolve(process.execPath, '../..')
    const licence = [`${prefix}/LICENSE`, '/usr/share/doc/nodejs/LICENSE'].find((file) => fs.existsSync(file))
    const parts = { 'bin/node': process.execPath, 'include/node': `${prefix}/include/node`, LICENSE: licence }
    parts['lib/node_modules/npm'] = `${prefix}/lib/node_modules/npm`
    for (const [to, from] of Object.entries(parts))
      fs.cpSync(from, path.join(tree, 'usr/local', to), { recursive: true, dereference: true })
    fs.symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', path.join(tree, 'usr/local/bin/npm'))
    if (fs.existsSync(certificates)) {
      fs.mkdirSync(path.join(tree, path.dirname(certificates)), { recursive: true })
      fs.copyFileSync(certificates, path.join(tree, certificates))
    }
    const container = buildah('from', 'scratch')
    buildah('copy', '--quiet', container, tree, '/')
    if (fs.existsSync(certificates)) buildah('config', '--env', `npm_config_cafile=${certificates}`, container)
    commit(container, name)
  } finally {
    fs.rmSync(tree, { recursive: true })
  }
}

/** What is in an archive of an image, as files in a folder, and how it is run. */
export function unpackImage(file, folder) {
  run('tar', '--extract', '--file', file, '--directory', folder)
  const read = (name) => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'))
  const [{ Config, Layers }] = read('manifest.json')
  const tree = path.join(folder, 'tree')
  fs.mkdirSync(tree)
  for (const layer of Layers)
    run('tar', '--extract', '--same-permissions', '--file', path.join(folder, layer), '--directory', tree)
  return { tree, ...read(Config) }
}

const sizeOf = (folder) =>
  fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, name }) => sum + fs.lstatSync(path.join(parentPath, name)).size, 0)

function report({ file }, to) {
  push('localhost/netvitals', `oci-archive:${to}.oci.tar`)
  const folder = fs.mkdtempSync(`${cache}/unpacked-`)
  try {
    const { tree } = unpackImage(file, folder)
    fs.copyFileSync(path.join(tree, 'usr/share/doc/netvitals/sbom.cdx.json'), `${to}.cdx.json`)
    const parts = { Node: 'usr/local', node_modules: 'opt/netvitals/node_modules', 'the agent': 'opt/netvitals/dist', all: '' }
    for (const [part, at] of Object.entries(parts))
      console.log(`${(sizeOf(path.join(tree, at)) / 1e6).toFixed(1).padStart(8)} MB  ${part}`)
    console.log(`${(fs.statSync(`${to}.oci.tar`).size / 1e6).toFixed(1).padStart(8)} MB  ${to}.oci.tar\n${to}.cdx.json`)
    console.log(JSON.parse(run('tar', '--extract', '--to-stdout', '--file', `${to}.oci.tar`, 'index.json')).manifests[0].digest)
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

if (process.argv[1] === import.meta.filename) report(buildImage(process.argv.slice(2)), path.join(cache, 'netvitals'))

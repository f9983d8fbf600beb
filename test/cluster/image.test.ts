import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { unpackImage } from '../../image/build.mjs'

const { IMAGE_FILE = '' } = process.env
if (IMAGE_FILE === '') throw new Error('there is no image: make cluster-test FILES=test/cluster/image.test.ts')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nv-image-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))
const { tree, config } = unpackImage(IMAGE_FILE, folder)
const files = fs
  .readdirSync(tree, { recursive: true, encoding: 'utf8' })
  .map((file) => ({ file, stat: fs.lstatSync(path.join(tree, file)) }))
const read = (file: string): string => fs.readFileSync(path.join(tree, file), 'utf8')
const agent = 'opt/netvitals'
const main = `/${agent}/dist/agent/main.js`

/** As the container does, without /proc. */
const runInside = (...command: readonly string[]): string => {
  const env = Object.fromEntries(config.Env.map((one: string) => one.split('=')))
  return execFileSync('/usr/sbin/chroot', [tree, ...command], { env, encoding: 'utf8', stdio: 'pipe' })
}

it('has nothing to break in with: no shell, package manager, compiler or interpreter but Node', () => {
  const unwanted =
    /^((ba|da|a|z|k|c|tc|fi)?sh|busybox|apt(-get)?|dpkg.*|npm|npx|corepack|yarn|perl.*|python.*|g?cc.*|g\+\+.*|ld|as|make|curl|wget|su|sudo|mount)$/
  const programs = files.filter(({ stat }) => !stat.isDirectory() && (stat.mode & 0o111) !== 0).map(({ file }) => file)
  expect(programs.filter((file) => unwanted.test(path.basename(file)))).toEqual([])
})

it('has no script whose interpreter is not there', () => {
  const missing = files.flatMap(({ file, stat }) => {
    if (!stat.isFile() || (stat.mode & 0o111) === 0) return []
    const [, interpreter] = /^#! *(\S+)/.exec(read(file).slice(0, 200)) ?? []
    return interpreter !== undefined && !fs.existsSync(path.join(tree, interpreter)) ? [`${file}: ${interpreter}`] : []
  })
  expect(missing).toEqual([])
})

it('gives nobody the rights of another, and only root may write', () => {
  expect(files.filter(({ stat }) => stat.isFile() && (stat.mode & 0o6000) !== 0).map(({ file }) => file)).toEqual([])
  const open = files.filter(({ stat }) => !stat.isSymbolicLink() && (stat.mode & 0o1002) === 0o002)
  expect(open.map(({ file }) => file)).toEqual([])
  const owned = files.filter(({ stat }) => stat.uid !== 0)
  expect(owned.map(({ file }) => file)).toEqual([])
})

it('has no trace of the machine that built it', () => {
  const traces =
    /(^|\/)(machine-id|hostname|resolv\.conf|\.npm|\.cache|__pycache__|[^/]+\.(log|pyc))$|^var\/(cache|log|lib\/apt)\/./
  expect(files.filter(({ file, stat }) => stat.isFile() && traces.test(file)).map(({ file }) => file)).toEqual([])
  expect(new Set(files.filter(({ stat }) => stat.isFile()).map(({ stat }) => stat.mtimeMs)).size).toBe(1)
  expect(config.Env.map((one: string) => one.split('=')[0]).sort()).toEqual(['NODE_ENV', 'PATH'])
})

it('says what it is', () => {
  const { version, license } = JSON.parse(read(`${agent}/package.json`))
  const label = (name: string): string => config.Labels[`org.opencontainers.image.${name}`]
  expect(label('title')).toBe('netvitals')
  expect([label('version'), label('licenses')]).toEqual([version, license])
  expect(label('revision')).toMatch(/^[0-9a-f]{40}(-dirty)?$/)
  expect(Date.parse(label('created'))).toBeGreaterThan(Date.UTC(2026))
  for (const name of ['description', 'url', 'source', 'documentation']) expect(label(name)).toBeTruthy()
})

it('lists in its SBOM every package of Debian and npm, Node, and no other', () => {
  const bom = JSON.parse(read('usr/share/doc/netvitals/sbom.cdx.json'))
  const listed = bom.components.map(({ purl }: { purl: string }) => purl.replace(/\?.*/, '')).map(decodeURIComponent)
  const statuses = 'var/lib/dpkg/status.d'
  const debian = fs.readdirSync(path.join(tree, statuses)).map((file) => {
    const [, version] = /^Version: (.*)$/m.exec(read(`${statuses}/${file}`)) ?? []
    return `pkg:deb/debian/${file}@${version}`
  })
  const npm = files
    .filter(({ file }) => /^opt\/netvitals\/(.+\/)?node_modules\/(@[^/]+\/)?[^/@]+\/package\.json$/.test(file))
    .map(({ file }) => JSON.parse(read(file)))
    .map(({ name, version }) => `pkg:npm/${name}@${version}`)
  expect(npm.length).toBeGreaterThan(30)
  expect(debian.length).toBeGreaterThan(20)
  const node = `pkg:generic/node@${runInside('/usr/local/bin/node', '--version').trim().slice(1)}`
  expect(listed.sort()).toEqual([...new Set([node, ...npm, ...debian])].sort())
})

it('has the licence of each package in it', () => {
  const without = fs
    .readdirSync(path.join(tree, 'var/lib/dpkg/status.d'))
    .filter((name) => !fs.existsSync(path.join(tree, 'usr/share/doc', name, 'copyright')))
  expect(without).toEqual([])
})

it('loads all that it has: libraries of Node, the tools, koffi with libbpf, pcap with libpcap', () => {
  for (const tool of ['iptables', 'iptables-legacy-save', 'iptables-nft-save', 'ip6tables-save', 'nft', 'setpriv'])
    expect(runInside(tool, '--version')).toMatch(/v?\d/)
  const load = `const load = require('node:module').createRequire('/${agent}/')
    load('koffi').load('libbpf.so.1').func('libbpf_version_string', 'str', [])()
    load('pcap').lib_version`
  expect(runInside('/usr/local/bin/node', '--print', load)).toMatch(/libpcap version/)
})

it('is run as it is started: by the first line of main.js', () => {
  expect(config.Entrypoint).toEqual([main])
  expect(runInside(main, '--version').trim()).toBe(`netvitals ${config.Labels['org.opencontainers.image.version']}`)
})

it('measures, as root and as nobody without capabilities', () => {
  const proc = path.join(tree, 'proc')
  execFileSync('mount', ['-t', 'proc', 'proc', proc])
  try {
    expect(runInside(main, 'check')).toMatch(/ 0 failed/)
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--bounding-set=-all', '--no-new-privs']
    const check = runInside(...nobody, main, 'check')
    expect(check).toMatch(/proc-snmp +\d+ metrics/)
    expect(check).toMatch(/ 0 failed/)
  } finally {
    execFileSync('umount', [proc])
  }
})

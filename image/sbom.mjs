// sbom.mjs STATUS.D OS-RELEASE: what the image is made of, in CycloneDX: Node, npm's packages in node_modules and Debian's.
// Not by `npm sbom`, which leaves out packages that a development dependency may use too, and says a random number and the time.
import fs from 'node:fs'
import path from 'node:path'

const [statuses, osRelease] = process.argv.slice(2)
const readJson = (file) => JSON.parse(fs.readFileSync(file, 'utf8'))
const component = (type, name, version, purl, more = {}) => ({ 'bom-ref': purl, type, name, version, purl, ...more })

const [, debian] = /^VERSION_ID="?(\d+)/m.exec(fs.readFileSync(osRelease, 'utf8')) ?? []
const ofDebian = fs.readdirSync(statuses).map((file) => {
  const text = fs.readFileSync(path.join(statuses, file), 'utf8')
  const field = (name) => new RegExp(`^${name}: (\\S+)`, 'm').exec(text)?.[1]
  const [name, version, source] = [field('Package'), field('Version'), field('Source')]
  const upstream = source === undefined ? '' : `&upstream=${source}`
  const where = `arch=${field('Architecture')}&distro=debian-${debian}${upstream}`
  return component('library', name, version, `pkg:deb/debian/${name}@${encodeURIComponent(version)}?${where}`)
})

const { packages } = readJson('node_modules/.package-lock.json')
const ofNpm = Object.entries(packages).map(([folder, { version, license, integrity }]) => {
  const name = folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length)
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`
  const [algorithm, hash] = integrity?.split('-') ?? []
  return component('library', name, version, purl, {
    ...(license && { licenses: [{ expression: license }] }),
    ...(algorithm === 'sha512' && { hashes: [{ alg: 'SHA-512', content: Buffer.from(hash, 'base64').toString('hex') }] }),
  })
})

const { name, version, license } = readJson('package.json')
const { node } = process.versions
const bom = {
  bomFormat: 'CycloneDX',
  specVersion: '1.5',
  metadata: {
    component: component('container', name, version, `pkg:npm/${name}@${version}`, { licenses: [{ expression: license }] }),
  },
  components: [
    component('application', 'node', node, `pkg:generic/node@${node}`, { cpe: `cpe:2.3:a:nodejs:node.js:${node}:*:*:*:*:*:*:*` }),
    ...new Map(ofNpm.map((one) => [one.purl, one])).values(), // one may be in several folders
    ...ofDebian,
  ],
}
process.stdout.write(`${JSON.stringify(bom, null, 1)}\n`)

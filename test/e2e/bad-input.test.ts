import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { definitionOf, type MetricName } from '../../agent/metrics/catalogue.ts'
import { sweepTree } from '../sweep-tree.ts'
import { requireRoot } from '../truth/topology.ts'
import { type Agent, startAgent } from './agent.ts'

const hosts = path.resolve(import.meta.dirname, '../fixtures/hosts')
const workplace = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-bad-input-'))
afterAll(() => fs.rmSync(workplace, { recursive: true }))

const conntrackSettings = ['max', 'buckets'].map((name) => `proc/sys/net/netfilter/nf_conntrack_${name}`)
/** Who reads a file, in every tree. */
const always: Readonly<Record<string, readonly string[]>> = {
  'proc/net/snmp': ['proc-snmp'],
  'proc/net/netstat': ['proc-snmp'],
  'proc/net/snmp6': ['proc-snmp'],
  'proc/net/sockstat': ['proc-sockstat'],
  'proc/net/softnet_stat': ['proc-softnet'],
  'proc/net/route': ['netlink-devices'],
  'proc/net/ipv6_route': ['netlink-devices'],
  'proc/sys/net/ipv4/tcp_mem': ['proc-sockstat'],
  'proc/sys/net/ipv4/tcp_max_orphans': ['proc-sockstat'],
  'proc/sys/net/ipv4/tcp_max_tw_buckets': ['proc-sockstat'],
  'proc/sys/net/ipv4/ip_local_port_range': ['netlink-sockets'],
  'proc/sys/net/ipv4/ip_local_reserved_ports': ['netlink-sockets'],
  ...Object.fromEntries(conntrackSettings.map((file) => [file, ['netlink-conntrack']])),
}
/** Besides, in a tree without netlink. */
const byProc: Readonly<Record<string, readonly string[]>> = {
  'proc/net/dev': ['netlink-devices'],
  'proc/net/tcp': ['netlink-sockets'],
  'proc/net/tcp6': ['netlink-sockets'],
  'proc/net/stat/nf_conntrack': ['netlink-conntrack'],
  'proc/net/stat/arp_cache': ['netlink-neighbours'],
  'proc/net/stat/ndisc_cache': ['netlink-neighbours'],
  'proc/sys/net/ipv4/neigh/default/gc_thresh3': ['netlink-neighbours'],
  'proc/sys/net/ipv6/neigh/default/gc_thresh3': ['netlink-neighbours'],
}
/** Besides, in a tree with netlink. */
const byNetlink: Readonly<Record<string, readonly string[]>> = {
  'netlink/tcp-sockets.bin': ['netlink-sockets'],
  'netlink/links.bin': ['netlink-devices', 'netlink-qdisc'],
  'netlink/qdiscs.bin': ['netlink-qdisc'],
  'netlink/neighbour-tables.bin': ['netlink-neighbours'],
  'netlink/conntrack-stats.bin': ['netlink-conntrack'],
  'netlink/conntrack-stats-cpu.bin': ['netlink-conntrack'],
}
/** What the kernel's messages are called beside the name of the question. */
const messages: Readonly<Record<string, string>> = {
  'tcp-sockets': 'inet_diag',
  links: 'RTM_GETLINK',
  qdiscs: 'RTM_GETQDISC',
  'neighbour-tables': 'RTM_GETNEIGHTBL',
  'conntrack-stats': 'ctnetlink',
  'conntrack-stats-cpu': 'ctnetlink',
}

const hostile = '\u001b[31m\u202e"}{\\ \u0000 -1 1e999 NaN\u009b2J\n'
type Damage = (bytes: Buffer) => Buffer
const toText: Record<string, Damage> = {
  'cut off': (bytes) => Buffer.from(bytes.toString('latin1', 0, bytes.length / 2).replace(/\n+$/, ''), 'latin1'),
  empty: () => Buffer.alloc(0),
  'without a digit': (bytes) => Buffer.from(bytes.toString('latin1').replaceAll(/\d/g, '\u001b'), 'latin1'),
  'other text': () => Buffer.from(hostile.repeat(3)),
}
const toAnswer: Record<string, Damage> = {
  'cut off': (bytes) => bytes.subarray(0, bytes.length / 2),
  empty: () => Buffer.alloc(0),
  'without an end': (bytes) => bytes.subarray(0, bytes.length - 20), // NLMSG_DONE
  'no message': (bytes) => Buffer.alloc(bytes.length, 0xff),
  'no attribute': (bytes) => {
    const size = bytes.readUInt32LE(0)
    return Buffer.concat([bytes.subarray(0, 16), Buffer.alloc(size - 16, 0xff), bytes.subarray(size)])
  },
  'other text': () => Buffer.from(hostile.repeat(3)),
}
/** What a damaged file may be like without being wrong: no IPv6 routes; the kernel acknowledges a single answer apart. */
const harmless = new Set(['proc/net/ipv6_route empty'])

/** The exposition by family, without what the agent says about itself. */
function familiesOf(text: string): Map<MetricName, string> {
  const families = new Map<MetricName, string>()
  for (const block of text.split(/^(?=# HELP )/m)) {
    const name = block.split(' ', 3)[2] as MetricName
    if (definitionOf(name).source !== 'agent') families.set(name, block)
  }
  return families
}

const listFiles = (tree: string): string[] =>
  fs
    .readdirSync(tree, { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'ORIGIN')
    .map((entry) => path.relative(tree, path.join(entry.parentPath, entry.name)))
    .sort()

/** Nothing that a terminal, a parser or a reader of the text could take for something else. */
function expectHarmless(text: string): void {
  expect(text).not.toMatch(/[^\P{Cc}\n]|[\u202a-\u202e\u2066-\u2069]/u)
}

/** Every series once. */
function expectEachSeriesOnce(text: string): void {
  const series = text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.slice(0, line.lastIndexOf(' ')))
  expect(series.filter((one, i) => series.indexOf(one) !== i)).toEqual([])
}

describe.each(['5.10-debian', '7.2-debian'])('a host such as %s', (name) => {
  const tree = path.join(hosts, name)
  const isByNetlink = fs.existsSync(path.join(tree, 'netlink'))
  const readers = { ...always, ...(isByNetlink ? byNetlink : byProc) }
  const copy = path.join(workplace, name)
  let good: Map<MetricName, string>

  beforeAll(async () => {
    fs.cpSync(tree, copy, { recursive: true })
    good = familiesOf((await sweepTree(copy)).text)
  })

  it('has every file that is read', () => {
    expect(Object.keys(readers).filter((file) => !listFiles(tree).includes(file))).toEqual([])
  })

  /** With the file as `damage` leaves it, or without it. */
  async function sweepDamaged(file: string, damage?: Damage): Promise<Awaited<ReturnType<typeof sweepTree>>> {
    const target = path.join(copy, file)
    const bytes = fs.readFileSync(target)
    try {
      if (damage === undefined) fs.rmSync(target)
      else fs.writeFileSync(target, damage(bytes))
      return await sweepTree(copy)
    } finally {
      fs.writeFileSync(target, bytes)
    }
  }

  function expectOthersUntouched(text: string, touched: readonly string[]): void {
    const now = familiesOf(text)
    for (const [metric, block] of good) if (!touched.includes(definitionOf(metric).source)) expect(now.get(metric)).toBe(block)
    for (const metric of now.keys()) expect(good.has(metric), metric).toBe(true)
  }

  describe.each(listFiles(tree))('%s', (file) => {
    const expected = readers[file] ?? []
    const kinds = file.endsWith('.bin') ? toAnswer : toText
    const bytes = fs.readFileSync(path.join(tree, file))
    const wrong = Object.keys(kinds).filter((kind) => !kinds[kind]!(bytes).equals(bytes) && !harmless.has(`${file} ${kind}`))

    it.each(wrong)(`${expected.length === 0 ? 'nobody reads it' : `${expected.join(' and ')} alone failed`}: %s`, async (kind) => {
      const { text, snapshot } = await sweepDamaged(file, kinds[kind])
      const failed = snapshot.sources.filter(({ outcome }) => outcome === 'failed')
      expect(failed.map(({ name: source }) => source).sort()).toEqual([...expected].sort())
      expectOthersUntouched(text, expected)
      expect([...familiesOf(text).keys()].filter((metric) => expected.includes(definitionOf(metric).source))).toEqual([])
      for (const { reason = '' } of failed) {
        const question = path.basename(file, '.bin')
        if (kinds === toText) expect(reason).toMatch(new RegExp(`^/${file}: line \\d+, column \\d+: expected `))
        else expect([question, messages[question], 'netlink'].some((where) => reason.startsWith(where ?? '?')), reason).toBe(true)
        expectHarmless(reason)
        expect(reason).toMatch(/^[ -~…]+$/)
      }
      expectHarmless(text)
      expectEachSeriesOnce(text)
    })

    it('is missing: nothing failed', async () => {
      const { text, snapshot } = await sweepDamaged(file)
      expect(snapshot.sources.filter(({ outcome }) => outcome === 'failed')).toEqual([])
      const touched = [...expected, ...(file === 'netlink/links.bin' ? [] : [])]
      expectOthersUntouched(text, touched)
    })
  })
})

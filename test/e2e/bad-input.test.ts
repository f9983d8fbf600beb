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
  'proc/sys/net/netfilter/nf_conntrack_max': ['netlink-conntrack', 'netlink-conntrack-entries'],
  'proc/sys/net/netfilter/nf_conntrack_buckets': ['netlink-conntrack'],
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
  'netlink/conntrack-stats.bin': ['netlink-conntrack', 'netlink-conntrack-entries'],
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
/** Empty where there are no routes: not even a header. */
const harmless = new Set(['proc/net/route empty', 'proc/net/ipv6_route empty'])

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
  const series = text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.slice(0, line.lastIndexOf(' ')))
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

    it.each(wrong)(
      `${expected.length === 0 ? 'nobody reads it' : `${expected.join(' and ')} alone failed`}: %s`,
      async (kind) => {
        const { text, snapshot } = await sweepDamaged(file, kinds[kind])
        const failed = snapshot.sources.filter(({ outcome }) => outcome === 'failed')
        expect(failed.map(({ name: source }) => source).sort()).toEqual([...expected].sort())
        expectOthersUntouched(text, expected)
        expect([...familiesOf(text).keys()].filter((metric) => expected.includes(definitionOf(metric).source))).toEqual([])
        for (const { reason = '' } of failed) {
          const question = path.basename(file, '.bin')
          if (kinds === toText) expect(reason).toMatch(new RegExp(`^/${file}: line \\d+, column \\d+: expected `))
          else
            expect(
              [question, messages[question], 'netlink'].some((where) => reason.startsWith(where ?? '?')),
              reason,
            ).toBe(true)
          expectHarmless(reason)
          expect(reason).toMatch(/^[ -~…]+$/)
        }
        expectHarmless(text)
        expectEachSeriesOnce(text)
      },
    )

    it('is missing: nothing failed', async () => {
      const { text, snapshot } = await sweepDamaged(file)
      expect(snapshot.sources.filter(({ outcome }) => outcome === 'failed')).toEqual([])
      expectOthersUntouched(text, expected)
    })
  })
})

/** Names of namespaces, as bash writes them, and how they are to be read. */
const namespaceNames: readonly [quoted: string, shown: string][] = [
  [String.raw`nvf-\n"}{\\x`, String.raw`nvf-\ufffd\"}{\\x`],
  [String.raw`nvf-\e[31mred`, String.raw`nvf-\ufffd[31mred`],
  [String.raw`nvf-\u202eback`, String.raw`nvf-\ufffdback`],
  [String.raw`nvf-\xff\xfe`, String.raw`nvf-\ufffd\ufffd`],
  [String.raw`nvf- \t,=`, String.raw`nvf- \ufffd,=`],
  [`nvf-${'x'.repeat(251)}`, `nvf-${'x'.repeat(249)}…`],
]
/** Two that look alike when cleaned: the first found is shown. */
const twins = [String.raw`nvf-twin\x01`, String.raw`nvf-twin\x02`]
const deviceNames: readonly [quoted: string, shown: string][] = [
  [String.raw`a"b\\c{}`, String.raw`a\"b\\c{}`],
  [String.raw`\e[31mred`, String.raw`\ufffd[31mred`],
  [String.raw`\xff\xfe`, String.raw`\ufffd\ufffd`],
  ['x,y="1"', String.raw`x,y=\"1\"`],
]
const withMarks = (shown: string): string => shown.replaceAll(String.raw`\ufffd`, '\ufffd')
const bash = (script: string): string =>
  execFileSync('bash', ['-c', script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
/** `ip netns list` prints names as they are, so they cannot be read there. */
const removeNamespaces = (): string =>
  bash('shopt -s nullglob; for file in /run/netns/nvf-*; do umount "$file"; rm -f "$file"; done')

const promtool = [path.resolve(import.meta.dirname, '../../.cache/prometheus/usr/bin/promtool'), '/usr/bin/promtool'].find(
  fs.existsSync,
)

const wellFormed = /^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="([^"\\]|\\["\\n])*"(,\w+="([^"\\]|\\["\\n])*")*\})? [\d.e+-]+)$/

requireRoot('names that mean harm', () => {
  let agent: Agent
  let text: string
  let namesRefused: readonly string[]
  beforeAll(async () => {
    removeNamespaces()
    bash('ip netns add nvf-live; ip -n nvf-live link set lo up')
    const tries = [
      ...[...namespaceNames.map(([quoted]) => quoted), ...twins].map((quoted) => `ip netns add $'${quoted}'`),
      ...deviceNames.map(([quoted]) => `ip -n nvf-live link add name $'${quoted}' type veth`),
    ]
    namesRefused = tries.filter((command) => bash(`${command} 2> /dev/null || echo refused`) !== '')
    agent = await startAgent('nvf-live')
    text = agent.get('/metrics')
  })
  afterAll(async () => {
    await agent?.stop()
    removeNamespaces()
  })

  it('can be given', () => expect(namesRefused).toEqual([]))

  it.each(namespaceNames)('a namespace called %s', (_, shown) => {
    expect(text).toContain(`netvitals_sockets_used{namespace="@netns",pod="${withMarks(shown)}"} `)
  })

  it('two namespaces that look alike share no series', () => {
    expect(text.match(/netvitals_sockets_used\{namespace="@netns",pod="nvf-twin\ufffd"\} /g)).toHaveLength(1)
    expect(text).toMatch(/^netvitals_subjects_unresolved [1-9]/m)
  })

  it.each(deviceNames)('a device called %s', (_, shown) => {
    expect(text).toContain(`netvitals_device_received_bytes_total{device="${withMarks(shown)}"} 0\n`)
  })

  it('does no harm to the exposition, the page and the report', () => {
    expectHarmless(text)
    expectEachSeriesOnce(text)
    for (const line of text.trimEnd().split('\n')) expect(line).toMatch(wellFormed)
    expectHarmless(agent.get('/api/v1/check').replaceAll('\n', ''))
    expectHarmless(agent.get('/'))
    expectHarmless(agent.output())
  })

  it('does not disturb a source', () => {
    expect(text.match(/^netvitals_source_success\{.*\} 0$/gm)).toBeNull()
    expect(text.match(/^netvitals_subjects_skipped\{.*\} [^0].*$/gm)).toBeNull()
  })

  it.skipIf(promtool === undefined)('contents promtool check metrics', () => {
    expect(
      execFileSync(promtool ?? '', ['check', 'metrics'], { input: text, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] }),
    ).toBe('')
  })
})
if (promtool === undefined) console.warn('SKIPPED, no promtool (make .cache/prometheus): promtool check metrics')

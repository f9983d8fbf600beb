import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createHost, type Host } from '../../agent/host/host.ts'
import type { UserMap } from '../../agent/metrics/user-metrics.ts'
import { createBpftraceScripts } from '../../agent/sources/bpftrace-scripts.ts'
import type { Source } from '../../agent/sources/source.ts'
import { requireBpftrace } from './bpftrace.ts'
import { stormSize } from './events.ts'
import { createTopology, slowness, type Topology } from './topology.ts'

const counter = (labels: readonly string[] = [], limit = 100): UserMap => ({ type: 'counter', help: 'drops', labels, limit })

requireBpftrace('scripts of the user, run by the agent', () => {
  let topology: Topology
  let folder: string
  let host: Host | undefined
  beforeAll(async () => {
    topology = await createTopology('nvg-scripts')
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-scripts-'))
    topology.exec(topology.a, 'iptables', '-w', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '-j', 'DROP')
  })
  afterEach(async () => {
    await host?.stop()
    host = undefined
  })
  afterAll(async () => {
    await topology?.dispose()
    fs.rmSync(folder, { recursive: true })
  })

  const write = (name: string, text: string): string => {
    fs.writeFileSync(path.join(folder, name), text)
    return path.join(folder, name)
  }
  /** Counts UDP dropped in the namespace. */
  const dropsScript = (body: string): string => `
tracepoint:skb:kfree_skb / args->protocol == 0x0800 / {
  $skb = (struct sk_buff *)args->skbaddr;
  $ip = (struct iphdr *)($skb->head + $skb->network_header);
  $at = $skb->head + $skb->network_header + 20;
  if ($skb->dev->nd_net.net->ns.inum == ${topology.a.inode} && $ip->protocol == 17) {
    $port = *(uint8*)($at + 2) * 256 + *(uint8*)($at + 3);
    ${body}
  }
}`

  async function start(scripts: { file: string; maps: Record<string, UserMap> }[]): Promise<Source> {
    const settings = scripts.map(({ file, maps }) => ({
      file,
      maps: Object.keys(maps).map((name) => ({ name, reads: 'flip' as const })),
    }))
    host = await createHost({ root: '/', tracer: false, scripts: settings, log: pino({ level: 'silent' }) })
    const source = createBpftraceScripts(host, scripts)
    await host.start()
    await expect.poll(() => host!.scripts.lastReadingAtMs(), { timeout: 30_000 * slowness }).toBeDefined()
    return source
  }
  async function read(
    source: Source,
  ): Promise<{ values: Record<string, number>; absent: Record<string, string>; caveats: string[] }> {
    const told = { values: {} as Record<string, number>, absent: {} as Record<string, string>, caveats: [] as string[] }
    const sink = {
      emit: (metric: string, { labels, value }: { labels: object; value: number }) => {
        told.values[[metric, ...Object.values(labels)].join(' ')] = value
      },
      absent: (metric: string, reason: string) => void (told.absent[metric] = reason),
      caveat: (text: string) => void told.caveats.push(text),
      lost: () => undefined,
      unreadable: () => undefined,
    }
    await source.collect(sink as never, new AbortController().signal)
    return told
  }
  /** Of this process's children. */
  function findBpftrace(): number[] {
    const children = fs.readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ')
    const isBpftrace = (pid: string): boolean => fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('bpftrace\0-f')
    return children.filter((pid) => pid !== '' && isBpftrace(pid)).map(Number)
  }
  const send = (count: number, ports = 1) =>
    topology.run<{ sent: number }>(topology.a, 'udp-send', { address: '127.0.0.1', port: 7000, ports, count })

  test('a storm is counted exactly, with many keys, and beyond the limit in one series', async () => {
    const source = await start([
      { file: write('drops.bt', dropsScript('@drops[$port] = count();')), maps: { drops: counter(['port'], 10) } },
      { file: write('all.bt', dropsScript('@all = count();')), maps: { all: counter() } },
    ])
    const ports = 100
    const count = Math.ceil(stormSize(200_000) / ports) * ports
    const { sent } = await send(count, ports)
    await expect.poll(async () => (await read(source)).values.netvitals_user_all_total, { timeout: 15_000 * slowness }).toBe(sent)
    const { values, caveats } = await read(source)
    const ofPorts = Object.entries(values).filter(([name]) => name.startsWith('netvitals_user_drops_total '))
    expect(ofPorts).toHaveLength(11)
    expect(ofPorts.reduce((sum, [, value]) => sum + value, 0)).toBe(sent)
    expect(values['netvitals_user_drops_total other']).toBe((sent / ports) * (ports - 10))
    expect(caveats).toEqual([expect.stringMatching(/beyond the limit of 10 are in the series other$/)])
  })

  test('a script that is wrong is left out with its place, and the others count', async () => {
    const source = await start([
      { file: write('wrong.bt', '// nothing of the kind\ntracepoint:no:such { @wrong = count(); }'), maps: { wrong: counter() } },
      { file: write('right.bt', dropsScript('@right = count();')), maps: { right: counter() } },
      { file: path.join(folder, 'missing.bt'), maps: { missing: counter() } },
    ])
    await send(50)
    await expect
      .poll(async () => (await read(source)).values, { timeout: 15_000 * slowness })
      .toEqual({ netvitals_user_right_total: 50 })
    const { absent, caveats } = await read(source)
    expect(absent).toEqual({
      netvitals_user_wrong_total: expect.stringMatching(/wrong\.bt: line 2: .*tracepoint not found/),
      netvitals_user_missing_total: expect.stringMatching(/missing\.bt: cannot be read: ENOENT/),
    })
    expect(caveats).toEqual([])
  })

  test('killed in a storm: counts never go back, it runs again, and what is missing is said to be unknown', async () => {
    const source = await start([{ file: write('killed.bt', dropsScript('@killed = count();')), maps: { killed: counter() } }])
    const value = async (): Promise<number> => (await read(source)).values.netvitals_user_killed_total ?? 0
    await send(1000)
    await expect.poll(value, { timeout: 15_000 * slowness }).toBe(1000)
    const { starts } = host!.scripts.status()
    const storm = send(stormSize(100_000))
    const [bpftrace] = findBpftrace()
    process.kill(bpftrace!, 'SIGKILL')
    await storm
    const after = await value()
    expect(after).toBeGreaterThanOrEqual(1000)
    await expect.poll(() => host!.scripts.status().starts, { timeout: 15_000 * slowness }).toBe(starts + 1)
    const readingAt = host!.scripts.lastReadingAtMs()!
    await expect.poll(() => host!.scripts.lastReadingAtMs()!, { timeout: 30_000 * slowness }).toBeGreaterThan(readingAt)
    const again = await value()
    expect(again).toBeGreaterThanOrEqual(after)
    await send(77)
    await expect.poll(value, { timeout: 15_000 * slowness }).toBe(again + 77)
    expect((await read(source)).caveats).toEqual([
      'bpftrace ended 1 times by itself (killed by SIGKILL): what was counted since its last reading, and until it ran again, is unknown',
    ])
  })

  test('nothing is left when the agent stops', async () => {
    await start([{ file: write('gone.bt', dropsScript('@gone = count();')), maps: { gone: counter() } }])
    expect(findBpftrace()).toHaveLength(1)
    await host!.stop()
    expect(host!.scripts.status().state).toBe('stopped')
    expect(findBpftrace()).toEqual([])
  })
})
